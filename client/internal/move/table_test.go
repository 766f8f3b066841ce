package move

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// row is a row of the table of phases in docs/sdk.md.
type row struct{ phase, input, next, actions string }

func rows(t *testing.T) (all []row) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/sdk.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| phase | input | next phase | actions |\n| --- | --- | --- | --- |\n")
	if !ok {
		t.Fatal("docs/sdk.md has no table of phases")
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 {
			return all
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, row{cells[1], cells[2], cells[3], cells[4]})
	}
	return all
}

// inputs are the inputs of the table. They return true if messages may be lost.
var inputs = map[string]func(m *Machine) bool{
	"begin":                func(m *Machine) bool { m.Begin(); return false },
	"identified":           func(m *Machine) bool { m.Identified(); return false },
	"identified, no FENCE": func(m *Machine) bool { m.IdentifiedPlain(); return false },
	"FENCE on old":         func(m *Machine) bool { m.FenceSent(New, "n"); m.FenceArrived(Old); return false },
	"FENCE on new":         func(m *Machine) bool { m.FenceSent(Old, "o"); m.FenceArrived(New); return false },
	"stopped":              func(m *Machine) bool { m.Stopped(); return false },
	"10 s":                 wait(10*time.Second, Conditions{}),
	"200 ms, hurry":        wait(200*time.Millisecond, Conditions{Hurry: true}),
	"0 ms, hurry":          wait(0, Conditions{Hurry: true}),
	"500 ms":               wait(500*time.Millisecond, Conditions{}),
	"500 ms, answers due":  wait(500*time.Millisecond, Conditions{Due: true}),
	"1 s":                  wait(time.Second, Conditions{}),
	"5 s, silent":          wait(5*time.Second, Conditions{Silent: true}),
	"end of old":           func(m *Machine) bool { return m.Ended(Old, nil) },
	"end of new":           func(m *Machine) bool { return m.Ended(New, nil) },
	"all handed out":       func(m *Machine) bool { m.Next(); return false },
}

// wait lets time pass in two steps, of which the first is too short.
func wait(d time.Duration, c Conditions) func(m *Machine) bool {
	return func(m *Machine) bool {
		if phase := m.phase; d > 0 {
			m.Observe(c)
			m.Tick(d - time.Millisecond)
			if m.phase != phase {
				m.act(Doubt, Old) // too early: an action that no row has
				m.act(Doubt, New)
			}
			m.Tick(time.Millisecond)
			return false
		}
		m.Observe(c)
		return false
	}
}

// path is how a move without faults reaches each phase.
var path = []struct{ input, phase string }{
	{"begin", "Opening"}, {"identified", "Joining"}, {"FENCE on old", "Stopping"}, {"stopped", "Switching"},
	{"FENCE on new", "Lingering"}, {"500 ms", "Clearing"}, {"FENCE on old", "Leaving"}, {"end of old", "Merging"},
}

func in(phase string) *Machine {
	m := &Machine{}
	for _, p := range path {
		if m.phase.String() == phase {
			break
		}
		inputs[p.input](m)
	}
	m.Actions()
	return m
}

// The machine does what the table in docs/sdk.md says.
func TestTable(t *testing.T) {
	t.Parallel()
	all := rows(t)
	covered := map[string]bool{}
	for _, r := range all {
		m := in(r.phase)
		input := inputs[r.input]
		if m.phase.String() != r.phase || input == nil {
			t.Errorf("%v: reached %v; the input is known: %v", r, m.phase, input != nil)
			continue
		}
		lost := input(m)
		var actions []string
		for _, a := range m.Actions() {
			text := a.Kind.String() + " " + a.Side.String()
			if a.Kind == SendFence && !strings.Contains(r.actions, text) || slices.Contains(actions, text) {
				continue // the table names only the FENCEs that a phase begins with
			}
			actions = append(actions, text)
		}
		if lost {
			actions = append(actions, "lost")
		}
		if got := strings.Join(actions, ", "); m.phase.String() != r.next || got != r.actions {
			t.Errorf("%s, %s: %v, %s; want %s, %s", r.phase, r.input, m.phase, got, r.next, r.actions)
		}
		covered[r.phase+", "+r.input] = true
	}
	for _, p := range path {
		for _, end := range []string{"end of old", "end of new"} {
			if key := p.phase + ", " + end; p.phase != "Merging" && !covered[key] {
				t.Errorf("the table has no row for %s", key)
			}
		}
	}
	if len(all) < 30 {
		t.Errorf("%d rows", len(all))
	}
}

// Inputs that a phase does not expect change nothing.
func TestUnexpectedInputs(t *testing.T) {
	t.Parallel()
	expected := map[[2]string]bool{}
	for _, r := range rows(t) {
		expected[[2]string{r.phase, r.input}] = true
	}
	for _, p := range append([]struct{ input, phase string }{{"", "Single"}}, path...) {
		for _, input := range []string{"identified", "identified, no FENCE", "FENCE on old", "FENCE on new", "stopped", "0 ms, hurry", "end of old", "end of new"} {
			if expected[[2]string{p.phase, input}] || p.phase == "Joining" && input == "FENCE on new" {
				continue
			}
			m := in(p.phase)
			if inputs[input](m); m.phase.String() != p.phase {
				t.Errorf("%s, %s: %v", p.phase, input, m.phase)
			}
			for _, a := range m.Actions() {
				if a.Kind != SendFence {
					t.Errorf("%s, %s: %v %v", p.phase, input, a.Kind, a.Side)
				}
			}
		}
	}
	m := &Machine{}
	if _, ok := m.Next(); ok || m.Full(Old) || m.NeedsKey() || m.FenceSent(Old, "x") {
		t.Error("a Machine without a move holds something")
	}
}
