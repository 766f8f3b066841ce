//go:build linux

// Package report turns runs into medians, tables, charts and the generated part of docs/benchmarks.md.
package report

import (
	"slices"

	"github.com/mastersocket/mastersocket/bench/measure"
)

// A Cell is what all rounds say about one metric of one server.
type Cell struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"` // that have a value
}

// A Summary has the medians of a set of runs.
type Summary struct {
	// Servers in the order of their first run.
	Servers []string
	cells   map[key]Cell
	failed  map[key]string
}

type key struct{ server, measure, metric string }

// summarize takes the medians. If any round of a measure failed, the measure has no figure for that server: a server
// that loses deliveries now and then isn't given the average of the rest.
func summarize(runs []measure.Run) Summary {
	s := Summary{cells: map[key]Cell{}, failed: map[key]string{}}
	values := map[key][]float64{}
	for _, r := range runs {
		if !slices.Contains(s.Servers, r.Server) {
			s.Servers = append(s.Servers, r.Server)
		}
		if r.Error != "" {
			s.failed[key{r.Server, r.Measure, ""}] = r.Error
			continue
		}
		for metric, v := range r.Values {
			k := key{r.Server, r.Measure, metric}
			values[k] = append(values[k], v)
		}
	}
	for k, v := range values {
		if _, failed := s.failed[key{k.server, k.measure, ""}]; !failed {
			s.cells[k] = Cell{Median: median(v), Min: slices.Min(v), Max: slices.Max(v), Rounds: len(v)}
		}
	}
	return s
}

// Get returns the figure of a metric, if there is one.
func (s Summary) Get(server, measure, metric string) (Cell, bool) {
	c, ok := s.cells[key{server, measure, metric}]
	return c, ok
}

// Failed says whether a round of the measure failed for the server.
func (s Summary) Failed(server, measure string) bool {
	_, failed := s.failed[key{server, measure, ""}]
	return failed
}

// median returns the middle of the values, or the mean of the two middle ones. It panics if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
