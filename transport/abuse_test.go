package transport

import (
	"bytes"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// TestSessionEndsAtOnce has clients whose connections take their time to end: one doesn't close though it was told to,
// the others leave without reading what is queued for them. Their sessions must not stay until then.
func TestSessionEndsAtOnce(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.CloseTimeout = time.Hour
	for name, test := range map[string]struct {
		end  func(c *client)
		want string
	}{
		"violation":   {func(c *client) { c.write([]byte{0x81, 0x01, 'x'}) }, "closed by us"},
		"close frame": {func(c *client) { c.write(closing(ws.StatusNormalClosure, "")) }, "closed by the peer"},
		"FIN":         {func(c *client) { _ = c.CloseWrite() }, "closed at the end of its stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTape()
			r, c := slowServer(t, o, e)
			onLoop(t, r.Loop(), func() { sendNumbered(r.Conn(), 0, 500, 1000) })
			test.end(c)
			e.expect(t, test.want)
			c.reset()
			eventually(t, r.Loop().srv, func() bool { return r.Loop().srv.Connections() == 0 })
			e.nothing(t)
		})
	}
}

// TestPingFlood sends pings and reads none of the pongs. A pong has two bytes, and costs fifty times that to keep.
func TestPingFlood(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 64 << 10
	l := bareLoop(t, o)
	var told []Violation
	c, peer := bareConn(t, l, protocolWebSocket, &hooks{violation: func(_ *Conn, v Violation) { told = append(told, v) }}, 1)
	defer unix.Close(peer)
	for range 100 {
		l.feed(c, bytes.Repeat(clientFrame(true, ws.OpPing, ""), 1000))
		if c.tx == nil {
			continue
		}
		if n := len(c.tx.frames) - c.tx.head; n > o.SendQueueBytes/minFrameBytes {
			t.Fatalf("%d frames are queued", n)
		}
	}
	l.flush()
	if len(told) != 1 || told[0] != SlowConsumer {
		t.Errorf("the session was told %v", told)
	}
}

// TestStandstill stops the process, so to speak, for longer than any deadline while clients have spoken and are ready
// to read: none of it was their fault.
func TestStandstill(t *testing.T) {
	t.Parallel()
	o := testOptions()
	l := bareLoop(t, o)
	l.tick()
	before := l.clock.now
	c, peer := bareConn(t, l, protocolWebSocket, &hooks{violation: func(_ *Conn, v Violation) { t.Errorf("told %v", v) }}, 1)
	defer unix.Close(peer)
	c.since, c.lastRead = l.clock.now, l.clock.now
	sendNumbered(c, 0, 100, 1000)
	l.srv.started = l.srv.started.Add(-time.Hour)
	if real := l.tick(); real < time.Hour || l.clock.since(before) > 2*o.SweepInterval {
		t.Errorf("after %v the loop's clock moved by %v", real, l.clock.since(before))
	}
	for range 2 * mostSweepParts {
		l.sweep()
	}
	if c.state != stateOpen || c.Idle() > 2*o.SweepInterval {
		t.Errorf("state %d, idle for %v", c.state, c.Idle())
	}
}

// TestLongWorkIsShared has a client send in one piece what is a lot of work, at the ends of frames and within one: the
// loop comes back to others in between, and loses nothing.
func TestLongWorkIsShared(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 1 << 30
	l := bareLoop(t, o)
	sink, peer := bareConn(t, l, protocolTCP, quietSession{}, 1)
	defer unix.Close(peer)
	b := NewMessage([]byte("x"))
	defer b.Release()
	var got []byte
	c, other := bareConn(t, l, protocolWebSocket, &hooks{message: func(_ *Conn, _ bool, p []byte) {
		got = append(got, p...)
		for range maxPending / 3 {
			sink.Send(b)
		}
	}}, 0)
	defer unix.Close(other)

	const all = "abcdefghijklmnopqrstuvwxyz"
	var stream []byte
	for _, letter := range all {
		stream = append(stream, text(string(letter))...)
	}
	l.feed(c, bytes.Clone(stream[:len(stream)-3]))
	parts := 1
	for ; len(l.unread.resumed) > 0; parts++ {
		if n := len(got); n > 4*parts {
			t.Fatalf("%d messages in %d parts", n, parts)
		}
		l.readOn()
	}
	if c.flags&flagNoRead != 0 {
		t.Error("nothing is read any more")
	}
	l.feed(c, bytes.Clone(stream[len(stream)-3:]))
	if string(got) != all {
		t.Errorf("got %q after %d parts", got, parts)
	}
}
