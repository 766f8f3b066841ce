package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// smallBuffers makes an Endpoint's connections pass little to the kernel.
func smallBuffers(c *Conn, _ *Request) *Rejection {
	_ = unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
	return nil
}

// dialSlow is dial with a receive buffer as small as it can be.
func dialSlow(t *testing.T, addr net.Addr) *client {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	}}
	nc, err := d.DialContext(context.Background(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

// slowServer returns the server's side and the client's of a connection whose kernel buffers are small.
func slowServer(t *testing.T, o Options, e *tape) (Ref, *client) {
	t.Helper()
	e.open = smallBuffers
	c := dialSlow(t, listen(t, startServer(t, o), e))
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	return e.expect(t, "open"), c
}

// numbered returns the i-th message of n bytes.
func numbered(i, n int) string { return fmt.Sprintf("%08d", i) + strings.Repeat("x", n-8) }

// sendNumbered sends messages from, from+1 … while the connection takes them, at most n, and returns how many it took.
func sendNumbered(c *Conn, from, n, size int) int {
	for i := range n {
		b := NewMessage([]byte(numbered(from+i, size)))
		ok := c.Send(b)
		b.Release()
		if !ok {
			return i
		}
	}
	return n
}

// readNumbered reads messages until one is not the next, which it returns with the number of those before it.
func (c *client) readNumbered(size int) (n int, op ws.OpCode, p []byte) {
	c.t.Helper()
	for ; ; n++ {
		op, p, err := c.frame()
		if err != nil {
			c.t.Fatalf("frame %d: %v", n, err)
		}
		if op != ws.OpText || string(p) != numbered(n, size) {
			return n, op, p
		}
	}
}

func TestCloseDeliversBacklog(t *testing.T) {
	t.Parallel()
	e := newTape()
	r, c := slowServer(t, testOptions(), e)
	onLoop(t, r.Loop(), func() {
		if n := sendNumbered(r.Conn(), 0, 900, 1000); n != 900 {
			t.Errorf("queued %d", n)
		}
		conn := r.Conn()
		conn.Close(4010, "KICKED", NewMessage([]byte("last")))
		late := NewMessage([]byte("late"))
		if conn.Send(late) {
			t.Error("queued behind the end")
		}
		conn.Close(4011, "AGAIN", late) // ignored, but for taking the reference
	})
	n, op, p := c.readNumbered(1000)
	if n != 900 || op != ws.OpText || string(p) != "last" {
		t.Errorf("after %d messages: %v %q", n, op, p)
	}
	c.expect(ws.OpClose, "\x0f\xaaKICKED")
	c.expectEOF()
	_ = c.Close()
	e.expect(t, "closed by us")
}

// TestAbort drops the backlog while a frame is partly sent: what leaves must still be frames.
func TestAbort(t *testing.T) {
	t.Parallel()
	partial := 0
	for size := 1000; size < 1600; size += 37 {
		e := newTape()
		r, c := slowServer(t, testOptions(), e)
		onLoop(t, r.Loop(), func() { sendNumbered(r.Conn(), 0, 500, size) })
		onLoop(t, r.Loop(), func() {
			conn := r.Conn()
			if conn.begunFrames(conn.tx) > 0 {
				partial++
			}
			conn.Abort(4008, "SLOW", NewMessage([]byte("last")))
			conn.Abort(4009, "AGAIN", nil)
			conn.Close(4010, "AGAIN", nil)
		})
		n, op, p := c.readNumbered(size)
		if n == 0 || n > 400 || op != ws.OpText || string(p) != "last" {
			t.Errorf("after %d messages: %v %q", n, op, p)
		}
		c.expect(ws.OpClose, "\x0f\xa8SLOW")
		c.expectEOF()
		_ = c.Close()
		e.expect(t, "closed by us")
	}
	if partial == 0 {
		t.Error("no frame was cut: the test tests nothing")
	}
}

// TestAbortBehindClose: a Close says all; an Abort that comes later does not take its words back.
func TestAbortBehindClose(t *testing.T) {
	t.Parallel()
	e := newTape()
	r, c := slowServer(t, testOptions(), e)
	onLoop(t, r.Loop(), func() {
		conn := r.Conn()
		sendNumbered(conn, 0, 100, 1000)
		conn.Close(4010, "KICKED", NewMessage([]byte("last")))
		conn.Abort(4008, "SLOW", nil)
	})
	if n, _, p := c.readNumbered(1000); n != 100 || string(p) != "last" {
		t.Errorf("after %d messages: %q", n, p)
	}
	c.expect(ws.OpClose, "\x0f\xaaKICKED")
}

// TestAbortKeepsHandshake: the answer to the handshake is no message that could be dropped.
func TestAbortKeepsHandshake(t *testing.T) {
	t.Parallel()
	e := newTape()
	e.open = func(c *Conn, _ *Request) *Rejection {
		b := NewMessage([]byte("dropped"))
		c.Send(b)
		b.Release()
		c.Abort(4008, "SLOW", NewMessage([]byte("last")))
		return nil
	}
	c := connect(t, listen(t, startServer(t, testOptions()), e))
	c.expect(ws.OpText, "last")
	c.expect(ws.OpClose, "\x0f\xa8SLOW")
	c.expectEOF()
	_ = c.Close()
	e.expect(t, "open", "closed by us")
}

func TestSlowConsumerByBytes(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 64 << 10
	e := newTape()
	r, c := slowServer(t, o, e)
	queued := 0
	onLoop(t, r.Loop(), func() {
		conn := r.Conn()
		queued = sendNumbered(conn, 0, 1000, 1000)
		if conn.QueueBytes() > o.SendQueueBytes {
			t.Errorf("%d bytes are queued", conn.QueueBytes())
		}
		if sendNumbered(conn, queued+1, 1, 8) != 0 {
			t.Error("queued behind a message that was refused")
		}
	})
	e.expect(t, "slow consumer")
	n, op, p := c.readNumbered(1000)
	if n == 0 || n > queued || op != ws.OpClose || string(p[:2]) != "\x03\xf0" {
		t.Errorf("queued %d; after %d messages: %v %q", queued, n, op, p)
	}
	c.expectEOF()
	_ = c.Close()
	e.expect(t, "closed by us")
}

// TestSlowConsumerThatCatchesUp refuses a message and then finds the socket ready to take all that is queued: the
// client must not go on with a gap.
func TestSlowConsumerThatCatchesUp(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 4 << 10
	var violations int
	s := &hooks{violation: func(c *Conn, v Violation) {
		violations++
		c.Abort(4008, "", nil)
	}}
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, s, 1)
	defer unix.Close(peer)
	queued := sendNumbered(c, 0, 10_000, 100)
	arrived := string(received(t, peer))
	l.flush()
	for range 100 {
		arrived += string(received(t, peer))
		c.markDirty()
		l.flush()
	}
	var want string
	for i := range queued {
		want += frameOf(ws.OpText, numbered(i, 100))
	}
	if violations != 1 || !strings.HasPrefix(want+frameOf(ws.OpClose, "\x0f\xa8"), arrived[:min(len(arrived), len(want))]) {
		t.Errorf("%d violations", violations)
	}
	if !strings.HasSuffix(arrived, frameOf(ws.OpClose, "\x0f\xa8")) {
		t.Error("no close frame")
	}
}

// TestRefusedMessageNeverLeaves: what Send refuses is not sent, however the connection goes on.
func TestRefusedMessageNeverLeaves(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 4 << 10
	s := &hooks{violation: func(c *Conn, v Violation) { c.Close(4008, "", nil) }}
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, s, 1)
	defer unix.Close(peer)
	queued := sendNumbered(c, 0, 10_000, 100)
	var arrived strings.Builder
	for range 100 {
		arrived.Write(received(t, peer))
		c.markDirty()
		l.flush()
	}
	var want strings.Builder
	for i := range queued {
		want.WriteString(frameOf(ws.OpText, numbered(i, 100)))
	}
	want.WriteString(frameOf(ws.OpClose, "\x0f\xa8"))
	if arrived.String() != want.String() {
		t.Errorf("queued %d messages; %d bytes arrived, want %d", queued, arrived.Len(), want.Len())
	}
}

func TestSlowConsumerByTime(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.WriteTimeout = 100 * time.Millisecond
	e := newTape()
	r, c := slowServer(t, o, e)
	onLoop(t, r.Loop(), func() { sendNumbered(r.Conn(), 0, 500, 1000) })
	e.expect(t, "slow consumer")
	if n, op, p := c.readNumbered(1000); n == 0 || op != ws.OpClose || string(p[:2]) != "\x03\xf0" {
		t.Errorf("after %d messages: %v %q", n, op, p)
	}
	c.expectEOF()
}

// TestCloseTimeout has a client that is told to close and doesn't, reading nothing, or reading all.
func TestCloseTimeout(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{false, true} {
		o := testOptions()
		o.CloseTimeout = 100 * time.Millisecond
		e := newTape()
		r, c := slowServer(t, o, e)
		onLoop(t, r.Loop(), func() {
			sendNumbered(r.Conn(), 0, 500, 1000)
			r.Conn().Close(1000, "", nil)
		})
		if reads {
			_, _ = io.Copy(io.Discard, c.br)
		}
		e.expect(t, "closed by us")
		if _, err := io.Copy(io.Discard, c.br); err != nil && !gone(err) {
			t.Errorf("not cut off: %v", err)
		}
	}
}

// TestBacklogThatNeverEmpties keeps a queue moving without ever being empty: it must not grow by what has left.
func TestBacklogThatNeverEmpties(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 1)
	defer unix.Close(peer)
	sent := 0
	for c.tx == nil || len(c.tx.frames)-c.tx.head < 10 {
		sent += sendNumbered(c, sent, 1, 500)
		l.flush()
	}
	most := 0
	arrived := 0
	for range 3000 {
		arrived += len(received(t, peer))
		c.markDirty()
		l.flush()
		for c.tx == nil || len(c.tx.frames)-c.tx.head < 10 {
			sent += sendNumbered(c, sent, 1, 500)
			l.flush()
		}
		most = max(most, cap(c.tx.frames))
	}
	if most > 256 {
		t.Errorf("a queue of about 10 frames took room for %d; %d were sent", most, sent)
	}
}

// TestStandingBacklog has receivers that are stuck with many frames: the writes of the others are gathered all the same.
func TestStandingBacklog(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	s := &hooks{message: echo}
	for range 8 {
		c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 1)
		defer unix.Close(peer)
		for range maxPending / 7 {
			sendNumbered(c, 0, 1, 8)
		}
		l.flush()
	}
	c, peer := bareConn(t, l, protocolWebSocket, s, 0)
	defer unix.Close(peer)
	before := l.stats.writes
	for range 10 {
		l.feed(c, text("hello"))
	}
	l.flush()
	if n := l.stats.writes - before; n != 1 {
		t.Errorf("10 messages of one turn left in %d writes", n)
	}
}
