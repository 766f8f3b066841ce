package transport

import "time"

// loopClock is a loop's time as of the beginning of its turn. Time in which the loop stood still does not count: the
// clock lags behind the server's by it.
type loopClock struct {
	now     uint32        // milliseconds since the server started, less skipped; wraps after 49 days
	seen    time.Duration // the server's clock at the last tick
	skipped time.Duration // the lag
}

// tick moves the clock on to t, the server's. The loop looks at the clock many times in a sweep interval, which is
// atMost. A longer step means that the process or the machine stood still, or that a turn was long: clients may have
// spoken or read meanwhile without being noticed, so that this time must not count against them.
func (k *loopClock) tick(t, atMost time.Duration) {
	k.skipped += max(t-k.seen-atMost, 0)
	k.seen = t
	k.now = uint32((t - k.skipped) / time.Millisecond)
}

// since returns the time since the clock showed t, up to 24 days.
func (k *loopClock) since(t uint32) time.Duration {
	return time.Duration(int32(k.now-t)) * time.Millisecond
}
