//go:build linux

package measure

import (
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/bench/servers"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ list, want []string }{
		{nil, Names()},
		{[]string{Direct, Setup}, []string{Direct, Setup}},
		{[]string{"saturated-1k", Saturated1k8}, []string{Saturated1k1, Saturated1k8, Saturated1k64}},
		{[]string{"latency"}, []string{LatencyTenth, LatencyHalf, LatencyMost, LatencySame, LatencyFixed}},
	} {
		got, err := Select(test.list)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("Select(%q) = %q, %v", test.list, got, err)
		}
	}
	for _, list := range [][]string{{"nothing"}, {""}, {"sat"}} {
		if got, err := Select(list); err == nil {
			t.Errorf("Select(%q) = %q", list, got)
		}
	}
}

// built compiles one of the servers.
func built(t *testing.T, name string) string {
	t.Helper()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), "../cmd/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return bin
}

// shortTimes are for tests, which ignore the figures.
var shortTimes = Times{Settle: time.Millisecond}.All(50 * time.Millisecond)

func TestExecute(t *testing.T) {
	t.Parallel()
	bin := built(t, "floor-go")
	plan := Plan{
		Servers:  []servers.Adapter{servers.Floor{Bin: bin}, servers.Floor{Bin: bin, Coalesce: true}},
		Measures: []string{IdleCPU, Fanout1k, Saturated1k8, LatencySame, LatencyFixed, Direct, Size32k, Chat},
		Rounds:   2, Times: shortTimes, Progress: io.Discard,
	}
	runs := plan.Execute(context.Background())
	figures := map[string]int{}
	for _, r := range runs {
		if r.Error != "" {
			t.Errorf("%s, %s: %s", r.Server, r.Measure, r.Error)
		}
		for metric, v := range r.Values {
			if v <= 0 && r.Measure != IdleCPU {
				t.Errorf("%s, %s: %s is %v", r.Server, r.Measure, metric, v)
			}
		}
		figures[r.Server+" "+r.Measure]++
	}
	for _, want := range []string{
		"floor-go " + IdleCPU, "floor-go " + Fanout1k, "floor-go " + Saturated1k8, "floor-go " + LatencySame, "floor-go " + LatencyFixed,
		"floor-go " + Direct, "floor-go " + Size32k, "floor-go " + Chat,
		"floor-go-coalescing " + Saturated1k8,
	} {
		if figures[want] != plan.Rounds {
			t.Errorf("%s: %d runs", want, figures[want])
		}
	}
	if len(figures) != 9 {
		t.Errorf("got %v", figures)
	}
}

// mute is a server that ends at once.
type mute struct{ servers.Floor }

func (mute) Name() string                            { return "mute" }
func (mute) Command(servers.Site) (*exec.Cmd, error) { return exec.Command("true"), nil }
func (mute) Covers(string) bool                      { return true }

func TestServerThatEndsFailsEachMeasure(t *testing.T) {
	t.Parallel()
	plan := Plan{
		Servers: []servers.Adapter{mute{}}, Measures: []string{Saturated1k1, Saturated1k8}, Rounds: 1,
		Times: shortTimes, Progress: io.Discard,
	}
	runs := plan.Execute(context.Background())
	if len(runs) != 2 || runs[0].Error == "" || runs[1].Error == "" {
		t.Errorf("got %+v", runs)
	}
}

func TestExecuteStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	plan := Plan{Servers: []servers.Adapter{mute{}}, Measures: Names(), Rounds: 1, Progress: io.Discard}
	if runs := plan.Execute(ctx); len(runs) != 0 {
		t.Errorf("got %+v", runs)
	}
}

// TestExecuteOverTLS measures a server over TLS, and leaves out one that has none.
func TestExecuteOverTLS(t *testing.T) {
	t.Parallel()
	plan := Plan{
		Servers:  []servers.Adapter{servers.GWS{Bin: built(t, "gws")}, mute{}},
		Measures: []string{TLSSetup, TLSFanout1k, TLSSaturated8}, Rounds: 1, Times: shortTimes, Progress: io.Discard,
	}
	runs := plan.Execute(context.Background())
	if len(runs) != 3 {
		t.Errorf("got %+v", runs)
	}
	for _, r := range runs {
		if r.Server != "gws" || r.Error != "" || r.Values[CPU] <= 0 {
			t.Errorf("got %+v", r)
		}
	}
}
