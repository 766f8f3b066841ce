package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

// quiet is a Logger that writes nothing.
type quiet struct{}

func (quiet) Warn(string, string, ...slog.Attr) {}

// upgradeRequest returns an opening handshake with more header lines.
func upgradeRequest(fields string) string {
	return "GET / HTTP/1.1\r\nHost: hub.example:42069\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + fields + "\r\n"
}

// testOptions are the defaults, with two loops and a fast clock.
func testOptions() Options {
	o := DefaultOptions(2)
	o.Log = quiet{}
	o.AllowedHosts = []string{"*"}
	o.SweepInterval = 20 * time.Millisecond
	o.CloseFrameTimeout = 50 * time.Millisecond
	return o
}

// startServer starts a server that ends with the test, and then checks that nothing is left of its connections.
func startServer(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		checkEmpty(t, s)
	})
	return s
}

// checkEmpty checks the accounts of a server that has ended.
func checkEmpty(t testing.TB, s *Server) {
	t.Helper()
	if n := s.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if n := s.gate.holds.Load(); n != 0 {
		t.Errorf("the gate has %d holds", n)
	}
	for _, l := range s.loops {
		if n := l.conns.Load(); n != 0 {
			t.Errorf("loop %d: %d connections are counted", l.index, n)
		}
		if l.out.queued != 0 || l.out.kept != 0 || l.in.untrusted != 0 || l.out.held != nil {
			t.Errorf("loop %d: queued %d, untrusted %d, hold %v", l.index, l.out.queued, l.in.untrusted, l.out.held)
		}
		if free := len(l.table.free); free != len(l.table.slabs)*slabConns {
			t.Errorf("loop %d: %d of %d slots are free", l.index, free, len(l.table.slabs)*slabConns)
		}
		for _, r := range l.out.freeHolds {
			if r.buf != nil || r.holders != 0 {
				t.Errorf("loop %d: a pooled hold has %d holders", l.index, r.holders)
			}
		}
	}
}

// eventually waits until cond holds. Between two looks the first loop takes a turn.
func eventually(t testing.TB, s *Server, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !cond(); {
		if time.Now().After(late) {
			t.Fatal("what was waited for did not happen")
		}
		onLoop(t, s.Loops()[0], func() {})
	}
}

// listen opens a WebSocket listener all of whose paths lead to e.
func listen(t testing.TB, s *Server, e Endpoint) net.Addr {
	t.Helper()
	if overTLS {
		return listenSuite(t, s, e)
	}
	addr, err := s.ListenWebSocket(context.Background(), "127.0.0.1:0", func([]byte) Endpoint { return e })
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// listenTCP opens a listener for JSON without framing.
func listenTCP(t testing.TB, s *Server, e Endpoint) net.Addr {
	t.Helper()
	addr, err := s.ListenTCP(context.Background(), "127.0.0.1:0", e)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// job is a Mail that calls a function on the loop.
type job func(*Loop)

func (f job) Deliver(l *Loop) { f(l) }
func (f job) Size() int       { return 0 }

// onLoop calls f on the loop's goroutine and waits for its end.
func onLoop(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(job(func(*Loop) { defer close(done); f() })) {
		t.Fatal("the loop has ended")
	}
	<-done
}

// tape is an Endpoint that notes all that its sessions are told, and echoes nothing. Its functions, where set, are
// called on the loop in addition.
type tape struct {
	open      func(c *Conn, r *Request) *Rejection
	message   func(c *Conn, binary bool, p []byte)
	violation func(c *Conn, v Violation)
	sweep     func(c *Conn)
	closed    func(c *Conn, end End)

	mu    sync.Mutex
	notes []note
	more  *sync.Cond
}

// note is one call of a session.
type note struct {
	ref  Ref
	what string
}

func newTape() *tape {
	e := &tape{}
	e.more = sync.NewCond(&e.mu)
	return e
}

func (e *tape) add(c *Conn, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notes = append(e.notes, note{c.Ref(), fmt.Sprintf(format, args...)})
	e.more.Broadcast()
}

// next waits for the next call and returns it.
func (e *tape) next(t testing.TB) note {
	t.Helper()
	late := time.AfterFunc(patience, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.notes = append(e.notes, note{what: "nothing for a long time"})
		e.more.Broadcast()
	})
	defer late.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.notes) == 0 {
		e.more.Wait()
	}
	n := e.notes[0]
	e.notes = e.notes[1:]
	return n
}

// expect waits for calls, which must be these, and returns the connection of the last.
func (e *tape) expect(t testing.TB, want ...string) Ref {
	t.Helper()
	var n note
	for i, w := range want {
		if n = e.next(t); n.what != w {
			t.Fatalf("call %d: got %.100q, want %.100q", i, n.what, w)
		}
	}
	return n.ref
}

// nothing checks that no call is waiting to be looked at.
func (e *tape) nothing(t testing.TB) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.notes) > 0 {
		t.Fatalf("unexpected call: %.100q", e.notes[0].what)
	}
}

func (e *tape) Open(c *Conn, r *Request) (Session, *Rejection) {
	if e.open != nil {
		if rej := e.open(c, r); rej != nil {
			return nil, rej
		}
	}
	e.add(c, "open")
	return taped{e}, nil
}

// taped is the Session of a tape.
type taped struct{ e *tape }

func (s taped) Message(c *Conn, binary bool, p []byte) {
	kind := "text "
	if binary {
		kind = "binary "
	}
	s.e.add(c, "%s%s", kind, p)
	if s.e.message != nil {
		s.e.message(c, binary, p)
	}
}

func (s taped) Violation(c *Conn, v Violation) {
	s.e.add(c, "%s", violationNames[v])
	if s.e.violation != nil {
		s.e.violation(c, v)
	}
}

var violationNames = [...]string{TooBig: "too big", SlowConsumer: "slow consumer", NotJSON: "not JSON", Unfinished: "unfinished", NoMemory: "no memory", QueuesFull: "queues full"}

func (s taped) Sweep(c *Conn) {
	if s.e.sweep != nil {
		s.e.sweep(c)
	}
}

func (s taped) Closed(c *Conn, end End) {
	s.e.add(c, "closed %s", [...]string{EndLocal: "by us", EndPeer: "by the peer", EndOfStream: "at the end of its stream", EndError: "by an error"}[end])
	if s.e.closed != nil {
		s.e.closed(c, end)
	}
}

// echo sends a message back.
func echo(c *Conn, _ bool, p []byte) {
	b := AllocBuffer(len(p))
	b.Seal(append(b.Room(), p...))
	c.Send(b)
	b.Release()
}
