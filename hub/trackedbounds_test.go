package hub

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
)

func TestRequestRefused(t *testing.T) {
	t.Parallel()
	tokens := tokenTable(t, `
- {name: asker, sha256: `+auth.Hash("asker")+`, groups: "*", send: ["GROUP:workers", DIRECT]}
- {name: mute, sha256: `+auth.Hash("mute")+`, groups: "*", send: "GROUP:workers"}`)
	s := newSite(t, []int{1}, func(o *Options) { o.Tokens = auth.NewStore(tokens) })
	a := s.join(t, "askers", m{"token": "asker"})
	mute, b := s.join(t, "workers", m{"token": "mute"}), s.join(t, "workers", m{"token": "asker"})
	wantError := func(code string) {
		t.Helper()
		if f := a.read(); f.Op != 6 || f.Data.(m)["code"] != code || f.ID == "" {
			t.Errorf("want ERROR %s, got %+v", code, f)
		}
	}
	a.send(expectation("q", inGroup("others"), within(1000)))
	wantError("FORBIDDEN")
	a.send(expectation("q", inGroup("workers"), within(20000)))
	a.send(m{"op": 0, "id": "q", "intent": inGroup("workers"), "expect": within(1000)})
	wantError("DUPLICATE_ID")
	if err := a.sendRaw(`{"op":0,"id":"\u0071","intent":{"target":"GROUP","identifier":"workers"},"expect":{"timeout_ms":1000}}`); err != nil {
		t.Fatal(err)
	}
	wantError("DUPLICATE_ID")
	mute.wantRequest("q")
	b.reply(b.wantRequest("q"), nil)
	a.wantSettled("q", settlement{Receivers: 1, Replied: 1}) // a client that may not send DIRECT can't answer
	a.send(expectation("d", directTo(mute), within(20000)))
	a.wantSettled("d", settlement{})
	for i := range maxRequests {
		a.send(expectation(fmt.Sprint("n", i), directTo(b), within(60000)))
	}
	a.send(expectation("more", directTo(b), within(60000)))
	wantError("TOO_MANY_REQUESTS")
	a.send(m{"op": 15, "id": "n0"})
	a.wantSettled("n0", settlement{Receivers: 1, Missing: []missing{{ID: b.id, Reason: "CANCELLED"}}})
	a.send(expectation("more", directTo(b), within(60000)))
	_ = a.conn.CloseNow()
	cancels := 0
	for cancels < maxRequests+1 {
		if f := b.read(); f.Op == 15 {
			cancels++
		}
	}
	s.noneOpen(t)
}

func (p *peer) sendRaw(text string) error {
	return p.conn.Write(p.ctx, 1, []byte(text))
}

func TestRequestMemory(t *testing.T) {
	t.Parallel()
	s := newSite(t, []int{1}, func(o *Options) { o.RequestMemory = 10 * (requestBytes + owedBytes) })
	a, b := s.join(t, "askers", nil), s.join(t, "workers", nil)
	for i := range 11 {
		a.send(expectation(fmt.Sprint("q", i), directTo(b), within(60000)))
	}
	if f := a.read(); f.Op != 6 || f.ID != "q10" || f.Data.(m)["code"] != "TOO_MANY_REQUESTS" {
		t.Errorf("got %+v", f)
	}
	for i := range 10 {
		b.reply(b.wantRequest(fmt.Sprint("q", i)), nil)
		a.wantSettled(fmt.Sprint("q", i), settlement{Receivers: 1, Replied: 1})
	}
	s.noneOpen(t)
}

// TestRequestBadInput: what can't be tracked ends the connection, and without the feature expect is a member like any other.
func TestRequestBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, []int{1}, nil)
	toAll := `"intent":{"target":"GLOBAL"}`
	for _, bad := range []string{
		`{"op":0,"id":"q",` + toAll + `,"expect":7}`,
		`{"op":0,"id":"q",` + toAll + `,"expect":null}`,
		`{"op":0,"id":"q",` + toAll + `,"expect":{}}`,
		`{"op":0,"id":"q",` + toAll + `,"expect":{"timeout_ms":0}}`,
		`{"op":0,"id":"q",` + toAll + `,"expect":{"timeout_ms":31536000000}}`,
		`{"op":0,"id":"q",` + toAll + `,"expect":{"timeout_ms":1000},"attempt":1}`,
		`{"op":0,` + toAll + `,"expect":{"timeout_ms":1000}}`,
		`{"op":14,"id":"q"}`,
		`{"op":14,"id":"q","intent":{"target":"GROUP","identifier":"g"}}`,
		`{"op":14,"intent":{"target":"DIRECT","identifier":"00000000-0000-8000-8000-000000000000"}}`,
		`{"op":15}`,
	} {
		p := s.join(t, "g", nil)
		if err := p.sendRaw(bad); err != nil {
			t.Fatal(err)
		}
		p.wantDisconnect(bad, "INVALID_PAYLOAD", 4002)
		if !strings.Contains(bad, `"expect"`) {
			old := identify(t, s.urls[0], "g", m{"features": []string{"errors"}})
			if err := old.sendRaw(bad); err != nil {
				t.Fatal(err)
			}
			old.wantDisconnect(bad, "UNKNOWN_OP", 4001)
			continue
		}
		old := identify(t, s.urls[0], "old", m{"features": []string{"errors"}})
		if err := old.sendRaw(bad); err != nil {
			t.Fatal(err)
		}
		if f := old.read(); f.Op != 0 {
			t.Errorf("%s without the feature: %+v", bad, f)
		}
		_ = old.conn.CloseNow()
	}
	p := s.join(t, "g", nil)
	p.send(m{"op": 14, "id": "unknown", "intent": m{"target": "DIRECT", "identifier": p.id}})
	p.send(m{"op": 5, "id": "q", "expect": 7, "intent": directTo(p)}) // a REPLY is no request
	if f := p.read(); f.Op != 5 {
		t.Errorf("got %+v", f)
	}
	p.wantNothing()
}

// TestRequestMemoryOfReceivers: the receivers of a request to many count, with retry the message does, and an instance without
// memory for its receivers delivers nothing and says so.
func TestRequestMemoryOfReceivers(t *testing.T) {
	t.Parallel()
	const room = requestBytes + 4*owedBytes
	s := newSite(t, []int{1, 2, 1}, func(o *Options) {
		if o.RequestMemory = room; o.NodeName == "host-1" {
			o.RequestMemory = requestBytes + owedBytes
		}
	})
	wantRefused := func(p *peer, id string) {
		t.Helper()
		if f := p.read(); f.Op != 6 || f.ID != id || f.Data.(m)["code"] != "TOO_MANY_REQUESTS" {
			t.Errorf("%s: want TOO_MANY_REQUESTS, got %+v", id, f)
		}
	}
	a := s.joinAt(t, 0, "askers", nil)
	var w []*peer
	for range 4 {
		w = append(w, s.joinAt(t, 0, "workers", nil))
	}
	a.send(expectation("q", inGroup("workers"), within(long))) // as much as there may be
	for _, p := range w {
		p.reply(p.wantRequest("q"), nil)
	}
	a.wantSettled("q", settlement{Receivers: 4, Replied: 4})
	s.noneOpen(t)
	extra := s.joinAt(t, 0, "workers", nil)
	a.send(expectation("more", inGroup("workers"), within(long)))
	wantRefused(a, "more")
	retry := expectation("r", oneOf("workers"), m{"timeout_ms": long, "retry": true})
	retry["data"] = strings.Repeat("x", room)
	a.send(retry)
	wantRefused(a, "r")
	extra.wantNothing()

	// The other instance has memory for one request: the next one is not delivered there.
	b, c := s.joinAt(t, 1, "far", nil), s.joinAt(t, 1, "far", nil)
	a.send(expectation("one", directTo(b), within(long)))
	f := b.wantRequest("one")
	asker := s.joinAt(t, 2, "askers", nil)
	full := settlement{Missing: []missing{{Node: "host-1", Reason: "NOT_DELIVERED"}}}
	for i, intent := range []m{inGroup("far"), directTo(c), oneOf("far")} {
		id := fmt.Sprint("full", i)
		asker.send(expectation(id, intent, within(long)))
		asker.wantSettled(id, full)
	}
	b.send(expectation("own", directTo(c), within(long)))
	wantRefused(b, "own")
	b.reply(f, nil)
	a.wantSettled("one", settlement{Receivers: 1, Replied: 1})
	s.noneOpen(t)
	c.wantNothing()
}
