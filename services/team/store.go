package team

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// store is the list of teams of one instance. Any goroutine may use it.
type store struct {
	max    int          // bound of present teams
	now    func() int64 // Unix time in milliseconds
	notify func(change) // called with mu held for each change, in order; must not block

	mu      sync.RWMutex
	byText  map[string]*entry
	order   []place  // present teams in the order of their joins, with holes for those that left
	present int      // number of present teams
	seq     uint64   // number of the last change
	gone    []*entry // absent teams, to be forgotten in this order; their queued is true

	sorted sortedEntries

	refused atomic.Uint64 // joins beyond max
}

// place is a join in store.order.
type place struct {
	seq   uint64
	entry *entry // nil: the team has left
}

// entry is an instance's knowledge of a team.
type entry struct {
	text string // of its id

	// Guarded by store.mu.
	id       rtm.ID
	present  bool
	seq      uint64 // of its last join
	observed uint64 // number of the last change that this instance itself heard
	since    int64  // Unix milliseconds of the last join
	changed  int64  // Unix milliseconds of the last join or left
	rank     uint64 // greatest rank of its connections on any instance
	socket   *socket
	queued   bool

	messages, props atomic.Uint64 // messages queued for its connections here
}

// socket is a team's connection on this instance. It is immutable.
type socket struct {
	conn    *teamConn
	rank    uint64
	client  uuid.UUID
	address string
	since   time.Time
}

// change is a change of the store, for the loops.
type change struct {
	seq  uint64
	id   rtm.ID // zero: several joins
	left bool
	join uint64 // left: number of the join that has ended
	// heard: each loop also hears the event itself, in order with the team's messages, which this change must not
	// overtake.
	heard bool
}

const (
	// rememberLeft is the time for which a team that left is remembered, in milliseconds.
	rememberLeft = int64(time.Hour / time.Millisecond)
	// maxFuture caps how far in the future another instance's change may lie, in milliseconds.
	maxFuture = int64(time.Minute / time.Millisecond)
)

func newStore(limit int, notify func(change)) *store {
	return &store{
		max: limit, now: func() int64 { return time.Now().UnixMilli() }, notify: notify, byText: make(map[string]*entry),
	}
}

// join notes a join that this instance heard. It returns false if there are too many teams.
func (s *store) join(id rtm.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e := s.entryOf(id)
	defer s.retire(e, now)
	if !e.present && s.present >= s.max {
		s.refused.Add(1)
		return false
	}
	s.observe(e, now)
	if c, ok := s.setPresent(e, id, e.changed); ok {
		c.heard = true
		s.notify(c)
	}
	return true
}

// leave notes a left that this instance heard.
func (s *store) leave(id rtm.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e := s.entryOf(id)
	defer s.retire(e, now)
	s.observe(e, now)
	if c, ok := s.setAbsent(e); ok {
		c.heard = true
		s.notify(c)
	}
}

// observe notes that this instance heard of the team now. mu must be held.
func (s *store) observe(e *entry, now int64) {
	s.seq++
	e.observed = s.seq
	e.changed = max(now, e.changed+1)
}

// entryOf returns the team's entry, and creates it if needed. retire must follow. mu must be held.
func (s *store) entryOf(id rtm.ID) *entry {
	e := s.byText[id.String()]
	if e == nil {
		e = &entry{text: id.String(), id: id}
		s.byText[e.text] = e
	}
	return e
}

// setPresent makes the team present since a time in Unix milliseconds, and returns the change, if any. mu must be held.
func (s *store) setPresent(e *entry, id rtm.ID, since int64) (change, bool) {
	if e.present {
		return change{}, false
	}
	s.seq++
	e.present = true
	e.id, e.seq, e.since = id, s.seq, since
	s.present++
	s.order = append(s.order, place{s.seq, e})
	return change{seq: s.seq, id: id}, true
}

// setAbsent makes the team absent, and returns the change, if any. mu must be held.
func (s *store) setAbsent(e *entry) (change, bool) {
	if !e.present {
		return change{}, false
	}
	s.seq++
	e.present = false
	s.present--
	s.order[s.search(e.seq)].entry = nil
	if len(s.order) > 64 && s.present < len(s.order)/2 {
		s.order = slices.DeleteFunc(s.order, func(p place) bool { return p.entry == nil })
	}
	return change{seq: s.seq, id: e.id, left: true, join: e.seq}, true
}

// search returns the index of the first join from seq on. mu must be held.
func (s *store) search(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s.order, seq, func(p place, seq uint64) int {
		switch {
		case p.seq < seq:
			return -1
		case p.seq > seq:
			return 1
		}
		return 0
	})
	return i
}

// retire must end each change of an entry. It queues an absent team without a connection to be forgotten. mu must be
// held.
func (s *store) retire(e *entry, now int64) {
	if !e.present && e.socket == nil && !e.queued {
		e.queued = true
		s.gone = append(s.gone, e)
	}
	s.forget(now)
}

// forget drops up to four absent teams: those that left long ago, or the oldest if there are too many. mu must be held.
func (s *store) forget(now int64) {
	for range 4 {
		excess := len(s.gone) > s.max
		if len(s.gone) == 0 {
			return
		}
		e := s.gone[0]
		if old := e.changed+rememberLeft <= now; !e.present && e.socket == nil && !old && !excess {
			return // those behind it are younger, or their turn comes soon enough
		} else if !e.present && e.socket == nil {
			delete(s.byText, e.text)
			s.sorted.stale.Store(true)
		}
		e.queued = false // one that is present again, or has a connection, returns with its next retire
		s.gone[0] = nil
		s.gone = s.gone[1:]
	}
}

// after returns the ids of at most n present teams that joined after the join numbered from, up to the change numbered
// upto, and the number of the last join that it considered.
func (s *store) after(from, upto uint64, n int, ids []rtm.ID) ([]rtm.ID, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.order[s.search(from+1):] {
		if p.seq > upto {
			break
		}
		if len(ids) == n {
			return ids, from
		}
		from = p.seq
		if p.entry != nil {
			ids = append(ids, p.entry.id)
		}
	}
	return ids, upto
}

// has reports whether the team is present.
func (s *store) has(text string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.byText[text]
	return e != nil && e.present
}

// announced returns the first of the stats about each team whose last join has at most the number upto. Teams that left
// later are included while they are remembered.
func (s *store) announced(stats []rtm.Stat, upto uint64) []rtm.Stat {
	known := make([]rtm.Stat, 0, min(len(stats), s.max))
	seen := make(map[*entry]struct{})
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, stat := range stats {
		e := s.byText[stat.ID.String()]
		if e == nil || e.seq == 0 || e.seq > upto {
			continue
		}
		if _, repeated := seen[e]; repeated {
			continue
		}
		seen[e] = struct{}{}
		known = append(known, stat)
	}
	return known
}

// size returns the number of present teams, and of absent ones that are remembered.
func (s *store) size() (present, remembered int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.present, len(s.byText) - s.present
}

// attach makes sock the team's connection. It returns the entry, the connection that sock replaces here, if any, and
// whether the team has left. A team that this instance has not heard of has not left.
func (s *store) attach(id rtm.ID, sock *socket) (e *entry, old *socket, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e = s.entryOf(id)
	e.rank = max(uint64(s.now()), e.rank+1)
	sock.rank = e.rank
	old, e.socket = e.socket, sock
	return e, old, !e.present && e.changed > 0
}

// detach undoes attach.
func (s *store) detach(e *entry, sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.socket != sock {
		return
	}
	e.socket = nil
	s.retire(e, s.now())
}

// rival notes a connection of another instance. It returns the team's connection here, if any, and whether that one is
// replaced.
func (s *store) rival(id rtm.ID, rank uint64, client uuid.UUID) (here *socket, replaced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entryOf(id)
	defer s.retire(e, s.now())
	e.rank = max(e.rank, rank)
	here = e.socket
	if here == nil || here.client == client {
		return nil, false
	}
	return here, here.rank < rank || here.rank == rank && here.client.String() < client.String()
}
