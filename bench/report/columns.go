//go:build linux

package report

import (
	"fmt"

	"github.com/mastersocket/mastersocket/bench/measure"
)

// A Column of the table is one metric of one measure, or several of them with a slash between.
type Column struct {
	Title   string
	Measure string
	Metrics []string
	// Format writes one value.
	Format func(float64) string
}

// allColumns are the columns of the table of all servers.
var allColumns = []Column{
	{"idle B/client", measure.Idle, []string{measure.Bytes}, whole},
	{"idle CPU ms/s", measure.IdleCPU, []string{measure.CPUShare}, precise},
	{"setup conn/s", measure.Setup, []string{measure.PerSecond}, thousands},
	{"setup µs", measure.Setup, []string{measure.CPU}, whole},
	{"1k, 20/s: µs", measure.Fanout1k, []string{measure.CPU}, tenths},
	{"10k, 5/s: µs", measure.Fanout10k, []string{measure.CPU}, tenths},
	{"1k sat. 1", measure.Saturated1k1, []string{measure.PerSecond}, thousands},
	{"1k sat. 8", measure.Saturated1k8, []string{measure.PerSecond}, thousands},
	{"1k sat. 64", measure.Saturated1k64, []string{measure.PerSecond}, thousands},
	{"10k sat. 8", measure.Saturated10k8, []string{measure.PerSecond}, thousands},
	{"DIRECT/s", measure.Direct, []string{measure.PerSecond}, thousands},
	{"DIRECT µs", measure.Direct, []string{measure.CPU}, tenths},
}

// shapeColumns are the columns of the table of other sizes and shapes.
var shapeColumns = []Column{
	{"1,000 B: deliveries/s", measure.Size1k, []string{measure.PerSecond}, thousands},
	{"… µs", measure.Size1k, []string{measure.CPU}, tenths},
	{"8,000 B: deliveries/s", measure.Size8k, []string{measure.PerSecond}, thousands},
	{"… µs", measure.Size8k, []string{measure.CPU}, tenths},
	{"32,000 B: deliveries/s", measure.Size32k, []string{measure.PerSecond}, thousands},
	{"… µs", measure.Size32k, []string{measure.CPU}, tenths},
	{"1,000 groups of 10: µs", measure.Groups, []string{measure.CPU}, tenths},
	{"10,000 that send: µs", measure.Chat, []string{measure.CPU}, tenths},
	{"POST/s", measure.Calls, []string{measure.PerSecond}, thousands},
	{"POST µs", measure.Calls, []string{measure.CPU}, tenths},
	{"50 of 1,050 don't read: deliveries/s", measure.Stalled, []string{measure.PerSecond}, thousands},
	{"… µs", measure.Stalled, []string{measure.CPU}, tenths},
}

// tlsColumns are the columns of the table of clients over TLS.
var tlsColumns = []Column{
	{"setup conn/s", measure.TLSSetup, []string{measure.PerSecond}, thousands},
	{"setup µs", measure.TLSSetup, []string{measure.CPU}, whole},
	{"1k, 20/s: µs", measure.TLSFanout1k, []string{measure.CPU}, tenths},
	{"1k sat. 8", measure.TLSSaturated8, []string{measure.PerSecond}, thousands},
	{"… µs", measure.TLSSaturated8, []string{measure.CPU}, tenths},
}

// latencyColumns are the columns of the table of latencies, p50/p99/p99.9 in ms.
var latencyColumns = []Column{
	{"at 10 % of its saturation", measure.LatencyTenth, latencies, precise},
	{"at 50 %", measure.LatencyHalf, latencies, precise},
	{"at 80 %", measure.LatencyMost, latencies, precise},
	{"at the same rate", measure.LatencySame, latencies, precise},
	{"at 50 messages/s", measure.LatencyFixed, latencies, precise},
}

var latencies = []string{measure.P50, measure.P99, measure.P999}

func whole(v float64) string     { return fmt.Sprintf("%.0f", v) }
func tenths(v float64) string    { return fmt.Sprintf("%.1f", v) }
func thousands(v float64) string { return fmt.Sprintf("%.*fk", digits(v), v/1000) }

// precise writes three digits, or all of them in front of the point.
func precise(v float64) string {
	if v >= 1000 {
		return whole(v)
	}
	return fmt.Sprintf("%.3g", v)
}

// digits returns how many digits behind the point a number of thousands needs.
func digits(v float64) int {
	if v < 100_000 {
		return 1
	}
	return 0
}

// text returns a server's entry in the column.
func (c Column) text(s Summary, server string) string {
	if s.Failed(server, c.Measure) {
		return "failed"
	}
	all := ""
	for i, metric := range c.Metrics {
		cell, ok := s.Get(server, c.Measure, metric)
		if !ok {
			return "–"
		}
		if i > 0 {
			all += "/"
		}
		all += c.Format(cell.Median)
	}
	return all
}
