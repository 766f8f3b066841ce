package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// listenTLS opens a TLS listener all of whose paths lead to e, and returns what its clients need to trust it.
func listenTLS(t testing.TB, s *Server, e Endpoint) (net.Addr, *tls.Config) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	cfg := NewTLSConfig(ca.Issue(t, tlstest.Template{}), ca.Pool())
	addr, err := s.ListenWebSocketTLS(context.Background(), "127.0.0.1:0", func() *tls.Config { return cfg },
		func([]byte) Endpoint { return e })
	if err != nil {
		t.Fatal(err)
	}
	return addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
}

// TestTLSEcho: messages of all sizes come back, in both versions of TLS.
func TestTLSEcho(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			e := newTape()
			e.message = echo
			s := startServer(t, testOptions())
			addr, cfg := listenTLS(t, s, e)
			cfg.MinVersion, cfg.MaxVersion = version, version
			c := dialTLS(t, addr, cfg)
			c.write([]byte(upgradeRequest("")))
			c.accepted()
			e.expect(t, "open")
			for _, n := range []int{0, 1, 125, 126, 1000, 16384, 32768} {
				p := strings.Repeat("x", n)
				c.write(text(p))
				c.expect(ws.OpText, p)
				e.expect(t, "text "+p)
			}
			c.write(clientFrame(true, ws.OpClose, "\x03\xe8"))
			c.expectClose(1000)
			e.expect(t, "closed by the peer")
			if n := s.Stats().TLS.Done; n != 1 {
				t.Errorf("%d handshakes", n)
			}
		})
	}
}

// chopped is a connection that writes in pieces of the given sizes, again and again, each in a segment of its own.
type chopped struct {
	net.Conn
	sizes []int
	next  int
}

func (c *chopped) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		k := min(max(c.sizes[c.next%len(c.sizes)], 1), len(p))
		c.next++
		_, err = c.Conn.Write(p[:k])
		p = p[k:]
		n += k
	}
	return n, err
}

// dialChopped connects over TLS; all that the client sends, the handshake included, arrives in pieces.
func dialChopped(t testing.TB, addr net.Addr, cfg *tls.Config, sizes ...int) *client {
	t.Helper()
	c := dial(t, addr)
	conn := tls.Client(&chopped{Conn: c.Conn, sizes: sizes}, cfg)
	c.Conn, c.br = conn, bufio.NewReader(conn)
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	return c
}

// TestTLSPieces: records arrive byte by byte, or in pieces that end anywhere.
func TestTLSPieces(t *testing.T) {
	t.Parallel()
	for _, sizes := range [][]int{{1}, {2, 3, 5, 7}, {4, 1}, {5, 100}, {1000, 1}, {16384}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			t.Parallel()
			e := newTape()
			e.message = echo
			addr, cfg := listenTLS(t, startServer(t, testOptions()), e)
			c := dialChopped(t, addr, cfg, sizes...)
			for _, n := range []int{0, 10, 300, 3000} {
				p := strings.Repeat("x", n)
				c.write(text(p), clientFrame(true, ws.OpPing, "hi"))
				c.expect(ws.OpText, p)
				c.expect(ws.OpPong, "hi")
			}
			_ = c.CloseWrite()
			c.expectEnd(t)
		})
	}
}

// expectEnd reads up to the end of the stream, which must be an orderly one.
func (c *client) expectEnd(t testing.TB) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c.br); err != nil {
		t.Errorf("the end: %v", err)
	}
}

// TestTLSLarge: a message of many records passes in both directions, to a client that begins to read late.
func TestTLSLarge(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxMessageBytes, o.SendQueueBytes = 8<<20, 16<<20
	e := newTape()
	e.message = echo
	addr, cfg := listenTLS(t, startServer(t, o), e)
	c := dialTLS(t, addr, cfg)
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	p := strings.Repeat("0123456789abcdef", 2<<20/16)
	c.write(text(p), text("behind"))
	e.expect(t, "open", "text "+p, "text behind")
	c.expect(ws.OpText, p)
	c.expect(ws.OpText, "behind")
}

// TestTLSEnds: whichever side ends the connection, and however, the session is told and the client sees a proper end.
func TestTLSEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(c *client, r Ref)
		want string
	}{
		"close_notify":            {func(c *client, _ Ref) { _ = c.Conn.(*tls.Conn).CloseWrite() }, "closed at the end of its stream"},
		"close_notify and FIN":    {func(c *client, _ Ref) { _ = c.CloseWrite() }, "closed at the end of its stream"},
		"FIN without a word":      {func(c *client, _ Ref) { _ = c.tcp.CloseWrite() }, "closed at the end of its stream"},
		"FIN within a record":     {func(c *client, _ Ref) { _, _ = c.tcp.Write([]byte{23, 3, 3, 1}); _ = c.tcp.CloseWrite() }, "closed at the end of its stream"},
		"close frame":             {func(c *client, _ Ref) { c.write(closing(1000, "")) }, "closed by the peer"},
		"close frame, then a FIN": {func(c *client, _ Ref) { c.write(closing(1000, "")); _ = c.CloseWrite() }, "closed by the peer"},
		"Close": {func(c *client, r Ref) {
			onLoop(c.t, r.Loop(), func() { r.Conn().Close(1000, "", nil) })
		}, "closed by us"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTape()
			addr, cfg := listenTLS(t, startServer(t, testOptions()), e)
			c := dialTLS(t, addr, cfg)
			c.write([]byte(upgradeRequest("")))
			c.accepted()
			r := e.expect(t, "open")
			tt.end(c, r)
			c.expectEnd(t) // crypto/tls tells an end without close_notify: io.ErrUnexpectedEOF
			_ = c.Close()
			e.expect(t, tt.want)
		})
	}
}

// TestTLSBrokenRecord: a record that was changed on its way ends the connection with an alert.
func TestTLSBrokenRecord(t *testing.T) {
	t.Parallel()
	e := newTape()
	s := startServer(t, testOptions())
	addr, cfg := listenTLS(t, s, e)
	c := dialTLS(t, addr, cfg)
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	e.expect(t, "open")
	_, _ = c.tcp.Write(append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...))
	if _, err := io.Copy(io.Discard, c.br); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the end: %v", err)
	}
	_ = c.Close()
	e.expect(t, "closed by an error")
	if n := s.Stats().Refusals["invalid_TLS_record"]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestTLSResumption: a client that comes back resumes its session, unless the configuration is another one.
func TestTLSResumption(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			ca := tlstest.NewAuthority(t)
			certificate := ca.Issue(t, tlstest.Template{})
			var inForce atomic.Pointer[tls.Config]
			inForce.Store(NewTLSConfig(certificate, nil))
			s := startServer(t, testOptions())
			e := newTape()
			addr, err := s.ListenWebSocketTLS(t.Context(), "127.0.0.1:0", inForce.Load, func([]byte) Endpoint { return e })
			if err != nil {
				t.Fatal(err)
			}
			cfg := &tls.Config{
				RootCAs: ca.Pool(), ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(1),
				MinVersion: version, MaxVersion: version,
			}
			for i, want := range []bool{false, true, true, false, true} {
				if i == 3 {
					inForce.Store(NewTLSConfig(certificate, nil))
				}
				c := dialTLS(t, addr, cfg)
				c.write([]byte(upgradeRequest("")))
				c.accepted()
				if got := c.Conn.(*tls.Conn).ConnectionState().DidResume; got != want {
					t.Errorf("connection %d: resumed %v", i, got)
				}
				_ = c.Close()
			}
			if st := s.Stats().TLS; st.Done != 5 || st.Resumed != 3 {
				t.Errorf("counted %d, %d resumed", st.Done, st.Resumed)
			}
		})
	}
}

// TestPeerCertificate: a session sees the certificate of its client, and only one that its listener's authority issued.
func TestPeerCertificate(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	good := ca.Issue(t, tlstest.Template{Name: "good.test"})
	expired := ca.Issue(t, tlstest.Template{Name: "expired.test", Expires: -time.Minute})
	foreign := tlstest.NewAuthority(t).Issue(t, tlstest.Template{Name: "good.test"})
	for _, tt := range []struct {
		name    string
		clients *tls.Certificate
		asked   bool
		want    string // the name that the session sees, or how the handshake fails
		refused bool
	}{
		{"good", &good, true, "good.test", false},
		{"none", nil, true, "", false},
		{"not asked for", &good, false, "", false},
		{"expired", &expired, true, "client_certificate", true},
		{"of another authority", &foreign, true, "client_certificate", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			serverCfg := NewTLSConfig(ca.Issue(t, tlstest.Template{}), nil)
			if tt.asked {
				serverCfg = NewTLSConfig(ca.Issue(t, tlstest.Template{}), ca.Pool())
			}
			s := startServer(t, testOptions())
			e := newTape()
			seen := make(chan *x509.Certificate, 1)
			e.open = func(c *Conn, _ *Request) *Rejection {
				seen <- c.PeerCertificate()
				return nil
			}
			addr, err := s.ListenWebSocketTLS(t.Context(), "127.0.0.1:0", func() *tls.Config { return serverCfg }, func([]byte) Endpoint { return e })
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, addr)
			cfg := &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
			if tt.clients != nil { // whatever authority the server names
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.clients, nil }
			}
			conn := tls.Client(c.Conn, cfg)
			c.Conn, c.br = conn, bufio.NewReader(conn)
			_, _ = c.Write([]byte(upgradeRequest("")))
			if tt.refused {
				if _, err := c.br.ReadByte(); err == nil || !strings.Contains(err.Error(), "certificate") {
					t.Errorf("the client was told %v", err)
				}
				_, _ = io.Copy(io.Discard, c.tcp) // until the server has ended it
				if n := s.Stats().TLS.Failed[tt.want]; n != 1 {
					t.Errorf("counted %v", s.Stats().TLS.Failed)
				}
				return
			}
			c.accepted()
			switch got := <-seen; {
			case got == nil && tt.want != "":
				t.Error("the session saw no certificate")
			case got != nil && got.Subject.CommonName != tt.want:
				t.Errorf("the session saw %q", got.Subject.CommonName)
			}
		})
	}
}

// FuzzTLSPieces: however what a client sends is cut, the same messages arrive.
func FuzzTLSPieces(f *testing.F) {
	f.Add([]byte{1}, 100)
	f.Add([]byte{5, 255, 1, 17}, 5000)
	f.Add([]byte{255, 255, 3}, 40000)
	o := testOptions()
	o.MaxMessageBytes = 1 << 20
	e := newTape()
	e.message = echo
	s := startServer(f, o)
	addr, cfg := listenTLS(f, s, e)
	f.Fuzz(func(t *testing.T, cuts []byte, n int) {
		if len(cuts) == 0 || len(cuts) > 100 || n < 0 || n > 1<<20 {
			t.Skip()
		}
		sizes := make([]int, len(cuts))
		for i, b := range cuts {
			sizes[i] = int(b) * int(b) * (1 + n/100000)
		}
		c := dialChopped(t, addr, cfg, sizes...)
		defer c.Close()
		p := strings.Repeat("y", n)
		go c.write(text(p))
		c.expect(ws.OpText, p)
		e.mu.Lock()
		e.notes = nil
		e.mu.Unlock()
	})
}
