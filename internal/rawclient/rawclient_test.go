package rawclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echoServer is a server of another implementation that sends every message back.
func echoServer(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for {
			kind, p, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			if err := ws.Write(r.Context(), kind, p); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// How a scripted server ends a connection.
const (
	finish = iota // with a FIN, and goes on reading
	reset         // with a reset, once a byte from the client shows that it has read everything
	drop          // by closing at once
)

// scripted starts a server that sends a fixed answer to its one client and then ends the connection. It returns the
// connected client.
func scripted(t *testing.T, says string, how int) *Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		if _, err := nc.Write([]byte(says)); err != nil {
			t.Errorf("scripted server: %v", err)
		}
		switch tcp := nc.(*net.TCPConn); how {
		case finish:
			_ = tcp.CloseWrite()
			_, _ = io.Copy(io.Discard, tcp)
		case reset:
			_, _ = tcp.Read(make([]byte, 1))
			_ = tcp.SetLinger(0)
		}
	}()
	c := dial(t, l.Addr().String())
	t.Cleanup(func() {
		c.Close()
		l.Close()
		<-done
	})
	return c
}

func dial(t *testing.T, addr string) *Conn {
	t.Helper()
	c, err := Dial(addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSource(t *testing.T) {
	t.Parallel()
	c, err := Dial(echoServer(t), Options{Source: "127.0.0.7"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if host, _, _ := net.SplitHostPort(c.LocalAddr()); host != "127.0.0.7" {
		t.Errorf("connected from %s", host)
	}
}

// TestEcho exchanges messages with another implementation: all length forms, split frames, fragments, control frames.
func TestEcho(t *testing.T) {
	t.Parallel()
	c := dial(t, echoServer(t))
	if err := c.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 125, 126, 127, 5000, 65535 - 40000} {
		want := strings.Repeat("x", n)
		if err := c.Write(Text(want).Bytes()); err != nil {
			t.Fatal(err)
		}
		expect(t, c, OpText, want)
	}
	fragments := Frames(Fragment(OpText, "a"), Control(OpPing, "hey"), Fragment(OpContinuation, ""), LastFragment("b"))
	for i := range fragments {
		if err := c.WriteSplit(fragments, i); err != nil {
			t.Fatal(err)
		}
		expect(t, c, OpPong, "hey")
		expect(t, c, OpText, "ab")
	}
	if err := c.SendClose(4321, "bye"); err != nil {
		t.Fatal(err)
	}
	end, err := c.End()
	if err != nil || end.Code != 4321 || end.Transport != io.EOF {
		t.Errorf("%v, %v", end, err)
	}
}

func expect(t *testing.T, c *Conn, op byte, want string) {
	t.Helper()
	got, p, err := c.ReadMessage()
	if err != nil || got != op || string(p) != want {
		t.Fatalf("got opcode %d, %.80q, %v; want %d, %.80q", got, p, err, op, want)
	}
}

// Another implementation refuses the invalid frames that rawclient sends.
func TestWrong(t *testing.T) {
	t.Parallel()
	addr := echoServer(t)
	for name, f := range map[string]Frame{
		"unmasked": {Op: OpText, Unmasked: true, Payload: []byte("x")},
		"rsv":      {Op: OpText, RSV: 2, Payload: []byte("x")},
		"opcode":   {Op: 3},
		"ping":     {Op: OpPing, More: true},
		"long":     {Op: OpPing, Payload: make([]byte, 126)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, addr)
			if err := c.Upgrade("/"); err != nil {
				t.Fatal(err)
			}
			if err := c.Write(f.Bytes()); err != nil {
				t.Fatal(err)
			}
			// That implementation drops an unmasked frame without a close frame.
			if end, err := c.End(); err != nil || end.Code != 1002 && name != "unmasked" {
				t.Errorf("%v, %v", end, err)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Frame
		want string
	}{
		{Frame{Op: OpText, Unmasked: true}, "\x81\x00"},
		{Frame{Op: OpText, More: true, RSV: 7, Unmasked: true}, "\x71\x00"},
		{Frame{Op: OpBinary, Mask: [4]byte{1, 2, 3, 4}, Declared: 5}, "\x82\x85\x01\x02\x03\x04"},
		{Frame{Op: OpBinary, Unmasked: true, Declared: 126}, "\x82\x7e\x00\x7e"},
		{Frame{Op: OpBinary, Unmasked: true, Declared: 1 << 16}, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
		{Frame{Op: OpBinary, Unmasked: true, Declared: 1 << 63}, "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"},
		{Frame{Op: OpBinary, Unmasked: true, Form: Length16, Declared: 3}, "\x82\x7e\x00\x03"},
		{Frame{Op: OpBinary, Unmasked: true, Form: Length64, Declared: 3}, "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x03"},
	} {
		if got := string(c.f.Header()); got != c.want {
			t.Errorf("%+v: got %x, want %x", c.f, got, c.want)
		}
	}
	if got := string(Closing(1000, "x").Bytes()); got != "\x88\x83\x37\xfa\x21\x3d"+string([]byte{0x03 ^ 0x37, 0xe8 ^ 0xfa, 'x' ^ 0x21}) {
		t.Errorf("close frame %x", got)
	}
}

// Reading refuses what no server may send.
func TestSuspicion(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"masked":               "\x81\x80\x00\x00\x00\x00",
		"reserved bit":         "\xc1\x00",
		"reserved opcode":      "\x83\x00",
		"16 bits":              "\x81\x7e\x00\x05hello",
		"64 bits":              "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello",
		"top bit":              "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x05hello",
		"long control":         "\x89\x7e\x00\x7e",
		"fragmented control":   "\x09\x00",
		"stray continuation":   "\x80\x00",
		"message in fragments": "\x01\x01a\x81\x01b",
		"not UTF-8":            "\x81\x01\xff",
		"close of one byte":    "\x88\x01\x03",
		"close 1005":           "\x88\x02\x03\xed",
		"close reason":         "\x88\x03\x03\xe8\xff",
		"behind close":         "\x88\x00\x81\x02{}",
		"no envelope":          "\x81\x02[]",
		"no op":                "\x81\x02{}",
		"binary":               "\x82\x02{}",
		"behind disconnect":    "\x81\x13{\"op\":2,\"data\":\"X\"}\x81\x08{\"op\":4}",
		"no reason":            "\x81\x08{\"op\":2}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := scripted(t, says, finish)
			c.ws = true
			var p *ProtocolError
			if end, err := c.End(); !errors.As(err, &p) {
				t.Errorf("got %v, %v", end, err)
			}
		})
	}
}

// End distinguishes the ways in which a connection can end.
func TestEnd(t *testing.T) {
	t.Parallel()
	const bye = "\x81\x13{\"op\":2,\"data\":\"X\"}"
	for _, c := range []struct {
		name, says string
		how        int
		ws         bool
		want       End
	}{
		{"all", "\x81\x08{\"op\":4}" + bye + "\x88\x03\x0f\xa1X", finish, true, End{make([]Envelope, 1), "X", 4001, "X", io.EOF}},
		{"empty close", "\x88\x00", finish, true, End{nil, "", 1005, "", io.EOF}},
		{"nothing", "", finish, true, End{nil, "", 0, "", io.EOF}},
		{"reset", bye, reset, true, End{nil, "X", 0, "", ErrReset}},
		{"tcp", "{\"op\":4}\n{\"op\":2,\"data\":\"X\"}\n", finish, false, End{make([]Envelope, 1), "X", 0, "", io.EOF}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := scripted(t, c.says, c.how)
			conn.ws = c.ws
			if c.how == reset {
				// The server may reset only after the data has arrived.
				if _, err := conn.br.Peek(len(c.says)); err != nil {
					t.Fatal(err)
				}
				if err := conn.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			got, err := conn.End()
			if err != nil || len(got.Before) != len(c.want.Before) || got.String() != c.want.String() {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	c := dial(t, echoServer(t))
	if err := c.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	c.SetTimeout(10 * time.Millisecond)
	if end, err := c.End(); err != nil || end.Transport != ErrTimeout {
		t.Errorf("%v, %v", end, err)
	}
}

// A connection that ends within a frame or a line is an error.
func TestCut(t *testing.T) {
	t.Parallel()
	c := scripted(t, "\x81\x05hel", finish)
	c.ws = true
	if _, err := c.ReadFrame(); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	var p *ProtocolError
	if _, err := scripted(t, `{"op":4}`, finish).Receive(); !errors.As(err, &p) {
		t.Error(err)
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says, body string
		status     int
	}{
		{"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nok", "ok", 426},
		{"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nbye", "bye", 404},
		{"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x00", "", 101},
	} {
		r, err := scripted(t, c.says, finish).ReadResponse(http.MethodGet)
		if err != nil || r.Status != c.status || string(r.Body) != c.body {
			t.Errorf("%q: %+v, %v", c.says, r, err)
		}
	}
	for _, bad := range []string{
		"HTTP/1.1 426 x\n\n", "HTTP/1.0 426 x\r\n\r\n", "HTTP/1.1 42 x\r\n\r\n", "HTTP/1.1 426 x\r\na\nb: c\r\n\r\n",
		"HTTP/1.1 426 x\r\nno colon\r\n\r\n", "HTTP/1.1 426 x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 426 x\r\n",
	} {
		if r, err := scripted(t, bad, finish).ReadResponse(http.MethodGet); err == nil {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	base := NewRequest("h", "/p")
	r := base.Drop("upgrade").Set("Host", "other").Add("X: y").Line("POST / HTTP/1.1").Body("b")
	want := "POST / HTTP/1.1\nConnection: Upgrade\nSec-WebSocket-Key: " + Key + "\nSec-WebSocket-Version: 13\nHost: other\nX: y\n\nb"
	if got := string(r.BytesWith("\n")); got != want {
		t.Errorf("got %q", got)
	}
	if got := string(base.Bytes()); !strings.HasPrefix(got, "GET /p HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("changed by its copies: %q", got)
	}
}

// Identify works over both transports.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	c := scripted(t, `{"op":1,"data":{"id":"me"}}`+"\n"+`{"op":4}`+"\n"+"{\"op\":0,\n\"sender\":\"s\"}\n", finish)
	if id, err := c.Identify(`to"ken`, "g", `,"echo":false`); id != "me" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
	if err := c.Quiet(); err == nil || !strings.Contains(err.Error(), `"sender"`) {
		t.Errorf("an event passed unnoticed: %v", err)
	}
	c = scripted(t, "\x81\x10{\"op\":1,\"data\":7}", finish)
	c.ws = true
	if id, err := c.Identify("t", "g", ""); err == nil {
		t.Errorf("identified as %q", id)
	}
}

// Drip stops when the context ends and when the server closes.
func TestDrip(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	c := dial(t, echoServer(t))
	if n, err := c.Drip(ctx, make([]byte, 1<<20), time.Millisecond); err == nil || n == 0 {
		t.Errorf("dripped %d bytes, %v", n, err)
	}
	if n, err := scripted(t, "", drop).Drip(t.Context(), make([]byte, 1<<20), time.Millisecond); err != ErrReset || n == 0 {
		t.Errorf("dripped %d bytes, %v", n, err)
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dial(t, l.Addr().String())
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := c.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); translate(err) != ErrReset {
		t.Errorf("the server saw %v", err)
	}
}
