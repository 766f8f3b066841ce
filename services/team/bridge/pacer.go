package bridge

import (
	"context"
	"sync"
	"time"
)

// pacer limits the rate of starts: in any window of one second there are at most as many as the rate allows. Callers
// are served in order of arrival.
//
// A limiter that computes a start time for each goroutine does not keep that bound: after a stall all goroutines whose
// time has come start at once. Here one goroutine at a time waits, starts, and then reads the clock; the next start is
// measured from that reading.
type pacer struct {
	interval time.Duration // between starts in the long run
	slack    time.Duration // how far starts may run ahead of that: the burst
	window   time.Duration // in any window there are at most len(last) starts
	now      func() time.Time
	sleep    func(ctx context.Context, d time.Duration) bool // returns false if ctx ended first

	turn chan struct{} // holds a token while no goroutine has the turn; receivers are served in order

	// Owned by the goroutine that has the turn.
	last []time.Time // ring of the times of the last starts
	next int         // index of the oldest in last
	due  time.Time   // time of the next start if they are spread evenly

	started meter
}

// burst is the divisor for the burst: a twentieth of a second's starts may come at once.
const burst = 20

// newPacer returns a pacer. Above 1 the fraction of the rate is ignored: 0.5 means one in two seconds, 2.5 means 2 per
// second.
func newPacer(perSecond float64) *pacer {
	p := &pacer{
		interval: time.Duration(float64(time.Second) / perSecond), window: time.Second, now: time.Now, sleep: sleep,
		turn: make(chan struct{}, 1), last: make([]time.Time, max(int(perSecond), 1)),
	}
	p.window = max(p.window, p.interval)
	p.slack = p.interval * time.Duration(max(len(p.last)/burst, 1)-1)
	p.turn <- struct{}{}
	return p
}

// do waits for the caller's turn and calls start, which reports whether it started anything; if not, the turn does not
// count. Other callers wait for start, so it must be short. The error is that of ctx; start was not called then.
func (p *pacer) do(ctx context.Context, start func() bool) error {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	for {
		wait := p.wait(p.now())
		if wait <= 0 {
			break
		}
		if !p.sleep(ctx, wait) {
			return ctx.Err()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !start() {
		return nil
	}
	now := p.now()
	p.last[p.next] = now
	p.next = (p.next + 1) % len(p.last)
	if p.due.Before(now) {
		p.due = now // unused time is not saved
	}
	p.due = p.due.Add(p.interval)
	p.started.add(now)
	return nil
}

// wait returns the time until the next start is allowed.
func (p *pacer) wait(now time.Time) time.Duration {
	wait := p.due.Add(-p.slack).Sub(now)
	if oldest := p.last[p.next]; !oldest.IsZero() {
		wait = max(wait, oldest.Add(p.window).Sub(now))
	}
	return wait
}

// meter counts starts, in all and within a second, independently of the pacer.
type meter struct {
	mu    sync.Mutex
	total uint64
	peak  int         // the most within any second
	late  []time.Time // starts of the last second, the oldest first
}

// add counts a start, which must not be earlier than those before.
func (m *meter) add(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(at)
	m.late = append(m.late, at)
	m.total++
	m.peak = max(m.peak, len(m.late))
}

// forget removes starts that are at least a second old.
func (m *meter) forget(now time.Time) {
	n := 0
	for n < len(m.late) && now.Sub(m.late[n]) >= time.Second {
		n++
	}
	m.late = m.late[n:]
	if len(m.late) == 0 {
		m.late = nil
	}
}

// counts returns the number of starts in all and in the last second, and the peak within any second.
func (m *meter) counts(now time.Time) (total uint64, last, peak int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	return m.total, len(m.late), m.peak
}
