package admin

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/tlstest"
	"github.com/mastersocket/mastersocket/transport"
)

// TestHandshakesEnd: connections that stop during or after the TLS handshake are closed in time; others are served.
func TestHandshakesEnd(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	config := transport.NewTLSConfig(ca.Issue(t, tlstest.Template{}), nil)
	c := startCluster(t, 1, func(_ int, _ *hub.Options, a *Options) {
		a.TLS, a.CertificateEnd = func() *tls.Config { return config }, time.Now
	})
	addr := strings.TrimPrefix(c.urls[0], "https://")
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		return conn
	}
	begin := time.Now()
	var stopped []net.Conn
	for _, said := range []string{"", "\x16", "\x16\x03\x01\x02\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		conn := dial()
		_, _ = io.WriteString(conn, said)
		stopped = append(stopped, conn)
	}
	silent := tls.Client(dial(), &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"})
	if err := silent.Handshake(); err != nil {
		t.Fatal(err)
	}
	for i, conn := range append(stopped, silent) {
		c.get(0, "/v1/nodes", &NodeList{})
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("connection %d is still open after %v", i, time.Since(begin))
		}
	}
	if took := time.Since(begin); took < headerTimeout/2 {
		t.Errorf("they were dropped after %v", took)
	}
}
