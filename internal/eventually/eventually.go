// Package eventually polls, in tests, for a state that no event announces. A test that can wait for an event does that.
package eventually

import (
	"errors"
	"testing"
	"time"
)

// patience bounds [True]. Only a failing test waits that long.
const patience = time.Minute

// pace is the time between two calls of a condition: short beside what tests wait for, long beside a look at a counter.
const pace = 5 * time.Millisecond

var errTimeout = errors.New("timeout: the condition is still false")

// True waits until cond is true and fails the test after a minute. what completes the sentence "timeout waiting for …".
func True(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	if Within(patience, cond) != nil {
		tb.Fatalf("timeout waiting for %s", what)
	}
}

// Within waits until cond is true. It returns an error if that takes longer than timeout.
func Within(timeout time.Duration, cond func() bool) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			return errTimeout
		case <-tick.C:
		}
	}
	return nil
}
