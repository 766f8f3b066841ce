//go:build linux

package measure

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/bench/load"
	"github.com/mastersocket/mastersocket/bench/servers"
)

// A Run is one measure of one server in one round.
type Run struct {
	Server  string             `json:"server"`
	Measure string             `json:"measure"`
	Round   int                `json:"round"`
	Values  map[string]float64 `json:"values,omitempty"` // by metric
	Error   string             `json:"error,omitempty"`  // why there are none
}

// A Plan says what is measured.
type Plan struct {
	Servers  []servers.Adapter
	Measures []string
	Rounds   int
	Times    Times
	Progress io.Writer

	same float64 // deliveries per second of LatencySame
}

const (
	connectTimeout = 60 * time.Second
	// parallel is how many connections are on their way at the same time.
	parallel = 64
	// warmClients are connected before memory is looked at for the first time, so that what a server allocates once
	// does not count as its clients'.
	warmClients = 100
	// warmTime is how long a server is left alone after connections whose cost is not measured.
	warmTime = 200 * time.Millisecond
)

// samePart is the part of the reference's rate at which the latencies of all servers are compared.
const samePart = 0.5

// calibrate returns the deliveries per second at which LatencySame is taken: half of what the last server reaches. It is the
// one that the others are compared with.
func (p Plan) calibrate() (float64, error) {
	if !slices.Contains(p.Measures, LatencySame) {
		return 0, nil
	}
	reference := p.Servers[len(p.Servers)-1]
	fmt.Fprintf(p.Progress, "calibrating: %s\n", reference.Name())
	s := scenario{name: "calibration", clients: 1_000, role: load.Subscriber, measures: []string{Saturated1k8}, shape: load.Usual}
	runs := p.attempt(s, reference, s.measures, 0)
	if runs[0].Error != "" {
		return 0, fmt.Errorf("calibrating with %s: %s", reference.Name(), runs[0].Error)
	}
	return runs[0].Values[PerSecond] * samePart, nil
}

// Execute runs the plan. The servers take turns within each round, and another one begins each round. It stops early
// when ctx ends.
func (p Plan) Execute(ctx context.Context) []Run {
	var runs []Run
	if ctx.Err() != nil {
		return nil
	}
	same, err := p.calibrate()
	if err != nil {
		fmt.Fprintf(p.Progress, "%s: %s is left out\n", err, LatencySame)
		p.Measures = slices.DeleteFunc(slices.Clone(p.Measures), func(m string) bool { return m == LatencySame })
	}
	p.same = same
	for round := range p.Rounds {
		for _, s := range scenarios {
			for i := range p.Servers {
				if ctx.Err() != nil {
					return runs
				}
				a := p.Servers[(i+round)%len(p.Servers)]
				if wanted := p.wanted(s, a); len(wanted) > 0 {
					fmt.Fprintf(p.Progress, "round %d of %d, %s: %s\n", round+1, p.Rounds, s.name, a.Name())
					runs = append(runs, p.scenario(s, a, wanted, round)...)
				}
			}
		}
	}
	return runs
}

func (p Plan) wanted(s scenario, a servers.Adapter) []string {
	if _, can := a.(servers.Secured); s.security == overTLS && !can {
		return nil
	}
	var wanted []string
	for _, m := range s.measures {
		limited, ok := a.(servers.Limited)
		if _, calls := a.(servers.Caller); m == Calls && !calls {
			continue
		}
		if slices.Contains(p.Measures, m) && (!ok || limited.Covers(m)) {
			wanted = append(wanted, m)
		}
	}
	return wanted
}

// scenario takes the measures of one scenario. After one that failed, what follows gets a new server.
func (p Plan) scenario(s scenario, a servers.Adapter, wanted []string, round int) []Run {
	var runs []Run
	for len(runs) < len(wanted) {
		runs = append(runs, p.attempt(s, a, wanted[len(runs):], round)...)
	}
	for _, r := range runs {
		if r.Error != "" {
			fmt.Fprintf(p.Progress, "FAILED: %s, %s: %s\n", r.Server, r.Measure, r.Error)
		}
	}
	return runs
}

// start starts a server for the scenario's clients.
func (s scenario) start(a servers.Adapter) (*servers.Process, error) {
	if secured, ok := a.(servers.Secured); ok && s.security == overTLS {
		return servers.StartSecured(secured)
	}
	return servers.Start(a, s.cores)
}

// attempt starts a server and takes measures until one fails. It returns one Run at least.
func (p Plan) attempt(s scenario, a servers.Adapter, wanted []string, round int) []Run {
	failed := func(m string, err error) Run {
		return Run{Server: a.Name(), Measure: m, Round: round, Error: err.Error()}
	}
	process, err := s.start(a)
	if err != nil {
		return []Run{failed(wanted[0], err)}
	}
	defer process.Stop()
	loop, err := load.New(a.Dialect(s.shape), process.Site.Listen)
	if err != nil {
		return []Run{failed(wanted[0], err)}
	}
	defer loop.Close()
	if s.security == overTLS {
		if err := loop.Secure(); err != nil {
			return []Run{failed(wanted[0], err)}
		}
	}

	b := &bench{times: p.Times, adapter: a, process: process, loop: loop, values: map[string]map[string]float64{}, same: p.same, shape: s.shape}
	if err := b.connect(s); err != nil {
		return []Run{failed(wanted[0], fmt.Errorf("%w\n%s", err, process.Output()))}
	}
	var runs []Run
	for _, m := range wanted {
		values, err := b.measure(m)
		if err != nil {
			return append(runs, failed(m, err))
		}
		runs = append(runs, Run{Server: a.Name(), Measure: m, Round: round, Values: values})
	}
	return runs
}
