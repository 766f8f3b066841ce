package hub

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
)

func to(target string, identifier ...string) m {
	if len(identifier) == 0 {
		return m{"target": target}
	}
	return m{"target": target, "identifier": identifier[0]}
}

func event(id string, intent m) m {
	return m{"op": 0, "id": id, "event": "e", "data": 1, "intent": intent}
}

var withFeedback = m{"features": []string{"errors", "acks"}}

// cluster starts hubs that form one, on one bus.
func cluster(t *testing.T, n int) (urls []string) {
	bus := memory.NewBus()
	for range n {
		_, url := startHub(t, bus.Broker(), nil)
		urls = append(urls, url)
	}
	return urls
}

// expect reads messages up to the fence and compares the ids of the events among them.
func expect(t *testing.T, which string, p *peer, ids ...string) {
	t.Helper()
	var got []string
	for _, f := range p.fence() {
		if f.Op == 0 || f.Op == 5 {
			got = append(got, f.ID)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("%s got %v, want %v", which, got, ids)
	}
}

// outcomeOf returns the next ERROR or ACK.
func outcomeOf(t *testing.T, p *peer) frame {
	t.Helper()
	for {
		if f := p.read(); f.Op == 6 || f.Op == 7 {
			return f
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, hubs := range []int{1, 2} {
		t.Run(fmt.Sprint(hubs, " hubs"), func(t *testing.T) {
			t.Parallel()
			urls := cluster(t, hubs)
			last := urls[hubs-1]
			sender := identify(t, urls[0], "senders", withFeedback)
			both := identify(t, last, "a", m{"groups": []string{"b", "a", "c"}})
			onlyB := identify(t, last, "b", nil)

			for _, tc := range []struct {
				intent m
				sender []string
				both   []string
				onlyB  []string
			}{
				{to("GLOBAL"), []string{"x"}, []string{"x"}, []string{"x"}},
				{to("GROUP", "a"), nil, []string{"x"}, nil},
				{to("GROUP", "b"), nil, []string{"x"}, []string{"x"}},
				{to("DIRECT", onlyB.id), nil, nil, []string{"x"}},
				{to("DIRECT", sender.id), []string{"x"}, nil, nil},
				{to("ANY", "c"), nil, []string{"x"}, nil},
				{to("ANY", "senders"), []string{"x"}, nil, nil},
			} {
				sender.send(event("x", tc.intent))
				var own []string
				for acked := false; !acked; {
					switch f := sender.read(); f.Op {
					case 0:
						own = append(own, f.ID)
					case 7:
						acked = true
						if f.ID != "x" {
							t.Errorf("%v: ACK of %q", tc.intent, f.ID)
						}
					default:
						t.Fatalf("%v: got %+v", tc.intent, f)
					}
				}
				for _, f := range sender.fence() {
					own = append(own, f.ID)
				}
				if fmt.Sprint(own) != fmt.Sprint(tc.sender) {
					t.Errorf("%v: the sender got %v, want %v", tc.intent, own, tc.sender)
				}
				// What was acknowledged is in the inboxes; a message of another sender comes behind it on the last hub.
				both.send(event("fence", to("DIRECT", both.id)))
				onlyB.send(event("fence", to("DIRECT", onlyB.id)))
				expectFenced(t, fmt.Sprint(tc.intent, " both"), both, tc.both)
				expectFenced(t, fmt.Sprint(tc.intent, " onlyB"), onlyB, tc.onlyB)
			}
		})
	}
}

// expectFenced reads messages until want and one with the id fence have come, in whatever order: they come from
// different senders.
func expectFenced(t *testing.T, which string, p *peer, want []string) {
	t.Helper()
	var got []string
	for fenced := false; !fenced || len(got) < len(want); {
		if f := p.read(); f.ID == "fence" {
			fenced = true
		} else {
			got = append(got, f.ID)
		}
	}
	for _, f := range p.fence() {
		got = append(got, f.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s got %v, want %v", which, got, want)
	}
}

func TestEchoFalse(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "g", m{"echo": false, "features": []string{"errors"}})
	p.send(event("1", to("GLOBAL")))
	if f := outcomeOf(t, p); f.Op != 6 || f.ID != "1" || f.Data.(m)["code"] != "NO_RECEIVER" {
		t.Errorf("GLOBAL with nobody else: got %+v", f)
	}
	p.send(event("2", to("DIRECT", p.id)))
	p.send(event("3", to("ANY", "g")))
	expect(t, "the sender", p, "2", "3")
}

func TestNoReceiver(t *testing.T) {
	t.Parallel()
	for _, hubs := range []int{1, 2} {
		t.Run(fmt.Sprint(hubs, " hubs"), func(t *testing.T) {
			t.Parallel()
			urls := cluster(t, hubs)
			gone := identify(t, urls[hubs-1], "elsewhere", nil)
			p := identify(t, urls[0], "g", m{"features": []string{"errors"}})
			gone.send(m{"op": 2})
			for { // until the hub has closed the connection, and so knows
				if _, _, err := gone.conn.Read(gone.ctx); err != nil {
					break
				}
			}
			for i, intent := range []m{
				to("GROUP", "nobody"), to("ANY", "nobody"), to("DIRECT", gone.id), to("DIRECT", uuid.NewString()),
				to("GROUP", "elsewhere"), to("ANY", "elsewhere"),
			} {
				id := fmt.Sprint(i)
				p.send(event(id, intent))
				if f := outcomeOf(t, p); f.Op != 6 || f.ID != id || f.Data.(m)["code"] != "NO_RECEIVER" {
					t.Errorf("%v: got %+v", intent, f)
				}
			}
		})
	}
}

func TestAnyIsUniform(t *testing.T) {
	t.Parallel()
	const members, messages = 6, 6000
	urls := cluster(t, 2)
	counts := make(map[string]int)
	var workers []*peer
	for i := range members { // uneven over hubs and loops: 1 and 5
		workers = append(workers, identify(t, urls[min(i, 1)], "work", nil))
	}
	sender := identify(t, urls[0], "boss", withFeedback)
	for i := range messages {
		sender.send(event(fmt.Sprint(i), to("ANY", "work")))
		if f := outcomeOf(t, sender); f.Op != 7 {
			t.Fatalf("got %+v", f)
		}
	}
	total := 0
	for i, w := range workers {
		w.send(event("fence", to("DIRECT", w.id)))
		for fenced := false; !fenced; {
			if f := w.read(); f.ID == "fence" {
				fenced = true
			} else {
				counts[fmt.Sprint(i)]++
				total++
			}
		}
	}
	if total != messages {
		t.Errorf("%d deliveries of %d messages", total, messages)
	}
	const want = float64(messages) / members
	chi := 0.0
	for i := range members {
		chi += math.Pow(float64(counts[fmt.Sprint(i)])-want, 2) / want
	}
	if chi > 27.9 { // 5 degrees of freedom: p < 0.00004
		t.Errorf("chi-square %.1f, too uneven to be chance: %v", chi, counts)
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	asker, answerer := identify(t, url, "askers", nil), identify(t, url, "answerers", nil)
	asker.send(event("q", to("GROUP", "answerers")))
	q := answerer.read()
	answerer.send(m{"op": 5, "id": q.ID, "data": "a", "intent": to("DIRECT", q.Sender)})
	if f := asker.read(); f.Op != 5 || f.ID != "q" || f.Sender != answerer.id || f.Data != "a" {
		t.Errorf("got %+v", f)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	tokens := tokenTable(t, `- {name: billing, sha256: `+auth.Hash("limited")+`, groups: [billing.*], send: ["GROUP:billing.*"]}`)
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = auth.NewStore(tokens) })
	limited := func(extra m) m {
		extra["token"] = "limited"
		return extra
	}
	for _, tc := range []struct {
		name string
		data m
	}{
		{"foreign group", m{"token": "limited", "group": "other"}},
		{"one foreign group of two", m{"token": "limited", "group": "billing.a", "groups": []string{"other"}}},
		{"wrong token", m{"token": "limite", "group": "billing.a"}},
		{"empty token", m{"token": "", "group": "billing.a"}},
		{"no token", m{"group": "billing.a"}},
		{"no group", m{"token": "limited"}},
		{"reserved group", m{"token": "limited", "group": "$billing"}},
	} {
		p := connect(t, url)
		p.send(m{"op": 1, "data": tc.data})
		p.wantDisconnect(tc.name, "IDENTIFY_FAILED", 4004)
	}

	asks := identify(t, url, "billing.a", limited(m{"features": []string{"errors"}}))
	asks.send(event("1", to("GLOBAL")))
	if f := asks.read(); f.Op != 6 || f.ID != "1" || f.Data.(m)["code"] != "FORBIDDEN" {
		t.Errorf("got %+v", f)
	}
	asks.send(event("2", to("GROUP", "billing.a")))
	expect(t, "a member", asks, "2")

	mute := identify(t, url, "billing.b", limited(m{}))
	mute.send(event("1", to("DIRECT", asks.id)))
	mute.wantDisconnect("forbidden without errors", "UNAUTHORIZED", 4003)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	tokens := tokenTable(t, `- {name: slow, sha256: `+auth.Hash(testToken)+`, groups: "*", send: "*", rate: 0.001, burst: 3}`)
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = auth.NewStore(tokens) })
	other := identify(t, url, "g", nil)
	p := identify(t, url, "g", nil)
	for range 4 {
		p.send(m{"op": 3})
	}
	for range 3 {
		if f := p.read(); f.Op != 4 {
			t.Fatalf("got %+v", f)
		}
	}
	p.wantDisconnect("the fourth message", "RATE_LIMITED", 4009)
	if got := other.fence(); len(got) != 0 {
		t.Errorf("another holder of the token got %+v", got)
	}

	moves := identify(t, url, "g", withDrain)
	for range 10 { // FENCEs take nothing from the rest
		moves.send(fenceTo(moves, "f"))
	}
	moves.send(m{"op": 3})
	for range 10 + 1 {
		if f := moves.read(); f.Op != 13 && f.Op != 4 {
			t.Fatalf("got %+v", f)
		}
	}
	id := uuid.MustParse(moves.id)
	sh := h.shardOf(&id)
	onLoop(sh, func() {
		s := sh.client(&id)
		for range 2*maxFences + 4 { // in two seconds at most
			s.Message(s.conn, false, encode(t, fenceTo(moves, "f")))
		}
	})()
	f := moves.read()
	for f.Op != 2 {
		f = moves.read()
	}
	if f.Data != "RATE_LIMITED" {
		t.Errorf("far more FENCEs than allowed: %+v", f)
	}
}

func TestLiveness(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		o.PingInterval, o.IdentifyTimeout = 200*time.Millisecond, 300*time.Millisecond
		o.Transport.SweepInterval = 20 * time.Millisecond
	})
	stranger := connect(t, url)
	silent := identify(t, url, "g", nil)
	if f := silent.read(); f.Op != 3 {
		t.Fatalf("got %+v, want a PING", f)
	}
	silent.send(m{"op": 4})
	if f := silent.read(); f.Op != 3 {
		t.Fatalf("after a PONG: got %+v, want another PING", f)
	}
	silent.wantDisconnect("silence after a PING", "PING_TIMEOUT", 4006)
	stranger.wantDisconnect("no IDENTIFY", "IDENTIFY_TIMEOUT", 4007)
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.MaxConnections = 2 })
	first := identify(t, url, "g", nil)
	_ = identify(t, url, "g", nil)
	connect(t, url).wantDisconnect("the third connection", "TRY_AGAIN_LATER", 1001)
	first.send(m{"op": 2})
	first.wantDisconnect("a goodbye", "NO_REASON", 1000)
	for { // until the hub has noticed that the first one's descriptor is free
		p := connect(t, url)
		p.send(m{"op": 3})
		if f := p.read(); f.Op == 4 {
			return
		}
		p.wantDisconnectAfter("still full", frame{Op: 2, Data: "TRY_AGAIN_LATER"}, "TRY_AGAIN_LATER", 1001)
	}
}

func TestDrainSpreadsTheDisconnects(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	const clients, over = 20, time.Second
	ended := make(chan time.Time, clients)
	for range clients {
		p := identify(t, url, "g", nil)
		go func() {
			p.wantDisconnect("draining", "SERVER_RESTART", 1001)
			ended <- time.Now()
		}()
	}
	stranger := connect(t, url)
	stranger.send(m{"op": 3})
	stranger.read()
	begin := time.Now()
	if err := h.Drain(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	stranger.wantDisconnect("draining", "SERVER_RESTART", 1001)
	if h.Ready() == nil {
		t.Error("still ready")
	}
	early := 0
	for range clients {
		if at := <-ended; at.Sub(begin) < over/2 {
			early++
		}
	}
	if early < clients/4 || early > clients*3/4 {
		t.Errorf("%d of %d clients were told in the first half of the time", early, clients)
	}
}

// wantDisconnect reads up to the end of the connection, which must be a DISCONNECT and a close for that reason.
func (p *peer) wantDisconnect(when, reason string, code int) {
	p.t.Helper()
	p.wantDisconnectAfter(when, frame{}, reason, code)
}

// wantDisconnectAfter is wantDisconnect for a client whose last message was read already.
func (p *peer) wantDisconnectAfter(when string, last frame, reason string, code int) {
	p.t.Helper()
	for {
		typ, b, err := p.conn.Read(p.ctx)
		if err != nil {
			if last.Op != 2 || last.Data != reason {
				p.t.Errorf("%s: the last message was %+v, want DISCONNECT %s", when, last, reason)
			}
			if got := closeCode(err); got != code {
				p.t.Errorf("%s: closed with %d (%v), want %d", when, got, err, code)
			}
			return
		}
		last = decode(p.t, typ, b)
	}
}

func TestTokensChange(t *testing.T) {
	t.Parallel()
	entry := func(token, groups, send string) string {
		return fmt.Sprintf("  - {name: %s, sha256: %s, groups: [%s], send: [%s]}\n", token, auth.Hash(token), groups, send)
	}
	store := auth.NewStore(tokenTable(t, entry("stays", "g", "GLOBAL")+entry("narrowed", `"*"`, "GLOBAL")+
		entry("revoked", "g", "GLOBAL")+entry("muted", "g", "GLOBAL")))
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = store })
	holder := func(token, group string) *peer {
		return identify(t, url, group, m{"token": token, "features": []string{"errors"}})
	}
	stays, narrowed, within, revoked, muted := holder("stays", "g"), holder("narrowed", "other"), holder("narrowed", "g"),
		holder("revoked", "g"), holder("muted", "g")

	store.Replace(tokenTable(t, entry("stays", "g", "GLOBAL")+entry("narrowed", "g", "GLOBAL")+entry("muted", "g", "DIRECT")))
	h.TokensChanged()
	revoked.wantDisconnect("revoked", "UNAUTHORIZED", 4003)
	narrowed.wantDisconnect("its group is not granted any more", "UNAUTHORIZED", 4003)
	for { // the loops look at their clients one after the other
		muted.send(event("1", to("GLOBAL")))
		if f := muted.read(); f.Op == 6 {
			if f.Data.(m)["code"] != "FORBIDDEN" {
				t.Errorf("got %+v", f)
			}
			break
		}
	}
	stays.send(event("2", to("GLOBAL")))
	for _, p := range []*peer{stays, within} {
		for f := p.read(); f.ID != "2"; f = p.read() {
			if f.ID != "1" {
				t.Fatalf("got %+v", f)
			}
		}
	}
}
