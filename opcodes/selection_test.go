package opcodes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

func TestSelection(t *testing.T) { // not parallel: it counts allocations
	const direct = `{"op":0,"intent":{"target":"DIRECT",`
	for msg, want := range map[string]string{
		selecting(`"identifiers":["a","b"]`):                                          "[a b] [] []",
		selecting(`"identifiers":[ "a" , "\u0062" ],"except":["c","` + client + `"]`): "[a b] [] [c " + client + "]",
		selecting(`"identifier":"a","except":["b"]`):                                  "[a] [] [b]",
		selecting(`"identifier":null,"identifiers":["a"],"except":null`):              "[a] [] []",
		direct + `"identifiers":["` + strings.ToUpper(client) + `"]}}`:                "[] [" + client + "] []",
		direct + `"identifier":"` + client + `","except":["b"]}}`:                     "[] [" + client + "] [b]",
		`{"op":0,"intent":{"target":"GLOBAL","except":["b"]}}`:                        "[] [] [b]",
		selecting(`"identifiers":[` + numberedGroups(16) + `]`):                       "[g0 g1 g2 g3 g4 g5 g6 g7 g8 g9 g10 g11 g12 g13 g14 g15] [] []",
	} {
		var e Envelope
		for _, text := range []string{msg, string(AppendDelivery(nil, scanned(t, msg), uuid.Nil, uuid.Max))} {
			scan := e.Scan
			if text != msg {
				scan = e.ScanDelivery
			}
			if err := scan([]byte(text)); err != nil || !e.Selects() || e.Identifier != nil || e.Receiver != uuid.Nil {
				t.Errorf("%s: %v, selects %v", text, err, e.Selects())
			}
			if got := fmt.Sprintf("%s %v %s", e.Targets(), e.Receivers(), e.Except()); got != want {
				t.Errorf("%s: %s, want %s", text, got, want)
			}
		}
	}
	for _, msg := range []string{
		selecting(`"identifier":"a"`), selecting(`"identifier":"a","except":null,"identifiers":null`),
		`{"op":0,"intent":{"target":"ANY"}}`, `{"op":3,"intent":{"identifiers":["a"]}}`,
	} {
		e := scanned(t, msg)
		if e.Op == Event && e.Selects() {
			t.Errorf("%s selects", msg)
		}
	}
	// What one message selects is gone with the next.
	e := scanned(t, selecting(`"identifiers":["a"],"except":["b"]`))
	if err := e.Scan([]byte(selecting(`"identifier":"c"`))); err != nil || e.Selects() || e.Target != intent.Group || string(e.Identifier) != "c" {
		t.Errorf("the next message: %v, %v", err, e.Selects())
	}
	long := []byte(selecting(`"identifiers":[` + numberedGroups(16) + `],"except":[` + numberedGroups(16) + `]`))
	if n := testing.AllocsPerRun(100, func() { _ = e.Scan(long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func scanned(t *testing.T, msg string) *Envelope {
	t.Helper()
	e := new(Envelope)
	if err := e.Scan([]byte(msg)); err != nil {
		t.Fatalf("%s: %v", msg, err)
	}
	return e
}
