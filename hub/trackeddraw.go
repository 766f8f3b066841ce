package hub

import (
	"math"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file draws the receiver of an ANY that has a key, or that is handed on to another member if one does not answer it.
//
// A key names a member by rendezvous hashing (Thaler and Ravishankar, 1998): each instance, then each of its loops, then each
// member there gets a score from its name and the key, and the highest wins. The scores of instances and loops are weighted
// by their members (Schindelhauer and Schomaker, 2005), so that each member has the same chance, and a member that comes or
// goes moves no more keys than its share.

// drawTracked sends an ANY with a drawing to a member. It returns false if there is none that has not had it.
func (sh *shard) drawTracked(r *request, t *tracked, o *outbound) bool {
	h := sh.hub
	name := r.wider.name
	g := h.groups.everyone
	if len(name) > 0 {
		g = h.groups.find(name)
	}
	node := sh.chooseNode(r, t.drawing, g)
	if node == 0 {
		return false
	}
	t.node = node
	o.feedback = sh.hearOf(r)
	r.here = portion{node: node, receivers: 1}
	if node != h.node.ID {
		r.here.old = !h.broker.Knows(node, broker.KindTracking)
		sh.relayOr(nil, broker.Message{
			Kind: broker.KindAny, To: node, Sender: o.from.id, Seq: uint64(o.from.sent), Group: name, Payload: o.buf.Payload(),
			Extra: t.extra(h),
		}, 0, o.feedback)
		return true
	}
	t.drawing.passed = 0
	loop := sh.chooseLoop(g, t.drawing)
	if loop < 0 { // the last member has just left
		sh.reject(o.feedback, opcodes.CodeReceiverGone)
		return true
	}
	m := h.shards[loop].newMail(anyMail, o.buf)
	m.group, m.sender, m.seq, m.feedback, m.track = g, o.from.id, uint64(o.from.sent), o.feedback, t
	if loop != sh.index {
		m.track = t.forLoop()
		sh.hurry(m)
		return true
	}
	anyMail(sh, m)
	m.recycle()
	return true
}

// chooseNode returns the instance that gets an ANY; 0 for none.
func (sh *shard) chooseNode(r *request, d *drawing, g *group) broker.NodeID {
	self := sh.hub.node.ID
	known := sh.standings(r)
	own := 0
	if g != nil && !r.avoids(self) {
		own = g.offered()
	}
	total := own
	best, most := broker.NodeID(0), 0.0
	consider := func(node broker.NodeID, members int) {
		if s := score(d.key, uint64(node), members); s > most {
			best, most = node, s
		}
	}
	if own > 0 {
		consider(self, own)
	}
	for i := range known {
		if k := &known[i]; k.Members > 0 && !r.avoids(k.Node) {
			total += k.Members
			consider(k.Node, k.Members)
		}
	}
	switch {
	case total == 0:
		return sh.chooseLast(r, g, known)
	case d.keyed:
		return best
	}
	at := sh.random.IntN(total)
	if at -= own; at < 0 {
		return self
	}
	for i := range known {
		if k := &known[i]; k.Members > 0 && !r.avoids(k.Node) {
			if at -= k.Members; at < 0 {
				return k.Node
			}
		}
	}
	return best
}

// chooseLast returns an instance with members that are about to leave, or are expected, where there are no others.
func (sh *shard) chooseLast(r *request, g *group, known []broker.Standing) broker.NodeID {
	if self := sh.hub.node.ID; g != nil && !r.avoids(self) && (g.leaving() > 0 || g.expectingLoop() >= 0) {
		return self
	}
	for i := range known {
		if k := &known[i]; k.Members == broker.Expected && !r.avoids(k.Node) {
			return k.Node
		}
	}
	return 0
}

// avoids reports whether the instance has no member that has not had the request.
func (r *request) avoids(node broker.NodeID) bool {
	for _, n := range r.wider.avoid {
		if n == node {
			return true
		}
	}
	return false
}

// chooseLoop returns the loop of the group that an ANY goes to first; -1 if it has no member.
func (sh *shard) chooseLoop(g *group, d *drawing) int {
	loop := -1
	if d != nil && d.keyed {
		loop = g.loopOf(d.key)
	} else {
		loop = g.drawLoop(sh.random)
	}
	if loop < 0 {
		loop = g.expectingLoop()
	}
	return loop
}

// loopOf returns the loop that a key names; -1 if the group has no member here.
func (g *group) loopOf(key uint64) int {
	for _, among := range []func(*members) int{(*members).offered, (*members).leaving} {
		best, most := -1, 0.0
		for i, m := range g.local {
			if n := among(m); n > 0 {
				if s := score(key, uint64(i), n); s > most {
					best, most = i, s
				}
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// nextLoop hands an ANY that no member here is to get on to another loop of the instance with members. It returns false if
// all have been asked.
func (sh *shard) nextLoop(m *mail) bool {
	d, n := m.track.drawing, len(sh.hub.shards)
	if d.passed >= n-1 {
		return false
	}
	d.passed++
	to := sh.hub.shards[(sh.index+1)%n]
	c := to.newMail(anyMail, m.buf)
	c.group, c.sender, c.seq, c.draws, c.feedback = m.group, m.sender, m.seq, m.draws, m.feedback
	c.tally, c.origin, c.remote, c.track = m.tally, m.origin, m.remote, m.track.forLoop()
	sh.hurry(c)
	return true
}

// The times that an ANY waits for another member, in milliseconds. They double.
const (
	minDrawWait = 20
	maxDrawWait = 250
)

// handOn hands an ANY to another member.
func (sh *shard) handOn(r *request) {
	w, last := r.wider, r.t
	r.receivers += r.here.receivers
	r.here = portion{}
	r.state = requestOpen
	if last.attempt == math.MaxUint8 {
		sh.proceed(r)
		return
	}
	t := last.forLoop()
	t.attempt++
	t.drawing = &drawing{keyed: last.drawing.keyed, key: last.drawing.key, tried: w.had}
	r.t = t
	b := transport.AllocBuffer(opcodes.AttemptSize(w.retry.Payload()))
	if t.attempt > 1 {
		b.Seal(opcodes.AppendAttempt(b.Room(), w.retry.Payload(), int(t.attempt)))
	} else {
		b.Seal(append(b.Room(), w.retry.Payload()...))
	}
	o := outbound{from: &r.session.sender, client: r.session, buf: b, track: t}
	found := sh.drawTracked(r, t, &o)
	b.Release()
	if found {
		sh.count.requests.retries.Add(1)
		sh.fillHere(r)
		return
	}
	t.attempt--     // it was not used
	if !w.anyLost { // all that there are have passed, or can't be reached
		sh.proceed(r)
		return
	}
	r.state = requestDrawing
	w.avoid = w.avoid[:0]
	w.wait = min(max(2*w.wait, minDrawWait), maxDrawWait)
	if at := sh.loop.Clock() + w.wait; earlier(at, r.deadline) {
		sh.requests.schedule(r, at)
	} else {
		sh.requests.schedule(r, r.deadline)
	}
}

// fillHere notes how many receivers a message to one client has on this loop, where it went there.
func (sh *shard) fillHere(r *request) {
	if r.t.here {
		r.here.receivers = r.t.added
	}
}

// standings returns the other instances that are known to have members of the request's group.
func (sh *shard) standings(r *request) []broker.Standing {
	sh.known = sh.hub.broker.Standings(r.wider.name, sh.known[:0])
	return sh.known
}
