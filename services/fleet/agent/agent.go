package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
)

// Options configure an Agent.
type Options struct {
	Fleet string
	// The programs with their arguments; empty for what the agent does not do. No shell reads them.
	Spawn, Rollback, Deploy, Revision []string
	Dir                               string        // where they run; empty for the agent's own folder
	Env                               []string      // of the programs, as NAME=value; FLEET_* variables are added
	Timeout                           time.Duration // of Rollback, Deploy and Revision; 0: 10 min
	Grace                             time.Duration // how long a spawned process must run to count as spawned; 0: 1 s
	Output                            io.Writer     // of spawned processes: an *os.File, as they outlive the agent; nil for nowhere
	Log                               *slog.Logger
}

// Agent carries out the tasks of one fleet, one after the other.
type Agent struct {
	opts  Options
	hub   *client.Client
	tasks chan wire.Task
	ready chan struct{} // hub is set
	here  chan struct{} // a connection was made
}

// maxTasks is how many tasks may wait. The hub asks for one at a time; a new leader may ask for a second one.
const maxTasks = 4

// New returns an Agent.
func New(o Options) (*Agent, error) {
	if len(o.Spawn)+len(o.Rollback)+len(o.Deploy)+len(o.Revision) == 0 {
		return nil, errors.New("the agent has nothing to run")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Grace == 0 {
		o.Grace = time.Second
	}
	return &Agent{opts: o, tasks: make(chan wire.Task, maxTasks), ready: make(chan struct{}), here: make(chan struct{}, 1)}, nil
}

// HubOptions returns o with what the agent needs of its connection to the hub.
func (a *Agent) HubOptions(o client.Options) client.Options {
	o.Group = wire.AgentGroup(a.opts.Fleet)
	o.On = map[string]client.Handler{wire.EventTask: a.take}
	o.OnConnect = func(client.Identity) {
		select {
		case a.here <- struct{}{}:
		default:
		}
	}
	return o
}

// isHub reports whether the sender is the hub itself. The ids of senders that are no connections have a slot that no client
// can have: bytes 5, 9 and 10 are all ones.
func isHub(sender string) bool {
	id, err := uuid.Parse(sender)
	return err == nil && id[5] == 0xff && id[9] == 0xff && id[10] == 0xff
}

// take handles a task of the hub.
func (a *Agent) take(ctx context.Context, m *client.Message) {
	var t wire.Task
	if err := m.Unmarshal(&t); err != nil || t.Fleet != a.opts.Fleet || t.Task == "" {
		a.opts.Log.Warn("not a task", "sender", m.Sender)
		return
	}
	if !isHub(m.Sender) {
		a.opts.Log.Warn("refused a task that a client sent", "sender", m.Sender)
		return
	}
	select {
	case a.tasks <- t:
	default:
		<-a.ready
		a.say(ctx, wire.EventDone, wire.Word{Task: t.Task, Error: "the agent is busy"})
	}
}

// Run carries out tasks until ctx ends or the client does. It ends the program of the task under way; bots go on.
func (a *Agent) Run(ctx context.Context, hub *client.Client) error {
	a.hub = hub
	close(a.ready)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hub.Done():
			return hub.Err()
		case <-a.here:
			a.say(ctx, wire.EventHere, wire.Word{})
			a.opts.Log.Info("ready for tasks", "fleet", a.opts.Fleet, "hub", hub.Identity().Node)
		case t := <-a.tasks:
			a.carryOut(ctx, t)
		}
	}
}

// sayTimeout is how long a word may wait for a connection; lastTimeout, how long the last one of an agent that ends.
const (
	sayTimeout  = time.Minute
	lastTimeout = 2 * time.Second
)

// say tells the hub something. What can't be told in time is lost: the hub then gives the task up.
func (a *Agent) say(ctx context.Context, event string, w wire.Word) {
	ctx, cancel := context.WithTimeout(ctx, sayTimeout)
	defer cancel()
	w.Fleet = a.opts.Fleet
	if err := a.hub.Send(ctx, client.Group(wire.Words), event, w); err != nil {
		a.opts.Log.Warn("the hub was not told", "event", event, "error", err)
	}
}

// carryOut carries out a task and tells the hub how it ended.
func (a *Agent) carryOut(ctx context.Context, t wire.Task) {
	began := time.Now()
	busy, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		a.sayBusy(busy, t.Task)
	}()
	revision, err := a.do(ctx, t)
	stop()
	<-told
	w := wire.Word{Task: t.Task, OK: err == nil, Revision: revision}
	attrs := []any{"task", t.Do, "took", time.Since(began).Round(time.Millisecond)}
	if err != nil {
		w.Error = err.Error()
		a.opts.Log.Error("failed", append(attrs, "error", err)...)
	} else {
		a.opts.Log.Info("done", attrs...)
	}
	last := sayTimeout
	if ctx.Err() != nil { // the agent ends
		last = lastTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), last)
	defer cancel()
	a.say(ctx, wire.EventDone, w)
}

// sayBusy tells the hub that the task is under way, until ctx ends.
func (a *Agent) sayBusy(ctx context.Context, task string) {
	ticker := time.NewTicker(wire.BusyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.say(ctx, wire.EventBusy, wire.Word{Task: task})
		}
	}
}

// do runs the program of a task.
func (a *Agent) do(ctx context.Context, t wire.Task) (revision string, err error) {
	o := &a.opts
	argv := map[string][]string{wire.Spawn: o.Spawn, wire.Rollback: o.Rollback, wire.Deploy: o.Deploy, wire.Revision: o.Revision}[t.Do]
	switch {
	case len(argv) == 0 && t.Do == wire.Revision:
		return "", nil // nothing to say is no failure
	case len(argv) == 0:
		return "", fmt.Errorf("the agent has no program for %s", t.Do)
	}
	env := append(o.Env[:len(o.Env):len(o.Env)],
		"FLEET_NAME="+t.Fleet, "FLEET_TASK="+t.Do, "FLEET_VERSION="+t.Version, "FLEET_REVISION="+t.Revision)
	o.Log.Info("begins", "task", t.Do, "program", argv[0], "version", t.Version, "revision", t.Revision)
	if t.Do == wire.Spawn {
		return "", a.spawn(ctx, argv, env)
	}
	out, err := a.run(ctx, argv, env)
	if t.Do == wire.Revision {
		first, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
		return first, err
	}
	return "", err
}
