package hub

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// group is what the loops share of one group.
type group struct {
	name  string
	local []*members // the members on each loop

	course atomic.Pointer[course] // how far the instance is in the group's history; nil for a group without
	tenure atomic.Pointer[tenure] // of the client here that holds it, as an exclusive group; nil for none

	// Guarded by the registry's shard.
	users    int32 // members, clients that are about to join, and watchers
	watching int32 // the last of these

	private  bool // other instances are not told of its members
	observed bool // it has observers; set before the hub starts

	state    subscription // guarded by mu, as all that follows
	granting int32        // holders that are about to join; they are not given ANYs before
	mu       sync.Mutex
	waiting  []waiter // for the subscription
	expected expected // sessions that are about to join
}

// expected are the sessions that are about to join a group, and whether they are clients already. Most join at once, so
// that the map is seldom needed.
type expected struct {
	one    *session // nil for none
	client bool     // one is a client
	more   map[*session]bool
}

func (e *expected) len() int {
	n := len(e.more)
	if e.one != nil {
		n++
	}
	return n
}

func (e *expected) add(s *session, client bool) {
	if e.one == nil {
		e.one, e.client = s, client
		return
	}
	if e.more == nil {
		e.more = make(map[*session]bool)
	}
	e.more[s] = client
}

func (e *expected) remove(s *session) {
	if e.one == s {
		e.one = nil
		return
	}
	if delete(e.more, s); len(e.more) == 0 {
		e.more = nil
	}
}

// all calls f for each until it returns false.
func (e *expected) all(f func(s *session, client bool) bool) {
	if e.one != nil && !f(e.one, e.client) {
		return
	}
	for s, client := range e.more {
		if !f(s, client) {
			return
		}
	}
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
	// Written by the loop, read by all.
	count     atomic.Int32 // members
	departing atomic.Int32 // of them, those that are about to leave, and get no ANY while there are others: see session.depart
	share     atomic.Int32 // sum of the weights of the others
	joining   atomic.Int32 // clients that are about to join a group with history: its messages concern the loop

	// Owned by the loop.
	uneven   int32 // how many members have another weight than the usual one
	list     []*session
	timeline *timeline                // of a group with history; nil while none of its messages came
	reports  *reports                 // nil while nothing is to be reported of the members
	watchers atomic.Pointer[watchers] // nil for none; replaced under group.mu, read by every loop
}

// watchers see the messages of a group on one loop without being members. They are replaced as a whole.
type watchers struct {
	observers []func(*opcodes.Envelope)
	taps      []tap
}

// tap looks at a message on its way, on the goroutine of a loop whose clock is now.
type tap interface {
	look(now uint32, b *transport.Buffer, p parser)
}

// parser takes a message apart; nil for one that this release doesn't understand.
type parser interface {
	parse(b *transport.Buffer) *opcodes.Envelope
}

// waiter waits for the broker's subscription to a group. subscribed must not block; err is why it can't be had.
type waiter interface{ subscribed(err error) }

func newGroup(name string, loops int) *group {
	g := &group{name: name, local: make([]*members, loops)}
	all := make([]members, loops)
	for i := range g.local {
		g.local[i] = &all[i]
	}
	return g
}

// Figures of a loop's members.
func (m *members) counted() int { return int(m.count.Load()) }
func (m *members) offered() int { return max(int(m.share.Load()), 0) }
func (m *members) leaving() int { return max(int(m.departing.Load()), 0) }

// total returns the number of members on this instance.
func (g *group) total() int { return g.sum((*members).counted) }

// offered returns the sum of the weights of the members that may be drawn.
func (g *group) offered() int { return g.sum((*members).offered) }

// leaving returns how many members are about to leave.
func (g *group) leaving() int { return g.sum((*members).leaving) }

// staying returns the number of members that are not about to leave.
func (g *group) staying() int { return g.total() - g.leaving() }

// sum adds up a figure of all loops.
func (g *group) sum(figure func(*members) int) int {
	total := 0
	for _, m := range g.local {
		total += figure(m)
	}
	return total
}

// standing is what other instances are told of the group: the sum of the weights of the members that may be drawn, as so
// many members. Where that is 0, Expected stands for one that is about to join, and for members that are not drawn but get
// all else. For all clients it is their number. mu must be held.
func (g *group) standing() int {
	n, stay := g.offered(), g.staying()
	switch {
	case g.name == "":
		return stay
	case n > 0:
		return n
	case g.expected.len()+int(g.granting) > 0 || stay > 0:
		return broker.Expected
	}
	return g.empty()
}

// empty is what other instances are told of the group while it has no members. Observers need its messages even then.
func (g *group) empty() int {
	if g.observed {
		return broker.Watched
	}
	return 0
}

// drawLoop draws a loop with a probability proportional to the weights of its members of g, and among those that are about
// to leave only if there are no others; -1 if no loop has any that may be drawn.
func (g *group) drawLoop(random *rand.Rand) int {
	for {
		among := (*members).offered
		total := g.sum(among)
		if total == 0 {
			among = (*members).leaving
			total = g.sum(among)
		}
		if total == 0 {
			return -1
		}
		at := random.IntN(total)
		for i, m := range g.local {
			if at -= among(m); at < 0 {
				return i
			}
		}
		// A member left between the two looks.
	}
}

// reaches reports whether a message to the group concerns a loop, and how many receivers it has there. Where it has
// members, observers are not counted; taps never are.
func (g *group) reaches(loop int) (receivers int, ok bool) {
	if members := g.local[loop].counted(); members > 0 {
		return members, true
	}
	w := g.local[loop].watchers.Load()
	if w == nil {
		return 0, false
	}
	return len(w.observers), true
}

// busiest returns the loop with the most members, where a message passes anyway.
func (g *group) busiest() int {
	loop := 0
	for i, m := range g.local {
		if m.counted() > g.local[loop].counted() {
			loop = i
		}
	}
	return loop
}

// watch changes the watchers of the group on a loop. Any goroutine may call it.
func (g *group) watch(loop int, change func(*watchers)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var next watchers
	if old := g.local[loop].watchers.Load(); old != nil {
		next = watchers{slices.Clone(old.observers), slices.Clone(old.taps)}
	}
	change(&next)
	if len(next.observers) == 0 && len(next.taps) == 0 {
		g.local[loop].watchers.Store(nil)
		return
	}
	g.local[loop].watchers.Store(&next)
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
	for _, w := range waiting {
		w.subscribed(err)
	}
}

// await has w called, perhaps at once, when the broker's subscription stands, or can't be had.
func (g *group) await(w waiter) {
	g.mu.Lock()
	state := g.state
	if state == subscribing {
		g.waiting = append(g.waiting, w)
	}
	g.mu.Unlock()
	switch state {
	case subscribed:
		w.subscribed(nil)
	case unsubscribed: // it failed since it was asked for
		w.subscribed(broker.ErrUnavailable)
	}
}

// ready reports whether the broker has subscribed to the group.
func (g *group) ready() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == subscribed
}

// forget makes the group expect s, or a holder where s is nil, no more: it has joined, or will not.
func (g *group) forget(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s == nil {
		g.granting--
		return
	}
	g.expected.remove(s)
}

// anyExpected returns a session that is about to join the group and that is wanted; nil for none.
func (g *group) anyExpected(wanted func(s *session, client bool) bool) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s, client := range g.expected.all {
		if wanted(s, client) {
			return s
		}
	}
	return nil
}
