// Package opcodes is the wire format of the master-socket protocol: its opcodes, disconnect reasons and error codes,
// the strict scan of an envelope, and the building of what the hub sends.
//
// The package is pure: it starts no goroutine, reads no clock and does no I/O.
//
// # Concurrency
//
// All functions may be called from any goroutine. An [Envelope] belongs to one goroutine at a time.
//
// # Allocation
//
// [Envelope.Scan] allocates nothing in steady state, also when it refuses a message: errors are predeclared and scratch
// memory is reused. The Append functions append to the caller's slice and allocate only to grow it. [ParseIdentify]
// allocates; it runs once per connection. [ParseChange] allocates, too.
package opcodes
