package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/internal/eventually"
)

// probesOf returns how many probes an instance has on its loops.
func probesOf(t *testing.T, h *Hub) (n int) {
	t.Helper()
	counts := make([]int, len(h.shards))
	if err := h.onLoops(inspectCtx(t), func(sh *shard) { counts[sh.index] = len(sh.probes) }); err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		n += c
	}
	return n
}

// TestTapOfAClient watches a client, and all clients of its token, from another instance: every target, both ways.
func TestTapOfAClient(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	watched, other := identify(t, urls[1], "w", m{"name": "watched"}), identify(t, urls[0], "o", m{"name": "other"})
	tap, err := hubs[0].TapClient(inspectCtx(t), ClientTapOptions{Client: uuid.MustParse(watched.id), PerSecond: 500})
	if err != nil {
		t.Fatal(err)
	}
	all, err := hubs[0].TapClient(inspectCtx(t), ClientTapOptions{Token: "shared", PerSecond: 500})
	if err != nil {
		t.Fatal(err)
	}
	if n := probesOf(t, hubs[1]); n != 2*len(hubs[1].shards) {
		t.Errorf("%d probes", n)
	}
	for i, to := range []m{
		{"target": "DIRECT", "identifier": other.id}, {"target": "ANY", "identifier": "o"}, {"target": "GROUP", "identifier": "o"}, {"target": "GLOBAL"},
	} {
		watched.send(m{"op": 0, "event": fmt.Sprint("from-", i), "intent": to})
		other.read()
	}
	watched.read() // its own GLOBAL
	for i, to := range []m{
		{"target": "DIRECT", "identifier": watched.id}, {"target": "ANY", "identifier": "w"}, {"target": "GROUP", "identifier": "w"},
	} {
		other.send(m{"op": 0, "event": fmt.Sprint("to-", i), "intent": to})
		watched.read()
	}
	got := make(map[string]string)
	collect := func(tap *ClientTap) int {
		messages, err := tap.Next(inspectCtx(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range messages {
			event, _, _ := strings.Cut(string(p.Message[strings.Index(string(p.Message), `"event":"`)+9:]), `"`)
			got[fmt.Sprint(event, " ", p.Out, " ", p.Name)] = p.Node
		}
		return len(messages)
	}
	n := 0
	eventually.True(t, "the client's messages", func() bool { n += collect(tap); return n >= 8 })
	for _, want := range []string{
		"from-0 false", "from-1 false", "from-2 false", "from-3 false", "from-3 true", "to-0 true", "to-1 true", "to-2 true",
	} {
		if got[want+" watched"] != "node-1" {
			t.Errorf("no %s in %v", want, got)
		}
	}
	if seen, leftOut := tap.Counts(); n != 8 || len(got) != 8 || seen != 8 || leftOut != 0 {
		t.Errorf("%d messages, %d seen, %d left out: %v", n, seen, leftOut, got)
	}
	n = 0
	eventually.True(t, "the messages of the token", func() bool { n += collect(all); return n >= 15 }) // those of other, too
	if got["to-0 false other"] != "node-0" || got["from-3 true other"] != "node-0" || n != 15 {
		t.Errorf("%d messages: %v", n, got)
	}
	tap.Close()
	all.Close()
	for _, h := range hubs {
		eventually.True(t, "the probes to go", func() bool { return probesOf(t, h) == 0 })
	}
	if _, err := hubs[0].TapClient(inspectCtx(t), ClientTapOptions{Client: uuid.New()}); !errors.Is(err, ErrClientNotFound) {
		t.Errorf("a client of no instance: %v", err)
	}
}

// TestProbesAreBounded asks for many, floods one, and then asks no more: they go by themselves.
func TestProbesAreBounded(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	p := identify(t, urls[1], "g", nil)
	id := uuid.MustParse(p.id)
	ask := func(n uint64) probeFound {
		found, err := hubs[1].probeHere(inspectCtx(t), probeAsked{ID: n, Client: id, PerSecond: 10})
		if err != nil || !found.Shows {
			t.Fatalf("%+v, %v", found, err)
		}
		return found
	}
	for n := range uint64(maxProbes) {
		if ask(n).TooMany {
			t.Fatalf("probe %d is too many", n)
		}
	}
	if !ask(maxProbes).TooMany {
		t.Error("there are more than there may be")
	}
	const sent = 200
	for range sent {
		p.send(m{"op": 0, "event": "e", "intent": m{"target": "GROUP", "identifier": "nobody"}})
	}
	p.pong()
	if found := ask(0); found.Seen != sent || found.LeftOut == 0 || len(found.Messages)+int(found.LeftOut) != sent {
		t.Errorf("%d shown, %d seen, %d left out", len(found.Messages), found.Seen, found.LeftOut)
	}
	for n := range uint64(maxProbes) { // as if their time were over
		hubs[1].endProbe(n)
	}
	if n := probesOf(t, hubs[1]); n != 0 {
		t.Errorf("%d probes are left", n)
	}
	for _, q := range []string{`{"kind":"probe"}`, `{"kind":"probe","id":1,"token":"x","per_second":-1}`, `{"kind":"probe","id":1,"end":true,"token":"x"}`} {
		if b := (remote{hub: hubs[0]}).Answer([]byte(q)); len(b) == 0 {
			t.Errorf("%s is not answered", q)
		}
	}
}
