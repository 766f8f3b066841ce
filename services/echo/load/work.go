package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/services/echo/client"
)

// Report is the progress of a share. Only the last one has more than Counts.
type Report struct {
	Counts
	Done   bool           `json:"done,omitempty"`
	Waits  []uint32       `json:"waits,omitempty"`  // times from a message to its ok, in µs
	Steps  []int32        `json:"steps,omitempty"`  // change of the number of open connections in each Step since Start
	Errors map[string]int `json:"errors,omitempty"` // clients without an ok, by cause
}

// Step is the period of one of Report.Steps.
const Step = 10 * time.Millisecond

// Counts holds the counts of one share, or of all.
type Counts struct {
	Started     int64 `json:"started"`     // clients
	OK          int64 `json:"ok"`          // clients that got their ok
	Failed      int64 `json:"failed"`      // clients that gave up
	Open        int64 `json:"open"`        // connections
	Connections int64 `json:"connections"` // opened so far
	Sent        int64 `json:"sent"`        // messages, including those of reconnected clients
	Given       int64 `json:"given"`       // messages that were given to clients
	Answered    int64 `json:"answered"`    // oks sent by clients
	Killed      int64 `json:"killed"`      // connections reset by clients
}

// reportInterval is how often a share reports.
const reportInterval = 200 * time.Millisecond

// Work carries out the plan's share. It calls report a few times a second and, with the complete figures, before it
// returns; calls do not overlap. When ctx ends, the clients give up.
func Work(ctx context.Context, p Plan, report func(Report)) {
	w := &worker{plan: p, errors: make(map[string]int)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			report(Report{Counts: w.counts()})
		case <-done:
			report(Report{Counts: w.counts(), Done: true, Waits: w.waits, Steps: w.steps, Errors: w.errors})
			return
		}
	}
}

// worker carries out a share.
type worker struct {
	plan Plan

	started, ok, failed, open, connections, sent, given, answered, killed atomic.Int64

	mu     sync.Mutex // guards the fields below
	waits  []uint32
	steps  []int32
	errors map[string]int
}

func (w *worker) counts() Counts {
	return Counts{
		Started: w.started.Load(), OK: w.ok.Load(), Failed: w.failed.Load(), Open: w.open.Load(), Connections: w.connections.Load(),
		Sent: w.sent.Load(), Given: w.given.Load(), Answered: w.answered.Load(), Killed: w.killed.Load(),
	}
}

// run starts each client at its moment and waits for all.
func (w *worker) run(ctx context.Context) {
	p := &w.plan
	ctx, cancel := context.WithDeadlineCause(ctx, p.Start.Add(p.Over+p.Within), errOver)
	defer cancel()
	from, to := p.numbers()
	random := rand.New(rand.NewPCG(p.Seed, uint64(p.Share)))
	moments := make([]time.Duration, to-from)
	for i := range moments {
		moments[i] = time.Duration(random.Int64N(int64(p.Over) + 1))
	}
	slices.Sort(moments)
	var all sync.WaitGroup
	defer all.Wait()
	for i, at := range moments {
		select {
		case <-time.After(time.Until(p.Start.Add(at))):
		case <-ctx.Done(): // the remaining clients fail at once
		}
		var resetAt client.Event
		if random.Float64() < p.Kill {
			resetAt = [2]client.Event{client.Sent, client.Given}[random.IntN(2)]
		}
		w.started.Add(1)
		all.Go(func() { w.client(ctx, from+i, resetAt) })
	}
}

// errOver is the cause of clients that gave up at the end of the run.
var errOver = errors.New("no ok by the end of the run")

// maxErrors bounds the distinct errors in a report.
const maxErrors = 20

// client runs one client. resetAt, if not zero, is the event at which it resets its first connection.
func (w *worker) client(ctx context.Context, n int, resetAt client.Event) {
	r, err := client.Send(ctx, client.Options{
		URL: w.plan.URL, Text: w.plan.text(n), Timeout: w.plan.Timeout, Delay: w.plan.Delay.pick, Dial: dialer(w.plan.URL, n),
		On: func(e client.Event) bool {
			w.note(e)
			if e != resetAt {
				return false
			}
			resetAt = 0
			w.killed.Add(1)
			return true
		},
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed.Add(1)
		text := err.Error()
		if _, ok := w.errors[text]; !ok && len(w.errors) >= maxErrors {
			text = "other errors"
		}
		w.errors[text]++
		return
	}
	w.ok.Add(1)
	w.waits = append(w.waits, uint32(min(r.Wait.Microseconds(), 1<<32-1)))
}

// note counts an event.
func (w *worker) note(e client.Event) {
	switch e {
	case client.Opened:
		w.connections.Add(1)
		w.step(1)
	case client.Sent:
		w.sent.Add(1)
	case client.Given:
		w.given.Add(1)
	case client.Answered:
		w.answered.Add(1)
	case client.Closed:
		w.step(-1)
	}
}

// step notes that the number of open connections changed.
func (w *worker) step(by int32) {
	w.open.Add(int64(by))
	at := int(max(time.Since(w.plan.Start)/Step, 0))
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.steps) <= at {
		w.steps = append(w.steps, 0)
	}
	w.steps[at] += by
}
