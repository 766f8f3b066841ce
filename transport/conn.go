package transport

import (
	"net/netip"
	"time"
)

type protocol uint8

const (
	protocolWebSocket protocol = iota
	protocolTCP
	protocolPacedTCP // as protocolTCP, with Options.TCPGap between messages
	protocolDetached // no socket: see detached.go
)

type state uint8

const (
	stateFree       state = iota // the slot is empty
	stateHandshake               // the request head is incomplete
	stateRequest                 // an HTTP request is read, or waits for its answer
	stateOpen                    // messages flow
	stateClosing                 // what is queued leaves, within Options.CloseTimeout; what arrives is thrown away
	stateAwaitClose              // all has left; the client has Options.CloseFrameTimeout to answer the close frame
	stateLinger                  // the sending side is shut down; waiting for the peer to close
)

// Flags of a Conn.
const (
	flagDirty      uint16 = 1 << iota // is in the loop's list of connections to flush
	flagBroken                        // a write failed; the next flush destroys it
	flagOverflow                      // the backlog is too large; the next flush reports it
	flagPaused                        // the session asked for no more messages for now
	flagStalled                       // waits for the gate
	flagNoRead                        // EPOLLIN is off
	flagWantWrite                     // EPOLLOUT is on
	flagPeerClosed                    // the peer closed: destroy as soon as all has left
	flagTrusted                       // its buffers don't count against Options.UntrustedBytes
	flagExcess                        // beyond Options.MaxConnections or Options.AddressConnections
	flagEndedHere                     // this side closed before the peer did
	flagTold                          // Session.Closed was called
	flagTLS                           // TLS lies between the socket and all else: see secureConn
	flagAwaitsTurn                    // the TLS handshake has to wait for others to end
	flagResting                       // paced: a message left less than Options.TCPGap ago
	flagKept                          // has answered a request and waits for the next one
)

// Conn is one connection. It belongs to its loop: its methods may be called on the loop's goroutine only, and not after
// Session.Closed. Its memory is used again for another connection; keep a [Ref] to find it later.
type Conn struct {
	loop    *Loop
	session Session
	rx      *partial // what arrived incomplete; nil while idle
	tx      *backlog // what is unsent; nil while idle

	fd       int32
	slot     uint32 // index in the loop's table
	gen      uint32 // how often the slot was used before; tells a Ref of an earlier connection
	lastRead uint32 // loop clock when bytes last arrived; while it is closing, the number of bytes thrown away
	since    uint32 // loop clock when it entered its state
	flags    uint16
	state    state
	protocol protocol
}

// Ref returns the name by which the connection can be found later.
func (c *Conn) Ref() Ref { return Ref{c.loop, c.slot, c.gen} }

// Loop returns the loop that owns the connection.
func (c *Conn) Loop() *Loop { return c.loop }

// Slot returns the connection's index in its loop's table. It is unique among the live connections of the loop.
func (c *Conn) Slot() uint32 { return c.slot }

// Session returns what Endpoint.Open returned for the connection.
func (c *Conn) Session() Session { return c.session }

// Excess reports whether the connection is beyond Options.MaxConnections or Options.AddressConnections, so that it should
// be told to try later.
func (c *Conn) Excess() bool { return c.flags&flagExcess != 0 }

// IsOpen reports whether messages still flow.
func (c *Conn) IsOpen() bool { return c.state == stateOpen }

// Idle returns how long nothing arrived from the client, not counting time in which nothing was read from it.
func (c *Conn) Idle() time.Duration { return c.loop.clock.since(c.lastRead) }

// Age returns how long ago the connection was opened, up to 24 days.
func (c *Conn) Age() time.Duration { return c.loop.clock.since(c.since) }

// QueueBytes returns the size of the unsent backlog.
func (c *Conn) QueueBytes() int {
	if c.tx == nil {
		return 0
	}
	return c.tx.bytes
}

// Stalled returns how long nothing of the unsent backlog has left; 0 without a backlog.
func (c *Conn) Stalled() time.Duration {
	if c.tx == nil || c.tx.bytes == 0 {
		return 0
	}
	return c.loop.clock.since(c.tx.progress)
}

// Trust exempts the connection's buffers from Options.UntrustedBytes: its client has identified.
func (c *Conn) Trust() {
	if c.flags&flagTrusted != 0 {
		return
	}
	if c.rx != nil {
		c.loop.in.untrusted -= cap(c.rx.buf) + cap(c.rx.msg)
	}
	c.flags |= flagTrusted
}

// RemoteAddr asks the kernel for the client's address. The result is invalid if the connection is broken.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if d := c.loop.table.detachedOf(c); d != nil {
		return d.address
	}
	return peerAddress(c.fd)
}

// Send queues b, taking a reference of its own. It reports whether the message was queued. It is not if the connection
// is closing, or if the backlog would grow too large by it: then nothing more is queued, and Session.Violation follows.
// A connection without a backlog takes a message of any size.
func (c *Conn) Send(b *Buffer) bool {
	if c.state != stateOpen || c.flags&(flagOverflow|flagBroken) != 0 {
		return false
	}
	if c.protocol == protocolPacedTCP {
		return c.sendPaced(b)
	}
	if c.tx != nil && !c.relieve(len(b.wire(c.protocol))) {
		return false
	}
	c.enqueue(b)
	return true
}

// markDirty makes the next flush look at the connection.
func (c *Conn) markDirty() {
	if c.flags&flagDirty == 0 {
		c.flags |= flagDirty
		c.loop.out.dirty = append(c.loop.out.dirty, c)
	}
}
