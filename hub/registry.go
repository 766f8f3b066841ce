package hub

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/ordered"
	"github.com/mastersocket/mastersocket/opcodes"
)

// registry knows every group that has, or is about to have, a member on this instance.
type registry struct {
	broker broker.Broker
	seed   maphash.Seed
	shards [64]struct {
		sync.RWMutex
		groups map[string]*group
	}
	ordered *ordered.Set[*group] // the same groups in the order of their names
	// everyone are all identified clients of the hub's own protocol, and foreign those of service types. They are not in
	// the map and never go away.
	everyone, foreign *group

	observed []*group // groups with observers; set before the hub starts
	// listening is closed when the broker has said of each of them that it is subscribed, or can't be for now.
	listening   chan struct{}
	unconfirmed atomic.Int32

	tapMu  sync.Mutex
	tapped map[*group]int // how many taps and others hold a group
}

func newRegistry(b broker.Broker, loops int) *registry {
	r := &registry{broker: b, seed: maphash.MakeSeed(), tapped: make(map[*group]int), listening: make(chan struct{})}
	for i := range r.shards {
		r.shards[i].groups = make(map[string]*group)
	}
	r.ordered = ordered.New(func(g *group) string { return g.name })
	r.everyone = newGroup("", loops)
	r.foreign = newGroup("", loops)
	r.foreign.private = true
	r.everyone.state = subscribed // the broker subscribes to what concerns everybody at its start
	return r
}

// find returns the group of that name, or nil if it has no users here.
func (r *registry) find(name []byte) *group {
	s := &r.shards[maphash.Bytes(r.seed, name)%uint64(len(r.shards))]
	s.RLock()
	defer s.RUnlock()
	return s.groups[string(name)]
}

// named is find for a name in a string.
func (r *registry) named(name string) *group {
	s := &r.shards[maphash.String(r.seed, name)%uint64(len(r.shards))]
	s.RLock()
	defer s.RUnlock()
	return s.groups[name]
}

// expect returns the group of that name for a session that is about to join it, and is expected until group.forget. The
// broker is asked to subscribe to it. One call of dismiss must follow.
func (r *registry) expect(name string, s *session) *group {
	return r.await(name, func(g *group) { g.expected.add(s, s.phase == phaseIdentified) })
}

// expectHolder is expect for a client that the group was granted to. It is given no ANY before it has entered.
func (r *registry) expectHolder(name string) *group {
	return r.await(name, func(g *group) { g.granting++ })
}

// await is expect; add notes the one that is expected.
func (r *registry) await(name string, add func(g *group)) *group {
	g := r.use(name, 0)
	g.mu.Lock()
	// Other instances are told of the first member before it learns that it is one, or an ANY could miss it. The broker
	// is asked for that also where the group is subscribed, for a watcher or a member that is about to leave.
	first := g.offered() == 0 && g.expected.len()+int(g.granting) == 0
	subscribe := g.state == unsubscribed || first && g.state == subscribed
	if subscribe {
		g.state = subscribing
	}
	add(g)
	if first || subscribe {
		r.broker.SetMembers(name, g.standing())
	}
	g.mu.Unlock()
	if subscribe {
		r.broker.Subscribe(name, g.confirmed)
	}
	return g
}

// dismiss gives back what expect returned. Without users the group goes away.
func (r *registry) dismiss(g *group) { r.unuse(g, 0) }

// keep returns the group of that name for a tap, which is no member. The broker is asked to subscribe to it. One call of
// release must follow.
func (r *registry) keep(name string) *group {
	g := r.reserve(name)
	g.mu.Lock()
	subscribe := g.state == unsubscribed
	if subscribe {
		g.state = subscribing
	}
	g.mu.Unlock()
	if subscribe {
		r.broker.Subscribe(name, g.confirmed)
	}
	return g
}

// reserve returns the group of that name for what needs the group, and not its messages. One call of release must follow.
func (r *registry) reserve(name string) *group {
	r.tapMu.Lock()
	defer r.tapMu.Unlock()
	g := r.use(name, 1)
	r.tapped[g]++
	return g
}

// release gives back what keep or reserve returned.
func (r *registry) release(g *group) {
	r.tapMu.Lock()
	defer r.tapMu.Unlock()
	if r.tapped[g]--; r.tapped[g] == 0 {
		delete(r.tapped, g)
	}
	r.unuse(g, 1)
}

// use returns the group of that name with one user more, a watcher if watching is 1, none if it is 0.
func (r *registry) use(name string, watching int) *group {
	s := &r.shards[maphash.String(r.seed, name)%uint64(len(r.shards))]
	s.Lock()
	defer s.Unlock()
	g := s.groups[name]
	if g == nil {
		g = newGroup(name, len(r.everyone.local))
		s.groups[name] = g
		r.ordered.Add(g)
	}
	g.users++
	g.watching += int32(watching)
	return g
}

// unuse undoes use.
func (r *registry) unuse(g *group, watching int) {
	s := &r.shards[maphash.String(r.seed, g.name)%uint64(len(r.shards))]
	s.Lock()
	defer s.Unlock()
	g.watching -= int32(watching)
	if g.users--; g.users > 0 {
		if g.users == g.watching { // a client that was about to join may not have, and others have been told of it
			r.broker.SetMembers(g.name, g.empty())
		}
		return
	}
	delete(s.groups, g.name)
	r.ordered.Remove(g.name)
	r.broker.SetMembers(g.name, 0) // also where the client did not join after all
	r.broker.Unsubscribe(g.name)   // within the lock, so that a new group's Subscribe comes after it
}

// observe adds an observer of the group on a loop. It must be called before the hub starts.
func (r *registry) observe(name string, loop int, f func(*opcodes.Envelope)) {
	s := &r.shards[maphash.String(r.seed, name)%uint64(len(r.shards))]
	g := s.groups[name]
	if g == nil {
		g = newGroup(name, len(r.everyone.local))
		g.users, g.watching, g.observed = 1, 1, true // it never goes away
		s.groups[name] = g
		r.ordered.Add(g)
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
		r.broker.SetMembers(g.name, g.standing())
		g.mu.Unlock()
		r.broker.Subscribe(g.name, func(err error) {
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

// announce tells the other instances how many members a group has here. The lock keeps the last word for the last change.
func (r *registry) announce(g *group) {
	if g.private {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r.broker.SetMembers(g.name, g.standing())
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
