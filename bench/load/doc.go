//go:build linux

// Package load is a WebSocket load generator that costs little enough to share two cores with the server it loads.
//
// One thread serves every client: edge-triggered epoll over raw non-blocking sockets, one large read per event, and
// frames that are counted by their lengths without a look at what they carry. Everything that is sent is built before
// the measurement starts. In steady state nothing is allocated.
//
// # What is counted
//
// Every delivery is counted on the connection that got it. A run ends when everything that was published has arrived
// everywhere, and fails, with no figure, if anything is missing, arrives twice, or if a connection breaks. Since
// every server keeps the order of one publisher, the k-th message of a connection is the k-th that was published: that
// gives latencies without a look into messages.
//
// # Concurrency
//
// A Loop and its Clients belong to the goroutine that calls the Loop's methods.
package load
