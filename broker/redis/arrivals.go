package redis

import (
	"sync"

	"github.com/mastersocket/mastersocket/broker/internal/deque"
)

// arrivals holds back the completions of appends until the messages have come back to this instance and were delivered, or
// until that takes too long. It calls them in order, one at a time, without a lock.
type arrivals struct {
	now  func() int64
	here func(group string, sent int64) bool // whether what was sent then comes back to this instance

	mu      sync.Mutex
	groups  map[string]*arrival // those with completions that wait, or that are delivered here
	ready   deque.Deque[telling]
	telling bool // a goroutine takes from ready
}

// arrival is one group.
type arrival struct {
	reached uint64 // the number that was delivered last
	waiting deque.Deque[*batchOutcome]
	told    int // messages of the first of waiting that are told, or ready
}

// telling is messages that are to be told their numbers.
type telling struct {
	o        *batchOutcome
	from, to int
}

func newArrivals(now func() int64, here func(string, int64) bool) *arrivals {
	return &arrivals{now: now, here: here, groups: make(map[string]*arrival)}
}

// await tells o's messages their numbers once they have been delivered here; at once where they don't come here.
func (a *arrivals) await(o *batchOutcome) {
	here := a.here(o.group, o.sent)
	a.change(func() {
		g := a.of(o.group)
		g.waiting.PushBack(o)
		if here {
			a.take(g)
		} else {
			a.takeAll(g)
		}
	})
}

// reach notes that a message was delivered, or that a gap takes the place of those up to it.
func (a *arrivals) reach(group string, number uint64) {
	a.change(func() {
		g := a.of(group)
		g.reached = number
		a.take(g)
	})
}

// forget tells what waits for a group that is not delivered here any more.
func (a *arrivals) forget(group string) {
	a.change(func() {
		if g := a.groups[group]; g != nil {
			a.takeAll(g)
			delete(a.groups, group)
		}
	})
}

// expire tells what has waited for too long.
func (a *arrivals) expire() { a.giveUp(a.now() - appendTimeout) }

// close tells all that waits.
func (a *arrivals) close() { a.giveUp(1<<62 - 1) }

func (a *arrivals) giveUp(oldest int64) {
	a.change(func() {
		for _, g := range a.groups {
			for g.waiting.Len() > 0 && g.waiting.At(0).sent < oldest {
				a.takeFirst(g)
			}
		}
	})
}

// change calls f with mu held, and then tells what is ready.
func (a *arrivals) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	if a.telling {
		return
	}
	a.telling = true
	for {
		t, ok := a.ready.PopFront()
		if !ok {
			break
		}
		a.mu.Unlock()
		for i := t.from; i < t.to; i++ {
			t.o.tell(i)
		}
		a.mu.Lock()
	}
	a.telling = false
}

// of finds or makes a group. It needs mu.
func (a *arrivals) of(group string) *arrival {
	g := a.groups[group]
	if g == nil {
		g = &arrival{}
		a.groups[group] = g
	}
	return g
}

// take makes ready what was delivered. It needs mu.
func (a *arrivals) take(g *arrival) {
	for g.waiting.Len() > 0 {
		o := g.waiting.At(0)
		if !o.duplicate && g.reached < o.first+uint64(len(o.done))-1 {
			// reached may have fallen with a new epoch.
			if to := int(int64(g.reached-o.first) + 1); to > g.told {
				a.ready.PushBack(telling{o, g.told, to})
				g.told = to
			}
			return
		}
		a.takeFirst(g)
	}
}

// takeFirst makes the first of what waits ready. It needs mu.
func (a *arrivals) takeFirst(g *arrival) {
	o, _ := g.waiting.PopFront()
	a.ready.PushBack(telling{o, g.told, len(o.done)})
	g.told = 0
}

func (a *arrivals) takeAll(g *arrival) {
	for g.waiting.Len() > 0 {
		a.takeFirst(g)
	}
}
