//go:build linux

// Package measure runs servers under load, by turns, and collects what they needed.
package measure

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/bench/load"
)

// The measures, each of which gives one value or more: see Metrics.
const (
	Setup          = "setup"
	Idle           = "idle"
	Fanout1k       = "fanout-1k"
	Fanout10k      = "fanout-10k"
	Saturated1k1   = "saturated-1k-1"
	Saturated1k8   = "saturated-1k-8"
	Saturated1k64  = "saturated-1k-64"
	Saturated10k8  = "saturated-10k-8"
	LatencyHalf    = "latency-half"
	LatencyFixed   = "latency-fixed"
	Direct         = "direct"
	fixedPerSecond = 50
)

// A scenario is a server with a number of clients, at which several measures are taken one after the other.
type scenario struct {
	name     string
	clients  int
	role     load.Role
	measures []string
}

// manyClients is the scenario in which memory is measured.
const manyClients = "10,000 clients"

// scenarios holds all measures, in the order in which they are taken.
var scenarios = []scenario{
	{manyClients, 10_000, load.Subscriber, []string{Setup, Idle, Fanout10k, Saturated10k8}},
	{"1,000 clients", 1_000, load.Subscriber, []string{Fanout1k, Saturated1k1, Saturated1k8, Saturated1k64, LatencyHalf, LatencyFixed}},
	{"ring of 500 clients", 500, load.Member, []string{Direct}},
}

// Names returns all measures.
func Names() []string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.measures...)
	}
	return all
}

// Select returns the measures that a list names: exactly, or by their beginning up to a hyphen, such as saturated. An
// empty list names all.
func Select(list []string) ([]string, error) {
	if len(list) == 0 {
		return Names(), nil
	}
	var selected []string
	for _, want := range list {
		found := false
		for _, name := range Names() {
			if name == want || strings.HasPrefix(name, want+"-") {
				found = true
				if !slices.Contains(selected, name) {
					selected = append(selected, name)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("no measure is called %q; there are: %s", want, strings.Join(Names(), ", "))
		}
	}
	return selected, nil
}

// Times is how long things take.
type Times struct {
	Settle    time.Duration // between the last connection and the look at the memory
	Fanout1k  time.Duration
	Fanout10k time.Duration
	Saturated time.Duration
	Latency   time.Duration
	Direct    time.Duration
}

// FullTimes are those of figures to be published; QuickTimes only show that everything works.
var (
	FullTimes = Times{
		Settle: time.Second, Fanout1k: 2 * time.Second, Fanout10k: 2400 * time.Millisecond,
		Saturated: time.Second, Latency: 1500 * time.Millisecond, Direct: 1200 * time.Millisecond,
	}
	QuickTimes = Times{
		Settle: 200 * time.Millisecond, Fanout1k: 500 * time.Millisecond, Fanout10k: 600 * time.Millisecond,
		Saturated: 300 * time.Millisecond, Latency: 400 * time.Millisecond, Direct: 300 * time.Millisecond,
	}
)

// All returns Times with the same length for everything that is measured over time.
func (t Times) All(d time.Duration) Times {
	return Times{Settle: t.Settle, Fanout1k: d, Fanout10k: d, Saturated: d, Latency: d, Direct: d}
}
