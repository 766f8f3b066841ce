//go:build linux

package report

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/bench/measure"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("Median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		precise(0.00312): "0.00312", precise(12.345): "12.3", precise(2331.4): "2331",
		thousands(5_832): "5.8k", thousands(99_000): "99.0k", thousands(1_234_567): "1235k", tenths(7.85): "7.8", whole(312.5): "312",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// sample is a document with figures of each kind.
func sample() *Document {
	d := &Document{
		Taken: time.Unix(0, 0).UTC(), Rounds: 3, Subjects: []string{"mastersocket"}, Command: []string{"-rounds", "3"},
		Versions: map[string]string{"mastersocket": "1.0", "gws": "v1|2"}, Skipped: map[string]string{"centrifugo": "not here"},
	}
	add := func(server, name, metric string, values ...float64) {
		for round, v := range values {
			d.Runs = append(d.Runs, measure.Run{
				Server: server, Measure: name, Round: round, Values: map[string]float64{metric: v},
			})
		}
	}
	add("mastersocket", measure.Idle, measure.Bytes, 580, 590, 700)
	add("mastersocket", measure.Direct, measure.PerSecond, 300_000, 100_000, 200_000)
	add("floor-go", measure.Direct, measure.PerSecond, 210_000, 210_000, 210_000)
	add("uwebsockets", measure.Direct, measure.PerSecond, 250_000, 250_000, 250_000)
	add("mastersocket", measure.LatencySame, measure.P99, 4)
	add("uwebsockets", measure.LatencySame, measure.P99, 5)
	add("uwebsockets", measure.Saturated1k8, measure.PerSecond, 500_000)
	add("gws", measure.Saturated1k8, measure.PerSecond, 500_000)
	add("mastersocket", measure.Saturated1k8, measure.PerSecond, 1_500_000)
	d.Runs = append(d.Runs, measure.Run{Server: "gws", Measure: measure.Idle, Round: 0, Error: "lost"})
	add("gws", measure.Idle, measure.Bytes, 10_000)
	for i, n := range measure.ClusterSizes {
		d.Cluster = append(d.Cluster, measure.Run{
			Server: measure.ClusterName(n), Measure: measure.Cluster,
			Values: map[string]float64{measure.P50: 1 + float64(i), measure.P99: 9, measure.PerSecond: 1e6},
		})
	}
	return d
}

func TestSummarizeGivesNoFigureWhereARoundFailed(t *testing.T) {
	t.Parallel()
	s := summarize(sample().Runs)
	if c, ok := s.Get("gws", measure.Idle, measure.Bytes); ok || !s.Failed("gws", measure.Idle) {
		t.Errorf("a failed measure has the figure %v", c)
	}
	got, ok := s.Get("mastersocket", measure.Direct, measure.PerSecond)
	if want := (Cell{Median: 200_000, Min: 100_000, Max: 300_000, Rounds: 3}); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	d := sample()
	g := serverTable(summarize(d.Runs), allColumns, d.Skipped)
	want := Grid{
		Head: []string{"server", "idle B/client", "1k sat. 8", "DIRECT/s"},
		Rows: [][]string{
			{"mastersocket", "590", "1500k", "200k"},
			{"floor-go", "–", "–", "210k"},
			{"uwebsockets", "–", "500k", "250k"},
			{"gws", "failed", "500k", "–"},
			{"centrifugo", "skipped: not here"},
		},
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got %q", g)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	g := targetTable(summarize(sample().Runs), "mastersocket")
	verdicts := map[string][]string{}
	for _, row := range g.Rows {
		verdicts[row[0]] = row[1:]
	}
	for title, want := range map[string][]string{
		"resident bytes per idle identified client, 10,000": {"590", "≤ 300", "not met", "≤ 256", "not met"},
		"DIRECT messages/s, 500 in flight": {
			"200k", "≥ 1.1 × uwebsockets (is 0.80), ≥ 1 × nats-server (not measured)", "not met", "≥ 1.3 × uwebsockets (is 0.80)", "not met",
		},
		"deliveries/s saturated, 1,000 subscribers, 8 in flight": {
			"1500k", "≥ 0.95 × uwebsockets (is 3.00)", "met", "≥ 1 × floor-go-coalescing (not measured)", "unknown",
		},
		"p99 latency at the same rate, half of the saturation of uWebSockets, ms": {
			"4", "≤ 1 × uwebsockets (is 0.80)", "met", "≤ 0.8 × uwebsockets (is 0.80)", "met",
		},
		"connections set up per second": {"–", "", "not measured", "", "not measured"},
	} {
		if got := verdicts[title]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", title, got, want)
		}
	}
}

func TestTargetsNameExistingMeasures(t *testing.T) {
	t.Parallel()
	for _, target := range targetList {
		if _, err := measure.Select([]string{target.Measure}); err != nil {
			t.Errorf("%s: %v", target.Title, err)
		}
	}
}

func TestReplaceGenerated(t *testing.T) {
	t.Parallel()
	page := []byte("before\n" + beginMark + "\nold\n" + endMark + "\nafter\n")
	got, err := replaceGenerated(page, []byte("new\n"))
	if want := "before\n" + beginMark + "\n\nnew\n" + endMark + "\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	again, err := replaceGenerated(got, []byte("new\n"))
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("the second time: %q, %v", again, err)
	}
	if _, err := replaceGenerated([]byte(endMark+beginMark), nil); err == nil {
		t.Error("no error for marks in the wrong order")
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	docs := t.TempDir()
	page := filepath.Join(docs, "benchmarks.md")
	if err := os.WriteFile(page, []byte("# By hand\n"+beginMark+endMark+"\n## By hand too\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := sample()
	if err := d.Publish(docs); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# By hand\n", "\n## By hand too\n", "medians of 3 rounds", "| mastersocket | 590 | 1500k | 200k |", "| centrifugo | skipped: not here |",
		"![idle](benchmarks/idle.svg)", "![saturation](benchmarks/saturation.svg)", `| gws | v1\|2 |`, "| 2 instances and Redis |",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the page lacks %q:\n%s", want, b)
		}
	}
	svg, err := os.ReadFile(filepath.Join(docs, "benchmarks", "direct.svg"))
	if err != nil || !bytes.Contains(svg, []byte("<svg")) || !bytes.Contains(svg, []byte("floor-go")) {
		t.Errorf("chart: %v, %.200s", err, svg)
	}
	back, err := Read(filepath.Join(docs, "benchmarks", "results.json"))
	if err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("the results came back as %+v, %v", back, err)
	}
}

func TestCharts(t *testing.T) {
	t.Parallel()
	files, err := renderCharts(summarize(nil), t.TempDir())
	if err != nil || len(files) != 0 {
		t.Errorf("charts of nothing: %q, %v", files, err)
	}
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	m := ThisMachine()
	if m.Cores < 1 || m.MemoryGiB < 0 || m.Kernel == "" || strings.Contains(m.String(), "unknown, unknown") {
		t.Errorf("got %s", m)
	}
}
