package admin

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/hub"
)

// Reloader reloads the configuration. Its methods may be called from any goroutine.
type Reloader interface {
	// Reload applies the changed settings, or none if any file is invalid. source names the trigger in the log. The error
	// is an *InvalidConfig if the configuration is at fault.
	Reload(ctx context.Context, source string) (ReloadResult, error)
	// Reloads returns the counts of all reloads.
	Reloads() ReloadStats
}

// ReloadStats counts reloads.
type ReloadStats struct {
	Succeeded   uint64
	Failed      uint64
	LastSuccess time.Time // of the last success; the start counts as one
	Failing     bool      // the last reload failed: the next start would fail, too
}

// InvalidConfig lists the problems of a configuration.
type InvalidConfig struct{ Problems []ConfigProblem }

// ConfigProblem is one problem of a configuration.
type ConfigProblem struct {
	Where string // a setting, or a file and line
	What  string // the problem, without secrets
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
	// Teams returns the page of at most limit teams behind a cursor, or the first page for an empty one. It waits for the
	// other instances until ctx ends. The error is hub.ErrCursor if the cursor is invalid.
	Teams(ctx context.Context, cursor string, limit int) (TeamPage, error)
}

// TeamPage is one page of the teams.
type TeamPage struct {
	Teams   []Team
	Next    string // cursor of the next page; empty on the last
	Missing []string
}

// drainer runs the drain that POST /v1/drain begins, and ends with the server.
type drainer struct {
	hub  *hub.Hub
	over func() time.Duration // of a drain that names no time

	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	begun bool
	spent time.Duration // over which the begun drain is spread
}

func newDrainer(h *hub.Hub, over func() time.Duration) *drainer {
	if over == nil {
		over = func() time.Duration { return 0 }
	}
	d := &drainer{hub: h, over: over}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d
}

// start begins a drain over that time. If one has begun before, it returns the time of that one and false.
func (d *drainer) start(over time.Duration) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun || d.ctx.Err() != nil {
		return d.spent, false
	}
	d.begun, d.spent = true, over
	d.done.Go(func() { _ = d.hub.Drain(d.ctx, over) }) // fails only when the server ends
	return over, true
}

// close ends the goroutine. The hub remains in its drain.
func (d *drainer) close() {
	d.stop()
	d.done.Wait()
}
