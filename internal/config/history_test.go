package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/intent"
)

func TestLoadHistory(t *testing.T) {
	t.Parallel()
	pattern := func(text string) intent.Pattern {
		p, err := intent.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for text, want := range map[string][]HistoryRule{
		"history: []\n": nil,
		"history:\n  - groups: orders.*\n    messages: 7\n    age: 24h\n    bytes: 64KiB\n    max_groups: 3\n  - {groups: [a, b*], age: 1m}\n": {
			{intent.Patterns{pattern("orders.*")}, 7, 24 * time.Hour, 64 << 10, 3},
			{intent.Patterns{pattern("a"), pattern("b*")}, 10_000, time.Minute, 64 << 20, 10_000},
		},
		"history: '[{\"groups\":\"*\",\"age\":\"1s\",\"bytes\":1024}]'\n": {
			{intent.Patterns{pattern("*")}, 10_000, time.Second, 1024, 10_000},
		},
	} {
		s := mustParse(t, nil, "--config="+writeFile(t, "hub.yaml", "token: 0123456789abcdef0123456789abcdef\n"+text))
		l, err := s.Load()
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, l.History, cmp.AllowUnexported(intent.Pattern{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// A mistake is named with the place of the setting and the number of the rule.
func TestLoadHistoryMistakes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`[{groups: a}]`:                                   "rule 1: age is missing",
		`[{groups: a, age: 1h}, {age: 1h}]`:               "rule 2: groups is missing",
		`[{groups: "$a", age: 1h}]`:                       "rule 1: groups: pattern",
		`[{groups: {}, age: 1h}]`:                         "rule 1: groups must be",
		`[{groups: [[a]], age: 1h}]`:                      "rule 1: groups must be",
		`[{groups: a, age: 1h, messages: 0}]`:             "rule 1: messages must be a number from 1",
		`[{groups: a, age: 1h, messages: [1]}]`:           "rule 1: messages must be a plain value",
		`[{groups: a, age: 1}]`:                           "rule 1: age must be a duration",
		`[{groups: a, age: 1ms}]`:                         "rule 1: age must be a duration",
		`[{groups: a, age: 1h, bytes: 5}]`:                "rule 1: bytes must be a size",
		`[{groups: a, age: 1h, max_groups: 99999999999}]`: "rule 1: max_groups must be",
		`[{groups: a, age: 1h, size: 5}]`:                 "rule 1: unknown key size",
		`[a]`:                                             "rule 1: a rule has the keys",
		`{groups: a, age: 1h}`:                            "the value must be a list",
		`orders`:                                          "the value must be a list",
		`"[{groups: a, groups: b, age: 1h}]"`:             "rule 1: the key groups is already",
		`"[{"`:                                            "not valid YAML",
		`[` + strings.Repeat(`{groups: a, age: 1h},`, 101) + `]`: "a list of at most 100 rules",
	} {
		path := writeFile(t, "hub.yaml", "token: 0123456789abcdef0123456789abcdef\nhistory: "+text+"\n")
		s := mustParse(t, nil, "--config="+path)
		_, err := s.Load()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path+":2") {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}
