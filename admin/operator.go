package admin

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/hub"
)

// Reloader reads the configuration again. Its methods may be called from any goroutine.
type Reloader interface {
	// Reload takes over what can be taken over, or nothing at all. source says who asked, for the log. The error is an
	// *InvalidConfig, or says why it could not be tried.
	Reload(ctx context.Context, source string) (ReloadResult, error)
	// Reloads returns what came of all reloads so far.
	Reloads() ReloadStats
}

// ReloadStats counts reloads.
type ReloadStats struct {
	Succeeded   uint64
	Failed      uint64
	LastSuccess time.Time // the start counts
	Failing     bool      // the last one failed: the next start would fail too
}

// InvalidConfig is everything that is wrong with a configuration.
type InvalidConfig struct{ Problems []ConfigProblem }

// ConfigProblem is one thing wrong with a configuration.
type ConfigProblem struct {
	Where string // a setting, or a file and line
	What  string // what is wrong, without secrets
}

// Error has a line for each problem.
func (e *InvalidConfig) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Where + ": " + p.What
	}
	return strings.Join(lines, "\n")
}

// TeamLister lists the teams of the service type team for the whole cluster.
type TeamLister interface {
	// Teams returns the page behind a cursor, empty for the first, of at most limit teams. It waits for other instances
	// until ctx ends. The error is hub.ErrCursor for a cursor that is none.
	Teams(ctx context.Context, cursor string, limit int) (TeamPage, error)
}

// TeamPage is a part of the teams.
type TeamPage struct {
	Teams   []Team
	Next    string // cursor of the page that follows; empty for none
	Missing []string
}

// drainer takes the hub out of service once somebody asks, and ends with the server.
type drainer struct {
	hub  *hub.Hub
	over func() time.Duration // where nothing else is asked for

	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	begun bool
	spent time.Duration // what the drain that goes on is spread over
}

func newDrainer(h *hub.Hub, over func() time.Duration) *drainer {
	if over == nil {
		over = func() time.Duration { return 0 }
	}
	d := &drainer{hub: h, over: over}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d
}

// start begins to drain, unless that was begun before, and returns the time over which it goes on.
func (d *drainer) start(over time.Duration) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun || d.ctx.Err() != nil {
		return d.spent, false
	}
	d.begun, d.spent = true, over
	d.done.Go(func() { _ = d.hub.Drain(d.ctx, over) }) // an error means that the server ends
	return over, true
}

// close ends the goroutine. What it began goes on without it, in the hands of whoever ends the hub.
func (d *drainer) close() {
	d.stop()
	d.done.Wait()
}
