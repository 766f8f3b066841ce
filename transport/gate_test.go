package transport

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClosedGateReadsNothing: what clients send while the gate is closed waits in the kernel.
func TestClosedGateReadsNothing(t *testing.T) {
	t.Parallel()
	e := newTape()
	s := startServer(t, testOptions())
	c := connect(t, listen(t, s, e))
	r := e.expect(t, "open")
	var before uint64
	onLoop(t, r.Loop(), func() { before = r.Loop().stats.bytesIn })
	s.Gate().Hold()
	c.write(text("waits"))
	for range 10 {
		onLoop(t, r.Loop(), func() {
			if n := r.Loop().stats.bytesIn - before; n != 0 {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
	s.Gate().Release()
	e.expect(t, "text waits")
}

// TestNoSleepWithWork: a loop does not wait for events while it has connections to go on with.
func TestNoSleepWithWork(t *testing.T) {
	t.Parallel()
	for _, stalled := range []bool{false, true} {
		l := bareLoop(t, testOptions())
		c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
		defer unix.Close(peer)
		if stalled {
			l.stall(c) // and the gate opened meanwhile
		} else {
			c.Pause()
			c.Resume()
		}
		l.sweeper.next = uint32(patience / time.Millisecond)
		begin := time.Now()
		l.wait()
		if d := time.Since(begin); d > patience/2 {
			t.Errorf("stalled %v: slept for %v", stalled, d)
		}
	}
}

func TestGateKeepsOrder(t *testing.T) {
	t.Parallel()
	e := newTape()
	s := startServer(t, testOptions())
	const n = 20_000
	clients := []*client{connect(t, listen(t, s, e)), dial(t, listenTCP(t, s, e))}
	e.expect(t, "open", "open")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			s.Gate().Hold()
			s.Gate().Hold()
			s.Loops()[0].wake()
			s.Gate().Release()
			s.Gate().Release()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	sent := make(chan error, 2)
	go func() { sent <- writeAll(clients[0], n, func(i int) []byte { return text(fmt.Sprint(i)) }) }()
	go func() { sent <- writeAll(clients[1], n, func(i int) []byte { return fmt.Appendf(nil, `{"n":%d}`, i) }) }()
	ws, tcp := 0, 0
	for range 2 * n {
		switch got := e.next(t).what; got {
		case fmt.Sprintf("text %d", ws):
			ws++
		case fmt.Sprintf(`text {"n":%d}`, tcp):
			tcp++
		default:
			t.Fatalf("behind %d and %d: %q", ws, tcp, got)
		}
	}
	close(stop)
	<-done
	for range clients {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}

// writeAll writes n messages.
func writeAll(c *client, n int, message func(i int) []byte) error {
	var batch []byte
	for i := range n {
		if batch = append(batch, message(i)...); len(batch) > 1000 || i == n-1 {
			if _, err := c.Write(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

// TestGateHeldByASession closes the gate in the middle of a buffer.
func TestGateHeldByASession(t *testing.T) {
	t.Parallel()
	e := newTape()
	s := startServer(t, testOptions())
	e.message = func(c *Conn, _ bool, p []byte) { s.Gate().Hold() }
	c := connect(t, listen(t, s, e))
	e.expect(t, "open")
	c.write(text("1"), text("2"), text("3")[:3])
	c.write(text("3")[3:])
	for i := range 3 {
		r := e.expect(t, fmt.Sprint("text ", i+1))
		onLoop(t, r.Loop(), func() {})
		e.nothing(t)
		if !s.Stats().Gated {
			t.Error("the gate is open")
		}
		s.Gate().Release()
	}
}

// TestStalledAndPaused combines the two reasons not to read in every order.
func TestStalledAndPaused(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"hprR", "hpRr", "phrR", "phRr", "hprRhR", "phRhRr", "hRprhR"} {
		e := pauser(newTape())
		s := startServer(t, testOptions())
		c := connect(t, listen(t, s, e))
		r := e.expect(t, "open")
		closed, paused := false, false
		for i, step := range order {
			onLoop(t, r.Loop(), func() {
				switch step {
				case 'h':
					s.Gate().Hold()
					closed = true
				case 'R':
					s.Gate().Release()
					closed = false
				case 'p':
					r.Conn().Pause()
					paused = true
				case 'r':
					r.Conn().Resume()
					paused = false
				}
			})
			c.write(text(fmt.Sprint(i)))
			for range 3 {
				onLoop(t, r.Loop(), func() {})
			}
			if closed || paused {
				e.mu.Lock()
				for _, n := range e.notes {
					if n.what == fmt.Sprint("text ", i) {
						t.Errorf("%s: step %d: a message was handled", order, i)
					}
				}
				e.mu.Unlock()
			}
		}
		for i := range order {
			e.expect(t, fmt.Sprint("text ", i))
		}
	}
}
