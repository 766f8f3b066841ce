package transport

import (
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// TestIdleLoopSleeps puts connections into every state in which something is there that the loop does not want, and
// counts the turns of the loop: level-triggered events that are never taken would show as thousands.
func TestIdleLoopSleeps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(t *testing.T, s *Server, e *tape, r Ref, c *client)
	}{
		{"open", func(*testing.T, *Server, *tape, Ref, *client) {}},
		{"half a message", func(t *testing.T, s *Server, e *tape, r Ref, c *client) { c.write(text("x")[:3]) }},
		{"backlog", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() { sendNumbered(r.Conn(), 0, 900, 1000) })
		}},
		{"half-closed with a backlog", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() { sendNumbered(r.Conn(), 0, 900, 1000) })
			_ = c.CloseWrite()
		}},
		{"closing with a backlog", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() {
				sendNumbered(r.Conn(), 0, 900, 1000)
				r.Conn().Close(1000, "", nil)
			})
			c.write(text("late"))
		}},
		{"closing with a backlog, half-closed", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() {
				sendNumbered(r.Conn(), 0, 900, 1000)
				r.Conn().Close(1000, "", nil)
			})
			_ = c.CloseWrite()
		}},
		{"lingering", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() { r.Conn().Close(1000, "", nil) })
			c.expect(ws.OpClose, "\x03\xe8")
			c.write(text("late"))
		}},
		{"paused with unread data", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() { r.Conn().Pause() })
			c.write(text("unread"))
		}},
		{"paused with a stash", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			c.write(text("pause"), text("kept"))
			e.expect(t, "text pause")
			c.write(text("unread"))
		}},
		{"paused and half-closed", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() { r.Conn().Pause() })
			_ = c.CloseWrite()
		}},
		{"paused and reset", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			onLoop(t, r.Loop(), func() { r.Conn().Pause() })
			c.write(text("unread"))
			c.reset()
		}},
		{"stalled with unread data", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			closeGate(t, s)
			c.write(text("unread"))
		}},
		{"stalled and half-closed", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			closeGate(t, s)
			_ = c.CloseWrite()
		}},
		{"stalled and reset", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			closeGate(t, s)
			c.write(text("unread"))
			c.reset()
		}},
		{"stalled and paused, half-closed, with a backlog", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			closeGate(t, s)
			onLoop(t, r.Loop(), func() {
				sendNumbered(r.Conn(), 0, 900, 1000)
				r.Conn().Pause()
			})
			c.write(text("unread"))
			_ = c.CloseWrite()
		}},
		{"stalled and closing with a backlog", func(t *testing.T, s *Server, e *tape, r Ref, c *client) {
			closeGate(t, s)
			c.write(text("unread"))
			for range 3 {
				onLoop(t, r.Loop(), func() {})
			}
			onLoop(t, r.Loop(), func() {
				sendNumbered(r.Conn(), 0, 900, 1000)
				r.Conn().Close(1000, "", nil)
			})
			_ = c.CloseWrite()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			o.Loops = 1
			o.SweepInterval = time.Second // 2 turns a second
			e := pauser(newTape())
			e.open = smallBuffers
			s := startServer(t, o)
			l := s.Loops()[0]
			addr := listen(t, s, e)
			halfway := dial(t, addr)
			halfway.write([]byte("GET / HTTP/1.1\r\n"))
			c := dialSlow(t, addr)
			c.write([]byte(upgradeRequest("")))
			c.accepted()
			r := e.expect(t, "open")
			tt.make(t, s, e, r, c)
			for range 10 { // let what is on its way arrive
				onLoop(t, l, func() {})
			}
			before := turns(s)
			<-time.After(500 * time.Millisecond)
			if n := turns(s) - before; n > 25 {
				t.Errorf("%d turns of an idle loop in half a second", n)
			}
		})
	}
}

// closeGate closes the gate until the test ends.
func closeGate(t *testing.T, s *Server) {
	s.Gate().Hold()
	t.Cleanup(s.Gate().Release)
}

// turns returns how many turns the loops of s have taken.
func turns(s *Server) (n uint64) {
	for _, l := range s.Stats().Loops {
		for _, k := range l.Turns {
			n += k
		}
	}
	return n
}

// TestStalledEnd: a connection that stalled and then closed ends like any other.
func TestStalledEnd(t *testing.T) {
	t.Parallel()
	e := newTape()
	s := startServer(t, testOptions())
	c := connect(t, listen(t, s, e))
	r := e.expect(t, "open")
	s.Gate().Hold()
	defer s.Gate().Release()
	c.write(text("unread"))
	for range 10 {
		onLoop(t, r.Loop(), func() {})
	}
	onLoop(t, r.Loop(), func() { r.Conn().Close(1000, "", nil) })
	c.expectClose(1000)
	_ = c.Close()
	e.expect(t, "closed by us")
}
