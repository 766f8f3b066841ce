package transport

import (
	"net/netip"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

type protocol uint8

const (
	protocolWebSocket protocol = iota
	protocolTCP
)

type state uint8

const (
	stateFree      state = iota // the slot is empty
	stateHandshake              // the request head is incomplete
	stateOpen                   // messages flow
	stateClosing                // what is queued leaves, within Options.CloseTimeout; what arrives is thrown away
	stateLinger                 // all has left; waiting for the peer to close
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
	flagPeerDone                      // the peer closed: destroy as soon as all has left
	flagTrusted                       // its buffers don't count against Options.UntrustedBytes
	flagExcess                        // beyond Options.MaxConnections
	flagEndedHere                     // this side closed before the peer did
	flagTold                          // Session.Closed was called
	flagTLS                           // TLS lies between the socket and all else: see secureConn
	flagAwaitsTurn                    // the TLS handshake has to wait for others to end
)

// Conn is one connection. It belongs to its loop: its methods may be called on the loop's goroutine only, and not after
// Session.Closed. Its memory is used again for another connection; keep a [Ref] to find it later.
type Conn struct {
	loop    *Loop
	session Session
	rx      *rxState // what arrived incomplete; nil while idle
	tx      *txState // what is unsent; nil while idle

	fd       int32
	slot     uint32 // index in the loop's table
	gen      uint32 // how often the slot was used before; tells a Ref of an earlier connection
	lastRead uint32 // loop clock when bytes last arrived; while it is closing, the number of bytes thrown away
	since    uint32 // loop clock when it entered its state
	flags    uint16
	state    state
	protocol protocol
}

// Ref names a connection for longer than the Conn is valid. The zero Ref names none.
type Ref struct {
	loop *Loop
	slot uint32
	gen  uint32
}

// Loop returns the loop that the connection was on.
func (r Ref) Loop() *Loop { return r.loop }

// Conn returns the connection if it is still there and open. It must be called on the loop's goroutine.
func (r Ref) Conn() *Conn {
	if r.loop == nil {
		return nil
	}
	c := r.loop.conn(r.slot)
	if c == nil || c.gen != r.gen || c.state != stateOpen {
		return nil
	}
	return c
}

// Ref returns the name by which the connection can be found later.
func (c *Conn) Ref() Ref { return Ref{c.loop, c.slot, c.gen} }

// Loop returns the loop that owns the connection.
func (c *Conn) Loop() *Loop { return c.loop }

// Slot returns the connection's index in its loop's table. It is unique among the live connections of the loop.
func (c *Conn) Slot() uint32 { return c.slot }

// Session returns what Endpoint.Open returned for the connection.
func (c *Conn) Session() Session { return c.session }

// IsTCP reports whether the connection is plain TCP without WebSocket framing.
func (c *Conn) IsTCP() bool { return c.protocol == protocolTCP }

// Excess reports whether the connection is beyond Options.MaxConnections, so that it should be told to try later.
func (c *Conn) Excess() bool { return c.flags&flagExcess != 0 }

// Open reports whether messages still flow.
func (c *Conn) Open() bool { return c.state == stateOpen }

// Idle returns how long nothing arrived from the client, not counting time in which nothing was read from it.
func (c *Conn) Idle() time.Duration { return c.loop.since(c.lastRead) }

// Age returns how long ago the connection was opened, up to 24 days.
func (c *Conn) Age() time.Duration { return c.loop.since(c.since) }

// QueueBytes returns the size of the unsent backlog.
func (c *Conn) QueueBytes() int {
	if c.tx == nil {
		return 0
	}
	return c.tx.bytes
}

// Trust exempts the connection's buffers from Options.UntrustedBytes: its client has proved who it is.
func (c *Conn) Trust() {
	if c.flags&flagTrusted != 0 {
		return
	}
	if c.rx != nil {
		c.loop.untrusted -= cap(c.rx.buf) + cap(c.rx.msg)
	}
	c.flags |= flagTrusted
}

// RemoteAddr asks the kernel for the client's address. The result is invalid if the connection is broken.
func (c *Conn) RemoteAddr() netip.AddrPort {
	sa, err := unix.Getpeername(int(c.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(sa)
}

// Pause stops the calls of Session.Message after the one in progress, if any, until Resume. What arrived already is
// kept, and nothing more is read. Time in which a connection is paused does not count as idle.
func (c *Conn) Pause() { c.flags |= flagPaused }

// Resume undoes Pause. Messages that wait are handled later in the same turn of the loop.
func (c *Conn) Resume() {
	if c.flags&flagPaused == 0 {
		return
	}
	c.flags &^= flagPaused
	c.loop.resumed = append(c.loop.resumed, c.Ref())
}

// Send queues b, taking a reference of its own. It reports whether the message was queued. It is not if the connection
// is closing, or if the backlog would grow too large by it: then nothing more is queued, and Session.Violation follows.
// A connection without a backlog takes a message of any size.
func (c *Conn) Send(b *Buffer) bool {
	if c.state != stateOpen || c.flags&(flagOverflow|flagBroken) != 0 {
		return false
	}
	if c.tx != nil && !c.relieve(len(b.frame(c.protocol))) {
		return false
	}
	c.enqueue(b)
	return true
}

// Close ends the connection after what is queued, and then last, has left: last (nil for none) is taken over, a close
// frame with code and reason follows on a WebSocket. All that has Options.CloseTimeout to leave, and the client then
// has as long again to close its side.
func (c *Conn) Close(code ws.StatusCode, reason string, last *Buffer) {
	if c.state != stateOpen {
		if last != nil {
			last.Release()
		}
		return
	}
	if last != nil {
		c.enqueue(last)
		last.Release()
	}
	if c.protocol == protocolWebSocket {
		f := newClose(code, reason)
		c.enqueue(f)
		f.Release()
	}
	if c.flags&flagPeerDone == 0 {
		c.flags |= flagEndedHere
	}
	c.startClosing()
}

// end says who ended the connection: whoever began to, however it went on. broke is what its descriptor ended with.
func (c *Conn) end(broke End) End {
	switch {
	case c.flags&flagEndedHere != 0:
		return EndLocal
	case c.flags&flagPeerDone != 0:
		return EndPeer
	}
	return broke
}

// Abort is Close for a client that doesn't read: the backlog is dropped, but for a frame that is partly sent. What an
// earlier Close promised is kept.
func (c *Conn) Abort(code ws.StatusCode, reason string, last *Buffer) {
	if c.state == stateOpen && c.tx != nil {
		c.tx.truncate(c)
	}
	c.Close(code, reason, last)
}

// startClosing ends the flow of messages. What is queued still leaves.
func (c *Conn) startClosing() {
	c.state = stateClosing
	c.since = c.loop.now
	c.lastRead = 0
	c.loop.dropRx(c)
	c.markDirty()
}

// markDirty makes the next flush look at the connection.
func (c *Conn) markDirty() {
	if c.flags&flagDirty == 0 {
		c.flags |= flagDirty
		c.loop.dirty = append(c.loop.dirty, c)
	}
}
