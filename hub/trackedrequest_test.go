package hub

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// settlement is the data of a SETTLED.
type settlement struct {
	Receivers, Replied, Passed int
	Missing                    []missing
	More                       int
}

type missing struct {
	ID, Name, Node, Reason string
	Count                  int
}

func settlementOf(f frame) (s settlement, err error) {
	b, err := json.Marshal(f.Data)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// site is where a test's clients connect: one loop, two, or two instances.
type site struct {
	hubs []*Hub
	urls []string
	next int
}

// onSites runs the test on each kind of site.
func onSites(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for name, sizes := range map[string][]int{"one loop": {1}, "two loops": {2}, "two instances": {1, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, sizes, nil))
		})
	}
}

func newSite(t testing.TB, loops []int, change func(*Options)) *site {
	t.Helper()
	s := new(site)
	bus := memory.NewBus()
	for i, n := range loops {
		h, url := startHub(t, bus.Broker(), func(o *Options) {
			o.Transport.Loops = n
			o.NodeName = fmt.Sprint("host-", i)
			if change != nil {
				change(o)
			}
		})
		s.hubs, s.urls = append(s.hubs, h), append(s.urls, url)
	}
	return s
}

// join identifies a client, of the feature requests, at the next instance.
func (s *site) join(t testing.TB, group string, extra m) *peer {
	t.Helper()
	data := m{"features": []string{"requests"}}
	for k, v := range extra {
		data[k] = v
	}
	p := identify(t, s.urls[s.next%len(s.urls)], group, data)
	s.next++
	return p
}

func expectation(id string, intent m, expect m) m {
	return m{"op": 0, "id": id, "event": "info", "intent": intent, "expect": expect}
}

func within(ms int) m { return m{"timeout_ms": ms} }

func (p *peer) reply(to frame, extra m) {
	p.t.Helper()
	r := m{"op": 5, "id": to.ID, "intent": m{"target": "DIRECT", "identifier": to.Sender}}
	for k, v := range extra {
		r[k] = v
	}
	p.send(r)
}

func (p *peer) pass(to frame) {
	p.t.Helper()
	p.send(m{"op": 14, "id": to.ID, "intent": m{"target": "DIRECT", "identifier": to.Sender}})
}

// wantSettled reads up to the SETTLED of the request, which must be want, and returns the REPLYs before it.
func (p *peer) wantSettled(id string, want settlement) (replies []frame) {
	p.t.Helper()
	got, replies := p.settled(id)
	if want.Missing == nil {
		want.Missing = []missing{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Fatalf("SETTLED of %s (-want +got):\n%s", id, diff)
	}
	return replies
}

// wantUnanswered reads up to the SETTLED of the request, by which none of the receivers has answered, and returns the REPLYs
// before it. A receiver whose loop, or instance, did not say so within closingTime is not named: a busy machine takes longer.
func (p *peer) wantUnanswered(id, reason string, receivers ...*peer) (replies []frame) {
	p.t.Helper()
	got, replies := p.settled(id)
	unnamed, named := 0, map[string]bool{}
	for _, m := range got.Missing {
		if m.Reason != reason {
			p.t.Errorf("%s: missing for %s, want %s", id, m.Reason, reason)
		}
		if unnamed += m.Count; m.Count == 0 {
			named[m.ID] = true
		}
	}
	known := 0
	for _, r := range receivers {
		if named[r.id] {
			known++
		}
	}
	if got.Receivers != len(receivers) || got.Replied+got.Passed > 0 || known != len(named) || known+unnamed != len(receivers) {
		p.t.Errorf("%s: %+v, want %d receivers without an answer", id, got, len(receivers))
	}
	return replies
}

func (p *peer) settled(id string) (s settlement, replies []frame) {
	p.t.Helper()
	for {
		f := p.read()
		switch {
		case f.Op == 5 && f.ID == id:
			replies = append(replies, f)
		case f.Op == 14 && f.ID == id:
			s, err := settlementOf(f)
			if err != nil {
				p.t.Fatal(err)
			}
			return s, replies
		default:
			p.t.Fatalf("while waiting for SETTLED: %+v", f)
		}
	}
}

func (p *peer) wantRequest(id string) frame {
	p.t.Helper()
	f := p.read()
	if f.Op != 0 || f.ID != id {
		p.t.Fatalf("want the request %s, got %+v", id, f)
	}
	return f
}

func (p *peer) wantCancel(id, sender string) {
	p.t.Helper()
	if f := p.read(); f.Op != 15 || f.ID != id || f.Sender != sender {
		p.t.Fatalf("want the CANCEL of %s, got %+v", id, f)
	}
}

func (p *peer) wantNothing() {
	p.t.Helper()
	if got := p.fence(); len(got) > 0 {
		p.t.Fatalf("got %+v", got)
	}
}

func inGroup(name string) m { return m{"target": "GROUP", "identifier": name} }
func oneOf(name string) m   { return m{"target": "ANY", "identifier": name} }
func directTo(p *peer) m    { return m{"target": "DIRECT", "identifier": p.id} }

// noneOpen expects that the instances hold nothing of a request any more.
func (s *site) noneOpen(t testing.TB) {
	t.Helper()
	eventually.True(t, "no request is open", func() bool {
		for _, h := range s.hubs {
			if h.requestMemory.Load() != 0 {
				return false
			}
		}
		return true
	})
}

func TestRequestDirect(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a, b := s.join(t, "askers", nil), s.join(t, "workers", m{"name": "shard-1"})
		a.send(expectation("q1", directTo(b), within(20000)))
		f := b.wantRequest("q1")
		b.reply(f, m{"data": 7})
		replies := a.wantSettled("q1", settlement{Receivers: 1, Replied: 1})
		if len(replies) != 1 || replies[0].Data != 7.0 || replies[0].Sender != b.id {
			t.Errorf("replies: %+v", replies)
		}
		b.reply(f, nil) // a second time
		a.send(expectation("q2", directTo(b), within(20000)))
		b.pass(b.wantRequest("q2"))
		a.wantSettled("q2", settlement{Receivers: 1, Passed: 1})
		s.noneOpen(t)
		b.wantNothing()
		a.wantNothing()
	})
}

func TestRequestReceiverGoes(t *testing.T) {
	t.Parallel()
	for reason, end := range map[string]func(s *site, b *peer){
		"NO_REASON":       func(_ *site, b *peer) { b.send(m{"op": 2}) },
		"LOST":            func(_ *site, b *peer) { _ = b.conn.CloseNow() },
		"INVALID_PAYLOAD": func(_ *site, b *peer) { b.send(m{"op": "x"}) },
		"KICKED": func(s *site, b *peer) {
			if _, err := s.hubs[0].Kick(b.ctx, uuid.MustParse(b.id)); err != nil {
				b.t.Error(err)
			}
		},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			onSites(t, func(t *testing.T, s *site) {
				a, b := s.join(t, "askers", nil), s.join(t, "workers", m{"name": "shard-1"})
				a.send(expectation("q", directTo(b), within(20000)))
				a.send(expectation("g", inGroup("workers"), within(20000)))
				b.wantRequest("q")
				b.wantRequest("g")
				end(s, b)
				gone := settlement{Receivers: 1, Missing: []missing{{ID: b.id, Name: "shard-1", Reason: reason}}}
				first, _ := a.settledAny()
				second, _ := a.settledAny()
				for _, got := range []settlement{first, second} {
					if diff := cmp.Diff(gone, got); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
				s.noneOpen(t)
			})
		})
	}
}

// TestRequestReceiverMoved: what a client that moved has not answered of requests to many is passed, since its other connection
// has got these too. A request to it alone is missing an answer, as with any other goodbye.
func TestRequestReceiverMoved(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a := s.join(t, "askers", nil)
		for _, data := range []any{"MOVED", "moved", m{"reason": "MOVED"}} {
			next, old := s.join(t, "workers", nil), s.join(t, "workers", m{"name": "shard-1"})
			ids := []string{"one", "group", "global"}
			for i, intent := range []m{directTo(old), inGroup("workers"), {"target": "GLOBAL"}} {
				a.send(expectation(ids[i], intent, within(long)))
				old.wantRequest(ids[i])
			}
			next.reply(next.wantRequest("group"), nil)
			next.reply(next.wantRequest("global"), nil)
			for range 3 { // two answers, and its own copy of the request to all
				if f := a.read(); f.Op == 0 {
					a.pass(f)
				}
			}
			old.send(m{"op": 2, "data": data})
			gone := []missing{{ID: old.id, Name: "shard-1", Reason: "NO_REASON"}}
			want := map[string]settlement{
				"one": {Receivers: 1, Missing: gone}, "group": {Receivers: 2, Replied: 1, Missing: gone},
				"global": {Receivers: 3, Replied: 1, Passed: 1, Missing: gone},
			}
			if data == "MOVED" {
				want["group"] = settlement{Receivers: 2, Replied: 1, Passed: 1, Missing: []missing{}}
				want["global"] = settlement{Receivers: 3, Replied: 1, Passed: 2, Missing: []missing{}}
			}
			for range ids {
				got, id := a.settledAny()
				if diff := cmp.Diff(want[id], got); diff != "" {
					t.Errorf("%v: SETTLED of %s (-want +got):\n%s", data, id, diff)
				}
			}
			_ = next.conn.CloseNow()
			eventually.True(t, "the clients are gone", func() bool {
				n := 0
				for _, h := range s.hubs {
					n += h.Stats().Clients
				}
				return n == 1
			})
		}
		s.noneOpen(t)
	})
}

// settledAny reads the next SETTLED.
func (p *peer) settledAny() (settlement, string) {
	p.t.Helper()
	f := p.read()
	s, err := settlementOf(f)
	if err != nil || f.Op != 14 {
		p.t.Fatalf("want SETTLED, got %+v", f)
	}
	return s, f.ID
}

func TestRequestTimeoutAndCancel(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a, b, c := s.join(t, "askers", nil), s.join(t, "workers", nil), s.join(t, "workers", m{"features": []string{}})
		a.send(expectation("q1", inGroup("workers"), within(2000)))
		f := b.wantRequest("q1")
		c.wantRequest("q1")
		c.reply(f, m{"more": true})
		replies := a.wantUnanswered("q1", "TIMEOUT", b, c)
		if len(replies) != 1 {
			t.Errorf("%d replies, want 1", len(replies))
		}
		b.wantCancel("q1", a.id)
		b.reply(f, nil) // too late
		c.reply(f, nil)

		a.send(expectation("q2", directTo(b), within(20000)))
		f = b.wantRequest("q2")
		a.send(m{"op": 15, "id": "q2"})
		a.send(m{"op": 15, "id": "q2"})
		a.send(m{"op": 15, "id": "unknown"})
		a.wantUnanswered("q2", "CANCELLED", b)
		b.wantCancel("q2", a.id)
		b.pass(f)
		b.reply(f, nil)
		s.noneOpen(t)
		b.wantNothing()
		a.wantNothing()
		if n := lateDrops(s); n != 3 {
			t.Errorf("%d late replies were counted, want 3", n)
		}
	})
}

func lateDrops(s *site) (n uint64) {
	for _, h := range s.hubs {
		n += h.Stats().Drops[DropLate]
	}
	return n
}

func TestRequestGroup(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a := s.join(t, "askers", nil)
		var all []*peer
		for i := range 6 {
			all = append(all, s.join(t, "shards", m{"name": fmt.Sprint("shard-", i)}))
		}
		for round := range 5 {
			id := fmt.Sprint("q", round)
			a.send(expectation(id, inGroup("shards"), within(20000)))
			for i, p := range all[:4-round/4] {
				f := p.wantRequest(id)
				if i == 0 {
					p.pass(f)
					continue
				}
				p.reply(f, m{"more": true, "data": 1})
				p.reply(f, m{"data": 2})
			}
			for _, p := range all[4:] {
				p.reply(p.wantRequest(id), m{"error": m{"code": "X", "message": "failed"}})
			}
			want := settlement{Receivers: 6, Replied: 5, Passed: 1}
			if round == 4 { // the last one leaves instead
				gone := all[3]
				gone.wantRequest(id)
				gone.send(m{"op": 2})
				want.Replied--
				want.Missing = []missing{{ID: gone.id, Name: "shard-3", Reason: "NO_REASON"}}
			}
			replies := a.wantSettled(id, want)
			if n := want.Replied + want.Replied - 2; len(replies) != n {
				t.Errorf("round %d: %d replies, want %d", round, len(replies), n)
			}
		}
		s.noneOpen(t)
		a.wantNothing()
	})
}

func TestRequestGlobalAndEcho(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a, b := s.join(t, "x", nil), s.join(t, "x", nil)
		a.send(expectation("q", m{"target": "GLOBAL"}, within(20000)))
		own := a.wantRequest("q")
		a.pass(own)
		b.reply(b.wantRequest("q"), nil)
		a.wantSettled("q", settlement{Receivers: 2, Replied: 1, Passed: 1})
		quiet := s.join(t, "y", m{"echo": false})
		quiet.send(expectation("q", inGroup("y"), within(20000)))
		quiet.wantSettled("q", settlement{Missing: []missing{{Reason: "NOT_DELIVERED"}}})
		s.noneOpen(t)
	})
}

func TestRequestReachesNobody(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a, b := s.join(t, "askers", nil), s.join(t, "askers", nil)
		id := b.id
		b.send(m{"op": 2})
		eventually.True(t, "it is gone", func() bool {
			n := 0
			for _, h := range s.hubs {
				n += h.Stats().Clients
			}
			return n == 1
		})
		for i, intent := range []m{
			inGroup("nobody"), oneOf("nobody"), {"target": "DIRECT", "identifier": id},
			{"target": "DIRECT", "identifier": "00000000-0000-8000-8000-000000000000"},
		} {
			q := fmt.Sprint("q", i)
			a.send(expectation(q, intent, within(20000)))
			a.wantSettled(q, settlement{Missing: []missing{{Reason: "NOT_DELIVERED"}}})
		}
		for i, expect := range []m{{"timeout_ms": 20000, "retry": true}, {"timeout_ms": 20000, "key": "k"}} {
			q := fmt.Sprint("r", i)
			a.send(expectation(q, oneOf("nobody"), expect))
			a.wantSettled(q, settlement{Missing: []missing{{Reason: "NOT_DELIVERED"}}})
		}
		s.noneOpen(t)
	})
}

// TestRepliesOfStrangersSettleNothing: they are delivered as ever.
func TestRepliesOfStrangersSettleNothing(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a, b, c := s.join(t, "askers", nil), s.join(t, "workers", nil), s.join(t, "strangers", nil)
		a.send(expectation("q", directTo(b), within(20000)))
		f := b.wantRequest("q")
		c.reply(f, nil)
		if got := a.read(); got.Op != 5 || got.Sender != c.id {
			t.Errorf("got %+v", got)
		}
		c.pass(f)
		b.send(m{"op": 5, "id": "q", "intent": inGroup("askers")}) // not DIRECT
		if got := a.read(); got.Op != 5 || got.Sender != b.id {
			t.Errorf("got %+v", got)
		}
		a.wantNothing()
		b.reply(f, nil)
		a.wantSettled("q", settlement{Receivers: 1, Replied: 1})
		s.noneOpen(t)
	})
}
