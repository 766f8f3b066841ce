package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

// TLS (RFC 8446, RFC 5246) lies between the socket and everything else: what is fed, queued, bounded and counted in
// messages is the same with and without it. crypto/tls does the work. It knows nothing of loops, so a connection's
// [tls.Conn] talks to a net.Conn that never waits:
//
//   - While shaking hands it runs on a goroutine of its own (tlshandshake.go), whose reads wait for what the loop reads and
//     whose writes are mailed to the loop. Their number is bounded by Options.TLSHandshakes, and the number of those that
//     compute, rather than wait for their client, by the number of loops less one.
//   - From then on the loop alone calls it (tlsrecord.go). A read that finds no whole record ends with errWouldBlock, which
//     crypto/tls takes for temporary: it keeps what it has of the record and goes on at the next call. A write never waits,
//     as it goes to a buffer of the loop.
//
// Beyond what crypto/tls keeps, a connection on which nothing is under way keeps one secureConn and no buffer.

// secureConn is the TLS side of a connection. It implements net.Conn for crypto/tls.
type secureConn struct {
	conn *tls.Conn
	loop *Loop
	hand *tlsHandshake // nil once the handshake is done

	in      []byte  // what was read from the socket and crypto/tls has not taken; within Loop.feedSecure only
	left    *Buffer // records that the socket didn't take; nil if there are none
	sent    int     // bytes of left that it took since
	plain   int     // bytes of the backlog that left, or what was just encrypted, stands for
	goodbye bool    // close_notify was made
}

// loopTLS is what a loop keeps for the connections over TLS together.
type loopTLS struct {
	plain    []byte          // what was just decrypted; nil until there is some
	sealed   []byte          // what was just encrypted
	shaking  []*tlsHandshake // handshakes under way
	leaving  int             // those of them whose connections are gone, so that they end at once
	patience time.Duration   // with their clients, while others wait
	waiting  []Ref           // connections whose handshake has to wait for others to end, and some that are gone
	awaiting int             // how many of waiting are still there
}

// tlsListener is what the connections of a TLS listener have in common beyond their listener.
type tlsListener struct {
	config  func() *tls.Config
	compute chan struct{} // holds a token for each handshake that computes
}

// ListenWebSocketTLS is ListenWebSocket over TLS. config is called for each handshake, on a loop, and returns what is in
// force; it must not block, and what it returned must not be changed. The configurations should come from
// [NewTLSConfig].
func (s *Server) ListenWebSocketTLS(ctx context.Context, addr string, config func() *tls.Config, route func(path []byte) Endpoint) (net.Addr, error) {
	return s.listen(ctx, addr, &listener{protocol: protocolWebSocket, route: route, tls: &tlsListener{
		config: config, compute: make(chan struct{}, max(len(s.loops)-1, 1)),
	}})
}

// NewTLSConfig returns a configuration for a listener that shows the certificate, and asks clients for one if clientCAs is
// not nil: a client that gives none is let in all the same, one that gives a certificate which these authorities did not
// issue, or which is not valid now, is not. TLS 1.2 is the oldest version. Sessions are resumed only where this very
// configuration began them, so that a client can't outlive a change of clientCAs.
func NewTLSConfig(certificate tls.Certificate, clientCAs *x509.CertPool) *tls.Config {
	c := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"}, // RFC 7301; RFC 6455 knows no other
		// Small records first would let a browser render the beginning of a page; a message is of use as a whole.
		DynamicRecordSizingDisabled: true,
	}
	if clientCAs != nil {
		c.ClientCAs = clientCAs
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}

// PeerCertificate returns the certificate that the client proved to be the holder of, and that the listener's authorities
// issued; nil if there is none. It must not be changed. It may be expired by now: it was valid when the connection was
// opened.
func (c *Conn) PeerCertificate() *x509.Certificate {
	if d := c.loop.table.detachedOf(c); d != nil {
		return d.certificate
	}
	sc := c.loop.secureOf(c)
	if sc == nil || sc.hand != nil {
		return nil
	}
	if state := sc.conn.ConnectionState(); len(state.VerifiedChains) > 0 {
		return state.PeerCertificates[0]
	}
	return nil
}

// secureOf returns the TLS side of a connection; nil without TLS, and while the client's first record is incomplete.
func (l *Loop) secureOf(c *Conn) *secureConn {
	if c.flags&flagTLS == 0 {
		return nil
	}
	slab := l.table.secured[c.slot/slabConns]
	if slab == nil {
		return nil
	}
	return slab[c.slot%slabConns]
}

// setSecure sets it. The table is apart from the Conns, and exists only where there is TLS.
func (l *Loop) setSecure(c *Conn, sc *secureConn) {
	slab := l.table.secured[c.slot/slabConns]
	if slab == nil {
		slab = new([slabConns]*secureConn)
		l.table.secured[c.slot/slabConns] = slab
	}
	slab[c.slot%slabConns] = sc
}

// releaseSecure takes the TLS side from a connection that is being destroyed.
func (l *Loop) releaseSecure(c *Conn, end End) {
	sc := l.secureOf(c)
	if c.flags&flagAwaitsTurn != 0 {
		l.tls.awaiting--
	}
	if sc == nil {
		return
	}
	l.setSecure(c, nil)
	if sc.hand != nil {
		sc.hand.abandon()
		l.tls.leaving++
		if end != EndLocal {
			l.countTLSFailure(c, tlsClientLeft)
		}
	}
	sc.dropLeft()
}

// errWouldBlock ends a read that finds no whole record. It is a net.Error that is temporary: from others a tls.Conn does
// not recover.
var errWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing more has arrived" }
func (wouldBlock) Timeout() bool   { return false }
func (wouldBlock) Temporary() bool { return true }

// Read implements net.Conn.
func (sc *secureConn) Read(p []byte) (int, error) {
	if sc.hand != nil {
		return sc.hand.read(p)
	}
	if len(sc.in) == 0 {
		return 0, errWouldBlock
	}
	n := copy(p, sc.in)
	sc.in = sc.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (sc *secureConn) Write(p []byte) (int, error) {
	if sc.hand != nil {
		return sc.hand.write(p)
	}
	sc.loop.tls.sealed = append(sc.loop.tls.sealed, p...)
	return len(p), nil
}

// Close implements net.Conn. The descriptor is the loop's.
func (*secureConn) Close() error { return nil }

// LocalAddr implements net.Conn. crypto/tls does not call it.
func (*secureConn) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn. crypto/tls does not call it; Conn.RemoteAddr has the address.
func (*secureConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline implements net.Conn. Deadlines are the sweep's.
func (*secureConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (*secureConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (*secureConn) SetWriteDeadline(time.Time) error { return nil }
