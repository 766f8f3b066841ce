// Package clustertest tests several instances of the hub as one: processes of the built binary and a real redis-server,
// with injected faults of Redis, the network and the instances. A history checker judges every message.
//
// The package has only tests. Each starts its own Redis and hubs on free ports, prints measurements in lines that begin
// with "figure:", and fails if a measurement misses its bound. scripts/faults runs them all and collects these lines.
// With MASTERSOCKET_SCALE=full, sizes and durations are those of docs/faults.md; otherwise they are smaller, so that the
// tests take a few minutes on two cores.
package clustertest
