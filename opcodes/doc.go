// Package opcodes is the wire format of the master-socket protocol: its opcodes, disconnect reasons and error codes,
// the strict scan of an envelope, and the building of what the hub sends.
//
// It is pure: bytes in, bytes out. It starts no goroutine, reads no clock and keeps no state between calls but the
// scratch memory of an [Envelope], which belongs to that Envelope's owner. All functions may be called from any
// goroutine; an Envelope may be used by one at a time.
//
// # Allocation
//
// [Envelope.Scan] allocates nothing in steady state, whether it accepts or refuses: every error is predeclared and
// scratch memory is reused. The Append functions append to a slice of the caller's and allocate only where that lacks
// room. [ParseIdentify] does allocate; it runs once per connection.
package opcodes
