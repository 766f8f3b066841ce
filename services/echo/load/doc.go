// Package load is a load of the echo protocol: any number of clients, each of which connects at a random moment of a given
// time, sends one message and leaves with its ok; all the while it answers what it is given, after a delay.
//
// A Plan is carried out by one process, or by several with a Share each: a process has a limit of open files, and an
// address one of ports, so that clients of a hub on this machine come from many loopback addresses. Work carries out a
// share and reports to whoever started it; a Sum adds the reports up. ServerState reads from the hub's metrics whether
// anything is left of the clients afterwards.
//
// Work and what it starts have ended when it returns. A Sum is used by one goroutine.
package load
