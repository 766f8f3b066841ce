//go:build linux

package report

import (
	"fmt"
	"strings"

	"github.com/mastersocket/mastersocket/bench/measure"
)

// A Bound is one condition on a figure of mastersocket: a factor of another server's figure in the same runs, or, if
// Against is empty, an absolute value.
type Bound struct {
	Factor  float64
	Against string
	Most    bool // the figure may be the bound at most; otherwise it has to be that at least
}

// A Target is what mastersocket is held to in one measure.
type Target struct {
	Title   string
	Measure string
	Metric  string
	Format  func(float64) string
	Least   []Bound // what it has to reach
	Aim     []Bound // what it should reach
}

func least(factor float64, against string) Bound { return Bound{Factor: factor, Against: against} }
func most(factor float64, against string) Bound {
	return Bound{Factor: factor, Against: against, Most: true}
}

// idleToday is the CPU of an idle hub before loops kept their processors while they wait, in ms/s, with what the measure
// varies by.
const idleToday = 1.5

// targetList has the project's targets.
var targetList = []Target{
	{
		"CPU µs per delivery, 1→1,000 at 20/s", measure.Fanout1k, measure.CPU, tenths,
		[]Bound{most(1.05, "uwebsockets")}, []Bound{most(0.95, "uwebsockets")},
	},
	{
		"the same, 1→10,000 at 5/s", measure.Fanout10k, measure.CPU, tenths,
		[]Bound{most(1, "uwebsockets")}, []Bound{most(0.95, "uwebsockets")},
	},
	{
		"deliveries/s saturated, 1,000 subscribers, 8 in flight", measure.Saturated1k8, measure.PerSecond, thousands,
		[]Bound{least(0.95, "uwebsockets")}, []Bound{least(1, "floor-go-coalescing")},
	},
	{
		"the same, 64 in flight", measure.Saturated1k64, measure.PerSecond, thousands,
		[]Bound{least(1.1, "uwebsockets")}, []Bound{least(0.9, "floor-go-coalescing")},
	},
	{
		"DIRECT messages/s, 500 in flight", measure.Direct, measure.PerSecond, thousands,
		[]Bound{least(1.1, "uwebsockets"), least(1, "nats-server")}, []Bound{least(1.3, "uwebsockets")},
	},
	{
		"connections set up per second", measure.Setup, measure.PerSecond, thousands,
		[]Bound{least(0.9, "uwebsockets")}, []Bound{least(1, "uwebsockets")},
	},
	{
		"resident bytes per idle identified client, 10,000", measure.Idle, measure.Bytes, whole,
		[]Bound{most(300, "")}, []Bound{most(256, "")},
	},
	{
		"p99 latency at the same rate, half of the saturation of uWebSockets, ms", measure.LatencySame, measure.P99, precise,
		[]Bound{most(1, "uwebsockets")}, []Bound{most(0.8, "uwebsockets")},
	},
	{
		"CPU of an idle hub, 1,000 clients, ms/s", measure.IdleCPU, measure.CPUShare, precise,
		[]Bound{most(idleToday, "")}, []Bound{most(idleToday, "")},
	},
	{
		"allocations per delivered message, steady state", measure.Saturated1k8, measure.Allocations, precise,
		[]Bound{most(noAllocations, "")}, []Bound{most(noAllocations, "")},
	},
}

// noAllocations is what counts as none: the figure contains what the server does once a second, and the looks at it.
const noAllocations = 0.005

// targetTable compares a server, by its name in the summary, with the targets.
func targetTable(s Summary, server string) Grid {
	g := Grid{Head: []string{"measure", server, "at least", "", "aim", ""}}
	for _, t := range targetList {
		cell, ok := s.Get(server, t.Measure, t.Metric)
		if !ok {
			value := "–"
			if s.Failed(server, t.Measure) {
				value = "failed"
			}
			g.Rows = append(g.Rows, []string{t.Title, value, "", "not measured", "", "not measured"})
			continue
		}
		atLeast, reached := t.judge(s, cell.Median, t.Least)
		aim, aimReached := t.judge(s, cell.Median, t.Aim)
		g.Rows = append(g.Rows, []string{t.Title, t.Format(cell.Median), atLeast, reached, aim, aimReached})
	}
	return g
}

// judge returns the bounds with the measured ratios, and whether they hold.
func (t Target) judge(s Summary, figure float64, bounds []Bound) (text, verdict string) {
	var texts []string
	verdict = "met"
	for _, b := range bounds {
		sign := "≥"
		if b.Most {
			sign = "≤"
		}
		if b.Against == "" {
			texts = append(texts, sign+" "+t.Format(b.Factor))
			if !b.holds(figure) {
				verdict = "not met"
			}
			continue
		}
		text := fmt.Sprintf("%s %.3g × %s", sign, b.Factor, b.Against)
		other, ok := s.Get(b.Against, t.Measure, t.Metric)
		if !ok || other.Median == 0 {
			texts = append(texts, text+" (not measured)")
			if verdict == "met" {
				verdict = "unknown"
			}
			continue
		}
		ratio := figure / other.Median
		texts = append(texts, fmt.Sprintf("%s (is %.2f)", text, ratio))
		if !b.holds(ratio) {
			verdict = "not met"
		}
	}
	return strings.Join(texts, ", "), verdict
}

func (b Bound) holds(value float64) bool {
	if b.Most {
		return value <= b.Factor
	}
	return value >= b.Factor
}
