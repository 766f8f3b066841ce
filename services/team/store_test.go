package team

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// follower keeps a list of teams from a store's changes, as a Global connection does.
type follower struct {
	t     *testing.T
	store *store
	there map[rtm.ID]bool
}

func newFollower(t *testing.T, limit int, now *int64) *follower {
	f := &follower{t: t, there: make(map[rtm.ID]bool)}
	f.store = newStore(limit, f.told)
	f.store.now = func() int64 { return *now }
	return f
}

func (f *follower) told(c change) {
	switch {
	case c.left && !f.there[c.id]:
		f.t.Errorf("%v left twice", c.id)
	case c.left:
		delete(f.there, c.id)
	case c.id.IsZero():
		for _, p := range f.store.order {
			if p.entry != nil {
				f.there[p.entry.id] = true
			}
		}
	case f.there[c.id]:
		f.t.Errorf("%v joined twice", c.id)
	default:
		f.there[c.id] = true
	}
}

// hear has the store hear of a join or left. It returns false for a join that the store refused.
func hear(s *store, id rtm.ID, join bool) bool {
	if join {
		return s.join(id)
	}
	s.leave(id)
	return true
}

// check compares the store with the expected teams.
func (f *follower) check(want map[rtm.ID]bool) {
	f.t.Helper()
	if !maps.Equal(f.there, want) {
		f.t.Fatalf("told of %v, want %v", f.there, want)
	}
	ids, cursor := f.store.after(0, f.store.epoch(), 1<<20, nil)
	if len(ids) != len(want) || cursor != f.store.epoch() || slices.ContainsFunc(ids, func(id rtm.ID) bool { return !want[id] }) {
		f.t.Fatalf("listed %v, want %v", ids, want)
	}
	if present, _ := f.store.size(); present != len(want) {
		f.t.Fatalf("%d teams, want %d", present, len(want))
	}
	all := f.store.all()
	if len(all) != len(f.store.byText) || !slices.IsSortedFunc(all, byText) {
		f.t.Fatal("the sorted list is wrong")
	}
}

func TestStoreAgreesWithAModel(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	now := int64(1e12)
	f := newFollower(t, 50, &now)
	model := make(map[rtm.ID]bool)
	for step := range 20_000 {
		id := rtm.IntID(random.Int64N(80))
		now += random.Int64N(60_000)
		join := random.IntN(2) == 0
		taken := hear(f.store, id, join)
		switch full := len(model) == 50 && !model[id]; {
		case join && full == taken:
			t.Fatalf("step %d: %d teams, taken: %v", step, len(model), taken)
		case join && taken:
			model[id] = true
		case !join:
			delete(model, id)
		}
		if step%100 == 0 {
			f.check(model)
		}
		if _, remembered := f.store.size(); remembered > 60 || len(f.store.gone) > 60 {
			t.Fatalf("%d teams are remembered, %d to be forgotten", remembered, len(f.store.gone))
		}
	}
	f.check(model)
	now += 2 * rememberLeft
	for range 100 {
		f.store.join(rtm.StringID("x"))
	}
	if _, remembered := f.store.size(); remembered != 0 {
		t.Errorf("%d teams are remembered", remembered)
	}
}

func TestStoreKeepsTheFirstForm(t *testing.T) {
	t.Parallel()
	now := int64(1e12)
	f := newFollower(t, 10, &now)
	f.store.join(rtm.IntID(1))
	f.store.join(rtm.StringID("1"))
	f.check(map[rtm.ID]bool{rtm.IntID(1): true})
	f.store.leave(rtm.StringID("1"))
	f.check(map[rtm.ID]bool{})
	f.store.join(rtm.StringID("1"))
	f.check(map[rtm.ID]bool{rtm.StringID("1"): true})
}

func TestMerge(t *testing.T) {
	t.Parallel()
	at := func(changed int64, present bool) fact {
		return fact{ID: rtm.IntID(1), Present: present, Changed: changed, Since: changed}
	}
	const now = int64(1e12)
	for name, c := range map[string]struct {
		before func(s *store) uint64 // returns the epoch
		fact   fact
		want   bool
	}{
		"unknown":                     {func(*store) uint64 { return 0 }, at(now-5, true), true},
		"unknown, left":               {func(*store) uint64 { return 0 }, at(now-5, false), false},
		"left long ago":               {func(*store) uint64 { return 0 }, at(now-2*rememberLeft, false), false},
		"there since long ago":        {func(*store) uint64 { return 0 }, at(now-2*rememberLeft, true), true},
		"left, heard since it asked":  {func(s *store) uint64 { s.leave(rtm.IntID(1)); return 0 }, at(now+9, true), false},
		"there, heard since it asked": {func(s *store) uint64 { s.join(rtm.IntID(1)); return 0 }, at(now+9, false), true},
		"left later elsewhere":        {func(s *store) uint64 { s.join(rtm.IntID(1)); return s.epoch() }, at(now+9, false), false},
		"left earlier elsewhere":      {func(s *store) uint64 { s.join(rtm.IntID(1)); return s.epoch() }, at(now-9, false), true},
		"at the same time":            {func(s *store) uint64 { s.join(rtm.IntID(1)); return s.epoch() }, at(now, false), true},
		"joined later elsewhere":      {func(s *store) uint64 { s.leave(rtm.IntID(1)); return s.epoch() }, at(now+9, true), true},
		"told, not asked":             {func(s *store) uint64 { s.join(rtm.IntID(1)); return noEpoch }, at(now+9, false), false},
	} {
		clock := now
		f := newFollower(t, 10, &clock)
		epoch := c.before(f.store)
		f.store.merge([]fact{c.fact, {}}, epoch)
		if got := f.store.has("1"); got != c.want {
			t.Errorf("%s: there %v, want %v", name, got, c.want)
		}
		want := map[rtm.ID]bool{}
		if c.want {
			want[rtm.IntID(1)] = true
		}
		f.check(want)
	}
}

// A clock that is an hour ahead must not win for an hour.
func TestMergeBoundsTheFuture(t *testing.T) {
	t.Parallel()
	now := int64(1e12)
	f := newFollower(t, 10, &now)
	f.store.merge([]fact{{ID: rtm.IntID(1), Present: true, Changed: now + 60*maxFuture}}, 0)
	if e := f.store.byText["1"]; !e.present || e.changed > now+maxFuture {
		t.Errorf("changed %d ms from now", e.changed-now)
	}
	f.store.merge([]fact{{ID: rtm.IntID(1), Changed: now + 2*maxFuture}}, 0) // equal: nothing changes
	f.store.leave(rtm.IntID(1))
	f.check(map[rtm.ID]bool{})
}

// Two instances that missed different changes agree after an exchange.
func TestTwoStoresConverge(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 50 {
		now := int64(1e12)
		a, b := newFollower(t, 1000, &now), newFollower(t, 1000, &now)
		want := make(map[rtm.ID]bool)
		for range 300 {
			now++
			id, join := rtm.IntID(random.Int64N(40)), random.IntN(2) == 0
			heard := random.IntN(3)
			if heard != 0 {
				hear(a.store, id, join)
			}
			if heard != 1 {
				hear(b.store, id, join)
			}
			if delete(want, id); join {
				want[id] = true
			}
		}
		fa, _ := a.store.facts("", 1000)
		fb, _ := b.store.facts("", 1000)
		a.store.merge(fb, a.store.epoch())
		b.store.merge(fa, b.store.epoch())
		a.check(want)
		b.check(want)
		if round == 0 && len(want) == 0 {
			t.Error("the sample shows little")
		}
	}
}

func TestNewsForOthers(t *testing.T) {
	t.Parallel()
	now := int64(1e12)
	f := newFollower(t, 1000, &now)
	for _, id := range []string{"a", "b", "c", "d", "z"} {
		f.store.join(rtm.StringID(id))
	}
	f.store.leave(rtm.StringID("d"))
	r := round{answers: 2, more: true, end: "d", facts: []fact{
		{ID: rtm.StringID("a"), Present: true, Changed: now}, {ID: rtm.StringID("a"), Present: true, Changed: now},
		{ID: rtm.StringID("b"), Present: true, Changed: now},                                                      // unknown to one instance
		{ID: rtm.StringID("c"), Present: true, Changed: now}, {ID: rtm.StringID("c"), Present: false, Changed: 1}, // one instance missed the join
		{ID: rtm.StringID("d"), Present: true, Changed: 1}, {ID: rtm.StringID("d"), Present: false, Changed: now},
	}}
	var got []string
	for _, n := range r.news(f.store, "") {
		got = append(got, fmt.Sprint(n.ID, n.Present))
	}
	if want := []string{"b true", "c true", "d false"}; !slices.Equal(got, want) {
		t.Errorf("news %v, want %v", got, want)
	}
}

func TestRanks(t *testing.T) {
	t.Parallel()
	now := int64(1000)
	f := newFollower(t, 10, &now)
	s := f.store
	id := rtm.IntID(1)
	one := &socket{client: uuid.New()}
	e, old, left := s.attach(id, one)
	if old != nil || one.rank != 1000 || left {
		t.Errorf("rank %d, replaced %v", one.rank, old)
	}
	if here, _ := s.rival(id, one.rank, one.client); here != nil {
		t.Error("a connection is its own rival")
	}
	if here, replaced := s.rival(id, 999, uuid.New()); here != one || replaced {
		t.Error("an older one replaced it")
	}
	if here, replaced := s.rival(id, 5000, uuid.New()); here != one || !replaced {
		t.Error("a newer one did not replace it")
	}
	two := &socket{client: uuid.New()}
	if _, old, _ := s.attach(id, two); old != one || two.rank != 5001 {
		t.Errorf("rank %d, replaced %v", two.rank, old)
	}
	s.detach(e, one) // too late
	if e.socket != two {
		t.Error("the connection that was replaced took the new one along")
	}
	s.detach(e, two)
	if here, _ := s.rival(rtm.IntID(2), 7, uuid.New()); here != nil || s.byText["2"].rank != 7 {
		t.Error("the rank of an unknown team's connection was not noted")
	}
	if _, remembered := s.size(); remembered != 2 {
		t.Errorf("%d entries", remembered)
	}
	now += 2 * rememberLeft
	s.join(rtm.IntID(3))
	s.join(rtm.IntID(3))
	if _, remembered := s.size(); remembered != 0 {
		t.Errorf("%d entries are never forgotten", remembered)
	}
}
