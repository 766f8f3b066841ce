//go:build linux

package monitoring_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"
)

// runbook is the document with the sections of alerts.
const runbook = "docs/runbook.md"

// rule is an alert.
type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// hold returns how long the expression must be true before the alert fires.
func (r rule) hold(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(r.For)
	if err != nil {
		t.Fatalf("%s: for: %v", r.Alert, err)
	}
	return d
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// alerts reads the alert rules.
func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	d := yaml.NewDecoder(strings.NewReader(string(read(t, "deploy/helm/mastersocket/files/alerts.yaml"))))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no alerts")
	}
	return all
}

// templates are the functions of Prometheus's templates that the alerts use.
var templates = template.FuncMap{
	"humanize": format, "humanize1024": format, "humanizePercentage": format, "humanizeDuration": format,
}

func format(float64) string { return "formatted" }

// Every alert has a summary, an impact and a link to the runbook.
func TestAlertsAreWhole(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range alerts(t) {
		if !strings.HasPrefix(r.Alert, "Mastersocket") || seen[r.Alert] {
			t.Errorf("alert %q: the name is taken, or does not say whose it is", r.Alert)
		}
		seen[r.Alert] = true
		if _, err := language.ParseExpr(r.Expr); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		r.hold(t)
		if s := r.Labels["severity"]; (s != "critical" && s != "warning") || len(r.Labels) != 1 {
			t.Errorf("%s: labels %v: want a severity, critical or warning", r.Alert, r.Labels)
		}
		for _, name := range []string{"summary", "description"} {
			render(t, r, name)
		}
		want := "https://github.com/mastersocket/mastersocket/blob/main/" + runbook + "#" + strings.ToLower(r.Alert)
		if got := r.Annotations["runbook_url"]; got != want {
			t.Errorf("%s: runbook %s, want %s", r.Alert, got, want)
		}
		if r.Alert != "MastersocketAbsent" && !strings.Contains(r.Annotations["description"], "$value") {
			t.Errorf("%s: the description does not say the value", r.Alert)
		}
	}
}

// render fills in an annotation as Prometheus does.
func render(t *testing.T, r rule, name string) {
	t.Helper()
	text := r.Annotations[name]
	tmpl, err := template.New(name).Funcs(templates).Parse("{{$labels := .Labels}}{{$value := .Value}}" + text)
	if err != nil {
		t.Errorf("%s: %s: %v", r.Alert, name, err)
		return
	}
	var b strings.Builder
	data := struct {
		Labels map[string]string
		Value  float64
	}{map[string]string{"instance": "10.0.0.1:42070", "job": "hub"}, 1}
	if err := tmpl.Execute(&b, data); err != nil || b.Len() == 0 {
		t.Errorf("%s: %s %q: %v", r.Alert, name, b.String(), err)
	}
}

// heading is a section of the runbook that is about an alert.
var heading = regexp.MustCompile(`(?m)^#+ (Mastersocket\w+)$`)

func TestEveryAlertHasASectionInTheRunbook(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, r := range alerts(t) {
		want = append(want, r.Alert)
	}
	for _, m := range heading.FindAllStringSubmatch(string(read(t, runbook)), -1) {
		got = append(got, m[1])
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s has no section in %s", name, runbook)
		}
	}
	for i, name := range got {
		if !slices.Contains(want, name) || slices.Contains(got[:i], name) {
			t.Errorf("%s has a section in %s: it is no alert, or has two", name, runbook)
		}
	}
}

// panel is a panel of the dashboard.
type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct {
		Expr       string
		Datasource struct{ Type, UID string }
	}
}

// dashboard reads the panels that show something, and all variables' queries.
func dashboard(t *testing.T) (panels []panel, queries []string) {
	t.Helper()
	var file struct {
		UID, Title string
		Panels     []panel
		Templating struct {
			List []struct {
				Name       string
				Definition string
			}
		}
	}
	if err := json.Unmarshal(read(t, "deploy/helm/mastersocket/files/dashboard.json"), &file); err != nil {
		t.Fatal(err)
	}
	if file.UID == "" || file.Title == "" {
		t.Error("the dashboard has no uid or no title")
	}
	names := []string{}
	for _, v := range file.Templating.List {
		names = append(names, v.Name)
		if v.Definition != "" {
			queries = append(queries, v.Definition)
		}
	}
	for _, name := range []string{"datasource", "namespace", "job", "instance"} {
		if !slices.Contains(names, name) {
			t.Errorf("the dashboard has no variable %s", name)
		}
	}
	return file.Panels, queries
}

// expression fills in what Grafana fills in.
func expression(s string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$job", ".*", "$instance", ".*").Replace(s)
}

// Every panel has a query, a unit and a description of the normal state. No two overlap.
func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	panels, _ := dashboard(t)
	ids := map[int]bool{}
	cells := map[[2]int]string{}
	for _, p := range panels {
		if ids[p.ID] {
			t.Errorf("panel %q: its id is taken", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or beyond the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !strings.Contains(strings.ToLower(p.Description), "normal") {
			t.Errorf("panel %q does not say what is normal", p.Title)
		}
		if p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q has no unit, no query, or a data source of its own", p.Title)
		}
		for _, q := range p.Targets {
			if _, err := language.ParseExpr(expression(q.Expr)); err != nil {
				t.Errorf("panel %q: %s: %v", p.Title, q.Expr, err)
			}
			if q.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: a query has a data source of its own", p.Title)
			}
		}
	}
}
