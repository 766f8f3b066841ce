//go:build linux

package clustertest

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
)

// TestGroupsChangeUnderLoad has 20 clients of three instances change their groups 200 times a second, while 2,000 messages a
// second flow. Nothing may be lost, duplicated, reordered, or delivered outside of a membership.
func TestGroupsChangeUnderLoad(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{
		senders: 10, receivers: 8, rate: 200, shifters: 20, shifts: 10, anyShift: true, mix: [4]int{1, 8, 4, 4},
	})
	begin := time.Now()
	l.runFor(figure.Choose(5*time.Second, 30*time.Second))
	changes, took := l.changes.Load(), time.Since(begin)
	r := l.finish(c)
	wantHonest(t, r)
	figure.Printf(t, "%.0f changes of groups a second, %.0f messages a second", float64(changes)/took.Seconds(), float64(r.Messages)/took.Seconds())
	if r.Memberships < int(changes)/3 || changes < 100 {
		t.Errorf("%d memberships, %d changes", r.Memberships, changes)
	}
}
