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
	LatencyTenth   = "latency-tenth"
	LatencyHalf    = "latency-half"
	LatencyMost    = "latency-most"
	LatencySame    = "latency-same"
	LatencyFixed   = "latency-fixed"
	Direct         = "direct"
	IdleCPU        = "idle-cpu"
	Size1k         = "size-1k"
	Size8k         = "size-8k"
	Size32k        = "size-32k"
	Groups         = "groups"
	Chat           = "chat"
	Stalled        = "stalled"
	TLSSetup       = "tls-setup"
	TLSFanout1k    = "tls-fanout-1k"
	TLSSaturated8  = "tls-saturated-1k-8"
	Calls          = "http-calls"
	fixedPerSecond = 50
)

// A scenario is a server with a number of clients, at which several measures are taken one after the other.
type scenario struct {
	name     string
	clients  int
	role     load.Role
	measures []string
	shape    load.Shape
	stalled  int // clients that don't read, in addition
	security security
	cores    int // that the server may use; 0: all
}

// security is how a scenario's clients connect.
type security uint8

const (
	plain security = iota
	overTLS
)

// manyClients is the scenario in which memory is measured.
const manyClients = "10,000 clients"

// scenarios holds all measures, in the order in which they are taken.
var scenarios = []scenario{
	{manyClients, 10_000, load.Subscriber, []string{Setup, Idle, Fanout10k, Saturated10k8}, load.Usual, 0, plain, 0},
	{"1,000 clients", 1_000, load.Subscriber, []string{
		IdleCPU, Fanout1k, Saturated1k1, Saturated1k8, Saturated1k64, LatencyTenth, LatencyHalf, LatencyMost, LatencySame, LatencyFixed,
	}, load.Usual, 0, plain, 0},
	{"ring of 500 clients", 500, load.Member, []string{Direct}, load.Usual, 0, plain, 0},
	{"messages of 1,000 bytes", 1_000, load.Subscriber, []string{Size1k}, load.Shape{Wire: 1_000, Groups: 1}, 0, plain, 0},
	{"messages of 8,000 bytes", 1_000, load.Subscriber, []string{Size8k}, load.Shape{Wire: 8_000, Groups: 1}, 0, plain, 0},
	{"messages of 32,000 bytes", 1_000, load.Subscriber, []string{Size32k}, load.Shape{Wire: 32_000, Groups: 1}, 0, plain, 0},
	{"1,000 groups of 10", 10_000, load.Subscriber, []string{Groups}, load.Shape{Wire: load.WireBytes, Groups: 1_000}, 0, plain, 0},
	{"10,000 clients that send", 10_000, load.Member, []string{Chat}, load.Usual, 0, plain, 0},
	{"1,000 clients, and 50 that don't read", 1_000, load.Subscriber, []string{Stalled}, load.Usual, 50, plain, 0},
	{"1,000 clients over TLS", 1_000, load.Subscriber, []string{TLSSetup, TLSFanout1k, TLSSaturated8}, load.Usual, 0, overTLS, 0},
	{
		name: "messages by HTTP, one core", clients: 101, role: load.Subscriber, measures: []string{Calls},
		shape: load.Shape{Wire: load.WireBytes, Groups: 101}, cores: 1,
	},
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
	Idle      time.Duration
	Fanout1k  time.Duration
	Fanout10k time.Duration
	Saturated time.Duration
	Latency   time.Duration
	Direct    time.Duration
	Stream    time.Duration
}

// FullTimes are those of figures to be published; QuickTimes only show that everything works.
var (
	FullTimes = Times{
		Settle: time.Second, Idle: 2 * time.Second, Stream: 2 * time.Second, Fanout1k: 2 * time.Second, Fanout10k: 2400 * time.Millisecond,
		Saturated: time.Second, Latency: 1500 * time.Millisecond, Direct: 1200 * time.Millisecond,
	}
	QuickTimes = Times{
		Settle: 200 * time.Millisecond, Idle: 500 * time.Millisecond, Stream: 500 * time.Millisecond, Fanout1k: 500 * time.Millisecond, Fanout10k: 600 * time.Millisecond,
		Saturated: 300 * time.Millisecond, Latency: 400 * time.Millisecond, Direct: 300 * time.Millisecond,
	}
)

// All returns Times with the same length for everything that is measured over time.
func (t Times) All(d time.Duration) Times {
	return Times{Settle: t.Settle, Idle: d, Fanout1k: d, Fanout10k: d, Saturated: d, Latency: d, Direct: d, Stream: d}
}
