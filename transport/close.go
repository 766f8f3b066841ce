package transport

import (
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/transport/internal/frame"
)

// Close ends the connection after what is queued, and then last, has left: last (nil for none) is taken over, a close
// frame with code and reason follows on a WebSocket. All that has Options.CloseTimeout to leave. The client then has
// Options.CloseFrameTimeout to answer the close frame, and Options.CloseTimeout again to close its side.
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
	var seek frame.Seeker
	if c.state == stateOpen && c.rx != nil && c.protocol == protocolWebSocket && seek.Seek(c.rx.buf) {
		c.flags |= flagPeerClosed
	}
	c.state = stateClosing
	c.since = c.loop.clock.now
	c.lastRead = 0
	c.loop.dropPartial(c)
	if seek != (frame.Seeker{}) {
		*c.seeker() = seek
	}
	c.markDirty()
}

// awaitsClose reports whether the client of a closing connection has yet to answer the close frame, and may.
func (c *Conn) awaitsClose() bool {
	return c.protocol == protocolWebSocket && c.flags&(flagEndedHere|flagPeerClosed) == flagEndedHere &&
		(c.rx == nil || !c.rx.seek.Lost())
}

// seeker returns what looks for the client's close frame on a closing connection.
func (c *Conn) seeker() *frame.Seeker {
	if c.rx == nil {
		c.rx = new(partial) // not from the pool, whose buffers are of no use here
	}
	return &c.rx.seek
}

// stopSeeking gives up waiting for the client's close frame.
func (c *Conn) stopSeeking() { c.seeker().Lose() }

// seekClose looks for the close frame in what arrived on a closing connection.
func (l *Loop) seekClose(c *Conn, p []byte) {
	if c.state != stateClosing && c.state != stateAwaitClose || !c.awaitsClose() {
		return
	}
	if c.seeker().Seek(p) {
		c.flags |= flagPeerClosed
	}
	if !c.awaitsClose() {
		c.markDirty()
	}
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
	if c.state == stateLinger || c.state == stateHandshake || c.state == stateRequest {
		l.destroy(c, EndPeer)
		return
	}
	if c.state != stateClosing && c.state != stateAwaitClose {
		c.startClosing()
		end := EndPeer
		if c.protocol == protocolWebSocket { // without a close frame, which startClosing may have found
			end = EndOfStream
		}
		l.notifyClosed(c, end)
	}
	c.flags |= flagPeerClosed
	c.setEvents(c.flags | flagNoRead)
	c.markDirty()
}

// maxDiscard bounds, in bytes, what is read and thrown away from a client that was told to close. It is more than
// clients have on their way. A client that goes on sending waits, at no cost, until Options.CloseTimeout has passed.
const maxDiscard = 4 << 20

// discard looks in p, which arrived on a closing connection, for the client's close frame alone.
func (l *Loop) discard(c *Conn, p []byte) {
	if c.lastRead += uint32(len(p)); c.lastRead > maxDiscard {
		c.setEvents(c.flags | flagNoRead)
	}
	if !c.awaitsClose() {
		return
	}
	if sc := l.secureOf(c); sc != nil && sc.hand == nil {
		l.decrypt(c, sc, p)
		return
	}
	l.seekClose(c, p)
}

// allSent is the next step of a connection whose queue has run empty.
func (l *Loop) allSent(c *Conn) {
	switch {
	case c.state != stateClosing && c.state != stateAwaitClose:
		c.setEvents(c.flags &^ flagWantWrite)
	case !c.awaitsClose():
		l.endSending(c)
	default:
		if c.state == stateClosing {
			c.state, c.since = stateAwaitClose, l.clock.now
			c.setEvents(c.flags &^ flagNoRead)
		}
		c.setEvents(c.flags &^ flagWantWrite)
	}
}

// endSending shuts down the sending side of a connection, or closes it if its client has ended, too.
func (l *Loop) endSending(c *Conn) {
	switch {
	case c.Detached():
		l.destroy(c, EndLocal)
	case c.flags&flagTLS != 0 && !l.sayGoodbye(c):
		c.setEvents(c.flags | flagWantWrite)
	case c.flags&flagPeerClosed != 0:
		l.destroy(c, EndPeer)
	default:
		// The client may still be sending: closing now would reset the connection, and the reset could overtake the
		// last frames. So tell it that nothing more comes and wait for its end.
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
		c.state, c.since = stateLinger, l.clock.now
		c.setEvents(c.flags &^ (flagWantWrite | flagNoRead))
	}
}

// giveUp ends a connection that did not end within its time. Where the client has not taken all that the kernel holds
// for it, the connection is reset: else the kernel would keep that memory, up to 4 MiB, for minutes.
func (l *Loop) giveUp(c *Conn) {
	if unsent, err := unix.IoctlGetInt(int(c.fd), unix.SIOCOUTQ); err == nil && unsent > 0 || c.tx != nil {
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	l.destroy(c, EndLocal)
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
	if d := l.table.detachedOf(c); d != nil {
		d.carrier.Released()
	}
	l.free(c)
}

// free closes the connection's descriptor, if it has one, and frees its slot.
func (l *Loop) free(c *Conn) {
	if c.Detached() {
		l.table.setDetached(c, nil)
		l.srv.dismissDetached(c)
		l.srv.open.Add(-1)
	} else {
		l.srv.closeFD(c.fd)
	}
	l.conns.Add(-1)
	l.table.release(c)
}
