package transport

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// This file moves records between a socket and crypto/tls once the handshake is done. All of it runs on the loop.

const (
	// plainBytes is more than one read from a socket can become, with what was left of an incomplete record before.
	plainBytes = readBytes + 2*(16<<10)
	// sealBytes is how much of the backlog is encrypted at a time: four of the largest records. What the socket doesn't
	// take of it is kept, and nothing more is encrypted until it has left.
	sealBytes = 64 << 10
	// maxLeft bounds what is kept. Only a client that has keys updated all the time and never reads comes near.
	maxLeft = 2 * sealBytes
)

// errTooMuchLeft ends a connection whose client makes crypto/tls answer, and reads no answer.
var errTooMuchLeft = errors.New("too many unsent records")

// feedSecure handles bytes that arrived on a TLS connection. p is valid during the call.
func (l *Loop) feedSecure(c *Conn, p []byte) {
	sc := l.secureOf(c)
	switch {
	case sc == nil:
		l.feedHello(c, p)
	case sc.hand != nil:
		l.feedTLSHandshake(c, sc, p)
	default:
		l.decrypt(c, sc, p)
	}
}

// decrypt handles what the records in p hold. crypto/tls keeps the part of one that arrived.
func (l *Loop) decrypt(c *Conn, sc *secureConn, p []byte) {
	if l.tls.plain == nil {
		l.tls.plain = make([]byte, plainBytes)
	}
	sc.in = p
	for more := true; more; {
		n, err := l.unseal(sc)
		switch {
		case n == 0:
		case c.state >= stateClosing:
			l.seekClose(c, l.tls.plain[:n])
		case c.flags&flagNoRead != 0: // it was paused, or has yielded, within this very read
			l.stash(c, l.tls.plain[:n])
		default:
			l.feed(c, l.tls.plain[:n])
		}
		if c.state == stateFree || c.state == stateLinger { // the rest is of no use
			break
		}
		if more = err == nil; !more {
			l.endOfRecords(c, sc, err)
		}
	}
	sc.in = nil
	if sc.left != nil && c.state != stateFree {
		c.markDirty()
	}
}

// unseal fills l.tls.plain from the records that are there; what crypto/tls answers to them is kept to be sent. The error is
// why it is not full.
func (l *Loop) unseal(sc *secureConn) (n int, err error) {
	for n < len(l.tls.plain) && err == nil {
		var k int
		k, err = sc.conn.Read(l.tls.plain[n:])
		n += k
	}
	if len(l.tls.sealed) > 0 {
		if !sc.keep(l.tls.sealed) {
			err = errTooMuchLeft
		}
		l.tls.sealed = l.tls.sealed[:0]
	}
	return n, err
}

// endOfRecords handles what a read ended with.
func (l *Loop) endOfRecords(c *Conn, sc *secureConn, err error) {
	var op *net.OpError
	switch {
	case errors.Is(err, errWouldBlock):
	case errors.Is(err, io.EOF): // close_notify
		l.peerClosed(c)
	case c.state >= stateClosing: // what is queued leaves all the same
		c.stopSeeking()
		c.markDirty()
	case errors.As(err, &op) && op.Op == "remote error":
		l.destroy(c, EndPeer)
	default:
		l.srv.count(causeRecord)
		sc.goodbye = true // the alert that says why is the last word
		l.dropBacklog(c)
		sc.plain = 0
		c.startClosing()
		l.notifyClosed(c, EndError)
	}
}

// writeSecure is Conn.writeBacklog for TLS.
func (l *Loop) writeSecure(c *Conn) bool {
	sc := l.secureOf(c)
	if sc == nil {
		return true
	}
	for {
		if sc.left != nil {
			if ok := l.sendLeft(c, sc); !ok || sc.left != nil {
				return ok
			}
		}
		t := c.tx
		if t == nil || t.head == len(t.frames) || sc.hand != nil {
			return true
		}
		p := l.gather(c, t)
		p = p[:min(len(p), sealBytes)]
		if _, err := sc.conn.Write(p); err != nil {
			l.tls.sealed = l.tls.sealed[:0]
			return false
		}
		sc.plain = len(p)
		if !l.sendSealed(c, sc) {
			return false
		}
	}
}

// sendSealed writes what was just encrypted and keeps what the socket doesn't take. It returns false if the connection is
// broken.
func (l *Loop) sendSealed(c *Conn, sc *secureConn) bool {
	p := l.tls.sealed
	l.tls.sealed = l.tls.sealed[:0]
	n, ok := l.writeRecords(c, p)
	if !ok {
		return false
	}
	if n < len(p) {
		return sc.keep(p[n:])
	}
	l.allSealedSent(c, sc)
	return true
}

// sendLeft writes what the socket didn't take before. It returns false if the connection is broken.
func (l *Loop) sendLeft(c *Conn, sc *secureConn) bool {
	p := sc.left.Payload()[sc.sent:]
	n, ok := l.writeRecords(c, p)
	sc.sent += n
	if ok && n == len(p) {
		sc.dropLeft()
		l.allSealedSent(c, sc)
	}
	return ok
}

// allSealedSent notes that everything encrypted has left: so has the part of the backlog that it stands for.
func (l *Loop) allSealedSent(c *Conn, sc *secureConn) {
	if sc.plain == 0 {
		return
	}
	t := c.tx
	head := t.head
	t.advance(c, sc.plain)
	sc.plain = 0
	l.table.trafficOf(c).MessagesOut += uint64(t.head - head)
}

// writeRecords writes p as far as the socket takes it. ok is false if the connection is broken.
func (l *Loop) writeRecords(c *Conn, p []byte) (n int, ok bool) {
	for n < len(p) {
		k, err := send(c.fd, p[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return n, true
		case err != nil:
			return n, false
		}
		n += k
		l.stats.bytesOut += uint64(k)
		l.stats.writes++
		l.table.trafficOf(c).BytesOut += uint64(k)
		if c.tx != nil {
			c.tx.progress = l.clock.now
		}
	}
	return n, true
}

// keep copies records that are to be sent as soon as the socket takes them, behind those that wait already. It returns
// false if they are too many.
func (sc *secureConn) keep(p []byte) bool {
	var before []byte
	if sc.left != nil {
		before = sc.left.Payload()[sc.sent:]
	}
	if len(before)+len(p) > maxLeft {
		return false
	}
	b := AllocBuffer(len(before) + len(p))
	b.sealRaw(append(append(b.Room(), before...), p...))
	sc.dropLeft()
	sc.left = b
	return true
}

func (sc *secureConn) dropLeft() {
	if sc.left != nil {
		sc.left.Release()
		sc.left = nil
	}
	sc.sent = 0
}

// unsent reports whether records wait for the socket.
func (l *Loop) unsent(c *Conn) bool {
	sc := l.secureOf(c)
	return sc != nil && sc.left != nil
}

// sayGoodbye sends close_notify once (RFC 8446 section 6.1). It reports whether all records have left, or never will.
func (l *Loop) sayGoodbye(c *Conn) bool {
	sc := l.secureOf(c)
	if sc == nil || sc.hand != nil || sc.goodbye {
		return true
	}
	sc.goodbye = true
	_ = sc.conn.CloseWrite() // fails only before the end of a handshake that failed
	return !l.sendSealed(c, sc) || sc.left == nil
}

// begunFrames returns how many frames of a connection's backlog have begun to leave, or are encrypted.
func (c *Conn) begunFrames(t *backlog) int {
	n := t.offset
	if sc := c.loop.secureOf(c); sc != nil {
		n += sc.plain
	}
	frames := 0
	for n > 0 {
		n -= len(t.frames[t.head+frames].buf.wire(c.protocol))
		frames++
	}
	return frames
}
