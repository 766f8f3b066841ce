//go:build linux

package rolltest

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/history"
)

// TestRollingRestart restarts three instances one after the other.
func TestRollingRestart(t *testing.T) {
	needNamespaces(t)
	timeout := choose(4*time.Second, 30*time.Second)
	r := newRig(t, 3, 0, "--drain-timeout", timeout.String())
	l := startLoad(r, loadOptions{
		clients: choose(300, 6000), processes: choose(1, 3), rate: choose(200.0, 2000.0), globalRate: choose(0.5, 0.1),
	})
	t.Logf("connected: %v", r.spread())
	pass(choose(4*time.Second, 20*time.Second))
	roll := history.Now()
	for i := range r.hubs {
		s := r.restart(i)
		t.Logf("restarted hub %d: drained %v, ready %v, taken %v; before %d; %v", i+1, since(s.begin, s.gone), since(s.gone, s.ready), since(s.ready, s.taken), s.before, r.spread())
	}
	rolled := history.Now()
	pass(choose(2*time.Second, 10*time.Second))
	res := l.finish(history.Options{InFlight: 2 * time.Second})
	if res.Err() != nil {
		t.Error("the protocol's guarantees do not hold")
	}
	t.Logf("steady %v", res.latency(l.begin, roll))
	t.Logf("rolling %v", res.latency(roll, rolled))
	t.Logf("dials peak %d; spent %v in %v", peak(res.dialsAfter(roll)), res.spent, res.took)
}

// pass lets the load run.
func pass(d time.Duration) { <-time.After(d) }
