package yamldoc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// read returns the pairs of the root's mapping as "key=value@line", and the problems as "line: problem".
func read(t *testing.T, text string) (pairs, problems []string) {
	t.Helper()
	root, err := Root([]byte(text))
	if err != nil {
		return nil, []string{fmt.Sprintf("line %d: %s", err.Line, err.Problem)}
	}
	if root == nil {
		return nil, nil
	}
	found := Pairs(root, func(key string) string { return "<" + key + ">" }, func(at *yaml.Node, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%d: ", at.Line)+fmt.Sprintf(format, args...))
	})
	for _, p := range found {
		pairs = append(pairs, fmt.Sprintf("%s=%s@%d", p.Key.Value, p.Value.Value, p.At.Line))
	}
	return pairs, problems
}

func TestPairs(t *testing.T) {
	t.Parallel()
	const base = "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\n"
	for name, c := range map[string]struct {
		text            string
		pairs, problems []string
	}{
		"nothing":      {"# a comment\n", nil, nil},
		"null":         {"~", nil, nil},
		"plain":        {"a: 1\nb: two\n", []string{"a=1@1", "b=two@2"}, nil},
		"alias":        {"a: &x 1\nb: *x\n", []string{"a=1@1", "b=1@2"}, nil},
		"mark":         {"\ufeffa: 1\n", []string{"a=1@1"}, nil},
		"merged":       {"<<: {a: 1, b: 2}\na: 3\n", []string{"a=3@2", "b=2@1"}, nil},
		"merged list":  {"<<: [{a: 1, b: 2}, {b: 3, c: 4}]\n", []string{"a=1@1", "b=2@1", "c=4@1"}, nil},
		"by name":      {base + "<<: [*other, *base]\n", []string{"base=@1", "other=@2", "b=3@2", "c=4@2", "a=1@1"}, nil},
		"merged twice": {"<<: {a: 1, <<: {a: 2, b: 3}}\n", []string{"a=1@1", "b=3@1"}, nil},
		"quoted":       {`"<<": 1`, []string{"<<=1@1"}, nil},
		"twice":        {"a: 1\na: 2\n", []string{"a=1@1"}, []string{"2: the key <a> is already on line 1"}},
		"no word":      {"[a]: 1\n", nil, []string{"1: a key here is not a plain word"}},
		"no mapping":   {"a: &x 1\n<<: *x\n", []string{"a=1@1"}, []string{"2: a merge key (<<) must have a mapping, or a list of them, such as <<: *defaults"}},
		"two documents": {"a: 1\n---\nb: 2\n", nil,
			[]string{"line 2: a second YAML document begins here; put everything into one"}},
		"star":    {"a: 1\nb: *x\n", nil, []string{"line 2: not valid YAML: a * outside of quotes means something else in YAML"}},
		"pattern": {"a: *.x\n", nil, []string{"line 1: not valid YAML: a * outside of quotes means something else in YAML"}},
	} {
		pairs, problems := read(t, c.text)
		if diff := cmp.Diff(c.pairs, pairs); diff != "" {
			t.Errorf("%s: pairs (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(c.problems, problems); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", name, diff)
		}
	}
}

// TestMergeBounds: what refers to itself, or to very much, is refused and takes no time.
func TestMergeBounds(t *testing.T) {
	t.Parallel()
	_, problems := read(t, "a: 1\n<<: &x {b: 2, <<: *x}\n")
	if len(problems) != 1 || !strings.Contains(problems[0], "nested deeper") {
		t.Errorf("a mapping in itself: %q", problems)
	}
	wide := "x0: &x0 {a: 1}\n"
	for i := range 9 {
		wide += fmt.Sprintf("x%d: &x%d {<<: [%s]}\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d,", i), 50), ","))
	}
	_, problems = read(t, wide+"<<: *x7\n")
	if len(problems) != 1 || !strings.Contains(problems[0], "more than 64") {
		t.Errorf("a wide tree: %q", problems)
	}
}
