package transport

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// parcel is a Mail of a given size that notes its delivery.
type parcel struct {
	size int
	done func()
}

func (p parcel) Deliver(*Loop) { p.done() }
func (p parcel) Size() int     { return p.size }

// block keeps a loop busy until the returned function is called.
func block(t *testing.T, l *Loop) (release func()) {
	t.Helper()
	began, end := make(chan struct{}), make(chan struct{})
	if !l.Post(job(func(*Loop) { close(began); <-end })) {
		t.Fatal("the loop has ended")
	}
	<-began
	release = sync.OnceFunc(func() { close(end) })
	t.Cleanup(release)
	return release
}

// TestPostOrder posts from many goroutines, each of whose mail arrives in its order, with the loop sleeping and awake.
func TestPostOrder(t *testing.T) {
	t.Parallel()
	l := startServer(t, testOptions()).Loops()[0]
	const posters, n = 4, 5000
	var next [posters]int
	var all sync.WaitGroup
	all.Add(posters * n)
	for p := range posters {
		go func() {
			for i := range n {
				l.Post(job(func(*Loop) {
					if next[p] != i {
						t.Errorf("poster %d: mail %d arrived at place %d", p, i, next[p])
					}
					next[p]++
					all.Done()
				}))
			}
		}()
	}
	all.Wait()
}

// TestPostWakes posts one mail at a time to a loop that is just about to sleep: a lost wake-up shows as the time until
// the next sweep.
func TestPostWakes(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SweepInterval = time.Hour
	s := startServer(t, o)
	// The poster doesn't sleep until its mail is delivered, so that the next one comes while the loop ends its turn.
	for i := range 20_000 {
		var delivered atomic.Bool
		s.Loops()[0].Post(job(func(*Loop) { delivered.Store(true) }))
		for late := time.Now().Add(patience); !delivered.Load(); {
			if time.Now().After(late) {
				t.Fatalf("mail %d was not delivered", i)
			}
		}
	}
	// The gate's last Release must wake a loop that has stalled connections.
	e := newTape()
	c := connect(t, listen(t, s, e))
	e.expect(t, "open")
	for i := range 1000 {
		s.Gate().Hold()
		c.write(text(fmt.Sprint(i)))
		s.Gate().Release()
		e.expect(t, "text "+fmt.Sprint(i))
	}
}

// TestInboxHoldsGate: an inbox beyond its bound stops all reading until its loop has caught up.
func TestInboxHoldsGate(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.InboxBytes = 1000
	s := startServer(t, o)
	slow := s.Loops()[0]
	e := newTape()
	addr := listen(t, s, e)
	c := connect(t, addr)
	for e.expect(t, "open").Loop() == slow {
		c = connect(t, addr)
	}
	release := block(t, slow)
	delivered := 0
	for i := range 4 {
		if gated := s.Gate().Closed(); gated != (i == 3) {
			t.Errorf("behind %d mails: gate closed is %v", i, gated)
		}
		slow.Post(parcel{300, func() { delivered++ }})
	}
	if !s.Stats().Gated || s.Stats().Loops[0].InboxBytes != 4*(300+mailOverhead) {
		t.Errorf("stats: %+v", s.Stats())
	}
	c.write(text("waits"))
	for range 3 {
		onLoop(t, s.Loops()[1], func() {})
	}
	e.nothing(t)
	release()
	e.expect(t, "text waits")
	onLoop(t, slow, func() {
		if delivered != 4 {
			t.Errorf("%d mails were delivered", delivered)
		}
	})
	if s.Stats().Gated {
		t.Error("the gate is still closed")
	}
	release = block(t, slow) // and once more
	for range 4 {
		slow.Post(parcel{300, func() {}})
	}
	if !s.Stats().Gated {
		t.Error("the gate is open beside a full inbox")
	}
	release()
}

func TestPostWait(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.InboxBytes = 1000
	s := startServer(t, o)
	l := s.Loops()[0]
	release := block(t, l)
	var posted atomic.Int32
	full := make(chan struct{})
	done := make(chan bool)
	go func() {
		for i := range 100 {
			l.PostWait(parcel{300, func() {}})
			if posted.Add(1); i == 2 {
				close(full)
			}
		}
		done <- true
	}()
	<-full
	if l.inbox.backlog() > 1000+300+mailOverhead {
		t.Errorf("%d bytes wait", l.inbox.backlog())
	}
	release()
	<-done
	if n := posted.Load(); n != 100 {
		t.Errorf("%d were posted", n)
	}

	// A loop that ends lets those go that wait for room.
	release = block(t, l)
	for l.inbox.backlog() <= 1000 {
		l.Post(parcel{300, func() {}})
	}
	go func() { done <- l.PostWait(parcel{300, func() {}}) }()
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	release()
	<-done // either is fine: room there was, or an end
	<-closed
}

// TestGateCounts: every Hold needs its Release.
func TestGateCounts(t *testing.T) {
	t.Parallel()
	g := startServer(t, testOptions()).Gate()
	if g.Closed() {
		t.Error("closed from the start")
	}
	g.Hold()
	g.Hold()
	g.Release()
	if !g.Closed() {
		t.Error("open with one hold left")
	}
	g.Release()
	if g.Closed() {
		t.Error("closed without a hold")
	}
}
