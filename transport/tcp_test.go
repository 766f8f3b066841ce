package transport

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestTCPStream(t *testing.T) {
	t.Parallel()
	stream := `{"a":1}{"b":"}\"{"}` + " \r\n\t" + `{"c":[{}]}` + "\n"
	want := []string{"open", `text {"a":1}`, `text {"b":"}\"{"}`, `text {"c":[{}]}`}
	e := newTape()
	addr := listenTCP(t, startServer(t, testOptions()), e)
	for cut := range len(stream) + 1 {
		c := dial(t, addr)
		if cut == len(stream) {
			c.writeBytes([]byte(stream))
		} else {
			c.write([]byte(stream[:cut]))
			c.write([]byte(stream[cut:]))
		}
		e.expect(t, want...)
		_ = c.CloseWrite()
		e.expect(t, "closed by the peer")
		c.expectEOF()
	}
}

// TestTCPViolations has streams that the session is told of. One answers, with a last line of its own.
func TestTCPViolations(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxMessageBytes = 100
	o.MessageTimeout = 100 * time.Millisecond
	e := newTape()
	e.violation = func(c *Conn, v Violation) {
		c.Close(4002, "", NewMessage([]byte(`{"op":2}`)))
	}
	addr := listenTCP(t, startServer(t, o), e)
	for _, tt := range []struct{ stream, want string }{
		{"[]", "not JSON"},
		{"hello", "not JSON"},
		{"\x00", "not JSON"},
		{"\xef\xbb\xbf{}", "not JSON"},
		{"GET / HTTP/1.1\r\n", "not JSON"},
		{"\x16\x03\x01", "not JSON"},
		{`{]`, "not JSON"},
		{`{"a":[}`, "not JSON"},
		{strings.Repeat(`{"a":`, 20) + strings.Repeat(`[`, 90), "too big"},
		{`{"a":"` + strings.Repeat("x", 95), "too big"},
		{`{"a":"` + strings.Repeat("x", 93) + `"}`, "too big"},
		{`{"a":"` + strings.Repeat("x", 200) + `"]`, "too big"}, // what is beyond the limit is not looked at
		{`{"a":"` + strings.Repeat("x", 94) + `]]]`, "too big"},
		{`{`, "unfinished"},
		{` {"a":"`, "unfinished"},
	} {
		for _, bytewise := range []bool{false, true} {
			c := dial(t, addr)
			if bytewise {
				for i := range tt.stream {
					if _, err := c.Write([]byte(tt.stream[i : i+1])); err != nil {
						break
					}
				}
			} else {
				c.write([]byte(tt.stream))
			}
			e.expect(t, "open", tt.want)
			if got := c.line(); got != `{"op":2}` {
				t.Errorf("%q: got line %q", tt.stream, got)
			}
			c.expectEOF()
			_ = c.Close()
			if got := e.next(t).what; !strings.HasPrefix(got, "closed") {
				t.Errorf("%q: %s", tt.stream, got)
			}
		}
	}
	c := dial(t, addr)
	c.write([]byte(`{"a":"` + strings.Repeat("x", 92) + `"}`)) // as long as may be
	e.expect(t, "open", `text {"a":"`+strings.Repeat("x", 92)+`"}`)
}

// TestTCPSilence: white space is no message that could be unfinished.
func TestTCPSilence(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MessageTimeout = 40 * time.Millisecond
	old := make(chan struct{})
	e := newTape()
	e.sweep = func(c *Conn) {
		if c.Age() > 5*o.MessageTimeout && old != nil {
			close(old)
			old = nil
		}
	}
	wait := old
	c := dial(t, listenTCP(t, startServer(t, o), e))
	e.expect(t, "open")
	c.write([]byte(`{} `))
	c.write([]byte("\n "))
	e.expect(t, "text {}")
	<-wait
	c.write([]byte("\n{}"))
	e.expect(t, "text {}")
}

// TestTCPWritesEachMessage: the original client parses chunk by chunk, so that each line leaves in a write of its own.
func TestTCPWritesEachMessage(t *testing.T) {
	t.Parallel()
	e := newTape()
	c := dial(t, listenTCP(t, startServer(t, testOptions()), e))
	r := e.expect(t, "open")
	l := r.Loop()
	var before uint64
	onLoop(t, l, func() {
		before = l.stats.writes
		sendNumbered(r.Conn(), 0, 100, 20)
		r.Conn().Close(1000, "ignored", NewMessage([]byte("last")))
	})
	for i := range 100 {
		if got := c.line(); got != numbered(i, 20) {
			t.Fatalf("line %d is %q", i, got)
		}
	}
	if got := c.line(); got != "last" {
		t.Errorf("last line: %q", got)
	}
	c.expectEOF()
	onLoop(t, l, func() {
		if n := l.stats.writes - before; n != 101 {
			t.Errorf("101 messages left in %d writes", n)
		}
	})
}

// TestHalfClose: a client that sends all and then ends its side still gets all that its messages had queued.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	e := &flood{}
	s := startServer(t, testOptions())
	const n = 2000
	webSocket, tcp := connect(t, listen(t, s, e)), dial(t, listenTCP(t, s, e))
	for i := range n {
		webSocket.write(text(fmt.Sprint(i)))
		tcp.write(fmt.Appendf(nil, `{"n":%d}`, i))
	}
	_ = webSocket.CloseWrite()
	_ = tcp.CloseWrite()
	for i := range n {
		webSocket.expect(ws.OpText, fmt.Sprint(i))
		if got := tcp.line(); got != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("line %d is %q", i, got)
		}
	}
	webSocket.expectEOF()
	tcp.expectEOF()
}

// TestHalfCloseSlowReader is the same with a backlog that takes many writes.
func TestHalfCloseSlowReader(t *testing.T) {
	t.Parallel()
	e := newTape()
	r, c := slowServer(t, testOptions(), e)
	onLoop(t, r.Loop(), func() { sendNumbered(r.Conn(), 0, 900, 1000) })
	_ = c.CloseWrite()
	for i := range 900 {
		c.expect(ws.OpText, numbered(i, 1000))
	}
	c.expectEOF()
	e.expect(t, "closed at the end of its stream")
}

// TestReset has clients that vanish with a RST in every state.
func TestReset(t *testing.T) {
	t.Parallel()
	e := newTape()
	s := startServer(t, testOptions())
	addr := listen(t, s, e)
	for _, stream := range []string{"", "GET", upgradeRequest(""), upgradeRequest("") + string(text("x"))[:3], "GET / HTTP/1.1\r\n\r\n"} {
		c := dial(t, addr)
		c.write([]byte(stream))
		c.reset()
	}
	eventually(t, s, func() bool { return s.Connections() == 0 })
}

// TestServerEndsFirst: a client that answers a close frame and leaves the rest to the server is not kept.
func TestServerEndsFirst(t *testing.T) {
	t.Parallel()
	e := newTape()
	c := connect(t, listen(t, startServer(t, testOptions()), e))
	r := e.expect(t, "open")
	onLoop(t, r.Loop(), func() { r.Conn().Close(1012, "SERVER_RESTART", nil) })
	c.expect(ws.OpClose, "\x03\xf4SERVER_RESTART")
	c.write(closing(1012, "")) // RFC 6455 section 7.1.1: the server closes TCP
	c.expectEOF()
	_ = c.Close()
	e.expect(t, "closed by us")
	_, _ = io.Copy(io.Discard, c.br)
}
