package hub

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
)

// selecting is an intent with several targets, and exceptions where there are any.
func selecting(target string, identifiers []string, except ...string) m {
	in := m{"target": target}
	if identifiers != nil {
		in["identifiers"] = identifiers
	}
	if len(except) > 0 {
		in["except"] = except
	}
	return in
}

// in identifies a client in groups.
func in(t *testing.T, url string, groups ...string) *peer {
	t.Helper()
	return identify(t, url, groups[0], m{"groups": groups})
}

// TestSelection sends to several targets, with exceptions, on one instance and across two: each receiver gets one copy.
func TestSelection(t *testing.T) {
	t.Parallel()
	for _, hubs := range []int{1, 2} {
		t.Run(fmt.Sprint(hubs, " hubs"), func(t *testing.T) {
			t.Parallel()
			urls := cluster(t, hubs)
			sender := identify(t, urls[0], "senders", withFeedback)
			peers := map[string]*peer{}
			for i, url := range urls {
				for name, groups := range map[string][]string{
					"a": {"a"}, "b": {"b"}, "ab": {"a", "b"}, "abx": {"b", "x", "a"}, "c": {"c"}, "ax": {"a", "x"},
				} {
					peers[fmt.Sprint(name, i)] = in(t, url, groups...)
				}
			}
			end := hubs - 1
			a, b := peers["a0"].id, peers[fmt.Sprint("b", end)].id
			others := "ab"
			if hubs > 1 {
				others = "a1 b0 ab"
			}
			for n, tc := range []struct {
				intent m
				want   string // names of the receivers, of both instances where there is no number
				nodes  int    // 0: NO_RECEIVER
			}{
				{selecting("GROUP", []string{"a", "b"}), "a b ab abx ax", hubs},
				{selecting("GROUP", []string{"b", "a", "none"}), "a b ab abx ax", hubs},
				{selecting("GROUP", []string{"a"}), "a ab abx ax", hubs},
				{selecting("GROUP", []string{"a", "b", "c"}, "x"), "a b ab c", hubs},
				{selecting("GROUP", []string{"a", "b"}, "x", "none", a, b), others, hubs},
				{selecting("GROUP", []string{"none", "other"}), "", 0},
				{m{"target": "GROUP", "identifier": "a", "except": []string{"b"}}, "a ax", hubs},
				{m{"target": "GROUP", "identifier": "a", "except": []string{strings.ToUpper(a)}}, strings.Replace(others, "b0", "", 1) + " abx ax", hubs},
				{m{"target": "GLOBAL", "except": []string{"b", "senders", "c"}}, "a ax", hubs},
				{selecting("DIRECT", []string{a, b}), fmt.Sprint("a0 b", end), hubs},
				{selecting("DIRECT", []string{a, b}, "b"), "a0", 1},
				{selecting("DIRECT", []string{a, b}, a), fmt.Sprint("b", end), 1},
				{m{"target": "DIRECT", "identifier": b, "except": []string{"a"}}, fmt.Sprint("b", end), 1},
			} {
				id := fmt.Sprint("message ", n)
				sender.send(event(id, tc.intent))
				f := sender.read()
				if tc.nodes == 0 && (f.Op != 6 || f.ID != id) || tc.nodes > 0 && (f.Op != 7 || f.ID != id) {
					t.Fatalf("%v: the sender got %+v", tc.intent, f)
				}
				if d, _ := f.Data.(m); tc.nodes > 0 && fmt.Sprint(d["nodes"]) != fmt.Sprint(tc.nodes) && tc.intent["target"] != "DIRECT" {
					t.Errorf("%v: ACK %v, want %d instances", tc.intent, f.Data, tc.nodes)
				}
				sender.send(event("end", to("GLOBAL"))) // behind the message, on the same ways
				want := strings.Fields(tc.want)
				for name, p := range peers {
					var got []string
					for f := p.read(); f.ID != "end"; f = p.read() {
						got = append(got, f.ID)
					}
					if slices.Contains(want, name) || slices.Contains(want, name[:len(name)-1]) {
						if !slices.Equal(got, []string{id}) {
							t.Errorf("%v: %s got %q, want one copy", tc.intent, name, got)
						}
					} else if len(got) > 0 {
						t.Errorf("%v: %s got %q", tc.intent, name, got)
					}
				}
				for seen := 0; seen < 2; { // the sender's own copy, and its ACK
					if f := sender.read(); f.ID == "end" {
						seen++
					} else if f.Op != 6 || tc.intent["target"] != "DIRECT" {
						t.Errorf("%v: the sender got %+v", tc.intent, f)
					}
				}
			}
		})
	}
}

// TestSelectionOrder: messages to several targets and to one arrive in the order in which they were sent.
func TestSelectionOrder(t *testing.T) {
	t.Parallel()
	urls := cluster(t, 2)
	sender := identify(t, urls[0], "senders", nil)
	receivers := []*peer{in(t, urls[0], "a", "b"), in(t, urls[0], "b", "a"), in(t, urls[1], "a", "b"), in(t, urls[1], "b")}
	last := receivers[3].id
	const rounds = 200
	for n := range rounds {
		sender.send(event(fmt.Sprint(n), []m{
			selecting("GROUP", []string{"a", "b"}, "none"), to("GROUP", "b"), selecting("GROUP", []string{"b", "c", "a"}), to("GLOBAL"),
			selecting("DIRECT", []string{receivers[0].id, receivers[1].id, receivers[2].id, last}),
		}[n%5]))
	}
	for i, p := range receivers {
		for n := range rounds {
			if f := p.read(); f.ID != fmt.Sprint(n) {
				t.Fatalf("receiver %d got %q as the message %d", i, f.ID, n)
			}
		}
	}
}

// TestSelectionRights: each target needs a permission of its own.
func TestSelectionRights(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		o.Tokens = auth.NewStore(tokenTable(t, `
- {name: a, sha256: `+auth.Hash(testToken)+`, groups: "*", send: ["GROUP:a", "GROUP:b.*"]}
`))
	})
	sender, receiver := identify(t, url, "senders", withFeedback), in(t, url, "a", "b.c", "c")
	for n, tc := range []struct {
		intent m
		op     int
	}{
		{selecting("GROUP", []string{"a", "b.c"}), 7},
		{selecting("GROUP", []string{"a", "c"}), 6},
		{selecting("GROUP", []string{"c", "a"}), 6},
		{selecting("GROUP", []string{"a"}, "c.d"), 7}, // what is left out needs none
		{selecting("DIRECT", []string{receiver.id}), 6},
		{m{"target": "GLOBAL", "except": []string{"x"}}, 6},
	} {
		sender.send(event(fmt.Sprint(n), tc.intent))
		if f := sender.read(); f.Op != tc.op || f.ID != fmt.Sprint(n) {
			t.Errorf("%v: %+v", tc.intent, f)
		}
	}
	if got := receiver.fence(); len(got) != 2 || got[0].ID != "0" || got[1].ID != "3" {
		t.Errorf("received %+v", got)
	}
	grant, _ := h.tokens.Authenticate(testToken)
	if _, err := h.Publish(t.Context(), h.Caller(Credential{Grant: grant}), []byte(`{"op":0,"event":"e","intent":{"target":"GROUP","identifiers":["a","c"]}}`)); err != ErrForbidden {
		t.Errorf("Publish: %v", err)
	}
}

// TestSelectionReceipt: a receipt counts each receiver once.
func TestSelectionReceipt(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	h, url := startHub(t, bus.Broker(), nil)
	_, other := startHub(t, bus.Broker(), func(o *Options) { o.NodeName = "other" })
	a, ab, abx := in(t, url, "a"), in(t, other, "a", "b"), in(t, other, "a", "b", "x")
	grant, _ := h.tokens.Authenticate(testToken)
	for message, want := range map[string]int{
		`{"op":0,"intent":{"target":"GROUP","identifiers":["a","b"]}}`:                           3,
		`{"op":0,"intent":{"target":"GROUP","identifiers":["a","b"],"except":["x"]}}`:            2,
		`{"op":0,"intent":{"target":"GROUP","identifiers":["b"],"except":["x","` + a.id + `"]}}`: 1,
		`{"op":0,"intent":{"target":"DIRECT","identifiers":["` + a.id + `","` + ab.id + `"]}}`:   2,
		`{"op":0,"intent":{"target":"DIRECT","identifiers":["` + abx.id + `","` + ab.id + `"]}}`: 2,
		`{"op":0,"intent":{"target":"GROUP","identifiers":["a","b"],"except":["a","b"]}}`:        0,
	} {
		r, err := h.Publish(t.Context(), h.Caller(Credential{Grant: grant}), []byte(message))
		if err != nil || r.Clients == nil || *r.Clients != want {
			t.Errorf("%s: %+v, %v, want %d clients", message, r, err, want)
		}
	}
}

// TestSelectionInRequest: a tracked request has one target.
func TestSelectionInRequest(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "a", m{"features": []string{"requests"}})
	e := event("q", selecting("GROUP", []string{"a", "b"}))
	e["expect"] = m{"timeout_ms": 1000}
	p.send(e)
	p.wantDisconnect("a request to several groups", "INVALID_PAYLOAD", 4002)
	plain := identify(t, url, "a", nil) // without the feature, expect is a member like any other
	plain.send(e)
	if f := plain.read(); f.ID != "q" {
		t.Errorf("got %+v", f)
	}
}

// TestSelectionOfExclusiveGroups: a message to several groups reaches at most the one holder of each.
func TestSelectionOfExclusiveGroups(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url1 := startHub(t, bus.Broker(), nil)
	_, url2 := startHub(t, bus.Broker(), func(o *Options) { o.NodeName = "other" })
	for _, url := range []string{url1, url2} { // the holder is on the sender's instance, or on the other
		holder, waiting := identify(t, url, "g", withExclusive), identify(t, url1, "g", withExclusive)
		group := "held by " + holder.id
		if st := holder.claim(group); !st.Held {
			t.Fatalf("%+v", st)
		}
		waiting.claim(group)
		sender := identify(t, url1, "senders", nil)
		sender.send(event("one", selecting("GROUP", []string{group, "none"})))
		sender.send(event("two", selecting("GROUP", []string{"g", group})))
		for _, want := range []string{"one", "two"} {
			if f := holder.read(); f.ID != want {
				t.Errorf("the holder got %+v, want %q", f, want)
			}
		}
		if f := waiting.read(); f.ID != "two" {
			t.Errorf("who waits got %+v", f)
		}
	}
}
