package transport

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// ended reports whether the other end of a socket pair has been shut down.
func ended(t *testing.T, peer int) bool {
	t.Helper()
	n, err := unix.Read(peer, make([]byte, 1))
	if n > 0 {
		t.Fatal("more has arrived")
	}
	return err == nil
}

// TestCloseFrameIsAwaited: behind a close frame the sending side stays open until the client has answered, else browsers
// say that the connection was not closed cleanly. What else the client sends, or had begun to send, does not matter.
func TestCloseFrameIsAwaited(t *testing.T) {
	t.Parallel()
	big := text(strings.Repeat("x", 30_000))
	for _, tt := range []struct {
		name          string
		before, after []byte // of the close
	}{
		{"nothing else", nil, nil},
		{"messages on their way", nil, append(text("a"), big...)},
		{"half a header", big[:3], big[3:]},
		{"half a message", big[:20_000], big[20_000:]},
		{"within fragments", clientFrame(false, ws.OpText, "a"), clientFrame(true, ws.OpContinuation, "b")},
		{"a ping on its way", nil, clientFrame(true, ws.OpPing, "p")},
	} {
		for _, size := range []int{1 << 20, 1000} {
			l := bareLoop(t, testOptions())
			c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
			l.feed(c, bytes.Clone(tt.before))
			c.Close(1001, "bye", nil)
			l.flush()
			if got := string(received(t, peer)); got != "\x88\x05\x03\xe9bye" {
				t.Fatalf("%s: got %q", tt.name, got)
			}
			for p := range bytesChunks(append(bytes.Clone(tt.after), closing(1001, "bye")...), size) {
				if ended(t, peer) {
					t.Fatalf("%s: shut down before the client's close frame", tt.name)
				}
				_, _ = unix.Write(peer, p)
				l.read(c)
				l.flush()
			}
			if c.state != stateFree || !ended(t, peer) {
				t.Errorf("%s: state %d behind the client's close frame", tt.name, c.state)
			}
			_ = unix.Close(peer)
		}
	}
}

// bytesChunks yields b in pieces of at most n bytes.
func bytesChunks(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

// TestCloseFrameWithinOneRead: a client's close frame counts though the session closed because of a message before it.
func TestCloseFrameWithinOneRead(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		l := bareLoop(t, testOptions())
		h := &hooks{message: func(c *Conn, _ bool, _ []byte) {
			if paused {
				c.Pause()
			} else {
				c.Close(1001, "", nil)
			}
		}}
		c, peer := bareConn(t, l, protocolWebSocket, h, 0)
		l.feed(c, bytes.Join([][]byte{text("a"), text("b"), closing(1000, "")}, nil))
		c.Close(1001, "", nil)
		l.flush()
		if got := string(received(t, peer)); got != "\x88\x02\x03\xe9" || c.state != stateFree {
			t.Errorf("paused %v: got %q, state %d", paused, got, c.state)
		}
		_ = unix.Close(peer)
	}
}

// TestCloseFrameIsNotAwaitedForEver: a client that does not answer, or whose bytes are no frames, is shut down.
func TestCloseFrameIsNotAwaitedForEver(t *testing.T) {
	t.Parallel()
	o := testOptions()
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	defer unix.Close(peer)
	c.Close(1001, "", nil)
	l.flush()
	received(t, peer)
	l.clock.now += uint32(o.CloseFrameTimeout / time.Millisecond)
	l.check(c)
	if ended(t, peer) {
		t.Error("shut down before the time was over")
	}
	l.clock.now++
	l.check(c)
	if c.state != stateLinger || !ended(t, peer) {
		t.Errorf("state %d behind the time", c.state)
	}

	c, broken := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	defer unix.Close(broken)
	l.feed(c, rawFrame(ws.Header{Fin: true, OpCode: ws.OpText, Length: 2}, "hi")) // not masked
	l.flush()
	received(t, broken)
	if c.state != stateLinger || !ended(t, broken) {
		t.Errorf("state %d behind an invalid frame", c.state)
	}
}

// TestInvalidTextFailsAtOnce: what can't become valid UTF-8 is refused when it arrives, not at the end of its message: cases
// 6.4.1 to 6.4.4 of the Autobahn suite.
func TestInvalidTextFailsAtOnce(t *testing.T) {
	t.Parallel()
	const valid, invalid = "\u03ba\u1f79\u03c3\u03bc\u03b5", "\xf4\x90\x80\x80edited"
	whole := text(valid + invalid)
	for _, tt := range []struct {
		name  string
		parts [][]byte // the last makes it invalid
	}{
		{"a fragment", [][]byte{clientFrame(false, ws.OpText, valid), clientFrame(false, ws.OpContinuation, invalid[:4])}},
		{"the second byte of a character in the next fragment", [][]byte{
			clientFrame(false, ws.OpText, valid+invalid[:1]), clientFrame(false, ws.OpContinuation, invalid[1:])}},
		{"a part of a frame", [][]byte{whole[:6+len(valid)+1], whole[6+len(valid)+1 : 6+len(valid)+2]}},
		{"a part of a later fragment", [][]byte{
			clientFrame(false, ws.OpText, valid), clientFrame(true, ws.OpPing, "\xff"),
			clientFrame(true, ws.OpContinuation, invalid)[:6+2]}},
	} {
		l := bareLoop(t, testOptions())
		h := &hooks{message: func(*Conn, bool, []byte) { t.Errorf("%s: a message was handled", tt.name) }}
		c, peer := bareConn(t, l, protocolWebSocket, h, 0)
		for i, p := range tt.parts {
			if c.state != stateOpen {
				t.Errorf("%s: refused before part %d", tt.name, i)
			}
			l.feed(c, bytes.Clone(p))
		}
		l.flush()
		if got := string(received(t, peer)); !strings.HasSuffix(got, "\x88\x17\x03\xefinvalid text encoding") {
			t.Errorf("%s: got %q", tt.name, got)
		}
		_ = unix.Close(peer)
	}
}

// TestResumedPartOfAMessage: a part of a text frame that was checked before a pause is not unmasked again behind it.
func TestResumedPartOfAMessage(t *testing.T) {
	t.Parallel()
	var got []string
	l := bareLoop(t, testOptions())
	c, peer := bareConn(t, l, protocolWebSocket, &hooks{message: func(_ *Conn, _ bool, p []byte) { got = append(got, string(p)) }}, 0)
	defer unix.Close(peer)
	long := strings.Repeat("\u20ac", 1000)
	p := text(long)
	l.feed(c, bytes.Clone(p[:500]))
	for _, piece := range [][]byte{p[500:1001], p[1001:2000], append(p[2000:], text("next")...)} {
		c.Pause()
		l.feed(c, bytes.Clone(piece)) // as TLS does with what it decrypted
		c.Resume()
		l.readOn()
	}
	if len(got) != 2 || got[0] != long || got[1] != "next" {
		t.Errorf("got %d messages: %.50q", len(got), got)
	}
	l.flush()
}

// TestSlowConsumerIsReset: what a client doesn't take is not kept by the kernel once its time is over.
func TestSlowConsumerIsReset(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 1 << 16
	o.CloseTimeout = 100 * time.Millisecond
	e := newTape()
	s := startServer(t, o)
	c := connect(t, listen(t, s, e)) // whose kernel buffers grow
	r := e.expect(t, "open")
	onLoop(t, r.Loop(), func() {
		for conn := r.Conn(); sendNumbered(conn, 0, 1, 32_000) == 1; {
			conn.loop.flush()
		}
	})
	e.expect(t, "slow consumer", "closed by us")
	eventually(t, s, func() bool { return s.Connections() == 0 })
	for {
		if _, err := c.tcp.Read(make([]byte, 64<<10)); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection ended with %v, want a reset", err)
			}
			return
		}
	}
}
