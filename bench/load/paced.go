//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// maxLatency is the upper end of the histogram; greater latencies count as maxLatency.
const maxLatency = time.Minute

// pacedInFlight bounds the messages in flight of a paced run. A server that falls so far behind can't keep the rate.
const pacedInFlight = 1 << 14

// A pace is a fan-out at a fixed rate.
type pace struct {
	*fanout
	start    time.Time
	interval time.Duration
	planned  int // messages of the whole run

	// latencies is nil if none are recorded.
	latencies *hdrhistogram.Histogram
}

// Pace publishes at a fixed rate for the given time and waits until everything has arrived. The CPU time is that of
// the whole of it, idle moments included; two messages before it warm the server up.
//
// If latencies is not nil, every delivery's latency in nanoseconds is recorded there. It counts from the moment at
// which the message was due, so that a message that could not be published in time isn't spared the wait.
func (l *Loop) Pace(perSecond float64, d time.Duration, clock CPUClock, latencies *hdrhistogram.Histogram) (Result, error) {
	f, err := l.newFanout(pacedInFlight)
	if err != nil {
		return Result{}, err
	}
	defer f.end()
	for range 2 {
		if err := errors.Join(f.publish(1), f.drain()); err != nil {
			return Result{}, err
		}
	}
	m := meter{clock: clock}
	if err := m.start(f.sent, f.delivered); err != nil {
		return Result{}, err
	}
	p := &pace{
		fanout: f, interval: time.Duration(float64(time.Second) / perSecond),
		planned: f.sent + max(1, int(perSecond*d.Seconds())), latencies: latencies,
	}
	if err := p.publishAll(); err != nil {
		return Result{}, err
	}
	if err := f.drain(); err != nil {
		return Result{}, err
	}
	return m.stop(f.sent, f.delivered)
}

// NewHistogram returns a histogram for Pace, precise to three digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1000, maxLatency.Nanoseconds(), 3)
}

func (p *pace) publishAll() error {
	p.start = time.Now().Add(p.interval).Add(-time.Duration(p.sent) * p.interval)
	p.loop.due = p.publishDue
	if p.latencies != nil {
		p.loop.delivered = p.measured
		p.loop.idle = p.publishDue
	}
	if err := p.wake(); err != nil {
		return err
	}
	end := p.dueAt(p.planned)
	err := p.loop.run(end.Add(p.loop.patience), func() bool { return p.sent >= p.planned })
	return p.loop.late(err, p.planned*len(p.subscribers), p.delivered)
}

func (p *pace) dueAt(message int) time.Time { return p.start.Add(time.Duration(message) * p.interval) }

// publishDue publishes what is due, and sets the timer for what comes next.
func (p *pace) publishDue() error {
	if p.sent >= p.planned || time.Now().Before(p.dueAt(p.sent)) {
		return nil
	}
	for p.sent < p.planned && !time.Now().Before(p.dueAt(p.sent)) {
		if err := p.publish(1); err != nil {
			return err
		}
	}
	return p.wake()
}

func (p *pace) wake() error {
	wait := max(time.Until(p.dueAt(p.sent)), time.Nanosecond)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}
	if err := unix.TimerfdSettime(p.loop.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("setting the timer: %w", err)
	}
	return nil
}

// measured counts deliveries and records their latencies.
func (p *pace) measured(c *Client, n int) error {
	if err := p.arrived(c, n); err != nil {
		return err
	}
	now := time.Now()
	last := c.received - p.base
	for k := last - n; k < last; k++ {
		latency := min(max(now.Sub(p.dueAt(k)), 0), maxLatency)
		if err := p.latencies.RecordValue(latency.Nanoseconds()); err != nil {
			return fmt.Errorf("recording a latency: %w", err)
		}
	}
	return nil
}
