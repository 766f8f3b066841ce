package transport

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// BenchmarkTLSHandshake connects over TLS and leaves; both ends take part in the figure.
func BenchmarkTLSHandshake(b *testing.B) {
	addr, cfg := listenTLS(b, startServer(b, testOptions()), newTape())
	for b.Loop() {
		_ = dialTLS(b, addr, cfg).Close()
	}
}

// BenchmarkTLSEcho sends a message back and forth; both ends take part in the figure.
func BenchmarkTLSEcho(b *testing.B) {
	e := newTape()
	e.message = func(c *Conn, binary bool, p []byte) {
		echo(c, binary, p)
		e.mu.Lock()
		e.notes = e.notes[:0]
		e.mu.Unlock()
	}
	addr, cfg := listenTLS(b, startServer(b, testOptions()), e)
	c := dialTLS(b, addr, cfg)
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	p := strings.Repeat("x", 250)
	message := text(p)
	for b.Loop() {
		c.write(message)
		c.expect(ws.OpText, p)
	}
}
