//go:build linux

package monitoring_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// language parses PromQL as a Prometheus with default settings does.
var language = parser.NewParser(parser.Options{})

// newEngine returns what evaluates PromQL. It must be closed.
func newEngine(t *testing.T) *promql.Engine {
	t.Helper()
	e := promql.NewEngine(promql.EngineOpts{MaxSamples: 1 << 20, Timeout: time.Minute, Parser: language})
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// point is a float sample: milliseconds and a value.
type point struct {
	t int64
	v float64
}

func (p point) T() int64                      { return p.t }
func (p point) F() float64                    { return p.v }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }
func (p point) ST() int64                     { return 0 }

// memory is a database of series.
type memory struct{ series map[string]*storedSeries }

type storedSeries struct {
	labels labels.Labels
	points []chunks.Sample
}

func newMemory() *memory { return &memory{series: make(map[string]*storedSeries)} }

// add appends a sample to a series; samples come in the order of their times.
func (m *memory) add(l labels.Labels, at time.Duration, v float64) {
	s := m.series[l.String()]
	if s == nil {
		s = &storedSeries{labels: l}
		m.series[l.String()] = s
	}
	s.points = append(s.points, point{at.Milliseconds(), v})
}

// load adds series in the notation of Prometheus's own tests, one a line, with a sample each minute.
func (m *memory) load(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		l, values, err := language.ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for i, v := range values {
			if !v.Omitted {
				m.add(l, time.Duration(i)*time.Minute, v.Value)
			}
		}
	}
}

// Querier implements storage.Queryable.
func (m *memory) Querier(_, _ int64) (storage.Querier, error) { return querier{m}, nil }

type querier struct{ m *memory }

// Select implements storage.Querier.
func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, s := range q.m.series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			found = append(found, storage.NewListSeries(s.labels, s.points))
		}
	}
	slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &seriesSet{series: found, at: -1}
}

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) Close() error { return nil }

type seriesSet struct {
	series []storage.Series
	at     int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// eval evaluates an expression at a time.
func (m *memory) eval(t *testing.T, e *promql.Engine, expr string, at time.Duration) promql.Vector {
	t.Helper()
	q, err := e.NewInstantQuery(t.Context(), m, nil, expr, time.UnixMilli(at.Milliseconds()))
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	r := q.Exec(t.Context())
	if r.Err != nil {
		t.Fatalf("%s: %v", expr, r.Err)
	}
	v, err := r.Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	out := slices.Clone(v) // q.Close takes it back
	return out
}

// firing returns what fires at a time, evaluated once a minute as Prometheus does: those that have held for as long as
// the rule says.
func (m *memory) firing(t *testing.T, e *promql.Engine, r rule, at time.Duration) promql.Vector {
	t.Helper()
	since := map[string]time.Duration{}
	var last promql.Vector
	for now := time.Duration(0); now <= at; now += time.Minute {
		last = m.eval(t, e, r.Expr, now)
		held := map[string]time.Duration{}
		for _, s := range last {
			key := s.Metric.String()
			held[key] = now
			if begin, ok := since[key]; ok {
				held[key] = begin
			}
		}
		since = held
	}
	return slices.DeleteFunc(last, func(s promql.Sample) bool { return at-since[s.Metric.String()] < r.hold(t) })
}
