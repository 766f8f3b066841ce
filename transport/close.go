package transport

import (
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

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
	if c.flags&flagPeerClosed == 0 {
		c.flags |= flagEndedHere
	}
	c.startClosing()
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
	c.since = c.loop.clock.now
	c.lastRead = 0
	c.loop.dropPartial(c)
	c.markDirty()
}

// endedBy returns which side began to end the connection. broke is what its descriptor ended with, for when neither did.
func (c *Conn) endedBy(broke End) End {
	switch {
	case c.flags&flagEndedHere != 0:
		return EndLocal
	case c.flags&flagPeerClosed != 0:
		return EndPeer
	}
	return broke
}

// notifyClosed makes the session's last call, once. Unless the session closed the connection, the call comes as soon as
// nothing can be sent any more; what is queued may still be leaving then.
func (l *Loop) notifyClosed(c *Conn, end End) {
	if _, none := c.session.(*listener); none || c.flags&flagTold != 0 {
		return
	}
	c.flags |= flagTold
	c.session.Closed(c, c.endedBy(end))
}

// failConn closes a WebSocket whose client broke the protocol.
func (l *Loop) failConn(c *Conn, code ws.StatusCode, why cause) {
	l.srv.count(why)
	c.Close(code, string(why), nil)
	l.notifyClosed(c, EndLocal)
}

// report tells the session of a limit that was passed, and closes if it doesn't.
func (l *Loop) report(c *Conn, v Violation) {
	c.session.Violation(c, v)
	if c.state != stateOpen {
		return
	}
	if v == TooBig {
		c.Close(ws.StatusMessageTooBig, "", nil)
	} else {
		c.Abort(ws.StatusPolicyViolation, "", nil)
	}
	l.notifyClosed(c, EndLocal)
}

// peerClosed handles the end of the client's stream. The client may still read: what is queued is sent before the end.
func (l *Loop) peerClosed(c *Conn) {
	if c.state == stateLinger || c.state == stateHandshake {
		l.destroy(c, EndPeer)
		return
	}
	c.flags |= flagPeerClosed
	if c.state != stateClosing {
		c.startClosing()
		l.notifyClosed(c, EndPeer)
	}
	c.setEvents(c.flags | flagNoRead)
	c.markDirty()
}

// maxDiscard bounds, in bytes, what is read and thrown away from a client that was told to close. It is more than
// clients have on their way. A client that goes on sending waits, at no cost, until Options.CloseTimeout has passed.
const maxDiscard = 4 << 20

// discard counts n bytes that arrived too late to be handled.
func (l *Loop) discard(c *Conn, n int) {
	if c.lastRead += uint32(n); c.lastRead > maxDiscard {
		c.setEvents(c.flags | flagNoRead)
	}
}

// allSent is the next step of a connection whose queue has run empty.
func (l *Loop) allSent(c *Conn) {
	switch {
	case c.state == stateClosing && c.flags&flagTLS != 0 && !l.sayGoodbye(c):
		c.setEvents(c.flags | flagWantWrite)
	case c.state == stateClosing && c.flags&flagPeerClosed != 0:
		l.destroy(c, EndPeer)
	case c.state == stateClosing:
		// The client may still be sending: closing now would reset the connection, and the reset could overtake the
		// last frames. So tell it that nothing more comes and wait for its end.
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
		c.state = stateLinger
		c.since = l.clock.now
		c.setEvents(c.flags &^ (flagWantWrite | flagNoRead))
	default:
		c.setEvents(c.flags &^ flagWantWrite)
	}
}

// destroy closes a connection's descriptor, tells its session, and frees its slot.
func (l *Loop) destroy(c *Conn, end End) {
	if c.state == stateFree {
		return
	}
	handshake := c.state == stateHandshake
	c.state = stateClosing // for the session's last call: it can't send any more
	if !handshake {
		l.notifyClosed(c, end)
	}
	l.dropPartial(c)
	l.dropBacklog(c)
	l.releaseSecure(c, end)
	l.srv.closeFD(c.fd)
	l.conns.Add(-1)
	l.table.release(c)
}
