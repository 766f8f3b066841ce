package hub

import (
	"slices"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// joining is an IDENTIFY that waits until the broker has subscribed to the client's groups: answered before, the client
// could miss what is sent after the answer.
//
// Other instances know already that it is expected, if it is a group's first member here, and draw it for an ANY where there
// is nobody else. The ANY waits with it: back with its sender, it could be drawn again only if that has sent nothing since.
type joining struct {
	session *session
	ref     transport.Ref
	groups  []*group
	left    atomic.Int32 // groups that are not subscribed yet, and one for join itself
	failed  atomic.Bool
	held    []*mail // ANYs for the client; they belong to its loop
}

// Bounds of the ANYs that wait for clients who are about to join.
const (
	maxHeld      = 64      // for one client
	maxHeldBytes = 4 << 20 // on one loop
)

// join makes the client a member of the groups as soon as the broker has subscribed to them.
func (s *session) join(names []string) {
	j := &joining{session: s, ref: s.conn.Ref(), groups: make([]*group, 0, len(names))}
	r := s.shard.hub.groups
	ready := true
	for _, name := range names {
		g := r.acquire(name, j)
		j.groups = append(j.groups, g)
		ready = ready && g.ready()
	}
	s.phase = phaseJoining
	if ready || s.shard.hub.alone() {
		j.finish()
		return
	}
	s.conn.Pause() // what the client sends behind its IDENTIFY waits too
	j.left.Store(1)
	for _, g := range j.groups {
		j.left.Add(1)
		if !g.await(j) {
			j.left.Add(-1)
		}
	}
	j.done(nil)
}

// alone reports whether clients may identify though other instances can't be reached.
func (h *Hub) alone() bool { return h.opts.WithoutBroker && !h.broker.State().Available }

// await makes j learn of the subscription. It returns false if there is nothing to wait for: the subscription stands
// already, or j has been told that it can't be had.
func (g *group) await(j *joining) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.state {
	case subscribed:
		return false
	case unsubscribed: // it failed since acquire asked for it
		j.failed.Store(true)
		return false
	}
	g.waiting = append(g.waiting, j)
	return true
}

// forget makes the group expect j no more: it has joined, or will not.
func (g *group) forget(j *joining) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if delete(g.expected, j); len(g.expected) == 0 {
		g.expected = nil
	}
}

// ready reports whether the broker has subscribed to the group.
func (g *group) ready() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == subscribed
}

// expectedOn returns a loop whose client is about to join the group, -1 for none.
func (g *group) expectedOn() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for j := range g.expected {
		return j.session.shard.index
	}
	return -1
}

// expect returns a client of this loop that is about to join the group, nil for none.
func (sh *shard) expect(g *group) *joining {
	g.mu.Lock()
	defer g.mu.Unlock()
	for j := range g.expected {
		if j.session.shard == sh && j.session.phase == phaseJoining && len(j.held) < maxHeld {
			return j
		}
	}
	return nil
}

// hold keeps an ANY from another instance for a client of this loop that is about to join its group. It returns false if
// there is none.
func (sh *shard) hold(m *mail) bool {
	j := sh.expect(m.group)
	if j == nil || sh.heldBytes+m.Size() > maxHeldBytes {
		return false
	}
	if len(j.held) == 0 {
		sh.holding = append(sh.holding, j)
	}
	sh.heldBytes += m.Size()
	held := sh.newMail(m.kind, m.buf)
	name := held.name
	*held = *m
	held.name = name
	j.held = append(j.held, held)
	return true
}

// done notes that one group is subscribed, or can't be. The last one sends the joining back to its loop.
func (j *joining) done(err error) {
	if err != nil {
		j.failed.Store(true)
	}
	if j.left.Add(-1) == 0 && !j.ref.Loop().Post(j) { // the hub is closed, and what it held with it
		j.giveBack()
	}
}

// Deliver implements transport.Mail.
func (j *joining) Deliver(*transport.Loop) {
	c := j.ref.Conn()
	switch {
	case c == nil || j.session.phase != phaseJoining:
		j.giveBack()
	case j.failed.Load():
		j.giveBack()
		j.session.disconnect(opcodes.TryAgainLater)
	default:
		j.finish()
		c.Resume()
	}
	j.giveHeld()
}

// giveHeld gives the client what was held for it: nobody else, who may have got later messages of the same senders. What
// it does not get goes back.
func (j *joining) giveHeld() {
	if len(j.held) == 0 {
		return
	}
	sh, held := j.session.shard, j.held
	j.held = nil
	sh.holding = slices.DeleteFunc(sh.holding, func(o *joining) bool { return o == j })
	for _, m := range held {
		sh.heldBytes -= m.Size()
		if j.session.phase == phaseIdentified && sh.give(j.session, m.buf) {
			m.tally.end(1, 0)
		} else {
			m.tally.end(0, 0)
			sh.returnAny(m)
		}
		m.recycle()
	}
}

// returnHeld sends back what was held for the client, which is over: once its loop has ended nobody could.
func (sh *shard) returnHeld(s *session) {
	if i := slices.IndexFunc(sh.holding, func(j *joining) bool { return j.session == s }); i >= 0 {
		sh.holding[i].giveHeld()
	}
}

// Size implements transport.Mail.
func (j *joining) Size() int { return 64 }

// giveBack ends a joining that came to nothing.
func (j *joining) giveBack() {
	h := j.session.shard.hub
	for _, g := range j.groups {
		g.forget(j)
		h.announce(g) // whoever is still there may be about to leave, so that others know of j alone
		h.groups.release(g, true)
	}
}
