package transport

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

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
			c.write([]byte(handshake("/", "")))
			c.accepted()
			e.expect(t, "open")
			for _, n := range []int{0, 1, 125, 126, 1000, 16384, 32768} {
				p := strings.Repeat("x", n)
				c.write(text(p))
				c.expect(ws.OpText, p)
				e.expect(t, "text "+p)
			}
			c.write(frame(true, ws.OpClose, "\x03\xe8"))
			c.expectClose(1000)
			e.expect(t, "closed by the peer")
			if n := s.Stats().TLS.Done; n != 1 {
				t.Errorf("%d handshakes", n)
			}
		})
	}
}
