package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// stalls is a clock for one goroutine that is suspended at random.
type stalls struct {
	now   time.Time
	rng   *rand.Rand
	often float64       // probability of a stall at each reading
	most  time.Duration // longest stall
}

// tick is the minimum time that reading the clock takes.
func (c *stalls) tick() time.Time {
	c.now = c.now.Add(time.Microsecond)
	c.stall()
	return c.now
}

func (c *stalls) stall() {
	if c.rng.Float64() < c.often {
		c.now = c.now.Add(time.Duration(c.rng.Int64N(int64(c.most))))
	}
}

func (c *stalls) sleep(_ context.Context, d time.Duration) bool {
	c.now = c.now.Add(d)
	c.stall()
	return true
}

// most returns the greatest number of times, which are sorted, within any window of the given length.
func most(times []time.Time, window time.Duration) (n int) {
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= window {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

// However long and wherever the goroutine stalls, real starts never exceed the rate.
func TestPacerIsNeverPassed(t *testing.T) {
	t.Parallel()
	for i, tc := range []struct {
		rate  float64
		often float64
		most  time.Duration
	}{
		{600, 0, 0}, {600, 0.01, 2 * time.Second}, {600, 0.2, 20 * time.Millisecond}, {600, 0.001, 5 * time.Second},
		{1, 0.2, 3 * time.Second}, {2.5, 0.1, time.Second}, {0.5, 0.1, time.Second}, {25, 0.3, 300 * time.Millisecond},
		{10_000, 0.001, time.Second},
	} {
		t.Run(fmt.Sprintf("%v/s, %v of %v", tc.rate, tc.often, tc.most), func(t *testing.T) {
			t.Parallel()
			c := &stalls{now: time.Unix(1, 0), rng: rand.New(rand.NewPCG(uint64(i), 1)), often: tc.often, most: tc.most}
			p := newPacer(tc.rate)
			p.now, p.sleep = c.tick, c.sleep
			began := c.now
			var started []time.Time
			for range max(int(5*tc.rate), 20) {
				err := p.do(t.Context(), func() bool {
					c.stall()
					started = append(started, c.now)
					c.stall()
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			window, want := time.Second, int(tc.rate)
			if tc.rate < 1 {
				window, want = time.Duration(float64(time.Second)/tc.rate), 1
			}
			if n := most(started, window); n > want {
				t.Errorf("%d started within %v, want at most %d", n, window, want)
			}
			total, _, peak := p.started.counts(c.now)
			if total != uint64(len(started)) || peak > max(want, 1) {
				t.Errorf("it counts %d, at most %d within a second", total, peak)
			}
			// Nor is it slower than needed.
			if took := c.now.Sub(began); tc.often == 0 && took > 5100*time.Millisecond {
				t.Errorf("%d took %v", len(started), took)
			}
		})
	}
}

// After a pause a burst may start at once, but not a whole second's starts.
func TestPacerSpreads(t *testing.T) {
	t.Parallel()
	c := &stalls{now: time.Unix(1, 0), rng: rand.New(rand.NewPCG(1, 1))}
	p := newPacer(600)
	p.now, p.sleep = c.tick, c.sleep
	for range 3 {
		var started []time.Time
		for range 300 {
			if err := p.do(t.Context(), func() bool { started = append(started, c.now); return true }); err != nil {
				t.Fatal(err)
			}
		}
		if n := most(started, 20*time.Millisecond); n < 30 || n > 30+13 {
			t.Errorf("%d started within 20 ms, want 30 and 12 more", n)
		}
		c.now = c.now.Add(time.Hour)
	}
}

// Callers are served in order; a caller that gives up or starts nothing costs the others no time.
func TestPacerOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10) // without a burst
		began := time.Now()
		var order []int
		given, giveUp := context.WithCancel(t.Context())
		done := make(chan error)
		for i := range 30 {
			ctx := t.Context()
			if i%3 == 1 {
				ctx = given
			}
			go func() {
				err := p.do(ctx, func() bool {
					order = append(order, i)
					return i%3 != 2
				})
				done <- err
			}()
			synctest.Wait() // it waits for its turn
		}
		giveUp()
		gaveUp := 0
		for range 30 {
			if err := <-done; errors.Is(err, context.Canceled) {
				gaveUp++
			}
		}
		want := []int{0}
		for i := 2; i < 30; i++ {
			if i%3 != 1 {
				want = append(want, i)
			}
		}
		if !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
		if took := time.Since(began); took != time.Second || gaveUp != 10 {
			t.Errorf("10 starts, and one that was none, took %v, want 1s; %d gave up, want 10", took, gaveUp)
		}
	})
}
