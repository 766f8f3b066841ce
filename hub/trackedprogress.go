package hub

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// wakeRequests is the mail of the timer.
type wakeRequests struct{ q *requests }

// Deliver implements transport.Mail: it looks at the requests that are due.
func (w wakeRequests) Deliver(*transport.Loop) {
	q := w.q
	q.armed = false
	now := q.shard.loop.Clock()
	for len(q.heap) > 0 && !earlier(now, q.at(q.heap[0]).due) {
		r := q.at(q.heap[0])
		if r.state != requestClosing && !earlier(now, r.deadline) || r.state == requestClosing {
			r.due = now + closingTime // unless what follows says otherwise
			q.fix(0)
			q.shard.overdue(r)
			continue
		}
		q.schedule(r, r.deadline)
		q.shard.proceed(r)
	}
	q.arm()
}

// Size implements transport.Mail.
func (wakeRequests) Size() int { return 0 }

// overdue handles a request whose time is over, or that has waited for the last word long enough.
func (sh *shard) overdue(r *request) {
	if r.state == requestClosing {
		sh.settle(r)
		return
	}
	sh.closeRequest(r, endedByTime)
}

// proceed settles the request if it is complete, or says when to look at it again.
func (sh *shard) proceed(r *request) {
	switch {
	case r.state == requestDrawing:
		sh.handOn(r)
	case sh.isComplete(r):
		sh.settle(r)
	case r.state == requestOpen && r.spread && !r.isToOne():
		sh.awaitReports(r)
	}
}

// awaitReports gives up waiting for instances that did not report, and have no members any more, once reportTime has passed
// since the broker took the request.
func (sh *shard) awaitReports(r *request) {
	w := r.wider
	if w == nil || w.expected == 0 {
		return
	}
	if until := w.spreadAt + reportTime; earlier(sh.loop.Clock(), until) {
		if earlier(until, r.due) {
			sh.requests.schedule(r, until)
		}
		return
	}
	known := sh.standings(r)
	waits := false
	for i := range w.shares {
		s := &w.shares[i]
		if s.reports > 0 && !s.reported && !s.old {
			if holds(known, s.node) {
				waits = true
			} else {
				s.reports, s.receivers = 0, max(s.receivers, s.done)
			}
		}
	}
	if sh.isComplete(r) {
		sh.settle(r)
	} else if again := sh.loop.Clock() + reportsAgain; waits && earlier(again, r.deadline) {
		sh.requests.schedule(r, again)
	}
}

func holds(known []broker.Standing, node broker.NodeID) bool {
	for i := range known {
		if known[i].Node == node {
			return true
		}
	}
	return false
}

// answered handles a REPLY of a receiver: it gives it to the requester and returns true, or drops it if the request is settled.
func (sh *shard) answered(v vouch, requester, sender *uuid.UUID, node broker.NodeID, b *transport.Buffer) bool {
	r := sh.requests.named(v.handle)
	if !r.hears(v.attempt) || r.t.requester != *requester {
		sh.count.drop(DropLate)
		return false
	}
	given := sh.give(r.session, sender, b, nil)
	if r = sh.requests.named(v.handle); r == nil || !v.final { // its client may just have been disconnected
		return given
	}
	if s := r.shareOf(node); s != nil {
		if r.isToOne() {
			s.receivers, s.reports = 1, 0 // also where the broker could not tell
		}
		s.done++
		r.replied++
	}
	sh.proceed(r)
	return given
}

// Deliver implements transport.Mail.
func (n *news) Deliver(*transport.Loop) {
	sh := n.shard
	if n.kind == newsCancel {
		sh.receiveCancel(n)
		return
	}
	r := sh.requests.named(n.handle)
	if !r.hears(n.attempt) {
		return
	}
	s := r.shareOf(n.node)
	if s == nil {
		return
	}
	switch n.kind {
	case newsReport:
		sh.reported(r, s, n.receivers)
	case newsOver:
		sh.partsOver(r, s, n)
	}
}

// reported handles how many receivers the request has on one loop here, or on another instance.
func (sh *shard) reported(r *request, s *portion, receivers int) {
	switch {
	case r.isToOne():
		s.receivers, s.reports = int32(receivers), 0 // it was taken for 1
	case s.node == sh.hub.node.ID:
		s.reports--
		s.receivers += int32(receivers)
	case s.reported:
		return
	default:
		s.reports, s.reported = 0, true
		s.receivers = int32(receivers)
	}
	sh.proceed(r)
}

// partsOver handles parts that are over without an answer.
func (sh *shard) partsOver(r *request, s *portion, n *news) {
	if n.none {
		m := opcodes.Missing{Node: sh.nodeName(n.node), Reason: opcodes.MissingNotDelivered}
		if r.isToOne() {
			sh.notDelivered(r, m, n.node)
		} else {
			r.addMissing(m) // and a report follows
		}
		return
	}
	s.done += int32(n.passed + n.gone)
	r.passed += int32(n.passed)
	sh.count.requests.passed.Add(uint64(n.passed))
	r.addMissing(n.missing...)
	if w := r.wider; w != nil {
		w.left += max(n.gone-len(n.missing), 0)
		w.anyLost = w.anyLost || n.gone > 0
	}
	if r.isHandedOn() && !n.begun {
		if n.passed > 0 {
			r.wider.had = append(r.wider.had, n.by)
		}
		sh.handOn(r)
		return
	}
	sh.proceed(r)
}

// isHandedOn reports whether another member is to get the request if its receiver does not answer.
func (r *request) isHandedOn() bool {
	return r.state == requestOpen && r.wider != nil && r.wider.retry != nil
}

// notDelivered handles that a message to one client did not reach any.
func (sh *shard) notDelivered(r *request, m opcodes.Missing, node broker.NodeID) {
	r.here.receivers, r.here.done = 0, 0
	if r.isHandedOn() {
		if node != 0 {
			r.wider.avoid = append(r.wider.avoid, node)
		}
		r.wider.why = m.Reason
		r.t.attempt-- // no client had it
		// A member was there a moment ago, unless those that are there have all had it.
		r.wider.anyLost = r.wider.anyLost || m.Reason != opcodes.MissingUnavailable && len(r.wider.had) == 0
		sh.handOn(r)
		return
	}
	r.addMissing(m)
	sh.proceed(r)
}

// instanceLost handles that another instance is gone.
func (sh *shard) instanceLost(node broker.NodeID, name string) {
	q := sh.requests
	if q == nil {
		return
	}
	for i := uint32(1); i <= q.used; i++ {
		r := q.at(i)
		if r.state == requestFree || r.state == requestDrawing {
			continue
		}
		if r.isToOne() {
			r.here.node = r.t.node // an ANY may have been drawn again
		}
		if r.here.node == node {
			sh.shareLost(r, &r.here, name)
			continue
		}
		if r.wider == nil {
			continue
		}
		for j := range r.wider.shares {
			if s := &r.wider.shares[j]; s.node == node {
				sh.shareLost(r, s, name)
				break
			}
		}
	}
}

// shareLost ends what is left of a request's receivers on an instance that is gone.
func (sh *shard) shareLost(r *request, s *portion, name string) {
	left := s.receivers - s.done
	if s.isOver() {
		return
	}
	s.done, s.reports, s.old, s.lost = s.receivers, 0, false, true
	r.addMissing(opcodes.Missing{Node: name, Reason: opcodes.MissingInstance, Count: int(left)})
	r.wider.anyLost = true
	if r.isHandedOn() && left > 0 && r.replied == 0 {
		sh.handOn(r)
		return
	}
	sh.proceed(r)
}
