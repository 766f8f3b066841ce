package hub

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

var withExclusive = m{"features": []string{"groups", "exclusive", "errors"}}

// standing is how a client stands with an exclusive group, as the hub told it.
type standing struct {
	Held   bool   `json:"held"`
	Term   uint64 `json:"term"`
	Valid  int    `json:"valid_ms"`
	Reason string `json:"reason"`
}

// standingIn reads a client's standing from the data of an answer or a notice.
func standingIn(t testing.TB, data any, group string) standing {
	t.Helper()
	d, _ := data.(m)
	all, _ := d["exclusive"].(m)
	b, err := json.Marshal(all[group])
	if err != nil || all[group] == nil {
		t.Fatalf("no standing with %s: %v", group, data)
	}
	var st standing
	if err := json.Unmarshal(b, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// claim asks for the exclusive group, or how the client stands with it.
func (p *peer) claim(group string) standing {
	p.t.Helper()
	answer, _ := p.change(8, "claim", m{"exclusive": []string{group}})
	return standingIn(p.t, answer, group)
}

// told reads the next frame, which is a notice about the group.
func (p *peer) told(group string) standing {
	p.t.Helper()
	f := p.read()
	if f.Op != 8 || f.ID != "" {
		p.t.Fatalf("got %+v, want a notice", f)
	}
	return standingIn(p.t, f.Data, group)
}

// TestExclusive has a group handed over between clients of two instances, and messages that reach its holder alone.
func TestExclusive(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	h1, url1 := startHub(t, bus.Broker(), nil)
	h2, url2 := startHub(t, bus.Broker(), func(o *Options) { o.NodeName = "other" })
	a := identify(t, url1, "g", withExclusive)
	b := identify(t, url2, "g", withExclusive)
	c := identify(t, url1, "g", withExclusive)
	plain := identify(t, url2, "g", withGroups)
	plain.subscribe("x")
	first := a.claim("x")
	if !first.Held || first.Term == 0 || first.Valid < 1 || first.Valid > 2500 {
		t.Fatalf("the first is told %+v", first)
	}
	for _, p := range []*peer{b, c} {
		if st := p.claim("x"); st != (standing{}) {
			t.Errorf("one that waits is told %+v", st)
		}
	}
	if again := a.claim("x"); !again.Held || again.Term != first.Term || again.Valid == 0 {
		t.Errorf("again: %+v", again)
	}
	count := func(p *peer) int {
		n := 0
		for _, f := range p.fence() {
			if f.Op == 0 {
				n++
			}
		}
		return n
	}
	others := []*peer{a, b, c}
	check := func(holder *peer) {
		t.Helper()
		for i := range 8 {
			plain.send(m{"op": 0, "id": fmt.Sprint("p", i), "event": "m", "intent": m{"target": "GROUP", "identifier": "x"}})
		}
		got := 0
		eventually.True(t, "the holder to have all", func() bool { got += count(holder); return got >= 8 })
		for _, p := range others {
			if n := count(p); n > 0 {
				t.Errorf("%d messages reached another one, or the holder twice", n)
			}
		}
	}
	check(a)
	for _, h := range []*Hub{h1, h2} {
		g, _, err := h.Group(t.Context(), "x")
		if want := (Exclusive{a.id, h1.node.Name, first.Term, 2}); err != nil || g.Members != 2 || g.Exclusive == nil || *g.Exclusive != want {
			t.Errorf("the group is %+v, %+v, %v; want %+v", g, g.Exclusive, err, want)
		}
	}
	if st := h1.Stats().Exclusive; st != (ExclusiveStats{Held: 1, Waiting: 1, Granted: 1}) {
		t.Errorf("counted %+v", st)
	}
	answer, _ := a.change(9, "u", m{"exclusive": []string{"x"}, "to": c.id})
	if got := fmt.Sprint(answer); got != "map[exclusive:[x]]" {
		t.Errorf("the answer to UNSUBSCRIBE is %s", got)
	}
	second := c.told("x")
	if !second.Held || second.Term <= first.Term || second.Valid != 0 {
		t.Errorf("the second is told %+v", second)
	}
	check(c)
	c.change(9, "u", m{"exclusive": []string{"x"}, "to": uuid.NewString()}) // which is not there: its time was told, and goes by
	if third := b.told("x"); !third.Held || third.Term <= second.Term {
		t.Errorf("the third is told %+v", third)
	}
	check(b)
	if st := a.claim("x"); st.Held {
		t.Errorf("claimed again: %+v", st)
	}
	b.send(m{"op": 2}) // a goodbye
	if last := a.told("x"); !last.Held {
		t.Errorf("after the goodbye: %+v", last)
	}
	others = []*peer{a, c}
	check(a)
}

func TestExclusiveRefusals(t *testing.T) {
	t.Parallel()
	tokens := tokenTable(t, `- {name: a, groups: "*", send: "*", hold: ["s.*", g, h], sha256: `+auth.Hash(testToken)+`}`)
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = auth.NewStore(tokens) })
	p := identify(t, url, "g", withExclusive)
	p.subscribe("h")
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprint("s.", i)
	}
	for _, c := range []struct {
		op   int
		data m
		want string
	}{
		{8, m{"exclusive": []string{"other"}}, "FORBIDDEN other"},
		{8, m{"exclusive": []string{"s.a", "$s"}}, "FORBIDDEN $s"},
		{8, m{"exclusive": []string{"g"}}, "CONFLICT g"},
		{8, m{"exclusive": []string{"h"}}, "CONFLICT h"},
		{8, m{"exclusive": []string{"s.a"}, "groups": []string{"s.a"}}, "CONFLICT s.a"},
		{8, m{"exclusive": many}, "TOO_MANY_GROUPS s.64"},
		{9, m{"exclusive": []string{"s.never"}}, ""},
	} {
		answer, _ := p.change(c.op, "x", c.data)
		if got := refusalOf(answer); got != c.want {
			t.Errorf("%v: %s, want %q", c.data, answer, c.want)
		}
	}
	if held, waiting := h.claims.count(); held+waiting > 0 {
		t.Errorf("refused changes left %d held, %d waiting", held, waiting)
	}
	if st := p.claim("s.a"); !st.Held {
		t.Fatalf("%+v", st)
	}
	for _, op := range []int{8, 9} {
		if answer, _ := p.change(op, "x", m{"groups": []string{"s.a"}}); refusalOf(answer) != "CONFLICT s.a" {
			t.Errorf("op %d of a held group as a plain one: %v", op, answer)
		}
	}
	without := identify(t, url, "g", withGroups)
	if answer, _ := without.change(8, "x", m{"exclusive": []string{"s.b"}, "groups": []string{"j"}}); fmt.Sprint(answer) != "map[groups:[j]]" {
		t.Errorf("without the feature: %v", answer)
	}
	for _, wrong := range []any{7, "s.a", m{}, []any{1}} {
		w := identify(t, url, "g", withExclusive)
		w.send(m{"op": 8, "id": "x", "data": m{"exclusive": wrong}})
		if f := w.read(); f.Op != 2 {
			t.Errorf("exclusive %v: %+v", wrong, f)
		}
	}
	// The right is withdrawn: the holder may not stay.
	next := tokenTable(t, `- {name: a, groups: "*", send: "*", sha256: `+auth.Hash(testToken)+`}`)
	h.tokens.Replace(next)
	h.TokensChanged()
	if f := p.read(); f.Op != 2 {
		t.Errorf("without the right: %+v", f)
	}
}

func TestExclusiveInIdentify(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	p := connect(t, url)
	p.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": []string{"exclusive"}, "exclusive": []string{"x", "y"}}})
	answer := p.read()
	if st := standingIn(t, answer.Data, "x"); !st.Held || st.Valid == 0 {
		t.Errorf("x: %+v", st)
	}
	if st := standingIn(t, answer.Data, "y"); !st.Held || st.Valid == 0 {
		t.Errorf("y: %+v", st)
	}
	other := identify(t, url, "g", withExclusive)
	other.claim("x")
	other.send(event("m", to("GROUP", "x")))
	if f := p.read(); f.ID != "m" {
		t.Errorf("got %+v", f)
	}
	p.send(m{"op": 2})
	if st := other.told("x"); !st.Held {
		t.Errorf("%+v", st)
	}
	bad := connect(t, url)
	bad.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": []string{"exclusive"}, "exclusive": []string{"g"}}})
	if f := bad.read(); f.Op != 2 || fmt.Sprint(f.Data) != "map[code:1008 reason:IDENTIFY_FAILED]" && f.Data == nil {
		t.Errorf("plain and exclusive in IDENTIFY: %+v", f)
	}
}

// TestBrokenHolderKeepsItsTime has connections break: the group is free when the time that the holder was told is over.
func TestBrokenHolderKeepsItsTime(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	a := identify(t, url, "g", withExclusive)
	b := identify(t, url, "g", withExclusive)
	c := identify(t, url, "g", withExclusive)
	sent := time.Now()
	told := a.claim("x")
	b.claim("x")
	c.claim("x")
	_ = a.conn.CloseNow()
	if st := b.told("x"); !st.Held {
		t.Fatalf("%+v", st)
	}
	if waited, least := time.Since(sent), time.Duration(told.Valid)*time.Millisecond; waited < least || waited > least+10*time.Second {
		t.Errorf("granted again after %v, told %v", waited, least)
	}
	broke := time.Now()
	_ = b.conn.CloseNow() // it was told no time
	c.told("x")
	if waited := time.Since(broke); waited >= time.Duration(told.Valid)*time.Millisecond {
		t.Errorf("granted after %v", waited)
	}
}

// capricious is a broker that grants and takes as the test says.
type capricious struct {
	broker.Broker
	mu      sync.Mutex
	claims  map[string]broker.Claimant
	release chan string
}

func (b *capricious) Claim(group string, _ uuid.UUID, c broker.Claimant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claims[group] = c
}

func (b *capricious) Release(group string, _ uuid.UUID) { b.release <- group }

// claimant waits for the claim to the group.
func (b *capricious) claimant(t *testing.T, group string) broker.Claimant {
	t.Helper()
	var c broker.Claimant
	eventually.True(t, "the claim", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		c = b.claims[group]
		return c != nil
	})
	return c
}

// TestExclusiveLost has the broker take a group back, and its lease end without a word.
func TestExclusiveLost(t *testing.T) {
	t.Parallel()
	b := &capricious{Broker: memory.NewBus().Broker(), claims: make(map[string]broker.Claimant), release: make(chan string, 16)}
	_, url := startHub(t, b, nil)
	p := identify(t, url, "g", withExclusive)
	sender := identify(t, url, "g", m{"features": []string{"errors", "acks"}})
	try := func() string {
		sender.send(m{"op": 0, "id": "m", "event": "m", "intent": m{"target": "GROUP", "identifier": "x"}})
		f := sender.read()
		if d, ok := f.Data.(m); ok && f.Op == 6 {
			return fmt.Sprint(d["code"])
		}
		return fmt.Sprint(f.Op)
	}
	p.send(m{"op": 8, "id": "s", "data": m{"exclusive": []string{"x"}}})
	c := b.claimant(t, "x")
	lease := new(broker.Lease)
	lease.Extend(broker.BootTime() + int64(time.Hour))
	c.Granted(7, lease)
	if st := standingIn(t, p.read().Data, "x"); !st.Held || st.Term != 7 || st.Valid < 3_500_000 {
		t.Errorf("%+v", st)
	}
	if got := try(); got != "7" {
		t.Errorf("to the holder: %s", got)
	}
	p.read()
	lease.End()
	if st := p.claim("x"); !st.Held || st.Valid != 0 {
		t.Errorf("with a lease that is over: %+v", st)
	}
	try()
	if got := p.fence(); len(got) > 0 {
		t.Errorf("a lease that is over lets %+v pass", got)
	}
	c.Lost()
	if st := p.told("x"); st != (standing{Reason: "BROKER_LOST"}) {
		t.Errorf("told %+v", st)
	}
	if got := try(); got != "NO_RECEIVER" {
		t.Errorf("to a lost group: %s", got)
	}
	lease = new(broker.Lease)
	lease.Extend(broker.BootTime() + int64(time.Hour))
	c.Granted(9, lease)
	if st := p.told("x"); !st.Held || st.Term != 9 {
		t.Errorf("told %+v", st)
	}
	if got := try(); got != "7" {
		t.Errorf("to the new holder: %s", got)
	}
	p.read()
	p.send(m{"op": 2})
	if got := <-b.release; got != "x" {
		t.Errorf("released %s", got)
	}
	q := identify(t, url, "g", withExclusive)
	q.send(m{"op": 8, "id": "s", "data": m{"exclusive": []string{"y", "z"}}})
	b.claimant(t, "y").Granted(10, lease)
	b.claimant(t, "z").Refused(broker.ErrUnavailable)
	if d, _ := q.read().Data.(m); refusalOf(d) != "BROKER_UNAVAILABLE z" {
		t.Errorf("one of two refused: %v", d)
	}
	if got := <-b.release; got != "y" {
		t.Errorf("released %s", got)
	}
}

// TestExclusiveStorm has a client claim and give up as fast as it can, with and without waiting, while others go on.
func TestExclusiveStorm(t *testing.T) {
	t.Parallel()
	const rounds = 300
	bus := memory.NewBus()
	h, url := startHub(t, bus.Broker(), nil)
	storm := identify(t, url, "g", withExclusive)
	calm := identify(t, url, "g", withExclusive)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2 * rounds { // what it named beyond the bound waits, and so does it
			f := storm.read()
			if d, _ := f.Data.(m); f.Op != 8+i%2 || d["error"] != nil {
				t.Errorf("answer %d: %+v", i, f)
			}
		}
	}()
	for range rounds {
		storm.send(m{"op": 8, "id": "s", "data": m{"exclusive": []string{"x"}}})
		storm.send(m{"op": 9, "id": "u", "data": m{"exclusive": []string{"x"}}})
	}
	if st := calm.claim("y"); !st.Held {
		t.Errorf("another group: %+v", st)
	}
	<-done
	if st := calm.claim("x"); !st.Held {
		t.Errorf("the group after the storm: %+v", st)
	}
	if held, waiting := h.claims.count(); held != 2 || waiting != 0 {
		t.Errorf("%d held, %d waiting", held, waiting)
	}
	if g := h.groups.named("x"); g == nil || g.total() != 1 {
		t.Errorf("the group: %+v", g)
	}
}
