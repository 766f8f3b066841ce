package transport

import (
	"crypto/x509"
	"net/netip"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// A connection may have no socket of its own: its client fetches what is queued for it, and brings what it says, by HTTP
// requests. Such a connection is detached. It has a slot, a session, a queue with its limits, and deadlines like any other.
// It may take over the socket of a WebSocket connection later.

// Carrier brings what is queued for a detached connection to its client. It is called on the connection's loop.
type Carrier interface {
	// Queued is called when a flush finds something queued. It may call Conn.Take, and must not close the connection. It
	// may be called within Conn.Send.
	Queued(c *Conn)
	// Resumed is called when the connection, which refused a message for now, takes messages again.
	Resumed(c *Conn)
	// Released is the last call: the connection has ended, or has got a socket.
	Released()
}

// detached is what a connection without a socket has in its place.
type detached struct {
	carrier     Carrier
	address     netip.AddrPort    // of the client, when the connection was opened
	certificate *x509.Certificate // that it proved to be the holder of; nil for none
}

// noSocket is the descriptor of a detached connection.
const noSocket = -1

// OpenDetached opens a connection without a socket for the client that sent the request of x, on x's loop, and asks e for
// its session. It must be called within HTTPEndpoint.Serve.
func (l *Loop) OpenDetached(x *Exchange, e Endpoint, carrier Carrier) (*Conn, *Rejection) {
	s := l.srv
	d := &detached{carrier: carrier, address: x.conn.RemoteAddr(), certificate: x.conn.PeerCertificate()}
	c := l.table.take(l)
	c.fd, c.protocol, c.state = noSocket, protocolDetached, stateOpen
	c.since, c.lastRead = l.clock.now, l.clock.now
	l.table.setDetached(c, d)
	l.conns.Add(1)
	admission := s.admitDetached(c, d.address)
	if s.open.Add(1) > int64(s.opts.MaxConnections) || admission == surplus {
		c.flags |= flagExcess
	}
	if admission == refused {
		l.free(c)
		return nil, handshake.RejectOverload
	}
	session, reject := e.Open(c, x.Request)
	if reject != nil {
		l.free(c)
		return nil, reject
	}
	c.session = session
	return c, nil
}

// Detached reports whether the connection has no socket.
func (c *Conn) Detached() bool { return c.fd == noSocket }

// Take hands frames of a detached connection's queue to f, in their order, until it is empty, f returns false, or their
// payloads would pass limit bytes, and returns how many. The first is taken whatever its size. The buffers are valid during
// the call.
func (c *Conn) Take(limit int, f func(b *Buffer) (more bool)) int {
	t, l := c.tx, c.loop
	if t == nil || !c.Detached() {
		return 0
	}
	n, size := 0, 0
	for more := true; more && t.head < len(t.frames); {
		b := t.frames[t.head].buf
		if size += len(b.Payload()); n > 0 && size > limit {
			break
		}
		more = f(b)
		n++
		k := len(b.wire(c.protocol))
		l.stats.bytesOut += uint64(k)
		l.table.trafficOf(c).BytesOut += uint64(k)
		l.table.trafficOf(c).MessagesOut++
		t.advance(c, k)
	}
	t.progress = l.clock.now
	c.markDirty() // the flush tidies up
	return n
}

// Binary reports whether the message is one of bytes, not of text.
func (b *Buffer) Binary() bool { return !b.raw() && ws.OpCode(b.mem[b.from]&0x0f) == ws.OpBinary }

// Control reports whether the Buffer is a control frame of RFC 6455, which means nothing without a WebSocket.
func (b *Buffer) Control() bool { return !b.raw() && ws.OpCode(b.mem[b.from]&0x0f).IsControl() }

// SealBinary is Seal for a message of bytes.
func (b *Buffer) SealBinary(payload []byte) { b.seal(ws.OpBinary, payload) }

// Receive hands a detached connection a message that its client brought by a request. It returns false, and takes nothing,
// if the connection is closing, and if nothing is to be read for now: Carrier.Resumed is called when it is again. p may be
// overwritten.
func (c *Conn) Receive(binary bool, p []byte) bool {
	l := c.loop
	if c.state == stateOpen && l.srv.gate.Closed() {
		l.stall(c)
	}
	if c.state != stateOpen || c.flags&(flagPaused|flagStalled) != 0 {
		return false
	}
	c.lastRead = l.clock.now
	l.stats.bytesIn += uint64(len(p))
	l.table.trafficOf(c).BytesIn += uint64(len(p))
	if len(p) > l.srv.opts.MaxMessageBytes {
		l.report(c, TooBig)
		return true
	}
	if !binary && !utf8.Valid(p) {
		l.failConn(c, ws.StatusInvalidFramePayloadData, causeUTF8)
		return true
	}
	c.session.Message(c, binary, p)
	return true
}

// TakeOver gives a detached connection the socket of from, an open WebSocket connection of the same loop, before the loop
// reads or writes again. What from has queued leaves first; what its client sent behind the message that is being handled is
// the detached connection's. from's session is told that it closed.
func (c *Conn) TakeOver(from *Conn) {
	from.Pause()
	c.loop.unread.takeovers = append(c.loop.unread.takeovers, takeover{from.Ref(), c.Ref()})
}

// takeover is a socket that is about to belong to a detached connection.
type takeover struct{ from, to Ref }

// takeOver moves the socket.
func (l *Loop) takeOver(from, to *Conn) {
	d, rx, tx := l.table.detachedOf(to), from.rx, from.tx
	l.table.setDetached(to, nil)
	from.rx, from.tx = nil, nil
	to.fd, to.protocol = from.fd, protocolWebSocket
	from.fd = noSocket
	const moved = flagTLS | flagNoRead | flagWantWrite | flagPeerClosed | flagBroken
	to.flags = to.flags&^moved | from.flags&moved
	if sc := l.secureOf(from); sc != nil {
		l.setSecure(from, nil)
		l.setSecure(to, sc)
	}
	from.flags &^= flagTLS
	l.poll.watchConn(unix.EPOLL_CTL_MOD, to)
	if to.rx = rx; rx != nil && from.flags&flagTrusted != to.flags&flagTrusted {
		l.in.untrusted -= cap(rx.buf) + cap(rx.msg) // a session that takes over has identified
	}
	if tx != nil {
		if to.tx != nil {
			tx.frames = append(tx.frames, to.tx.frames[to.tx.head:]...)
			tx.bytes += to.tx.bytes
			tx.relief = max(tx.relief, to.tx.relief)
			*to.tx = backlog{frames: to.tx.frames[:0]}
			l.out.freeBacklogs = append(l.out.freeBacklogs, to.tx)
		}
		to.tx = tx
	}
	was, is := l.table.trafficOf(from), l.table.trafficOf(to)
	is.BytesIn += was.BytesIn
	is.BytesOut += was.BytesOut
	is.MessagesOut += was.MessagesOut
	l.srv.dismissDetached(to) // the socket counts for its address already
	l.destroy(from, EndLocal)
	d.carrier.Released()
	to.markDirty()
	if to.flags&flagPaused == 0 {
		l.unstash(to)
	}
}
