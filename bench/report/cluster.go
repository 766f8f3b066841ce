//go:build linux

package report

import (
	"github.com/mastersocket/mastersocket/bench/measure"
)

// clusterColumns are those of the table of clusters.
var clusterColumns = []Column{
	{"deliveries/s, 8 in flight", measure.Cluster, []string{measure.PerSecond}, thousands},
	{"CPU µs/delivery, all instances", measure.Cluster, []string{measure.CPU}, tenths},
	{"Redis CPU µs/message", measure.Cluster, []string{measure.RedisCPU}, tenths},
	{"a bare PUBLISH, 8 in flight/alone: µs", measure.Cluster, []string{measure.BarePublish, measure.LonePublish}, tenths},
	{"p50/p99 ms at 50/s", measure.Cluster, []string{measure.P50, measure.P99}, precise},
}

// clusterTable returns the table of clusters. The first row is what the others' added latency is counted from.
func clusterTable(s Summary) Grid {
	g := Grid{Head: []string{"1,000 subscribers"}}
	for _, c := range clusterColumns {
		g.Head = append(g.Head, c.Title)
	}
	g.Head = append(g.Head, "added p50 ms")
	for i, server := range s.Servers {
		row := []string{server}
		for _, c := range clusterColumns {
			row = append(row, c.text(s, server))
		}
		added := "–"
		if i > 0 {
			base, ok1 := s.Get(s.Servers[0], measure.Cluster, measure.P50)
			cell, ok2 := s.Get(server, measure.Cluster, measure.P50)
			if ok1 && ok2 {
				added = precise(cell.Median - base.Median)
			}
		}
		g.Rows = append(g.Rows, append(row, added))
	}
	return g
}
