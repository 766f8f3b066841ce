// Package clustertest tests several instances of the hub as one: processes of the built binary and a real redis-server,
// with the faults that Redis, the network and the instances can have, and a history checker that judges every message.
//
// There is nothing here but tests. Each starts a Redis and hubs of its own on free ports, prints what it measured in
// lines that begin with "figure:", and fails if a measure is missed. scripts/faults runs them all and collects these
// lines. With [EnvScale] set to full, sizes and durations are those that docs/faults.md reports; without it they are
// smaller, so that the tests are done in a few minutes on two cores.
package clustertest

// EnvScale is the environment variable that chooses between quick tests (the default) and full ones ("full").
const EnvScale = "MASTERSOCKET_SCALE"
