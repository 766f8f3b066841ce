package transport

import (
	"sync"
	"testing"
)

// TestForwardOrder forwards mail of both kinds, in turns of different lengths: it arrives in the order of the calls.
func TestForwardOrder(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 2
	loops := startServer(t, o).Loops()
	const turns, each = 200, 50
	next := 0 // of loop 1
	var all sync.WaitGroup
	all.Add(turns * each)
	for turn := range turns {
		loops[0].Post(job(func(l *Loop) {
			for i := range each {
				n := turn*each + i
				forward := l.Forward
				if i%(turn%7+2) == 0 {
					forward = l.ForwardUrgent
				}
				forward(loops[1], job(func(*Loop) {
					if next != n {
						t.Errorf("mail %d arrived at place %d", n, next)
					}
					next++
					all.Done()
				}))
			}
		}))
	}
	all.Wait()
}

// TestForwardCollects: what is not urgent reaches the other loop together, behind it even what is; an urgent mail with
// nothing before it leaves at once.
func TestForwardCollects(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 2
	loops := startServer(t, o).Loops()
	arrived := make(chan string, 8)
	mail := func(name string) Mail { return job(func(*Loop) { arrived <- name }) }
	urgent := make(chan struct{})
	loops[0].Post(job(func(l *Loop) {
		l.ForwardUrgent(loops[1], mail("urgent"))
		if name := <-arrived; name != "urgent" { // within the turn
			t.Errorf("got %s", name)
		}
		l.Forward(loops[1], mail("collected"))
		l.ForwardUrgent(loops[1], mail("behind"))
		l.Forward(loops[0], mail("own"))
		if n := loops[1].inbox.backlog(); n != 0 {
			t.Errorf("%d bytes of mail left before the turn was over", n)
		}
		close(urgent)
	}))
	<-urgent
	got := map[string]bool{}
	for range 3 {
		got[<-arrived] = true
	}
	if !got["collected"] || !got["behind"] || !got["own"] {
		t.Errorf("arrived: %v", got)
	}
}

// TestForwardIsBounded: a turn that forwards a great deal doesn't keep it all until its end.
func TestForwardIsBounded(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 2
	loops := startServer(t, o).Loops()
	done := make(chan struct{})
	loops[0].Post(job(func(l *Loop) {
		defer close(done)
		arrived := make(chan struct{})
		l.Forward(loops[1], parcel{maxOutbox, func() { close(arrived) }})
		<-arrived
	}))
	<-done
}

// TestPoolsAreTrimmed: memory that a fan-out to many needed is given up when it is not needed any more.
func TestPoolsAreTrimmed(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	for range 5000 {
		l.out.freeBacklogs = append(l.out.freeBacklogs, &backlog{})
	}
	l.trimPools() // what was used until now
	for range 20 {
		l.trimPools()
	}
	if n := len(l.out.freeBacklogs); n > 1 {
		t.Errorf("%d are kept though none was needed", n)
	}
}
