// Package load generates load for the echo protocol. Each client connects at a random moment of a given period, sends
// one message and leaves with its ok; meanwhile it answers the messages that it is given, after a delay.
//
// One process carries out a Plan, or several with a Share each, since the number of open files per process is limited.
// Ports per address are limited too, so clients of a hub on this machine use many loopback addresses. Work carries out
// a share and reports progress; a Sum adds up the reports. ServerState reads from the hub's metrics whether any state
// of the clients remains.
//
// All goroutines of Work have ended when it returns. A Sum belongs to one goroutine.
package load
