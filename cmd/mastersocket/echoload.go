package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mastersocket/mastersocket/internal/localtoken"
	"github.com/mastersocket/mastersocket/services/echo/load"
)

// echoLoadCmd sends messages from many clients.
type echoLoadCmd struct {
	echoTarget `embed:""`
	Admin      string `group:"Connection" placeholder:"URL" help:"The hub's admin listener, to check that the hub has forgotten the clients in the end; none for no check (default for a hub on this machine: http://127.0.0.1:42070)."`

	Clients   int           `default:"1000" placeholder:"N" help:"Clients (default: ${default})."`
	Over      time.Duration `default:"10s" placeholder:"TIME" help:"The time in which they connect, each at a random moment (default: ${default})."`
	OKDelay   string        `name:"ok-delay" default:"0s..2s" placeholder:"RANGE" help:"How long a client takes from a message to its ok: a time, or a range of random times (default: ${default})."`
	Kill      string        `default:"0%" placeholder:"SHARE" help:"Share of the clients that break their connection once, after they have sent or been given a message, and connect again (default: ${default})."`
	Timeout   time.Duration `default:"30s" placeholder:"TIME" help:"How long a connection may take to bring the ok; then the client connects again (default: ${default})."`
	Within    time.Duration `default:"2m" placeholder:"TIME" help:"How long after the last client has connected all oks must be there (default: ${default})."`
	Processes int           `placeholder:"P" help:"Processes that share the clients, as the limit of open files is one of each process (default: one for each 10,000 clients)."`
}

// Help is the longer help.
func (*echoLoadCmd) Help() string {
	return `Each client connects at a random moment, sends a message of its own, answers what it is given, and closes its connection
when its ok comes. To a hub on a loopback address they come from many loopback addresses, so that ports don't run out.

In the end a table is printed. The exit code is 1 if a client got no ok, or if the hub still holds something of the clients.

Example:
    mastersocket echo load --clients 100000 --over 60s --ok-delay 0s..2s --kill 1%`
}

// clientsPerProcess is the default number of clients of a process: a usual limit of open files is 20,000.
const clientsPerProcess = 10000

// zeroTimeout is how long the hub may take to forget the clients.
const zeroTimeout = 30 * time.Second

// Run puts the load on the hub.
func (c *echoLoadCmd) Run(s streams) error {
	p, admin, err := c.plan()
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	if admin != "" {
		if _, err := load.ServerState(ctx, admin); err != nil {
			return interruptedOr(ctx, explainEcho(fmt.Errorf("%w\n--admin names the hub's admin listener, or none", err)))
		}
	}
	p.Start = time.Now().Add(time.Duration(p.Shares) * 50 * time.Millisecond) // the processes need some time to start
	bar := newEchoProgress(s.err, p)
	sum, err := runShares(ctx, p, bar.show)
	bar.end(sum.Counts())
	if err != nil {
		return interruptedOr(ctx, err)
	}
	r := echoResult{plan: p, sum: sum, admin: admin}
	if admin != "" {
		wait, cancel := context.WithTimeout(ctx, zeroTimeout)
		r.state, r.stateErr = load.AwaitZero(wait, admin)
		cancel()
	}
	if err := r.print(s.out); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	return r.err()
}

// plan returns what the flags say; admin is empty for none.
func (c *echoLoadCmd) plan() (p load.Plan, admin string, err error) {
	u, err := c.url()
	if err != nil {
		return p, "", err
	}
	delay, err := load.ParseRange(c.OKDelay)
	if err != nil {
		return p, "", usageError{fmt.Errorf("--ok-delay: %w", err)}
	}
	kill, err := load.ParseShare(c.Kill)
	if err != nil {
		return p, "", usageError{fmt.Errorf("--kill: %w", err)}
	}
	if c.Processes == 0 {
		c.Processes = (c.Clients + clientsPerProcess - 1) / clientsPerProcess
	}
	p = load.Plan{
		URL: u.String(), Clients: c.Clients, Over: c.Over, Delay: delay, Kill: kill, Timeout: c.Timeout, Within: c.Within,
		Shares: max(c.Processes, 1), Seed: rand.Uint64(),
	}
	if err := p.Check(); err != nil {
		return p, "", usageError{err}
	}
	admin, err = c.admin(u)
	return p, admin, err
}

// admin returns the URL of the hub's admin listener, empty for none.
func (c *echoLoadCmd) admin(hub *url.URL) (string, error) {
	switch {
	case c.Admin == "none":
		return "", nil
	case c.Admin != "":
		return c.Admin, nil
	}
	if _, local := localtoken.IsLocal(hub.String()); !local {
		return "", usageError{errors.New("--admin is missing: the URL of the hub's admin listener, or none")}
	}
	return defaultAdmin, nil
}

// echoResult is how a load ended.
type echoResult struct {
	plan     load.Plan
	sum      *load.Sum
	admin    string // empty for none
	state    load.State
	stateErr error
}

// print writes the table.
func (r *echoResult) print(out io.Writer) error {
	c := r.sum.Counts()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("clients", "%s over %v, ok delay %v, %s, processes: %d", grouped(r.plan.Clients), r.plan.Over, r.plan.Delay,
		fmt.Sprintf("%g%% cut", r.plan.Kill*100), r.plan.Shares)
	row("sent", "%s messages of %s clients", grouped(c.Sent), grouped(c.Started))
	row("ok", "%s", grouped(c.OK))
	row("without ok", "%s", grouped(int64(r.plan.Clients)-c.OK))
	row("given", "%s messages, %s answered", grouped(c.Given), grouped(c.Answered))
	row("reconnections", "%s, %s of them cut by the client", grouped(max(c.Connections-c.Started, 0)), grouped(c.Killed))
	row("time to ok", "p50 %v, p99 %v, max %v", r.wait(0.5), r.wait(0.99), r.wait(1))
	row("peak concurrent", "%s", grouped(r.sum.Peak()))
	row("hub afterwards", "%s", r.stateText())
	for _, text := range slices.Sorted(maps.Keys(r.sum.Errors())) {
		row("error", "%s clients: %s", grouped(r.sum.Errors()[text]), strings.ReplaceAll(text, "\n", " "))
	}
	return w.Flush()
}

func (r *echoResult) wait(share float64) time.Duration {
	d := r.sum.Wait(share)
	if d < time.Second {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

func (r *echoResult) stateText() string {
	switch {
	case r.admin == "":
		return "not checked"
	case r.stateErr != nil:
		return "unknown"
	}
	return fmt.Sprintf("echo connections: %d, messages waiting: %d, messages given: %d", r.state.Connections, r.state.Waiting, r.state.Given)
}

// err returns what went wrong.
func (r *echoResult) err() error {
	switch missing := r.plan.Clients - int(r.sum.Counts().OK); {
	case missing > 0:
		return fmt.Errorf("%s of %s clients got no ok", grouped(missing), grouped(r.plan.Clients))
	case r.stateErr != nil:
		return r.stateErr
	case !r.state.Zero():
		return fmt.Errorf("%v after the last client had left the hub is not at zero", zeroTimeout)
	}
	return nil
}

// grouped returns the number with commas between its thousands.
func grouped[T int | int64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
