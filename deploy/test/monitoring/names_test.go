//go:build linux

package monitoring_test

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/oidctest"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// metricName is the label that holds the name of a metric.
const metricName = "__name__"

// fullFlags give a hub every existing metric.
func fullFlags(t *testing.T) []string {
	t.Helper()
	cert, key := tlstest.Write(t, t.TempDir(), tlstest.NewAuthority(t).Issue(t, tlstest.Template{Name: "hub", Expires: 30 * 24 * time.Hour}))
	issuer := oidctest.Start(t)
	fleets := filepath.Join(t.TempDir(), "fleets.yaml")
	if err := os.WriteFile(fleets, []byte("fleets: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"--enable", "echo,fleet,team", "--fleet-file", fleets, "--tls-listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key,
		"--oidc-issuer", issuer.URL, "--oidc-ca", issuer.CAFile, "--oidc-audience", oidctest.Audience,
	}
}

// scrape adds a hub's metrics to a database, as Prometheus would under the names job and instance.
func (m *memory) scrape(t *testing.T, s *hubtest.Server, instance string, at time.Duration) {
	t.Helper()
	target := func(b *labels.Builder) labels.Labels {
		return b.Set("namespace", "n").Set("job", "hub").Set("instance", instance).Labels()
	}
	for series, v := range s.Metrics() {
		l, err := language.ParseMetric(series)
		if err != nil {
			t.Fatalf("%s: %v", series, err)
		}
		m.add(target(labels.NewBuilder(l)), at, v)
	}
	m.add(target(labels.NewBuilder(labels.FromStrings(metricName, "up"))), at, 1)
}

// miss notes that a scrape of a hub failed, as Prometheus would.
func (m *memory) miss(instance string, at time.Duration) {
	for _, s := range m.series {
		if s.labels.Get("instance") != instance {
			continue
		}
		v := math.Float64frombits(value.StaleNaN)
		if s.labels.Get(metricName) == "up" {
			v = 0
		}
		s.points = append(s.points, point{at.Milliseconds(), v})
	}
}

// ask makes an authorized request to the admin API.
func ask(t *testing.T, s *hubtest.Server, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// All names, labels and label values in alerts and dashboard exist.
func TestNamesExist(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Redis: redistest.Start(t).URL(), Flags: fullFlags(t)})
	ask(t, s, "/v1/nodes") // the API's own metrics begin with its first request
	m := newMemory()
	m.scrape(t, s, "a", 0)
	alert := labels.FromStrings(metricName, "ALERTS", "alertname", "MastersocketAbsent", "alertstate", "firing", "namespace", "n")
	m.add(alert, 0, 1) // Prometheus itself makes this series

	expressions := map[string]string{} // and their places
	for _, r := range alerts(t) {
		expressions[r.Expr] = r.Alert
	}
	panels, queries := dashboard(t)
	for _, p := range panels {
		for _, q := range p.Targets {
			expressions[expression(q.Expr)] = p.Title
		}
	}
	for _, q := range queries { // label_values(metric{…}, label)
		inner := strings.TrimSuffix(strings.TrimPrefix(q, "label_values("), ")")
		i := strings.LastIndex(inner, ", ")
		expressions["count by ("+inner[i+2:]+") ("+expression(inner[:i])+")"] = "variable " + q
	}
	for expr, where := range expressions {
		parsed, err := language.ParseExpr(expr)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		known := map[string]bool{}
		parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok {
				m.checkSelector(t, where, v, known)
			}
			return nil
		})
		checkLabels(t, where, parsed, known)
	}
}

// checkSelector looks for series that each of a selector's matchers matches, and adds the labels that they have to known.
func (m *memory) checkSelector(t *testing.T, where string, v *parser.VectorSelector, known map[string]bool) {
	t.Helper()
	for _, matcher := range v.LabelMatchers {
		found := false
		for _, s := range m.series {
			if s.labels.Get(metricName) != v.Name {
				continue
			}
			has := s.labels.Has(matcher.Name)
			found = found || has && matcher.Matches(s.labels.Get(matcher.Name))
			s.labels.Range(func(l labels.Label) { known[l.Name] = true })
		}
		if !found {
			t.Errorf("%s: nothing has %s with %s", where, v.Name, matcher)
		}
		for _, value := range alternatives(matcher) { // each alternative must match
			if !slices.ContainsFunc(m.named(v.Name), func(l labels.Labels) bool { return l.Get(matcher.Name) == value }) {
				t.Errorf("%s: nothing has %s with %s=%q", where, v.Name, matcher.Name, value)
			}
		}
	}
}

// named returns the series of a metric.
func (m *memory) named(name string) (found []labels.Labels) {
	for _, s := range m.series {
		if s.labels.Get(metricName) == name {
			found = append(found, s.labels)
		}
	}
	return found
}

// alternatives returns what a matcher names one by one: a, b and c of "a|b|c".
func alternatives(m *labels.Matcher) []string {
	if m.Type != labels.MatchRegexp && m.Type != labels.MatchNotRegexp || strings.ContainsAny(m.Value, ".*+[](") {
		return nil
	}
	return strings.Split(m.Value, "|")
}

// checkLabels looks for labels by which is grouped or matched and which nothing in the expression has.
func checkLabels(t *testing.T, where string, expr parser.Expr, known map[string]bool) {
	t.Helper()
	check := func(names []string) {
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s: nothing in it has the label %s", where, name)
			}
		}
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			check(n.Grouping)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				check(n.VectorMatching.MatchingLabels)
			}
		}
		return nil
	})
}
