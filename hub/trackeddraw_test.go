package hub

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/internal/eventually"
)

func TestRequestAny(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a := s.join(t, "askers", nil)
		w := []*peer{s.join(t, "workers", nil), s.join(t, "workers", nil), s.join(t, "workers", nil)}
		got := make(chan struct{}, len(w))
		for _, p := range w {
			go func() {
				for {
					f := frame{}
					_, b, err := p.conn.Read(p.ctx)
					if err != nil || json.Unmarshal(b, &f) != nil {
						got <- struct{}{}
						return
					}
					p.reply(f, nil)
				}
			}()
		}
		for i := range 60 {
			q := fmt.Sprint("q", i)
			expect := within(20000)
			switch i % 3 {
			case 1:
				expect["retry"] = true
			case 2:
				expect["key"] = fmt.Sprint(i)
			}
			a.send(expectation(q, oneOf("workers"), expect))
			if replies := a.wantSettled(q, settlement{Receivers: 1, Replied: 1}); len(replies) != 1 {
				t.Errorf("%s: %+v", q, replies)
			}
		}
		s.noneOpen(t)
	})
}

// TestRequestRetry: if a member passes, or goes, another one gets the request.
func TestRequestRetry(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a := s.join(t, "askers", nil)
		ways := []func(p *peer, f frame){
			func(p *peer, f frame) { p.pass(f) },
			func(p *peer, _ frame) { _ = p.conn.CloseNow() },
			func(p *peer, _ frame) { p.send(m{"op": 2}) },
			func(p *peer, f frame) { p.reply(f, nil) },
		}
		type came struct {
			p *peer
			f frame
			a float64
		}
		all := make(chan came, 16)
		for range ways {
			p := s.join(t, "workers", nil)
			go func() {
				for {
					_, b, err := p.conn.Read(p.ctx)
					if err != nil {
						return
					}
					var f struct {
						frame
						Attempt float64 `json:"attempt"`
					}
					if json.Unmarshal(b, &f) == nil && f.Op == 0 {
						all <- came{p, f.frame, f.Attempt}
					}
				}
			}()
		}
		a.send(expectation("q", oneOf("workers"), m{"timeout_ms": 20000, "retry": true}))
		had := map[string]bool{}
		for i, act := range ways {
			c := <-all
			if had[c.p.id] {
				t.Errorf("a client got the request twice")
			}
			had[c.p.id] = true
			if i > 0 && c.a != float64(i+1) {
				t.Errorf("attempt %v, want %d", c.a, i+1)
			}
			act(c.p, c.f)
		}
		got, replies := a.settled("q")
		if got.Receivers != 4 || got.Replied != 1 || got.Passed != 1 || len(got.Missing) != 2 || len(replies) != 1 {
			t.Errorf("%+v, %d replies", got, len(replies))
		}
		s.noneOpen(t)
	})
}

// TestRequestRetryEnds: where all members pass the request is settled; where one was lost it waits for the next.
func TestRequestRetryEnds(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a := s.join(t, "askers", nil)
		w := []*peer{s.join(t, "workers", nil), s.join(t, "workers", nil)}
		retry := m{"timeout_ms": 20000, "retry": true}
		a.send(expectation("q1", oneOf("workers"), retry))
		for _, p := range w {
			go func() {
				_, b, err := p.conn.Read(p.ctx)
				var f frame
				if err == nil && json.Unmarshal(b, &f) == nil {
					p.pass(f)
				}
				_, b, err = p.conn.Read(p.ctx)
				if err == nil && json.Unmarshal(b, &f) == nil {
					_ = p.conn.CloseNow()
				}
			}()
		}
		a.wantSettled("q1", settlement{Receivers: 2, Passed: 2})
		a.send(expectation("q2", oneOf("workers"), retry))
		a.wantNothingFor(s, 2)
		late := s.join(t, "workers", nil)
		late.reply(late.wantRequest("q2"), nil)
		got, _ := a.settled("q2")
		if got.Receivers != 3 || got.Replied != 1 || len(got.Missing) != 2 || got.Missing[0].Reason != "LOST" {
			t.Errorf("%+v", got)
		}
		a.send(expectation("q3", oneOf("workers"), m{"timeout_ms": 2000, "retry": true}))
		_, _ = late.wantRequest("q3"), late.conn.CloseNow()
		a.wantSettled("q3", settlement{Receivers: 1, Missing: []missing{{ID: late.id, Reason: "LOST"}}})
		s.noneOpen(t)
	})
}

// wantNothingFor waits until so many members are gone, and expects nothing meanwhile.
func (p *peer) wantNothingFor(s *site, gone int) {
	p.t.Helper()
	before := 3
	eventually.True(p.t, "they are gone", func() bool {
		n := 0
		for _, h := range s.hubs {
			n += h.Stats().Clients
		}
		return n <= before-gone
	})
	p.wantNothing()
}

func TestRequestKey(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		const keys = 300
		a := s.join(t, "askers", nil)
		type owned struct {
			id, owner string
		}
		got := make(chan owned, keys)
		var w []*peer
		for range 5 {
			p := s.join(t, "workers", nil)
			w = append(w, p)
			go func() {
				for {
					var f frame
					_, b, err := p.conn.Read(p.ctx)
					if err != nil || json.Unmarshal(b, &f) != nil {
						return
					}
					p.pass(f)
					got <- owned{f.ID, p.id}
				}
			}()
		}
		owners := func() map[string]string {
			all := map[string]string{}
			for i := range keys {
				a.send(expectation(fmt.Sprint("q", i), oneOf("workers"), m{"timeout_ms": 20000, "key": fmt.Sprint("customer-", i)}))
			}
			for range keys {
				o := <-got
				all[o.id] = o.owner
				a.settledAny()
			}
			return all
		}
		first := owners()
		if diff := cmp.Diff(first, owners()); diff != "" || len(first) != keys {
			t.Errorf("the same keys, the same members, another owner:\n%s", diff)
		}
		count := map[string]int{}
		for _, id := range first {
			count[id]++
		}
		for _, p := range w {
			if n := count[p.id]; n < keys/5/3 {
				t.Errorf("a member has %d of %d keys", n, keys)
			}
		}
		s.noneOpen(t)
	})
}
