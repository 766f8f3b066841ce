package hub

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// TestRequestInstanceLost: an instance that goes settles its receivers' parts, and what its clients asked for is cancelled.
func TestRequestInstanceLost(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), nil)
	lost := bus.Broker()
	_, otherURL := startHub(t, lost, func(o *Options) { o.NodeName = "host-2" })
	a := identify(t, url, "askers", m{"features": []string{"requests"}})
	b := identify(t, otherURL, "workers", m{"features": []string{"requests"}})
	a.send(expectation("g", inGroup("workers"), within(20000)))
	a.send(expectation("d", directTo(b), within(20000)))
	b.send(expectation("back", directTo(a), within(20000)))
	for f := range 2 {
		b.wantRequest([]string{"g", "d"}[f])
	}
	a.wantRequest("back")
	if err := lost.Close(t.Context()); err != nil { // without a word to its clients
		t.Fatal(err)
	}
	want := settlement{Receivers: 1, Missing: []missing{{Node: "host-2", Reason: "INSTANCE_LOST", Count: 1}}}
	seen := map[string]int{}
	for range 3 {
		f := a.read()
		if f.Op == 15 {
			seen[f.ID+f.Sender]++
			continue
		}
		got, err := settlementOf(f)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", f.ID, err, diff)
		}
		seen[f.ID]++
	}
	if diff := cmp.Diff(map[string]int{"g": 1, "d": 1, "back" + b.id: 1}, seen); diff != "" {
		t.Error(diff)
	}
}

// TestReportsOfLoops: whichever loop is the last to report, it reports the receivers of all.
func TestReportsOfLoops(t *testing.T) {
	t.Parallel()
	const rounds, loops = 50_000, 2
	all := make([]reporting, rounds)
	for i := range all {
		all[i].loops.Store(loops)
	}
	var ready, reported, wrong atomic.Int32
	var running sync.WaitGroup
	for range loops {
		running.Go(func() {
			for i := range all {
				for ready.Add(1); ready.Load() < int32(loops*(i+1)); { // at the same time
					runtime.Gosched()
				}
				if total, last := all[i].add(1); last {
					if reported.Add(1); total != loops {
						wrong.Add(1)
					}
				}
			}
		})
	}
	running.Wait()
	if reported.Load() != rounds || wrong.Load() > 0 {
		t.Errorf("%d of %d reported, %d of them too few", reported.Load(), rounds, wrong.Load())
	}
}
