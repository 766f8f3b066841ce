package config

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// FuzzSettings holds that every file gives either settings which kong can take, each with its line, or problems.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{
		"", "node: a", "allowed-origins: [a, 'b,c']\nloops: 3", "a: &a {b: *a}", "ping-interval: 1s\nmax-message-bytes: 1 MiB", "? [a]\n: b",
		"node: !!binary aGk=", "allowed-origins: &x [*x]", "<<: {loops: 1}\nloops: 02", "node: a\n---\nnode: b", "token: !!null x\nready-without-broker: on",
	} {
		f.Add([]byte(seed))
	}
	flags := make(map[string]*kong.Flag)
	for _, flag := range kong.Must(new(Serve), kong.NoDefaultHelp(), DecimalNumbers()).Model.Flags {
		flags[flag.Name] = flag
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p problems
		parseSettings(b, "hub.yaml", flags, &p, func(name, text, where string) {
			if flags[name] == nil || name == "config" || !strings.HasPrefix(where, "hub.yaml:") {
				t.Errorf("took %q at %q", name, where)
			}
			if wrong := decodable(flags[name], text); wrong != "" {
				t.Errorf("took %q for %s: %s", text, name, wrong)
			}
		})
		for _, problem := range p {
			if problem.Where == "" || problem.What == "" {
				t.Errorf("an empty problem: %q", problem)
			}
		}
	})
}
