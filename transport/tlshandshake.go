package transport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// The TLS handshake of a connection:
//
//	feedHello        the loop gathers the first record, in a buffer that counts as one of a stranger
//	beginTLSHandshake   a goroutine begins the handshake, now or when it is this connection's turn
//	feedTLSHandshake  the loop hands on what arrives; tlsHandshake, the goroutine's mail, brings what must be sent
//	handshakeResult       the goroutine's last mail
//
// All of it must be over within Options.HandshakeTimeout, the request of the WebSocket included. While connections wait
// for their turn, clients that let the server wait in the middle of their handshake have less time: see makeRoom.

const (
	recordHeader    = 5         // bytes (RFC 8446 section 5.1)
	recordHandshake = 22        // the content type of a handshake's records
	recordAlert     = 21        // that of alerts
	maxPlainRecord  = 16 << 10  // payload of a record that is not encrypted, in bytes
	maxHandIn       = 32 << 10  // what waits for the goroutine before nothing more is read
	maxHandOut      = 256 << 10 // what waits for the loop: a chain of certificates is smaller
	maxHandTaken    = 64 << 10  // what a client's part of a handshake may amount to: crypto/tls would keep several times as much
)

// feedHello gathers the first record, which must be there as a whole before anything is done for it.
func (l *Loop) feedHello(c *Conn, p []byte) {
	if c.rx != nil {
		if !l.grow(c, p) {
			return
		}
		p = c.rx.buf
	}
	need := recordHeader
	if len(p) >= recordHeader {
		need += int(p[3])<<8 | int(p[4])
	}
	switch {
	case p[0] != recordHandshake || len(p) > 1 && p[1] != 3 || need > recordHeader+maxPlainRecord:
		l.notTLS(c, p)
	case len(p) < need && c.rx == nil:
		l.grow(c, p)
	case len(p) >= need && len(l.tls.shaking) < l.maxShaking():
		l.beginTLSHandshake(c, p)
	case len(p) >= need:
		if c.rx == nil && !l.grow(c, p) {
			return
		}
		l.queueHandshake(c)
	}
}

// notTLS ends a connection that began with something else.
func (l *Loop) notTLS(c *Conn, p []byte) {
	l.countTLSFailure(c, tlsNotTLS)
	if p[0] < 'A' || p[0] > 'Z' {
		l.destroy(c, EndLocal)
		return
	}
	c.flags &^= flagTLS // that began like an HTTP request: say so in a way that its sender understands
	l.refuseHandshake(c, handshake.RejectNotTLS, &Request{})
}

// beginTLSHandshake starts the goroutine of a handshake. p is the first record, and perhaps more.
func (l *Loop) beginTLSHandshake(c *Conn, p []byte) {
	lis := c.session.(*listener)
	h := &tlsHandshake{loop: l, ref: c.Ref(), spoke: l.clock.now, compute: lis.tls.compute}
	h.more.L = &h.mu
	if c.rx != nil {
		h.in = l.takeBuf(c)
		l.dropPartial(c)
	} else {
		h.in = append(h.in, p...)
	}
	sc := &secureConn{loop: l, hand: h}
	sc.conn = tls.Server(sc, lis.tls.config())
	l.setSecure(c, sc)
	h.place = len(l.tls.shaking)
	l.tls.shaking = append(l.tls.shaking, h)
	l.srv.running.Go(func() { h.run(sc) })
}

// feedTLSHandshake hands bytes to the goroutine.
func (l *Loop) feedTLSHandshake(c *Conn, sc *secureConn, p []byte) {
	h := sc.hand
	h.slowest = max(h.slowest, l.clock.since(h.spoke))
	h.mu.Lock()
	h.in = append(h.in, p...)
	h.full = len(h.in) > maxHandIn
	full := h.full
	h.more.Signal()
	h.mu.Unlock()
	if full {
		c.setEvents(c.flags | flagNoRead)
	}
}

// tlsHandshake is a handshake under way, between its goroutine and the loop. As mail it brings the loop what must be
// sent.
type tlsHandshake struct {
	loop    *Loop
	ref     Ref
	compute chan struct{}

	// Owned by the loop.
	place   int           // in Loop.shaking
	spoke   uint32        // loop clock when it began, or something was sent last
	slowest time.Duration // that the client let the server wait

	mu      sync.Mutex
	more    sync.Cond // in has noteGrowth, or closed is true
	in      []byte    // what arrived
	taken   int       // how much of what arrived crypto/tls has
	out     []byte    // what must be sent
	listens bool      // it is the client's turn: nothing more is done until something arrives
	posted  bool      // the mail is on its way
	full    bool      // nothing is read because of in
	closed  bool      // the connection is gone
	alert   byte      // the alert that crypto/tls sent in the clear; 0 for none
}

// run is the goroutine.
func (h *tlsHandshake) run(sc *secureConn) {
	h.compute <- struct{}{}
	err := sc.conn.Handshake()
	<-h.compute
	h.loop.Post(handshakeResult{h, sc, err}) // if the loop has ended, so has the connection
}

// read is secureConn.Read for the goroutine. Others compute while it waits.
func (h *tlsHandshake) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) == 0 && !h.closed {
		<-h.compute
		h.listens = true
		for len(h.in) == 0 && !h.closed {
			h.more.Wait()
		}
		h.listens = false
		h.mu.Unlock()
		h.compute <- struct{}{}
		h.mu.Lock()
	}
	if h.closed {
		return 0, net.ErrClosed
	}
	if h.taken > maxHandTaken {
		return 0, errHandshakeTooLong
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	h.taken += n
	if h.full && len(h.in) <= maxHandIn/2 {
		h.full = false
		h.postLocked()
	}
	return n, nil
}

// errHandshakeTooLong ends a handshake whose client sends more than any needs.
var errHandshakeTooLong = errors.New("handshake too long")

// write is secureConn.Write for the goroutine.
func (h *tlsHandshake) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.out)+len(p) > maxHandOut {
		return 0, net.ErrClosed
	}
	if len(p) == recordHeader+2 && p[0] == recordAlert {
		h.alert = p[recordHeader+1]
	}
	h.out = append(h.out, p...)
	h.postLocked()
	return len(p), nil
}

// postLocked mails what must be sent, unless mail is on its way. mu must be held.
func (h *tlsHandshake) postLocked() {
	if !h.posted {
		h.posted = true
		h.loop.Post(h)
	}
}

// abandon makes the goroutine end.
func (h *tlsHandshake) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.more.Signal()
}

// Deliver implements Mail.
func (h *tlsHandshake) Deliver(l *Loop) {
	c := h.ref.live()
	if c == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posted = false
	if len(h.out) > 0 {
		h.spoke = l.clock.now
		if !l.secureOf(c).keep(h.out) {
			c.flags |= flagBroken
		}
	}
	h.out = h.out[:0]
	if !h.full {
		c.setEvents(c.flags &^ flagNoRead)
	}
	c.markDirty()
}

// Size implements Mail.
func (*tlsHandshake) Size() int { return 4 << 10 }

// handshakeResult is the mail that a handshake is over.
type handshakeResult struct {
	hand *tlsHandshake
	conn *secureConn
	err  error
}

// Size implements Mail.
func (handshakeResult) Size() int { return 0 }

// Deliver implements Mail.
func (m handshakeResult) Deliver(l *Loop) {
	c := m.hand.ref.live()
	if c == nil {
		l.tls.leaving--
	}
	l.endTLSHandshake(m.hand)
	l.startQueuedHandshakes()
	if c == nil {
		return
	}
	rest := m.hand.in // the goroutine has ended and does not use it any more
	m.conn.hand = nil
	c.setEvents(c.flags &^ flagNoRead)
	if m.err != nil {
		l.countTLSFailure(c, m.hand.failure(m.err), slog.String("error", m.err.Error()))
		m.conn.goodbye = true
		c.startClosing()
		return
	}
	l.learnPatience(m.hand)
	l.srv.tls.done.Add(1)
	if m.conn.conn.ConnectionState().DidResume {
		l.srv.tls.resumed.Add(1)
	}
	l.decrypt(c, m.conn, rest)
}

// endTLSHandshake takes a handshake from those that are under way.
func (l *Loop) endTLSHandshake(h *tlsHandshake) {
	last := len(l.tls.shaking) - 1
	moved := l.tls.shaking[last]
	l.tls.shaking[h.place], moved.place = moved, h.place
	l.tls.shaking[last] = nil
	l.tls.shaking = l.tls.shaking[:last]
}

// live returns the connection if it is still there, whatever its state.
func (r Ref) live() *Conn {
	c := r.loop.table.at(r.slot)
	if c == nil || c.gen != r.gen || c.state == stateFree {
		return nil
	}
	return c
}

// tlsFailure is why a TLS handshake failed.
type tlsFailure uint8

const (
	tlsNotTLS            tlsFailure = iota // the first bytes are something else
	tlsTimeout                             // not over in time
	tlsClientLeft                          // the client closed the connection
	tlsClientRefused                       // the client sent an alert: it does not trust the certificate, say
	tlsClientCertificate                   // the client's certificate is expired, or of another authority
	tlsVersion                             // the client knows no version that we do
	tlsParameters                          // or no algorithm
	tlsApplication                         // the client wants another protocol than HTTP/1.1 (RFC 7301)
	tlsProtocol                            // the client broke the protocol
	tlsFailures                            // how many there are
)

// tlsFailureNames label metrics.
var tlsFailureNames = [tlsFailures]string{
	"not_tls", "timeout", "client_left", "client_refused", "client_certificate", "version", "parameters", "application_protocol", "protocol",
}

// failure classifies the error of a handshake: by its type, or by the alert that crypto/tls sent (RFC 8446 section 6.2).
func (h *tlsHandshake) failure(err error) tlsFailure {
	var header tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &header):
		return tlsNotTLS
	case errors.As(err, &verify):
		return tlsClientCertificate
	case errors.As(err, &op) && op.Op == "remote error":
		return tlsClientRefused
	}
	switch h.alert {
	case 40, 71, 86: // handshake_failure, insufficient_security, inappropriate_fallback
		return tlsParameters
	case 70:
		return tlsVersion
	case 120:
		return tlsApplication
	}
	return tlsProtocol
}

// TLSStats are the counts of TLS handshakes since the server started.
type TLSStats struct {
	Done    uint64            // handshakes that succeeded
	Resumed uint64            // those of them that resumed a session: no certificate was shown
	Failed  map[string]uint64 // others, by reason
}

// tlsCounts are the counts behind TLSStats.
type tlsCounts struct {
	done, resumed atomic.Uint64
	failed        [tlsFailures]atomic.Uint64
}

func (t *tlsCounts) snapshot() TLSStats {
	st := TLSStats{Done: t.done.Load(), Resumed: t.resumed.Load(), Failed: make(map[string]uint64)}
	for i, name := range tlsFailureNames {
		st.Failed[name] = t.failed[i].Load()
	}
	return st
}

// countTLSFailure counts one.
func (l *Loop) countTLSFailure(c *Conn, why tlsFailure, attrs ...slog.Attr) {
	l.srv.tls.failed[why].Add(1)
	l.srv.opts.Log.Warn("TLS handshake failed", tlsFailureNames[why], append(attrs, fromAttr(c.RemoteAddr())...)...)
}
