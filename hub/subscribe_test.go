package hub

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/opcodes"
)

var withGroups = m{"features": []string{"groups", "errors"}}

// changes the peer's groups and returns the data of the answer. What comes before it is returned, too.
func (p *peer) change(op int, id string, data m) (answer m, before []frame) {
	p.t.Helper()
	p.send(m{"op": op, "id": id, "data": data})
	for {
		f := p.read()
		if f.Op == op && f.ID == id {
			answer, _ = f.Data.(m)
			return answer, before
		}
		before = append(before, f)
	}
}

// subscribe makes the peer a member of groups.
func (p *peer) subscribe(groups ...string) {
	p.t.Helper()
	if answer, _ := p.change(8, "subscribe", m{"groups": groups}); answer["error"] != nil {
		p.t.Fatalf("SUBSCRIBE %v: %v", groups, answer)
	}
}

// unsubscribe takes the peer out of groups.
func (p *peer) unsubscribe(groups ...string) {
	p.t.Helper()
	if answer, _ := p.change(9, "unsubscribe", m{"groups": groups}); answer["error"] != nil {
		p.t.Fatalf("UNSUBSCRIBE %v: %v", groups, answer)
	}
}

// refusalOf returns code and group of an answer's error.
func refusalOf(answer m) string {
	e, _ := answer["error"].(m)
	if e == nil {
		return ""
	}
	return fmt.Sprint(e["code"], " ", e["group"])
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	sender := identify(t, url, "boss", nil)
	p := identify(t, url, "g", withGroups)
	answer, _ := p.change(8, "s1", m{"groups": []string{"orders", "audit", "orders"}})
	if got := fmt.Sprint(answer); got != "map[groups:[orders audit]]" {
		t.Errorf("the answer is %s", got)
	}
	if answer, _ := p.change(8, "s2", m{"groups": []string{"audit", "g"}}); fmt.Sprint(answer["groups"]) != "[audit g]" { // it is in both
		t.Errorf("the second answer is %v", answer)
	}
	for _, g := range []string{"orders", "audit", "g"} {
		sender.send(event(g, to("GROUP", g)))
		if f := p.read(); f.ID != g {
			t.Errorf("%s: got %+v", g, f)
		}
	}
	if answer, _ := p.change(9, "u1", m{"groups": []string{"audit", "nowhere"}}); fmt.Sprint(answer) != "map[groups:[audit nowhere]]" {
		t.Errorf("the answer is %v", answer)
	}
	sender.send(event("audit", to("GROUP", "audit")))
	sender.pong()
	if got := p.fence(); len(got) > 0 {
		t.Errorf("after UNSUBSCRIBE: %+v", got)
	}
	if g := h.groups.named("audit"); g != nil {
		t.Error("the group is still there")
	}
	_ = p.conn.CloseNow()
	eventually.True(t, "the groups to be given back", func() bool { return h.groups.named("orders") == nil && h.groups.named("g") == nil })
}

// A client that was not granted the feature gets what it got before there was one.
func TestSubscribeWithoutTheFeature(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	for name, send := range map[string]m{
		"subscribe": {"op": 8, "id": "s", "data": m{"groups": []string{"a"}}}, "unsubscribe": {"op": 9}, "malformed": {"op": 8, "data": 7},
	} {
		p := identify(t, url, "g", m{"features": []string{"errors"}})
		p.send(send)
		p.wantDisconnect(name, "UNKNOWN_OP", 4001)
		stranger := connect(t, url)
		stranger.send(send)
		stranger.wantDisconnect(name+" before IDENTIFY", "UNKNOWN_OP", 4001)
	}
}

func TestSubscribeMalformed(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	for _, tt := range []m{
		{"op": 8, "data": m{"groups": []string{"a"}}}, // no id
		{"op": 8, "id": "s"}, {"op": 8, "id": "s", "data": []string{"a"}}, {"op": 8, "id": "s", "data": m{"groups": "a"}},
		{"op": 8, "id": "s", "data": m{"groups": []any{1}}}, {"op": 8, "id": "s", "data": m{"watch": m{}}},
		{"op": 8, "id": "s", "data": m{"exclusive": true}}, {"op": 8, "id": "s", "data": m{"meta": []string{}}},
		{"op": 8, "id": "s", "data": m{"weight": 101}}, {"op": 8, "id": "s", "data": m{"weight": "1"}},
		{"op": 9, "id": "u", "data": m{"to": "orders"}}, {"op": 9, "id": "u", "data": m{"groups": m{}}}, {"op": 9, "id": "u"},
	} {
		p := identify(t, url, "g", withGroups)
		p.send(tt)
		p.wantDisconnect(fmt.Sprint(tt), "INVALID_PAYLOAD", 4002)
	}
}

// What is refused changes nothing, also not for the groups that would have been allowed.
func TestSubscribeRefused(t *testing.T) {
	t.Parallel()
	table := tokenTable(t, `- {name: limited, sha256: `+auth.Hash(testToken)+`, groups: ["g", "a*"], send: "*"}`)
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens, o.MaxGroups = auth.NewStore(table), 40 })
	p := identify(t, url, "g", withGroups)
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("a%d", i)
	}
	for _, tt := range []struct {
		op     int
		groups []string
		want   string
	}{
		{8, []string{"a", "payroll"}, "FORBIDDEN payroll"},
		{8, []string{"a", "$teams"}, "FORBIDDEN $teams"},
		{8, []string{"a", ""}, "FORBIDDEN <nil>"},
		{8, []string{"a", "a\x01"}, "FORBIDDEN a\x01"},
		{8, []string{"a", "a" + strings.Repeat("x", 128)}, "FORBIDDEN <nil>"},
		{8, many, "TOO_MANY_GROUPS a39"},
		{9, []string{"a", "g"}, "PRIMARY_GROUP g"},
		{9, []string{"a", "$g"}, "FORBIDDEN $g"},
	} {
		answer, before := p.change(tt.op, "r", m{"groups": tt.groups})
		if got := refusalOf(answer); got != tt.want || len(before) > 0 || len(answer) != 1 {
			t.Errorf("%d %.60v: %v, want %s", tt.op, tt.groups, answer, tt.want)
		}
	}
	if n := h.groups.len(); n != 1 {
		t.Errorf("%d groups, want 1", n)
	}
	p.subscribe(many[:39]...)
	if answer, _ := p.change(8, "r", m{"groups": []string{"a0", "a39"}}); refusalOf(answer) != "TOO_MANY_GROUPS a39" {
		t.Errorf("the 41st: %v", answer)
	}
	p.unsubscribe("a7")
	p.subscribe("a39")
}

// The requests of a client are answered in their order, one that needs nothing behind one that waits. What the client sends
// behind them is not held up.
func TestSubscribeWaits(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	h, url := startHub(t, slow, nil)
	p := connect(t, url)
	p.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": withGroups["features"]}})
	(<-slow.asked)(nil)
	p.read()

	p.send(m{"op": 8, "id": "s1", "data": m{"groups": []string{"a"}}})
	p.send(m{"op": 9, "id": "u1", "data": m{"groups": []string{"a"}}})
	p.send(m{"op": 8, "id": "s2", "data": m{"groups": []string{"g"}}})
	p.send(event("to a", to("GROUP", "a")))
	p.send(event("to g", to("GROUP", "g")))
	confirm := <-slow.asked
	for range 2 {
		if f := p.read(); f.ID != "to g" && (f.Op != 6 || f.ID != "to a") { // it is no member of a yet
			t.Fatalf("got %+v", f)
		}
	}
	confirm(nil)
	for _, want := range []string{"s1", "u1", "s2"} {
		if f := p.read(); f.ID != want || f.Data.(m)["error"] != nil {
			t.Fatalf("got %+v, want the answer to %s", f, want)
		}
	}
	if got := p.pong(); len(got) > 0 || h.groups.named("a") != nil {
		t.Errorf("got %+v", got)
	}
}

// A subscription that the broker does not confirm in time is refused; so are those that waited behind it as long. What is
// confirmed afterwards changes nothing.
func TestSubscribeNotConfirmed(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	h, url := startHub(t, slow, nil)
	p := connect(t, url)
	p.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": withGroups["features"]}})
	(<-slow.asked)(nil)
	p.read()
	start := time.Now()
	p.send(m{"op": 8, "id": "s1", "data": m{"groups": []string{"g", "a"}}})
	p.send(m{"op": 8, "id": "s2", "data": m{"groups": []string{"a"}}})
	confirm := <-slow.asked
	for _, want := range []string{"s1", "s2"} {
		f := p.read()
		if answer, _ := f.Data.(m); f.ID != want || refusalOf(answer) != "BROKER_UNAVAILABLE <nil>" {
			t.Fatalf("got %+v", f)
		}
		if want == "s1" {
			(<-slow.asked)(nil) // s2 asked for the group, which had gone
		}
	}
	_ = confirm
	if took := time.Since(start); took < 5*time.Second || took > 30*time.Second {
		t.Errorf("refused after %v", took)
	}
	if h.groups.named("a") != nil {
		t.Error("the group is still there")
	}
}

// A broker that refuses is reported at once, and the next request is carried out.
func TestSubscribeRefusedByTheBroker(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	h, url := startHub(t, slow, nil)
	p := connect(t, url)
	p.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": withGroups["features"]}})
	(<-slow.asked)(nil)
	p.read()
	p.send(m{"op": 8, "id": "s1", "data": m{"groups": []string{"a"}}})
	(<-slow.asked)(broker.ErrUnavailable)
	if f := p.read(); refusalOf(f.Data.(m)) != "BROKER_UNAVAILABLE <nil>" {
		t.Fatalf("got %+v", f)
	}
	if h.groups.named("a") != nil {
		t.Error("the group is still there")
	}
	p.send(m{"op": 8, "id": "s2", "data": m{"groups": []string{"a"}}})
	(<-slow.asked)(nil)
	if f := p.read(); f.ID != "s2" || refusalOf(f.Data.(m)) != "" {
		t.Fatalf("got %+v", f)
	}
	// A client that goes while it waits leaves nothing behind.
	p.send(m{"op": 8, "id": "s3", "data": m{"groups": []string{"b"}}})
	confirm := <-slow.asked
	_ = p.conn.CloseNow()
	eventually.True(t, "the groups to be given back", func() bool { return h.groups.len() == 0 && h.groups.named("b") == nil })
	confirm(nil)
}

// Tokens that change between request and answer count.
func TestSubscribeAndReload(t *testing.T) {
	t.Parallel()
	table := func(groups string) *auth.Tokens {
		return tokenTable(t, `- {name: limited, sha256: `+auth.Hash(testToken)+`, groups: `+groups+`, send: "*"}`)
	}
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	store := auth.NewStore(table(`["g", "a"]`))
	h, url := startHub(t, slow, func(o *Options) { o.Tokens = store })
	p := connect(t, url)
	p.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": withGroups["features"]}})
	(<-slow.asked)(nil)
	p.read()
	p.send(m{"op": 8, "id": "s1", "data": m{"groups": []string{"a"}}})
	confirm := <-slow.asked
	store.Replace(table(`["g"]`))
	h.TokensChanged()
	for range 2 { // a tour takes a turn of each loop
		if err := h.onLoops(t.Context(), func(*shard) {}); err != nil {
			t.Fatal(err)
		}
	}
	confirm(nil)
	if f := p.read(); refusalOf(f.Data.(m)) != "FORBIDDEN a" {
		t.Fatalf("got %+v", f)
	}
	store.Replace(table(`["g", "a"]`))
	h.TokensChanged()
	for range 2 {
		if err := h.onLoops(t.Context(), func(*shard) {}); err != nil {
			t.Fatal(err)
		}
	}
	p.send(m{"op": 8, "id": "s2", "data": m{"groups": []string{"a"}}})
	(<-slow.asked)(nil)
	if f := p.read(); refusalOf(f.Data.(m)) != "" {
		t.Fatalf("got %+v", f)
	}
	store.Replace(table(`["g"]`)) // it is in a group that it may not join any more
	h.TokensChanged()
	p.wantDisconnect("after the reload", "UNAUTHORIZED", 4003)
}

// An ANY that finds no other member goes at once to a client that is about to join, ahead of a DIRECT of the same sender.
func TestAnyToAClientThatSubscribes(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"another instance", "the same instance"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			bus := memory.NewBus()
			slow := &slowBroker{Broker: bus.Broker(), asked: make(chan func(error), 1)}
			_, url := startHub(t, slow, nil)
			p := connect(t, url)
			p.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": withGroups["features"]}})
			(<-slow.asked)(nil)
			p.id, _ = p.read().Data.(m)["id"].(string)
			p.send(m{"op": 8, "id": "s1", "data": m{"groups": []string{"work"}}})
			confirm := <-slow.asked
			senderURL := url
			if where == "another instance" {
				_, senderURL = startHub(t, bus.Broker(), nil)
			}
			sender := connect(t, senderURL)
			sender.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": withGroups["features"]}})
			sender.read()
			sender.send(event("any", to("ANY", "work")))
			sender.send(event("direct", to("DIRECT", p.id)))
			for _, want := range []string{"any", "direct"} {
				if f := p.read(); f.ID != want {
					t.Fatalf("got %+v, want %s", f, want)
				}
			}
			confirm(nil)
			if f := p.read(); f.ID != "s1" {
				t.Fatalf("got %+v", f)
			}
		})
	}
}

// A client that is about to leave joins and leaves groups without a trace in their counts.
func TestSubscribeWhileDeparting(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "g", m{"features": []string{"groups", "drain"}})
	other := identify(t, url, "a", nil)
	setDeparting := func(departing bool) {
		if err := h.onLoops(t.Context(), func(sh *shard) {
			for _, s := range h.groups.named("g").local[sh.index].list {
				s.departedAt = sh.loop.Clock()
				s.setDeparting(departing)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	setDeparting(true)
	p.subscribe("a", "b")
	if g := h.groups.named("a"); g.offered() != 1 || g.total() != 2 {
		t.Errorf("offered %d of %d", g.offered(), g.total())
	}
	for i := range 20 {
		other.send(event(fmt.Sprint(i), to("ANY", "a")))
		if f := other.read(); f.ID != fmt.Sprint(i) {
			t.Fatalf("got %+v", f)
		}
	}
	p.unsubscribe("b")
	setDeparting(false)
	if g := h.groups.named("a"); g.offered() != 2 {
		t.Errorf("offered %d", g.offered())
	}
	p.unsubscribe("a")
	if g := h.groups.named("a"); g.offered() != 1 || g.total() != 1 {
		t.Errorf("offered %d of %d", g.offered(), g.total())
	}
}

// Memberships are found again in whatever order they come and go.
func TestManyMemberships(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "g", withGroups)
	other := identify(t, url, "g", withGroups)
	var names []string
	for i := range 1023 {
		names = append(names, fmt.Sprintf("group %d", i))
	}
	p.subscribe(names...)
	other.subscribe(names[:500]...)
	if answer, _ := p.change(8, "r", m{"groups": []string{"one more"}}); refusalOf(answer) != "TOO_MANY_GROUPS one more" {
		t.Errorf("the 1,025th: %v", answer)
	}
	left := slices.Clone(names)
	for i, name := range names {
		if i%3 == 0 {
			left = slices.DeleteFunc(left, func(s string) bool { return s == name })
		}
	}
	p.unsubscribe(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return slices.Contains(left, s) })...)
	c, err := h.Client(t.Context(), uuid.MustParse(p.id))
	slices.Sort(left)
	if want := append([]string{"g"}, left...); err != nil || !slices.Equal(c.Groups, want) {
		t.Errorf("%d groups, want %d: %v", len(c.Groups), len(want), err)
	}
	_ = other.conn.CloseNow()
	eventually.True(t, "the other to go", func() bool { return h.groups.named("g").total() == 1 })
	for _, name := range []string{left[0], left[len(left)-1]} {
		p.send(event(name, to("GROUP", name)))
		if f := p.read(); f.ID != name {
			t.Errorf("got %+v", f)
		}
	}
}

// A client that asks for more than it may is not read for a while; others are not concerned.
func TestSubscribeStorm(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "g", withGroups)
	other := identify(t, url, "g", nil)
	const requests = 4000 // 4,000 names: 2,048 at once, and 256 a second after that
	go func() {
		for i := range requests {
			if p.conn.Write(p.ctx, 1, fmt.Appendf(nil, `{"op":%d,"id":"%d","data":{"groups":["storm"]}}`, 8+i%2, i)) != nil {
				return
			}
		}
	}()
	start := time.Now()
	for i := range 2600 {
		f := p.read()
		if f.ID == "e" {
			f = p.read()
		}
		if f.ID != fmt.Sprint(i) {
			t.Fatalf("got %+v, want the answer to %d", f, i)
		}
		if i == 2200 {
			other.send(event("e", to("GLOBAL")))
			if f := other.read(); f.ID != "e" {
				t.Fatalf("another client got %+v", f)
			}
		}
	}
	if took := time.Since(start); took < time.Second || took > 30*time.Second {
		t.Errorf("2,600 requests took %v", took)
	}
	if n := h.Stats().Changes[ChangeKey{opcodes.Subscribe, ""}]; n < 1300 {
		t.Errorf("%d are counted", n)
	}
}

// A service type changes the groups of its clients: reserved ones too, and those that they were identified with.
func TestPeerSubscribes(t *testing.T) {
	t.Parallel()
	service := newLines()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Services = []ServiceType{service} })
	sender := identify(t, url, "boss", nil)
	p := connect(t, url+"lines/first")
	_, b, err := p.conn.Read(p.ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.id = strings.TrimPrefix(string(b), "welcome ")
	id := uuid.MustParse(p.id)
	sh := h.shardOf(&id)
	var results []error
	done := func(err error) { results = append(results, err) }
	onPeer := func(f func(*Peer)) {
		if err := h.onLoops(t.Context(), func(other *shard) {
			if other == sh {
				f(sh.client(&id).foreign().(*Peer))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	var gone *Peer
	onPeer(func(p *Peer) {
		gone = p
		p.Subscribe([]string{"$room", "second"}, done)
		p.Unsubscribe([]string{"first", "nowhere"}, done)
		sh.deferral.beginDelivery() // what it does during a delivery takes effect behind it
		p.Subscribe([]string{"third"}, done)
		if p.session.memberOf("third") {
			t.Error("the list of receivers changed during a delivery")
		}
		sh.deferral.endDelivery()
	})
	c, err := h.Client(t.Context(), id)
	if err != nil || !slices.Equal(c.Groups, []string{"$room", "second", "third"}) || len(results) != 3 || errors.Join(results...) != nil {
		t.Errorf("it is in %v: %v, %v", c.Groups, results, err)
	}
	if h.groups.named("first") != nil {
		t.Error("the group that it left is still there")
	}
	sender.send(event("e", to("GROUP", "second")))
	p.want("e 1")
	_ = p.conn.CloseNow()
	<-service.closed
	err = h.onLoops(t.Context(), func(other *shard) {
		if other == sh {
			gone.Subscribe([]string{"$room"}, done)
		}
	})
	var refused *ChangeError
	if err != nil || len(results) != 4 || !errors.As(results[3], &refused) || refused.Code != opcodes.CodeNoReceiver {
		t.Errorf("after its end: %v, %v", results, err)
	}
}

// idOf returns the id of an identified client.
func idOf(p *peer) uuid.UUID { return uuid.MustParse(p.id) }
