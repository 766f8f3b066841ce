package pace

import (
	"slices"
	"testing"
	"time"
)

// mostInASecond returns how many of the times lie within one second at most.
func mostInASecond(at []time.Duration) int {
	slices.Sort(at)
	most, first := 0, 0
	for i := range at {
		for at[i]-at[first] >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestInterval(t *testing.T) {
	t.Parallel()
	for rate := 1; rate < 3000; rate += 7 {
		n := 3*rate + 1
		interval, enough := Interval(n, time.Minute, rate)
		if !enough {
			t.Fatalf("a minute is not enough for %d clients at %d in a second", n, rate)
		}
		slots := make([]time.Duration, n)
		for i := range slots {
			slots[i] = time.Duration(i) * interval
		}
		if most := mostInASecond(slots); most > rate || float64(most) < float64(rate)*(1-spare)-1 {
			t.Errorf("rate %d: %d slots in a second", rate, most)
		}
	}
	for _, tc := range []struct {
		n      int
		over   time.Duration
		rate   int
		want   time.Duration
		enough bool
	}{
		{0, time.Second, 10, 0, true},
		{4, time.Second, 0, time.Second / 4, true},
		{4, 0, 0, 0, true},
		{100, time.Second, 10, time.Second / 100, false},
		{100, 0, 10, 0, false},
		{8, time.Second, 10, time.Second / 8, true},
		{10, time.Second, 10, time.Second / 10, false}, // not with a fifth to spare
	} {
		got, enough := Interval(tc.n, tc.over, tc.rate)
		if enough != tc.enough || max(got-tc.want, tc.want-got) > 10*time.Nanosecond {
			t.Errorf("%+v: %v, %v", tc, got, enough)
		}
	}
}

// TestWhole: a drain that is as long as it has to be has room for its slots, and for clients to move behind them.
func TestWhole(t *testing.T) {
	t.Parallel()
	for slots, want := range map[time.Duration]time.Duration{
		9 * time.Second: 12 * time.Second, 15 * time.Second: 20 * time.Second, time.Minute: 65 * time.Second,
	} {
		if got := Whole(slots); got != want || Window(got) != slots {
			t.Errorf("slots for %v need a drain of %v, want %v", slots, got, want)
		}
	}
}
