// Package turns tells how long the turns of a hub's loops took in the recent past.
package turns

import (
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/transport"
)

// counts are one loop's turns by how long they took.
type counts = [len(transport.TurnBuckets) + 1]uint64

// Window remembers the loops' turns at two moments, so that what it tells is about the recent past. The zero Window is
// ready for use, by any goroutine.
type Window struct {
	mu         sync.Mutex
	base, next []counts
	since      time.Time // of next
}

// span is how long the window is at least, while it is asked often.
const span = 10 * time.Second

// P99 returns how long 99 of 100 turns of the busiest loop took at most, in seconds: over the last 10 to 20 seconds where
// it was asked in these, else since it was asked last.
func (w *Window) P99(now time.Time, loops []transport.LoopStats) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.base == nil {
		w.base, w.next, w.since = make([]counts, len(loops)), make([]counts, len(loops)), now
	}
	most := 0.0
	current := make([]counts, len(loops))
	for i := range loops {
		current[i] = loops[i].Turns
		passed := current[i]
		for b := range passed {
			passed[b] -= w.base[i][b]
		}
		most = max(most, percentile(&passed, 0.99))
	}
	if now.Sub(w.since) >= span {
		w.base, w.next, w.since = w.next, current, now
	}
	return most
}

// percentile reads a quantile from a histogram, taking the values within a bucket to be spread evenly. What is beyond the
// last bound counts as the last bound.
func percentile(c *counts, quantile float64) float64 {
	total := uint64(0)
	for _, n := range c {
		total += n
	}
	rank := quantile * float64(total)
	below, passed := 0.0, uint64(0)
	for i, bound := range transport.TurnBuckets {
		if n := c[i]; n > 0 && float64(passed+n) >= rank {
			return below + (bound-below)*(rank-float64(passed))/float64(n)
		}
		passed += c[i]
		below = bound
	}
	if total == 0 {
		return 0
	}
	return below
}
