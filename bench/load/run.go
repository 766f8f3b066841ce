//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"
)

// drainTimeout is how long deliveries may be under way after the last message was sent. What has not arrived then is
// lost.
const drainTimeout = 10 * time.Second

// A CPUClock returns the CPU time that the server has used so far.
type CPUClock func() (time.Duration, error)

// A Result is what one run measured, between two moments in steady state.
type Result struct {
	Sent      int           // messages published, or sent to one client
	Delivered int           // deliveries
	Elapsed   time.Duration // between the two moments
	CPU       time.Duration // of the server, meanwhile
}

// PerSecond returns the deliveries per second.
func (r Result) PerSecond() float64 { return float64(r.Delivered) / r.Elapsed.Seconds() }

// CPUPerDelivery returns the server's CPU time for one delivery, in microseconds.
func (r Result) CPUPerDelivery() float64 { return r.CPU.Seconds() * 1e6 / float64(r.Delivered) }

// a meter takes the figures at the beginning and the end of what is measured.
type meter struct {
	clock CPUClock
	began time.Time
	cpu   time.Duration
	// counted so far, at the beginning
	sent, delivered int
}

func (m *meter) start(sent, delivered int) (err error) {
	m.sent, m.delivered = sent, delivered
	m.cpu, err = m.clock()
	m.began = time.Now()
	return err
}

func (m *meter) stop(sent, delivered int) (Result, error) {
	elapsed := time.Since(m.began)
	cpu, err := m.clock()
	r := Result{Sent: sent - m.sent, Delivered: delivered - m.delivered, Elapsed: elapsed, CPU: cpu - m.cpu}
	if err == nil && r.Delivered <= 0 {
		err = errors.New("nothing was delivered")
	}
	return r, err
}

// awaitOne goes on until a delivery has arrived since m was started. Where other work keeps the machine busy, none may have
// within a short time.
func (l *Loop) awaitOne(m *meter, delivered *int) error {
	err := l.run(time.Now().Add(l.patience), func() bool { return *delivered > m.delivered })
	return l.late(err, m.delivered+1, *delivered)
}

// ErrMissing says that deliveries are missing or too many: the run has no result.
var ErrMissing = errors.New("deliveries don't add up")

// verify compares what each receiver got with what it should have got.
func verify(receivers []*Client, before []int, want int) error {
	for i, c := range receivers {
		if got := c.received - before[i]; got != want {
			return fmt.Errorf("%w: client %d got %d of %d", ErrMissing, c.Index, got, want)
		}
	}
	return nil
}

func counts(clients []*Client) []int {
	n := make([]int, len(clients))
	for i, c := range clients {
		n[i] = c.received
	}
	return n
}

// late turns the end of a run's time into what it means: deliveries are missing.
func (l *Loop) late(err error, want, got int) error {
	if errors.Is(err, errLate) {
		return fmt.Errorf("%w: %d of %d arrived within %s after the last message", ErrMissing, got, want, l.patience)
	}
	return err
}
