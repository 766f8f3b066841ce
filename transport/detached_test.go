package transport

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// polled is a service with detached connections. GET /open opens one and tells its slot, GET /<slot> fetches what is queued,
// with a line feed behind each message, POST /<slot> brings a message. A WebSocket at /<slot> gives its socket to the
// connection with the message "take over". All of it belongs to loop 0.
type polled struct {
	*service
	carriers map[uint32]*carried // of loop 0, by slot
	probes   map[uint32]uint32   // the slots that WebSocket connections are for, by their own
}

// carried is the Carrier of one connection.
type carried struct {
	p     *polled
	conn  *Conn
	waits *Exchange // for something to be queued
	held  *Exchange // its message could not be received yet
}

func newPolled() *polled {
	p := &polled{service: &service{tape: newTape()}, carriers: map[uint32]*carried{}, probes: map[uint32]uint32{}}
	p.service.loop = func(*Request) int { return 0 }
	p.service.serve = p.handle
	p.tape.message = func(c *Conn, _ bool, b []byte) {
		if slot, ok := p.probes[c.Slot()]; ok && string(b) == "take over" {
			p.carriers[slot].conn.TakeOver(c)
			delete(p.probes, c.Slot())
		}
	}
	p.tape.open = func(c *Conn, r *Request) *Rejection {
		if slot, err := strconv.Atoi(string(r.Path[1:])); err == nil {
			p.probes[c.Slot()] = uint32(slot)
		}
		return nil
	}
	return p
}

func (p *polled) handle(x *Exchange) {
	if string(x.Request.Path) == "/open" {
		c := &carried{p: p}
		conn, reject := x.Conn().Loop().OpenDetached(x, p, c)
		if reject != nil {
			x.Respond(reject.Status, "", nil)
			return
		}
		c.conn = conn
		p.carriers[conn.Slot()] = c
		x.Respond(200, "", strconv.AppendUint(nil, uint64(conn.Slot()), 10))
		return
	}
	slot, _ := strconv.Atoi(string(x.Request.Path[1:]))
	c := p.carriers[uint32(slot)]
	switch {
	case c == nil:
		x.Respond(400, "", nil)
	case string(x.Request.Method) == "GET":
		c.waits = x
		c.Queued(c.conn)
	case !c.conn.Receive(false, x.Body):
		c.held = x
	default:
		x.Respond(200, "", []byte("ok"))
	}
}

func (c *carried) Queued(conn *Conn) {
	if c.waits == nil {
		return
	}
	var body []byte
	if conn.Take(1000, func(b *Buffer) bool { body = append(append(body, b.Payload()...), '\n'); return true }) > 0 {
		c.waits.Respond(200, "", body)
		c.waits = nil
	}
}

func (c *carried) Resumed(conn *Conn) {
	if c.held != nil && conn.Receive(false, c.held.Body) {
		c.held.Respond(200, "", []byte("ok"))
		c.held = nil
	}
}

func (c *carried) Released() {
	delete(c.p.carriers, c.conn.Slot())
	for _, x := range []*Exchange{c.waits, c.held} {
		if x != nil {
			x.Respond(410, "", nil)
		}
	}
}

// openPolled opens a detached connection and returns its path and name.
func openPolled(t *testing.T, c *client, p *polled) (path string, ref Ref) {
	t.Helper()
	c.write([]byte(get("/open")))
	path = "/" + c.answer(200)
	return path, p.expect(t, "open")
}

// say sends messages to the connection on its loop.
func say(t *testing.T, ref Ref, messages ...string) {
	t.Helper()
	onLoop(t, ref.Loop(), func() {
		c := ref.Conn()
		if c == nil {
			t.Error("the connection is gone")
			return
		}
		for _, m := range messages {
			b := NewMessage([]byte(m))
			if !c.Send(b) {
				t.Errorf("%s was not queued", m)
			}
			b.Release()
		}
	})
}

func TestDetachedConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	p := newPolled()
	addr := listen(t, s, p)
	c, d := dial(t, addr), dial(t, addr)
	path, ref := openPolled(t, c, p)

	c.write([]byte(post(path, "hello")))
	c.answer(200)
	p.expect(t, "text hello")

	say(t, ref, "one", "two") // queued, then fetched
	c.write([]byte(get(path)))
	if got := c.answer(200); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	c.write([]byte(get(path))) // fetched, then queued
	d.write([]byte(post(path, "meanwhile")))
	d.answer(200)
	p.expect(t, "text meanwhile")
	say(t, ref, "three")
	if got := c.answer(200); got != "three\n" {
		t.Errorf("%q", got)
	}
	say(t, ref, strings.Repeat("x", 600), strings.Repeat("y", 600)) // more than one answer takes
	for _, want := range "xy" {
		c.write([]byte(get(path)))
		if got := c.answer(200); got != strings.Repeat(string(want), 600)+"\n" {
			t.Errorf("%.10q…", got)
		}
	}
	onLoop(t, ref.Loop(), func() { ref.Conn().Pause() })
	c.write([]byte(post(path, "held")))
	onLoop(t, ref.Loop(), func() {})
	p.nothing(t)
	onLoop(t, ref.Loop(), func() { ref.Conn().Resume() })
	c.answer(200)
	p.expect(t, "text held")
	onLoop(t, ref.Loop(), func() {
		if tr := ref.Conn().Traffic(); tr.MessagesOut != 5 || tr.BytesIn != uint64(len("hello"+"meanwhile"+"held")) {
			t.Errorf("traffic %+v", tr)
		}
		if ref.Conn().RemoteAddr().Addr().String() != "127.0.0.1" {
			t.Errorf("address %v", ref.Conn().RemoteAddr())
		}
	})
	if s.Connections() != 3 {
		t.Errorf("%d connections, want 3", s.Connections())
	}

	onLoop(t, ref.Loop(), func() {
		last := NewMessage([]byte("goodbye"))
		ref.Conn().Close(ws.StatusNormalClosure, "", last)
	})
	c.write([]byte(get(path)))
	if got := c.answer(200); got != "goodbye\n" {
		t.Errorf("%q", got)
	}
	c.write([]byte(get(path)))
	c.answer(400)
	d.write([]byte(post(path, "late")))
	d.answer(400)
}

func TestDetachedConnectionThatNobodyFetches(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.WriteTimeout = 200 * time.Millisecond
	s := startServer(t, o)
	p := newPolled()
	c := dial(t, listen(t, s, p))
	path, ref := openPolled(t, c, p)
	say(t, ref, "unread")
	p.expect(t, "slow consumer")
	c.write([]byte(get(path)))
	c.answer(400)
	if p.next(t).what != "closed by us" {
		t.Error("the session was not told")
	}
}

func TestDetachedQueueIsBounded(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 4 << 10
	s := startServer(t, o)
	p := newPolled()
	c := dial(t, listen(t, s, p))
	_, ref := openPolled(t, c, p)
	onLoop(t, ref.Loop(), func() {
		b := NewMessage(bytes.Repeat([]byte("x"), 1000))
		defer b.Release()
		for range 10 {
			ref.Conn().Send(b)
		}
	})
	p.expect(t, "slow consumer")
}

func TestDetachedConnectionsCount(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxConnections = 2
	s := startServer(t, o)
	p := newPolled()
	c := dial(t, listen(t, s, p))
	for i := range 3 {
		_, ref := openPolled(t, c, p)
		onLoop(t, ref.Loop(), func() {
			if excess := ref.Conn().Excess(); excess != (i > 0) {
				t.Errorf("connection %d: excess %t", i, excess)
			}
		})
	}
}

// TestTakeOver moves a connection from requests to a WebSocket, while both sides send.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	p := newPolled()
	addr := listen(t, s, p)
	for round := range 20 {
		c, w := dial(t, addr), dial(t, addr)
		path, ref := openPolled(t, c, p)
		w.write([]byte(strings.Replace(upgradeRequest(""), "GET / ", "GET "+path+" ", 1)))
		w.accepted()
		probe := p.expect(t, "open")
		if probe.Loop() != ref.Loop() {
			t.Fatal("the probe is on another loop")
		}
		var before, behind []string
		for i := range round {
			before = append(before, fmt.Sprint("before ", i))
			behind = append(behind, fmt.Sprint("behind ", i))
		}
		say(t, probe, "of the probe")
		say(t, ref, before...)
		frames := maskedFrame(ws.OpText, "take over")
		for i := range round {
			frames = append(frames, maskedFrame(ws.OpText, fmt.Sprint("sent ", i))...)
		}
		w.write(frames)
		p.expect(t, "text take over", "closed by us")
		for i := range round {
			if got := p.next(t); got.what != fmt.Sprint("text sent ", i) || got.ref != ref {
				t.Fatalf("%q on %v, want %q on %v", got.what, got.ref, fmt.Sprint("text sent ", i), ref)
			}
		}
		say(t, ref, behind...)
		for _, want := range append(append([]string{"of the probe"}, before...), behind...) {
			w.expect(ws.OpText, want)
		}
		c.write([]byte(get(path)))
		c.answer(400)
		if probe.live() != nil {
			t.Error("the probe is still there")
		}
		_ = w.Close()
		if got := p.next(t); got.what != "closed at the end of its stream" && got.what != "closed by an error" {
			t.Errorf("%q", got.what)
		}
		_ = c.Close()
	}
}

func TestTakeOverOfWhatIsGone(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	p := newPolled()
	addr := listen(t, s, p)
	c, w := dial(t, addr), dial(t, addr)
	path, ref := openPolled(t, c, p)
	w.write([]byte(strings.Replace(upgradeRequest(""), "GET / ", "GET "+path+" ", 1)))
	w.accepted()
	probe := p.expect(t, "open")
	onLoop(t, ref.Loop(), func() {
		ref.Conn().TakeOver(probe.Conn())
		ref.Conn().Close(ws.StatusGoingAway, "", nil)
	})
	w.expectClose(ws.StatusGoingAway)
	p.expect(t, "closed by us")
}

// maskedFrame returns one whole frame of a client.
func maskedFrame(op ws.OpCode, payload string) []byte {
	f := ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))
	b, err := ws.CompileFrame(f)
	if err != nil {
		panic(err)
	}
	return b
}

// TestDetachedConnectionsCountByAddress: requests open no more connections than sockets may.
func TestDetachedConnectionsCountByAddress(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.AddressConnections = 3
	s := startServer(t, o)
	p := newPolled()
	c := dial(t, listen(t, s, p))
	for i, excess := range []bool{false, false, true, true, true} { // the socket is the first
		_, ref := openPolled(t, c, p)
		onLoop(t, ref.Loop(), func() {
			if got := ref.Conn().Excess(); got != excess {
				t.Errorf("connection %d: excess %t", i, got)
			}
		})
	}
	c.write([]byte(get("/open")))
	c.answer(503)
}

// TestTakeOverKeepsRelief: a session that waits for its queue to shrink is told after the move, too.
func TestTakeOverKeepsRelief(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	p := newPolled()
	addr := listen(t, s, p)
	c, w := dial(t, addr), dial(t, addr)
	path, ref := openPolled(t, c, p)
	w.write([]byte(strings.Replace(upgradeRequest(""), "GET / ", "GET "+path+" ", 1)))
	w.accepted()
	probe := p.expect(t, "open")
	message := strings.Repeat("x", 1000)
	onLoop(t, ref.Loop(), func() {
		b := NewMessage([]byte(message))
		defer b.Release()
		for range 10 {
			ref.Conn().Send(b)
		}
		ref.Conn().NotifyBelow(2000)
		probe.Conn().Send(b)
		ref.Conn().TakeOver(probe.Conn())
	})
	for range 11 {
		w.expect(ws.OpText, message)
	}
	onLoop(t, ref.Loop(), func() {
		for _, b := range ref.Loop().out.freeBacklogs {
			if b.relief != 0 || b.bytes != 0 || b.head != 0 {
				t.Errorf("a pooled backlog is not empty: %+v", *b)
			}
		}
	})
}
