package main

import (
	"strings"
	"testing"
)

// TestTopView types keys, and looks at the screen.
func TestTopView(t *testing.T) {
	t.Parallel()
	v := topView{kind: "clients", sort: "messages_in", window: "10s", selected: -1}
	one := topEntry{ID: "id-1", Name: "one\x1b[2J", Node: "a", Token: "t", Connected: true, Short: topRates{In: 12, OutBytes: 2048}, Long: topRates{In: 1.25}}
	two := topEntry{ID: "id-2", Name: "two", Node: "b", Token: "t"}
	v.take(topAnswer{Clients: []topEntry{one, two}, Groups: []topEntry{{Name: "orders", Short: topRates{In: 7}}}, Missing: []string{"c"}})
	want := func(contained ...string) {
		t.Helper()
		screen := v.render(100, 10)
		for _, text := range contained {
			if !strings.Contains(screen, text) {
				t.Errorf("no %q in %q", text, screen)
			}
		}
		if n := strings.Count(screen, "\r\n"); n != 9 {
			t.Errorf("%d lines", n+1)
		}
	}
	want("clients by messages_in over 10s · no answer of c", "MSG/S IN*", "12 ", "2.0 KiB", `one\u001b[2J`, "two (gone)")
	if v.key("K"); v.asking {
		t.Error("it asks though no client is selected")
	}
	v.key("j")
	v.key("\x1b[B")
	v.key("j")
	if v.client() == nil || v.client().ID != "id-2" {
		t.Errorf("selected: %d", v.selected)
	}
	v.take(topAnswer{Clients: []topEntry{two, one}}) // the selection goes with its client
	if v.selected != 0 {
		t.Errorf("selected: %d", v.selected)
	}
	v.key("K")
	want("disconnect two id-2? y for yes", "\x1b[7m")
	if v.key("n") != topNothing {
		t.Error("n did something")
	}
	v.key("K")
	if v.key("y") != topKick {
		t.Error("y did nothing")
	}
	v.key("K")
	if v.take(topAnswer{Clients: []topEntry{one}}); v.key("y") == topKick { // it went meanwhile
		t.Error("it disconnects another client")
	}
	v.key("w")
	v.key("4")
	want("by bytes_out over 5m", "BYTES/S OUT*", "1.2")
	v.key("g")
	v.key("K")
	want("GROUP", "select a client")
	v.key("i")
	want("INSTANCE")
	v.key("t")
	want("TOKEN")
	if v.key("?") != topNothing || v.key("") != topNothing || v.key("q") != topEnd {
		t.Error("q does not end")
	}
	if small := v.render(5, 1); strings.Contains(small, "\r\n") {
		t.Errorf("a screen of one line: %q", small)
	}
}
