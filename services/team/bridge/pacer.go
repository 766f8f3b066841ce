package bridge

import (
	"context"
	"sync"
	"time"
)

// pacer lets things start at a rate that is never passed: in any window of one second, wherever it begins, at most as
// many as the rate allows. Those that wait are served first come, first served.
//
// A limiter that computes when each of many goroutines may go on does not keep that: after a second without a processor
// all those whose time has come start at once. Here one goroutine at a time waits, looks at the clock, starts, and looks
// at the clock again; the second look is what the next ones are measured by.
type pacer struct {
	interval time.Duration // between starts in the long run
	slack    time.Duration // how far starts may run ahead of that: a few may come at once
	window   time.Duration // in which there are at most len(last)
	now      func() time.Time
	sleep    func(ctx context.Context, d time.Duration) bool // false if ctx ended first

	turn chan struct{} // holds a token while nobody has the turn; who waits for it is served in order

	// Owned by whoever has the turn.
	last []time.Time // when the last ones had started: a ring
	next int         // index of the oldest in last
	due  time.Time   // when the next is due if starts are spread evenly

	started meter
}

// burst is which part of a second's starts may come at once.
const burst = 20

// newPacer returns a pacer. Of a rate that is no whole number the rest is kept only below 1: 0.5 is one in two seconds,
// and 2.5 is 2 in any second.
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

// do waits for the caller's turn and calls start, which reports whether it started anything: if not, the next one need
// not wait for that. Nobody else starts meanwhile, so start must be short. The error is that of ctx; then start was not
// called.
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
		p.due = now // what was not used is not saved up
	}
	p.due = p.due.Add(p.interval)
	p.started.add(now)
	return nil
}

// wait returns for how long nothing may start.
func (p *pacer) wait(now time.Time) time.Duration {
	wait := p.due.Add(-p.slack).Sub(now)
	if oldest := p.last[p.next]; !oldest.IsZero() {
		wait = max(wait, oldest.Add(p.window).Sub(now))
	}
	return wait
}

// meter counts starts, and how many there were within a second. It does so by itself, whatever the pacer thinks.
type meter struct {
	mu    sync.Mutex
	total uint64
	peak  int         // the most within any second
	late  []time.Time // those of the last second, the oldest first
}

// add notes one more, no earlier than those before.
func (m *meter) add(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(at)
	m.late = append(m.late, at)
	m.total++
	m.peak = max(m.peak, len(m.late))
}

// forget removes what is a second old or older.
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

// read returns how many there were in all, in the last second, and the most within any second.
func (m *meter) read(now time.Time) (total uint64, last, peak int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	return m.total, len(m.late), m.peak
}
