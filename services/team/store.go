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
	max  int          // teams that may be there
	now  func() int64 // Unix time in milliseconds
	tell func(change) // called with mu held, in the order of the changes; must not block

	mu      sync.RWMutex
	byText  map[string]*entry
	order   []place  // the teams that are there, in the order of their joins, and holes of those that left
	present int      // teams that are there
	seq     uint64   // number of the last change
	gone    []*entry // those that are not there, to be forgotten; entry.queued is true for them

	sorted sortedEntries

	refused atomic.Uint64 // joins beyond max
}

// place is a join in the order of joins.
type place struct {
	seq   uint64
	entry *entry // nil: the team has left
}

// entry is what an instance knows of a team.
type entry struct {
	text string // of its id

	// Guarded by store.mu.
	id       rtm.ID
	present  bool
	seq      uint64 // of its last join
	observed uint64 // number of the last change at which this instance itself heard of the team
	since    int64  // Unix milliseconds of the last join
	changed  int64  // Unix milliseconds of the last join or left
	rank     uint64 // greatest of its connections, on any instance
	socket   *socket
	queued   bool

	messages, props atomic.Uint64 // queued for its connections here
}

// socket is a team's connection on this instance. It is immutable.
type socket struct {
	conn    *teamConn
	rank    uint64
	client  uuid.UUID
	address string
	since   time.Time
}

// change is what the loops are told: the store as of seq.
type change struct {
	seq  uint64
	id   rtm.ID // zero: several joins
	left bool
	join uint64 // left: number of the join that has ended
	// heard: each loop hears of it by itself, in order with the team's messages, which this must not overtake.
	heard bool
}

const (
	// rememberLeft is how long a team that left is remembered, in milliseconds.
	rememberLeft = int64(time.Hour / time.Millisecond)
	// maxFuture is how far ahead, in milliseconds, another instance's clock may be for its word to count.
	maxFuture = int64(time.Minute / time.Millisecond)
)

func newStore(limit int, tell func(change)) *store {
	return &store{
		max: limit, now: func() int64 { return time.Now().UnixMilli() }, tell: tell, byText: make(map[string]*entry),
	}
}

// observe notes a join or left that this instance heard. It returns false for a join that there is no room for.
func (s *store) observe(id rtm.ID, join bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e := s.entryOf(id)
	defer s.settle(e, now)
	if join && !e.present && s.present >= s.max {
		s.refused.Add(1)
		return false
	}
	s.seq++
	e.observed = s.seq
	e.changed = max(now, e.changed+1)
	if c, ok := s.set(e, id, join, e.changed); ok {
		c.heard = true
		s.tell(c)
	}
	return true
}

// entryOf returns the team's entry, a new one if need be: then settle must follow. mu must be held.
func (s *store) entryOf(id rtm.ID) *entry {
	e := s.byText[id.String()]
	if e == nil {
		e = &entry{text: id.String(), id: id}
		s.byText[e.text] = e
	}
	return e
}

// set makes the team be there or not, and returns what is to be told if that is a change. mu must be held.
func (s *store) set(e *entry, id rtm.ID, join bool, since int64) (change, bool) {
	if e.present == join {
		return change{}, false
	}
	s.seq++
	e.present = join
	if join {
		e.id, e.seq, e.since = id, s.seq, since
		s.present++
		s.order = append(s.order, place{s.seq, e})
		return change{seq: s.seq, id: id}, true
	}
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

// settle ends each change of an entry: one that stands for nothing any more is forgotten in time. mu must be held.
func (s *store) settle(e *entry, now int64) {
	if !e.present && e.socket == nil && !e.queued {
		e.queued = true
		s.gone = append(s.gone, e)
	}
	s.forget(now)
}

// forget drops a few teams that left long ago, or any if there are too many. mu must be held.
func (s *store) forget(now int64) {
	for range 4 {
		excess := len(s.gone) > s.max
		if len(s.gone) == 0 {
			return
		}
		e := s.gone[0]
		if old := e.changed+rememberLeft <= now; !e.present && e.socket == nil && !old && !excess {
			return // those behind it are younger, or will be looked at soon enough
		} else if !e.present && e.socket == nil {
			delete(s.byText, e.text)
			s.sorted.stale.Store(true)
		}
		e.queued = false // one that stands for something comes back when it doesn't any more
		s.gone[0] = nil
		s.gone = s.gone[1:]
	}
}

// after returns the ids of at most n teams that are there, of those that joined behind the join numbered from, up to the
// change numbered upto; and the number of the last join that was looked at.
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

// has reports whether the team is there.
func (s *store) has(text string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.byText[text]
	return e != nil && e.present
}

// size returns the number of teams that are there, of those remembered for having left, and of connections here.
func (s *store) size() (present, remembered int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.present, len(s.byText) - s.present
}

// attach makes the connection its team's, and returns the entry, the connection that it replaces here, if any, and
// whether the team has left. One that this instance has yet to hear of has not.
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
	s.settle(e, s.now())
}

// rival notes a connection of another instance. It returns the team's connection here, if any, and whether that is the
// one that has to go.
func (s *store) rival(id rtm.ID, rank uint64, client uuid.UUID) (here *socket, replaced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entryOf(id)
	defer s.settle(e, s.now())
	e.rank = max(e.rank, rank)
	here = e.socket
	if here == nil || here.client == client {
		return nil, false
	}
	return here, here.rank < rank || here.rank == rank && here.client.String() < client.String()
}
