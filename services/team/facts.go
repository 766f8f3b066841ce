package team

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// fact is what one instance tells another of a team.
type fact struct {
	ID      rtm.ID `json:"id"`
	Present bool   `json:"present,omitzero"`
	Since   int64  `json:"since,omitzero"`
	Changed int64  `json:"changed"`
	Rank    uint64 `json:"rank,omitzero"`
}

// epoch returns the number of the last change: what is observed from now on has a greater one.
func (s *store) epoch() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.seq
}

// merge takes over what another instance knows better. What this instance observed after epoch is newer than any answer
// to a question that it asked then.
func (s *store) merge(facts []fact, epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	joined := false
	for _, f := range facts {
		if f.ID.IsZero() || !f.Present && f.Changed+rememberLeft < now {
			continue
		}
		f.Changed = min(f.Changed, now+maxFuture)
		switch c, ok := s.adopt(f, epoch, now); {
		case ok && c.left:
			s.tellJoined(&joined)
			s.tell(c)
		case ok:
			joined = true
		}
	}
	s.tellJoined(&joined)
}

// adopt takes over one fact, and returns what is to be told if that is a change. mu must be held.
func (s *store) adopt(f fact, epoch uint64, now int64) (change, bool) {
	e := s.entryOf(f.ID)
	defer s.settle(e, now)
	e.rank = max(e.rank, f.Rank)
	if e.observed > epoch || f.Changed <= e.changed {
		return change{}, false
	}
	if f.Present && !e.present && s.present >= s.max {
		s.refused.Add(1)
		return change{}, false
	}
	e.changed = f.Changed
	return s.set(e, f.ID, f.Present, f.Since)
}

// tellJoined tells of several joins at once. mu must be held.
func (s *store) tellJoined(joined *bool) {
	if *joined {
		s.tell(change{seq: s.seq})
		*joined = false
	}
}

// sortedEntries are all entries in the order of their texts, as of some change. To sort them takes a while, so that it is
// not done on a loop.
type sortedEntries struct {
	mu    sync.Mutex
	list  []*entry
	known int // how many there were
	stale atomic.Bool
}

// all returns all entries in the order of their texts. The slice must not be written to. A loop must not call it.
func (s *store) all() []*entry {
	o := &s.sorted
	o.mu.Lock()
	defer o.mu.Unlock()
	s.mu.RLock()
	if n := len(s.byText); n == o.known && !o.stale.Load() {
		s.mu.RUnlock()
		return o.list
	}
	o.stale.Store(false)
	o.list = make([]*entry, 0, len(s.byText))
	for _, e := range s.byText {
		o.list = append(o.list, e)
	}
	s.mu.RUnlock()
	o.known = len(o.list)
	slices.SortFunc(o.list, byText)
	return o.list
}

func byText(a, b *entry) int { return strings.Compare(a.text, b.text) }

// behind returns the entries whose texts come behind after, in their order.
func (s *store) behind(after string) []*entry {
	all := s.all()
	i, found := slices.BinarySearchFunc(all, after, func(e *entry, text string) int { return strings.Compare(e.text, text) })
	if found {
		i++
	}
	return all[i:]
}

// facts returns what this instance knows of at most n teams behind a text, and whether there are more.
func (s *store) facts(after string, n int) (facts []fact, more bool) {
	entries := s.behind(after)
	more = len(entries) > n
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range entries[:min(n, len(entries))] {
		facts = append(facts, e.fact())
	}
	return facts, more
}

// fact returns what others are told of the team. store.mu must be held.
func (e *entry) fact() fact {
	return fact{ID: e.id, Present: e.present, Since: e.since, Changed: e.changed, Rank: e.rank}
}

// connections returns the connections here.
func (s *store) connections() []opened {
	var all []opened
	for _, e := range s.all() {
		s.mu.RLock()
		if e.socket != nil {
			all = append(all, opened{ID: e.id, Rank: e.socket.rank, Client: e.socket.client})
		}
		s.mu.RUnlock()
	}
	return all
}
