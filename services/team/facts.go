package team

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// fact is the state of a team as instances exchange it.
type fact struct {
	ID      rtm.ID `json:"id"`
	Present bool   `json:"present,omitzero"`
	Since   int64  `json:"since,omitzero"`
	Changed int64  `json:"changed"`
	Rank    uint64 `json:"rank,omitzero"`
}

// epoch returns the number of the last change. Later observations have greater numbers.
func (s *store) epoch() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.seq
}

// merge adopts the facts that are newer than this instance's own. Observations after epoch are newer than any answer to
// a question asked at epoch.
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
			s.notifyJoined(&joined)
			s.notify(c)
		case ok:
			joined = true
		}
	}
	s.notifyJoined(&joined)
}

// adopt adopts one fact if it is newer, and returns the change, if any. mu must be held.
func (s *store) adopt(f fact, epoch uint64, now int64) (change, bool) {
	e := s.entryOf(f.ID)
	defer s.retire(e, now)
	e.rank = max(e.rank, f.Rank)
	if e.observed > epoch || f.Changed <= e.changed {
		return change{}, false
	}
	if f.Present && !e.present && s.present >= s.max {
		s.refused.Add(1)
		return change{}, false
	}
	e.changed = f.Changed
	if f.Present {
		return s.setPresent(e, f.ID, f.Since)
	}
	return s.setAbsent(e)
}

// notifyJoined reports several joins at once. mu must be held.
func (s *store) notifyJoined(joined *bool) {
	if *joined {
		s.notify(change{seq: s.seq})
		*joined = false
	}
}

// sortedEntries caches all entries in the order of their texts. Sorting takes too long for a loop's goroutine.
type sortedEntries struct {
	mu    sync.Mutex
	list  []*entry
	known int // length of store.byText when list was made
	stale atomic.Bool
}

// all returns all entries in the order of their texts. The slice is read-only. Loops must not call it.
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

// behind returns the entries whose texts sort behind after, in order.
func (s *store) behind(after string) []*entry {
	all := s.all()
	i, found := slices.BinarySearchFunc(all, after, func(e *entry, text string) int { return strings.Compare(e.text, text) })
	if found {
		i++
	}
	return all[i:]
}

// facts returns the facts of at most n teams behind a text, and whether there are more.
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

// fact returns the entry's state for other instances. store.mu must be held.
func (e *entry) fact() fact {
	return fact{ID: e.id, Present: e.present, Since: e.since, Changed: e.changed, Rank: e.rank}
}

// connections returns the connections of this instance.
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
