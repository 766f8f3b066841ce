package hub

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/transport"
)

// leaders is a service type whose loops claim one group, and what they were told.
type leaders struct {
	mu     sync.Mutex
	holds  []*Hold
	events []string // "<loop> <term>", "<loop> lost"
	loops  []*ServiceLoop
}

func (*leaders) Name() string       { return "leaders" }
func (*leaders) Serves([]byte) bool { return false }

func (l *leaders) Attach(on *ServiceLoop) LoopService {
	note := func(event any) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events = append(l.events, fmt.Sprint(on.Index(), " ", event))
	}
	l.loops = append(l.loops, on)
	l.holds = append(l.holds, on.Hold("$leader", func(term uint64) { note(term) }, func() { note("lost") }))
	return leadersLoop{}
}

// leader returns the loop whose hold has time left, -1 for none, and the number of those.
func (l *leaders) leader() (loop, n int) {
	loop = -1
	for i, h := range l.holds {
		if h.Left() > 0 {
			loop = i
			n++
		}
	}
	return loop, n
}

type leadersLoop struct{}

func (leadersLoop) Open(*Peer, *transport.Request) (PeerHandler, *transport.Rejection) {
	return nil, &transport.Rejection{Cause: "test", Status: 404, Line: "none"}
}

// TestServiceTypesHold has two instances of two loops claim one group, which moves when its holder gives it up and when
// its instance closes.
func TestServiceTypesHold(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	var all [2]*leaders
	var hubs [2]*Hub
	for i := range all {
		all[i] = &leaders{}
		hubs[i], _ = startHub(t, bus.Broker(), func(o *Options) { o.Services = []ServiceType{all[i]} })
	}
	leader := func() (at, loop int) {
		t.Helper()
		eventually.True(t, "one leader", func() bool {
			a, n := all[0].leader()
			b, k := all[1].leader()
			at, loop = 0, a
			if k > 0 {
				at, loop = 1, b
			}
			return n+k == 1
		})
		return at, loop
	}
	at, loop := leader()
	h := all[at].holds[loop]
	terms := make(chan uint64, 1)
	ask := func() uint64 {
		all[at].loops[loop].Post(func() { terms <- h.Term() })
		return <-terms
	}
	var first uint64
	eventually.True(t, "a term", func() bool { first = ask(); return first > 0 })
	released := make(chan struct{})
	all[at].loops[loop].Post(func() { h.Release(); close(released) })
	<-released
	if h.Left() > 0 || ask() != 0 {
		t.Error("what was released has time left")
	}
	at, loop = leader()
	h = all[at].holds[loop]
	var second uint64
	eventually.True(t, "a term", func() bool { second = ask(); return second > 0 })
	if second <= first {
		t.Errorf("term %d after %d", second, first)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := hubs[at].Close(ctx); err != nil {
		t.Fatal(err)
	}
	closed := at
	if h.Left() > 0 {
		t.Error("a closed instance has time left")
	}
	if at, _ = leader(); at == closed {
		t.Error("a closed instance leads")
	}
}
