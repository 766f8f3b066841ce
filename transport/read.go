package transport

import (
	"golang.org/x/sys/unix"
)

// read reads once from a connection and handles what arrived.
func (l *Loop) read(c *Conn) {
	if c.state == stateOpen {
		if c.flags&flagPaused != 0 {
			c.setEvents(c.flags | flagNoRead)
			return
		}
		if l.srv.gate.Closed() {
			l.stall(c)
			return
		}
	}
	n, err := receive(c.fd, l.in.buf)
	l.received(c, n, err)
}

// received handles what receive returned for the loop's buffer.
func (l *Loop) received(c *Conn, n int, err error) {
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil:
		l.destroy(c, EndError)
	case n == 0:
		l.peerClosed(c)
	default:
		l.stats.bytesIn += uint64(n)
		l.table.trafficOf(c).BytesIn += uint64(n)
		if c.state >= stateClosing {
			l.discard(c, l.in.buf[:n])
			return
		}
		c.lastRead = l.clock.now
		if c.flags&flagTLS != 0 {
			l.feedSecure(c, l.in.buf[:n])
			return
		}
		l.feed(c, l.in.buf[:n])
	}
}

// feed handles bytes that arrived. p is the loop's buffer, or a stash without another user.
func (l *Loop) feed(c *Conn, p []byte) {
	for len(p) > 0 {
		switch {
		case c.state == stateHandshake && c.flags&flagPaused != 0: // it goes to another loop
			l.stash(c, p)
			return
		case c.state == stateHandshake:
			p = l.feedRequest(c, p)
		case c.state == stateRequest:
			p = l.feedBody(c, p)
		case c.state != stateOpen:
			l.seekClose(c, p)
			return
		case c.flags&(flagPaused|flagStalled) != 0:
			l.stash(c, p)
			return
		case l.srv.gate.Closed():
			l.stall(c)
		case c.protocol != protocolWebSocket:
			p = l.feedStream(c, p)
		default:
			p = l.feedFrame(c, p)
		}
		if c.state == stateOpen && l.mustFlush() {
			l.flush() // bounds what one read can queue; may destroy c, which its state tells
			l.yield(c, p)
			return
		}
	}
	if c.state == stateOpen && c.rx != nil {
		l.tidyPartial(c)
	}
}

// yield lets others have their turn before the rest of what arrived from a connection, whose messages are a lot of work.
func (l *Loop) yield(c *Conn, p []byte) {
	if c.state != stateOpen {
		l.seekClose(c, p)
		return
	}
	l.stash(c, p)
	if c.flags&(flagPaused|flagStalled) == 0 {
		l.unread.resumed = append(l.unread.resumed, c.Ref())
	}
}

// A loop writes, even if its turn goes on, once it has queued maxPending frames, or maxShare for each connection that it
// will write to if that is more: what is written together should not be cut short because it goes to many.
const (
	maxPending = 1 << 16
	maxShare   = 16
)

// mustFlush reports whether enough is queued to write before the turn goes on.
func (l *Loop) mustFlush() bool { return l.out.pending > max(maxPending, maxShare*len(l.out.dirty)) }
