//go:build linux

package rolltest

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
)

// rollLoad is the load while instances are restarted.
func rollLoad() loadOptions {
	return loadOptions{
		clients:    figure.Choose(240, environ("ROLLTEST_CLIENTS", 6000)),
		processes:  figure.Choose(1, 3),
		rate:       figure.Choose(200.0, float64(environ("ROLLTEST_RATE", 2000))),
		globalRate: figure.Choose(0.5, 0.1),
	}
}

// drainTimeout and drainRate are the settings of the instances.
var (
	drainTimeout = figure.Choose(30*time.Second, 120*time.Second) // longer than the drain takes at that rate
	drainRate    = figure.Choose(100, environ("ROLLTEST_DRAIN_RATE", 100))
)

// maxRatio bounds the ratio of the 99th percentile of latencies during restarts to that before.
const maxRatio = 2

// TestRollingRestart restarts three instances one after the other; clients don't notice.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	roll(t, newRig(t, 3, 0, drainFlags()...))
}

// TestRollingRestartTLS does the same with clients over TLS.
func TestRollingRestartTLS(t *testing.T) {
	t.Parallel()
	if figure.Full() {
		t.Skip("the figures are those of TestRollingRestart")
	}
	roll(t, newTLSRig(t, 3, 0, drainFlags()...))
}

func drainFlags() []string {
	return []string{"--drain-timeout", drainTimeout.String(), "--drain-rate", strconv.Itoa(drainRate)}
}

// roll restarts the instances of r under load.
func roll(t *testing.T, r *rig) {
	t.Helper()
	plain := startPlainClients(r, 6)
	l := startLoad(r, rollLoad())
	figure.Printf(t, "connected: %v", r.spread())

	calm := r.usage()
	pass(figure.Choose(3*time.Second, time.Minute))
	r.usage().figures(t, calm)
	var steps []restarted
	for i := range r.hubs {
		steps = append(steps, r.restart(i))
	}
	pass(figure.Choose(time.Second, 10*time.Second))
	plain.check(steps)
	res := l.finish(history.Options{})
	res.figures(t)
	res.wantUnnoticed(t)
	res.restarts(t, steps)
	res.latencies(t, calm.at, steps)
}

// restarts prints the figures of the restarts, and checks the rate of moves against the drain rate.
func (r *result) restarts(t *testing.T, steps []restarted) {
	t.Helper()
	for i, s := range steps {
		dials := slices.DeleteFunc(slices.Clone(r.Dials), func(at int64) bool { return at < s.begin || at > s.ready })
		figure.Printf(t, "hub %d restarted: %d connections gone %v after SIGTERM, ready again after %v more, given clients after %v more; "+
			"%d connected again, at most %d in a second; %.2f s of processor time in the drain",
			i+1, s.before, since(s.begin, s.gone), since(s.gone, s.ready), since(s.ready, s.taken), len(dials), peak(dials), s.cpu.Seconds())
	}
	dials := r.dialsAfter(steps[0].begin)
	figure.Printf(t, "connections opened while instances restarted: %d, at most %d in any second (allowed: %d)", len(dials), peak(dials), drainRate)
	by := r.joinsAfter(steps[0].begin)
	for _, node := range slices.Sorted(maps.Keys(by)) {
		figure.Printf(t, "of them to %s: %d, at most %d in any second", node, len(by[node]), peak(by[node]))
	}
	// On a busy machine delayed clients connect all at once.
	if n, most := peak(dials), figure.Choose(drainRate*3/2, drainRate); n > most {
		t.Errorf("%d connections were opened in a second, want at most %d", n, most)
	}
}

// latencies compares the latencies before and during the restarts.
func (r *result) latencies(t *testing.T, from int64, steps []restarted) {
	t.Helper()
	first, last := steps[0], steps[len(steps)-1]
	steady, rolling := r.latency(from, first.begin), r.latency(first.begin, last.taken)
	ratio := float64(rolling.p99) / float64(max(steady.p99, time.Millisecond))
	figure.Printf(t, "from send to handler, steady: %v", steady)
	figure.Printf(t, "from send to handler, while instances restarted: %v (p99: %.2f times)", rolling, ratio)
	if figure.Full() && ratio > maxRatio {
		t.Errorf("p99 while instances restart is %.2f times that of before, want at most %d", ratio, maxRatio)
	}
}

// pass runs the load for d.
func pass(d time.Duration) { <-time.After(d) }

// environ returns a number from the environment.
func environ(key string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(key)); err == nil {
		return n
	}
	return def
}
