package hub

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/opcodes"
)

// registry knows every group that has, or is about to have, a member on this instance.
type registry struct {
	hub    *Hub
	seed   maphash.Seed
	shards [64]struct {
		sync.RWMutex
		groups map[string]*group
	}
	// everyone stands for all identified clients. It is not in the map and never goes away.
	everyone *group
	observed []*group // groups with observers; set before the hub starts
	// listening is closed when the broker has said of each of them that it is subscribed, or can't be for now.
	listening   chan struct{}
	unconfirmed atomic.Int32

	tapMu  sync.Mutex
	tapped map[*group]int // how many taps hold a group
	// foreign are the identified clients of service types. It is not in the map either.
	foreign *group
}

// group is what the loops share of one group.
type group struct {
	name   string
	counts []atomic.Int32 // members on each loop; written by that loop
	// departing is how many of these are about to leave, so that no ANY should be theirs: see session.depart.
	departing []atomic.Int32
	local     []*members // the members themselves; each element belongs to its loop

	private  bool // other instances are not told of its members
	observed bool // it has observers; set before the hub starts

	// Guarded by the registry's shard.
	users    int // members, those about to join, and those who only watch
	watching int // the last of these

	mu      sync.Mutex
	state   subscription
	waiting []waiter // who waits for the subscription
	// expected are the clients who are about to join; nil for none.
	expected map[*joining]struct{}
}

// subscription is how far the broker has come with a group.
type subscription uint8

const (
	unsubscribed subscription = iota
	subscribing
	subscribed
)

// members is a loop's share of a group.
type members struct {
	list     []*session
	watchers atomic.Pointer[watchers] // nil for none; replaced under group.mu, read by every loop
}

// waiter is who waits for the broker's subscription to a group. done must not block.
type waiter interface{ done(err error) }

func newRegistry(h *Hub, loops int) *registry {
	r := &registry{hub: h, seed: maphash.MakeSeed(), tapped: make(map[*group]int), listening: make(chan struct{})}
	for i := range r.shards {
		r.shards[i].groups = make(map[string]*group)
	}
	r.everyone = newGroup("", loops)
	r.foreign = newGroup("", loops)
	r.foreign.private = true
	r.everyone.state = subscribed // the broker subscribes to what concerns everybody at its start
	return r
}

func newGroup(name string, loops int) *group {
	counts := make([]atomic.Int32, 2*loops)
	g := &group{name: name, counts: counts[:loops:loops], departing: counts[loops:], local: make([]*members, loops)}
	for i := range g.local {
		g.local[i] = new(members)
	}
	return g
}

// find returns the group of that name, or nil if nobody here is in it.
func (r *registry) find(name []byte) *group {
	s := &r.shards[maphash.Bytes(r.seed, name)%uint64(len(r.shards))]
	s.RLock()
	defer s.RUnlock()
	return s.groups[string(name)]
}

// acquire returns the group of that name for j, who is expected to join until forget, or, where j is nil, for somebody who
// only watches. It sees to it that the broker subscribes to it. Each acquire needs a release.
func (r *registry) acquire(name string, j *joining) *group {
	s := &r.shards[maphash.String(r.seed, name)%uint64(len(r.shards))]
	s.Lock()
	g := s.groups[name]
	if g == nil {
		g = newGroup(name, len(r.everyone.counts))
		s.groups[name] = g
	}
	g.users++
	if j == nil {
		g.watching++
	}
	s.Unlock()

	g.mu.Lock()
	// Others are to know of the first member before it is told that it is one, or an ANY could miss it. The broker is
	// asked for that where somebody watches already, or is about to leave.
	first := j != nil && g.offered() == 0 && len(g.expected) == 0
	subscribe := g.state == unsubscribed || first && g.state == subscribed
	if subscribe {
		g.state = subscribing
	}
	if j != nil {
		if g.expected == nil {
			g.expected = make(map[*joining]struct{})
		}
		g.expected[j] = struct{}{}
		if first || subscribe {
			r.hub.broker.SetMembers(name, g.standing())
		}
	}
	g.mu.Unlock()
	if subscribe {
		r.hub.broker.Subscribe(name, g.confirmed)
	}
	return g
}

// release undoes acquire. The last one makes the group go away.
func (r *registry) release(g *group, join bool) {
	s := &r.shards[maphash.String(r.seed, g.name)%uint64(len(r.shards))]
	s.Lock()
	defer s.Unlock()
	if !join {
		g.watching--
	}
	if g.users--; g.users > 0 {
		if g.users == g.watching { // whoever was about to join may not have, and others have been told of it
			r.hub.broker.SetMembers(g.name, g.empty())
		}
		return
	}
	delete(s.groups, g.name)
	r.hub.broker.SetMembers(g.name, 0) // also where nobody joined after all
	r.hub.broker.Unsubscribe(g.name)   // within the lock, so that a new group's Subscribe comes after it
}

// confirmed is called by the broker when the subscription stands, or can't be had.
func (g *group) confirmed(err error) {
	g.mu.Lock()
	g.state = subscribed
	if err != nil {
		g.state = unsubscribed
	}
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	for _, j := range waiting {
		j.done(err)
	}
}

// observe adds an observer of the group on a loop. It must be called before the hub starts.
func (r *registry) observe(name string, loop int, f func(*opcodes.Envelope)) {
	s := &r.shards[maphash.String(r.seed, name)%uint64(len(r.shards))]
	g := s.groups[name]
	if g == nil {
		g = newGroup(name, len(r.everyone.counts))
		g.users, g.watching, g.observed = 1, 1, true // it never goes away
		s.groups[name] = g
		r.observed = append(r.observed, g)
	}
	g.watch(loop, func(w *watchers) { w.observers = append(w.observers, f) })
}

// subscribeObserved makes the broker subscribe to the groups that have observers.
func (r *registry) subscribeObserved() {
	r.unconfirmed.Store(int32(len(r.observed)) + 1)
	for _, g := range r.observed {
		g.mu.Lock()
		g.state = subscribing
		r.hub.broker.SetMembers(g.name, g.standing())
		g.mu.Unlock()
		r.hub.broker.Subscribe(g.name, func(err error) {
			g.confirmed(err)
			r.confirmedOne()
		})
	}
	r.confirmedOne()
}

// confirmedOne notes that one of the observed groups is subscribed, or subscribeObserved is through with them.
func (r *registry) confirmedOne() {
	if r.unconfirmed.Add(-1) == 0 {
		close(r.listening)
	}
}

// reaches reports whether a message to the group concerns anybody on a loop, and how many receivers it has there. Where
// it has members, observers are not counted; who taps never is.
func (g *group) reaches(loop int) (receivers int, ok bool) {
	if members := int(g.counts[loop].Load()); members > 0 {
		return members, true
	}
	w := g.local[loop].watchers.Load()
	if w == nil {
		return 0, false
	}
	return len(w.observers), true
}

// total returns the number of members on this instance.
func (g *group) total() int {
	n := 0
	for i := range g.counts {
		n += int(g.counts[i].Load())
	}
	return n
}

// len returns the number of groups with members.
func (r *registry) len() int {
	n := 0
	for i := range r.shards {
		r.shards[i].RLock()
		n += len(r.shards[i].groups)
		r.shards[i].RUnlock()
	}
	for _, g := range r.observed {
		if g.total() == 0 {
			n--
		}
	}
	r.tapMu.Lock()
	defer r.tapMu.Unlock()
	for g := range r.tapped {
		if g.total() == 0 && !slices.Contains(r.observed, g) {
			n--
		}
	}
	return n
}

// tap counts a tap that begins (1) or ends (-1) to hold the group.
func (r *registry) tap(g *group, change int) {
	r.tapMu.Lock()
	defer r.tapMu.Unlock()
	if r.tapped[g] += change; r.tapped[g] == 0 {
		delete(r.tapped, g)
	}
}
