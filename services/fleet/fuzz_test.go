package fleet

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// FuzzWords plays events of bots, whatever they carry, to the parser and the state machine: no panic, at most one runner, and
// each order is one that a bot's library can read.
func FuzzWords(f *testing.F) {
	for _, seed := range []struct{ name, args string }{
		{"identify", `{"version":"1.0.0"}`}, {"ready", ``}, {"health_check", `{"OK":false,"percent":1e308,"cogs":{"a":true,"a":false}}`},
		{"coma", `null`}, {"shutdown", `[]`}, {"try_again", `0`}, {"left", ``}, {"hello", `{"version":"\ud800"}`},
	} {
		f.Add(seed.name, []byte(seed.args))
	}
	f.Fuzz(func(t *testing.T, name string, args []byte) {
		now := time.Now()
		w, code, _ := parseWord(name, args)
		if code != "" {
			return
		}
		if w.Kind == wordHealthCheck && w.Report == nil {
			t.Fatal("a health check without a report")
		}
		l := &lead{state: lifecycle.New(lifecycle.Config{}, now)}
		for _, id := range []lifecycle.ID{"a", "b"} {
			w.ID = id
			actions, _ := l.apply(&w, now)
			for _, a := range actions {
				o, ok := orderOf(a)
				if !ok {
					continue
				}
				if event, argument := o.message("cmd"); event != "" && !json.Valid(argument) {
					t.Fatalf("%s %s", event, argument)
				}
			}
		}
	})
}
