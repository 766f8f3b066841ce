package transport

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// echoServer starts a server that echoes and returns a connected client.
func echoServer(t *testing.T, o Options) (*tape, *client) {
	t.Helper()
	e := newTape()
	e.message = echo
	c := connect(t, listen(t, startServer(t, o), e))
	e.expect(t, "open")
	return e, c
}

func TestMessages(t *testing.T) {
	t.Parallel()
	e, c := echoServer(t, testOptions())
	for _, n := range []int{0, 1, 125, 126, 127, 4096, 32768} {
		c.write(text(strings.Repeat("x", n)))
		c.expect(ws.OpText, strings.Repeat("x", n))
		e.expect(t, "text "+strings.Repeat("x", n))
	}
	c.write(clientFrame(true, ws.OpBinary, "\xff\x00"))
	e.expect(t, "binary \xff\x00")
	c.expect(ws.OpText, "\xff\x00") // echo answers everything with text
}

// TestSplitEverywhere cuts a stream of all kinds of frames once at each byte, and then at all of them.
func TestSplitEverywhere(t *testing.T) {
	t.Parallel()
	stream := bytes.Join([][]byte{
		text("one"),
		clientFrame(false, ws.OpText, "tw"),
		clientFrame(true, ws.OpPing, "between"),
		clientFrame(false, ws.OpContinuation, ""),
		clientFrame(true, ws.OpContinuation, "o"),
		text(strings.Repeat("3", 126)),
		clientFrame(true, ws.OpPong, "unasked"),
		clientFrame(true, ws.OpPing, ""),
		text(""),
	}, nil)
	o := testOptions()
	e := newTape()
	e.message = echo
	addr := listen(t, startServer(t, o), e)
	for cut := range len(stream) + 1 {
		c := connect(t, addr)
		if cut == len(stream) {
			c.writeBytes(stream)
		} else {
			c.write(stream[:cut])
			c.write(stream[cut:])
		}
		c.expect(ws.OpText, "one")
		c.expect(ws.OpPong, "between")
		c.expect(ws.OpText, "two")
		c.expect(ws.OpText, strings.Repeat("3", 126))
		c.expect(ws.OpPong, "")
		c.expect(ws.OpText, "")
		c.write(closing(1000, ""))
		c.expectClose(1000)
		e.expect(t, "open", "text one", "text two", "text "+strings.Repeat("3", 126), "text ", "closed by the peer")
	}
}

func TestManyFramesInOneSegment(t *testing.T) {
	t.Parallel()
	e, c := echoServer(t, testOptions())
	var segment []byte
	const n = 20_000 // more than one read takes
	for i := range n {
		segment = append(segment, text(fmt.Sprint(i))...)
	}
	go func() { _, _ = c.Write(segment) }()
	for i := range n {
		c.expect(ws.OpText, fmt.Sprint(i))
		e.expect(t, "text "+fmt.Sprint(i))
	}
}

func TestPipelinedBehindUpgrade(t *testing.T) {
	t.Parallel()
	e := newTape()
	e.message = echo
	addr := listen(t, startServer(t, testOptions()), e)
	head := upgradeRequest("")
	for _, cut := range []int{0, 1, len(head) - 1, len(head), len(head) + 1, len(head) + 7} {
		c := dial(t, addr)
		stream := bytes.Join([][]byte{[]byte(head), text("early"), clientFrame(true, ws.OpPing, "p"), text("bird")}, nil)
		c.write(stream[:cut])
		c.write(stream[cut:])
		c.accepted()
		c.expect(ws.OpText, "early")
		c.expect(ws.OpPong, "p")
		c.expect(ws.OpText, "bird")
		e.expect(t, "open", "text early", "text bird")
		c.reset()
		e.expect(t, "closed by an error")
	}
}

// protocolErrors are streams that end a connection, with the code that they are answered with.
var protocolErrors = []struct {
	name   string
	stream []byte
	code   ws.StatusCode
}{
	{"unmasked", rawFrame(ws.Header{Fin: true, OpCode: ws.OpText, Length: 2}, "hi"), 1002},
	{"unmasked, empty", []byte{0x81, 0}, 1002},
	{"RSV1", rawFrame(ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText, Masked: true, Length: 2}, "hi"), 1002},
	{"RSV2", rawFrame(ws.Header{Fin: true, Rsv: 2, OpCode: ws.OpText, Masked: true, Length: 2}, "hi"), 1002},
	{"RSV3", rawFrame(ws.Header{Fin: true, Rsv: 1, OpCode: ws.OpText, Masked: true, Length: 2}, "hi"), 1002},
	{"RSV1 of a ping", rawFrame(ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpPing, Masked: true}, ""), 1002},
	{"opcode 3", clientFrame(true, 3, ""), 1002},
	{"opcode 7", clientFrame(true, 7, "x"), 1002},
	{"opcode 11", clientFrame(true, 11, ""), 1002},
	{"opcode 15", clientFrame(true, 15, ""), 1002},
	{"length 125 in 2 bytes", longFrame(2, 125, strings.Repeat("x", 125)), 1002},
	{"length 0 in 2 bytes", longFrame(2, 0, ""), 1002},
	{"length 65535 in 8 bytes", longFrame(8, 65535, ""), 1002},
	{"length 5 in 8 bytes", longFrame(8, 5, "hello"), 1002},
	{"length with the top bit", longFrame(8, 1<<63|70000, ""), 1002},
	{"length of all ones", longFrame(8, 1<<64-1, ""), 1002},
	{"ping of 126 bytes", clientFrame(true, ws.OpPing, strings.Repeat("x", 126)), 1002},
	{"ping of 2^62 bytes", rawFrame(ws.Header{Fin: true, OpCode: ws.OpPing, Masked: true, Length: 1 << 62}, ""), 1002},
	{"close of 126 bytes", clientFrame(true, ws.OpClose, "\x03\xe8"+strings.Repeat("x", 124)), 1002},
	{"fragmented ping", clientFrame(false, ws.OpPing, "x"), 1002},
	{"fragmented close", clientFrame(false, ws.OpClose, "\x03\xe8"), 1002},
	{"stray continuation", clientFrame(true, ws.OpContinuation, "x"), 1002},
	{"stray continuation, not final", clientFrame(false, ws.OpContinuation, "x"), 1002},
	{"continuation behind a whole message", append(text("a"), clientFrame(true, ws.OpContinuation, "x")...), 1002},
	{"new message inside fragments", append(clientFrame(false, ws.OpText, "a"), text("b")...), 1002},
	{"new binary message inside fragments", append(clientFrame(false, ws.OpText, "a"), clientFrame(false, ws.OpBinary, "b")...), 1002},
	{"close of one byte", clientFrame(true, ws.OpClose, "\x03"), 1002},
	{"close code 0", closing(0, ""), 1002},
	{"close code 999", closing(999, ""), 1002},
	{"close code 1004", closing(1004, ""), 1002},
	{"close code 1005", closing(1005, ""), 1002},
	{"close code 1006", closing(1006, ""), 1002},
	{"close code 1015", closing(1015, ""), 1002},
	{"close code 1016", closing(1016, ""), 1002},
	{"close code 2999", closing(2999, ""), 1002},
	{"close code 5000", closing(5000, ""), 1002},
	{"close code 65535", closing(65535, ""), 1002},
	{"close code 5000 with invalid UTF-8", closing(5000, "\xff"), 1002},
	{"invalid UTF-8 in a close reason", closing(1000, "\xff"), 1007},
	{"cut UTF-8 in a close reason", closing(1000, "\xe2\x82"), 1007},
	{"invalid UTF-8", text("a\xc0\xafb"), 1007},
	{"surrogate in UTF-8", text("\xed\xa0\x80"), 1007},
	{"cut UTF-8", text("\xf0\x9f\x98"), 1007},
	{"invalid UTF-8 over fragments", append(clientFrame(false, ws.OpText, "\xe2\x82"), clientFrame(true, ws.OpContinuation, "x")...), 1007},
	{"close 1000", closing(1000, "bye"), 1000},
	{"close without a code", clientFrame(true, ws.OpClose, ""), 0},
	{"close 1001", closing(1001, ""), 1001},
	{"close 1012", closing(1012, ""), 1012},
	{"close 1014", closing(1014, ""), 1014},
	{"close 3000", closing(3000, ""), 3000},
	{"close 4999", closing(4999, strings.Repeat("r", 123)), 4999},
	{"close inside fragments", append(clientFrame(false, ws.OpText, "a"), closing(1000, "")...), 1000},
}

func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	e := newTape()
	addr := listen(t, startServer(t, testOptions()), e)
	for _, tt := range protocolErrors {
		for _, bytewise := range []bool{false, true} {
			c := connect(t, addr)
			// What follows the end is ignored: no second answer.
			if bytewise {
				c.writeBytes(tt.stream)
			} else {
				c.write(tt.stream, text("late"))
			}
			op, p, err := c.frame()
			if got, _ := ws.ParseCloseFrameData(p); err != nil || op != ws.OpClose || got != tt.code {
				t.Errorf("%s: got frame %#x %q, %v; want close %d", tt.name, op, p, err, tt.code)
			}
			_ = c.CloseWrite()
			c.expectEOF()
		}
	}
	for range protocolErrors {
		for range 2 {
			n := e.next(t)
			for n.what == "text a" || n.what == "open" {
				n = e.next(t)
			}
			if !strings.HasPrefix(n.what, "closed") {
				t.Fatalf("a session was told %q", n.what)
			}
		}
	}
}

// TestFragmentedUTF8 has a character cut by the end of a fragment, which is fine.
func TestFragmentedUTF8(t *testing.T) {
	t.Parallel()
	_, c := echoServer(t, testOptions())
	c.write(clientFrame(false, ws.OpText, "\xe2\x82"), clientFrame(true, ws.OpContinuation, "\xac"))
	c.expect(ws.OpText, "€")
}

// TestTooBig has the connection refused as soon as a header says too much, before any of the payload.
func TestTooBig(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxMessageBytes = 200
	e := newTape()
	addr := listen(t, startServer(t, o), e)
	header := func(fin bool, op ws.OpCode, n int64) []byte {
		return rawFrame(ws.Header{Fin: fin, OpCode: op, Masked: true, Length: n}, "")
	}
	for _, tt := range []struct {
		name   string
		stream []byte
	}{
		{"declared", header(true, ws.OpText, 201)},
		{"declared, fragmented", header(false, ws.OpBinary, 201)},
		{"declared, far too big", header(true, ws.OpText, 1<<62)},
		{"sum", append(clientFrame(false, ws.OpText, strings.Repeat("x", 150)), header(false, ws.OpContinuation, 51)...)},
		{"sum with pings", bytes.Join([][]byte{clientFrame(false, ws.OpText, strings.Repeat("x", 200)),
			clientFrame(true, ws.OpPing, ""), header(true, ws.OpContinuation, 1)}, nil)},
		{"sum, far too big", append(clientFrame(false, ws.OpText, "x"), header(true, ws.OpContinuation, 1<<63-1)...)},
	} {
		c := connect(t, addr)
		c.write(tt.stream)
		e.expect(t, "open", "too big")
		op, _, err := c.frame()
		if op == ws.OpPong {
			op, _, err = c.frame()
		}
		if op != ws.OpClose {
			t.Errorf("%s: %v, %v", tt.name, op, err)
		}
		c.expectEOF()
		_ = c.Close()
		e.expect(t, "closed by us")
	}
	c := connect(t, addr)
	c.write(clientFrame(false, ws.OpText, strings.Repeat("x", 199)), clientFrame(true, ws.OpContinuation, "y"), text(strings.Repeat("z", 200)))
	e.expect(t, "open", "text "+strings.Repeat("x", 199)+"y", "text "+strings.Repeat("z", 200))
}

func TestTooManyFragments(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxFragments = 5
	_, c := echoServer(t, o)
	part := clientFrame(false, ws.OpContinuation, "")
	c.write(clientFrame(false, ws.OpText, "a"), part, part, part, clientFrame(true, ws.OpContinuation, "b"))
	c.expect(ws.OpText, "ab") // as many as may be
	c.write(clientFrame(false, ws.OpText, "a"), part, part, part, part)
	c.write(part)
	c.expectClose(1008)
}

func TestUnfinishedMessage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stream []byte
	}{
		{"one byte of a header", text("x")[:1]},
		{"a header", text("x")[:6]},
		{"half a payload", text("hello")[:8]},
		{"a fragment", clientFrame(false, ws.OpText, "x")},
		{"an empty fragment", clientFrame(false, ws.OpText, "")},
		{"half a ping", clientFrame(true, ws.OpPing, "hello")[:4]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			o.MessageTimeout = 100 * time.Millisecond
			_, c := echoServer(t, o)
			begin := time.Now()
			c.write(tt.stream)
			c.expectClose(1008)
			if d := time.Since(begin); d < o.MessageTimeout {
				t.Errorf("after %v", d)
			}
		})
	}
}

// TestDrippingMessage has a client that is never silent and never done: the time counts from the first byte.
func TestDrippingMessage(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MessageTimeout = 100 * time.Millisecond
	_, c := echoServer(t, o)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := append(clientFrame(false, ws.OpText, ""), bytes.Repeat(clientFrame(false, ws.OpContinuation, ""), 500)...)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := range p {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := c.Write(p[i : i+1]); err != nil {
					return
				}
			}
		}
	}()
	defer func() { <-done }()
	defer close(stop)
	if op, _, err := c.frame(); op != ws.OpClose {
		t.Errorf("got frame %v, %v; want close", op, err)
	}
}

// TestDrippingHandshake has a client that sends its request a byte at a time.
func TestDrippingHandshake(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.HandshakeTimeout = 100 * time.Millisecond
	e := newTape()
	s := startServer(t, o)
	begin := time.Now()
	c := dial(t, listen(t, s, e))
	head := []byte(upgradeRequest("X: " + strings.Repeat("y", 8000) + "\r\n"))
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if _, err := c.Write(head[i : i+1]); err != nil {
			break // cut off
		}
		<-tick.C
		if time.Since(begin) > patience {
			t.Fatal("never cut off")
		}
	}
	if d := time.Since(begin); d < o.HandshakeTimeout {
		t.Errorf("cut off after %v", d)
	}
	e.nothing(t)
	if n := s.Stats().Refusals["handshake_timeout"]; n != 1 {
		t.Errorf("counted %d times", n)
	}
}

// TestRejectedHandshake checks that a refusal arrives whole, and that the endpoint's own refusal replaces the 101.
func TestRejectedHandshake(t *testing.T) {
	t.Parallel()
	e := newTape()
	e.open = func(c *Conn, _ *Request) *Rejection {
		b := NewMessage([]byte("must not leave"))
		c.Send(b)
		b.Release()
		return &Rejection{Cause: "test", Status: 403, Line: "not you"}
	}
	s := startServer(t, testOptions())
	addr := listen(t, s, e)
	for _, head := range []string{upgradeRequest(""), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c := dial(t, addr)
		c.write([]byte(head), text("pipelined"))
		if res := c.response(); res.StatusCode != 403 && res.StatusCode != 426 {
			t.Errorf("%v", res.Status)
		}
		c.expectEOF()
		_ = c.Close()
	}
	e.nothing(t) // neither Open nor Closed
}
