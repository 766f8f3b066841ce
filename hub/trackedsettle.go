package hub

import (
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// closeRequest tells everywhere that the answer is not wanted any more, and waits a little for what is on its way.
func (sh *shard) closeRequest(r *request, why ending) {
	drawing := r.state == requestDrawing
	r.state, r.ended = requestClosing, why
	if drawing {
		sh.settle(r)
		return
	}
	sh.cancelEverywhere(r, why.reason(), false)
	if sh.isComplete(r) {
		sh.settle(r)
		return
	}
	sh.requests.schedule(r, sh.loop.Clock()+closingTime)
}

// cancelEverywhere tells the receivers that the answer is not wanted any more. What that makes of the parts on this loop is
// noted at once.
func (sh *shard) cancelEverywhere(r *request, reason string, silent bool) {
	if count, missing := sh.cancelParts(r.t, reason); count > 0 {
		r.here.done += int32(count)
		r.addMissing(missing...)
		r.wider.left += count - len(missing)
	}
	n := news{kind: newsCancel, handle: r.t.handle, attempt: r.t.attempt, node: sh.hub.node.ID, reason: reason, silent: silent}
	r.eachShare(func(s *portion) {
		switch {
		case s.node == 0 || s.isOver() || s.old:
		case s.node != sh.hub.node.ID:
			sh.hub.publishNews(s.node, &n)
		default:
			for _, other := range sh.hub.shards {
				if other != sh {
					c := n
					c.shard = other
					sh.loop.Forward(other.loop, &c)
				}
			}
		}
	})
}

// dropRequests forgets the requests of a client that goes.
func (s *session) dropRequests() {
	for s.extra().requests.first != 0 {
		sh := s.shard
		r := sh.requests.at(s.extra().requests.first)
		if r.state == requestOpen {
			sh.cancelEverywhere(r, opcodes.MissingCancelled, true)
		}
		sh.requests.remove(r)
	}
}

// settle tells the requester what became of its request, and forgets it.
func (sh *shard) settle(r *request) {
	s, to, id := r.settlement(sh), r.session, r.t.id
	sh.count.requests.settled(r.outcome(&s), time.Duration(sh.turnBegan()-r.began)*beganUnit)
	sh.requests.remove(r)
	if f := to.foreign(); f != nil {
		whole := s // s stays on the stack for all others
		f.settled(id, &whole)
		return
	}
	b := transport.AllocBuffer(opcodes.SettledSize(id, &s))
	b.Seal(opcodes.AppendSettled(b.Room(), id, &s))
	to.conn.Send(b)
	b.Release()
}

// settlement returns what became of the request.
func (r *request) settlement(sh *shard) opcodes.Settlement {
	r.eachShare(func(s *portion) {
		s.receivers = max(s.receivers, s.done) // of an instance that did not say how many it has
		left := s.receivers - s.done
		switch {
		case s.node == 0:
		case s.old:
			r.addMissing(opcodes.Missing{Node: sh.nodeName(s.node), Reason: opcodes.MissingOldRelease})
		case left > 0:
			r.addMissing(opcodes.Missing{Node: sh.nodeName(s.node), Reason: r.ended.reason(), Count: int(left)})
		case s.reports > 0:
			r.addMissing(opcodes.Missing{Node: sh.nodeName(s.node), Reason: opcodes.MissingOutcomeUnknown})
		}
	})
	if w := r.wider; w != nil && w.why != "" && r.passed+r.replied == 0 && len(w.missing) == 0 {
		r.addMissing(opcodes.Missing{Reason: w.why})
	}
	out := opcodes.Settlement{Receivers: int(r.receivers), Replied: int(r.replied), Passed: int(r.passed)}
	r.eachShare(func(s *portion) { out.Receivers += int(s.receivers) })
	if r.isUnheard() {
		r.addMissing(opcodes.Missing{Reason: opcodes.MissingOutcomeUnknown})
	}
	if r.wider != nil {
		out.Missing, out.More = r.wider.missing, r.wider.left
	}
	return out
}

// outcome returns how a request that is settled ended.
func (r *request) outcome(s *opcodes.Settlement) RequestOutcome {
	switch {
	case s.Receivers > 0 && s.Replied == s.Receivers && len(s.Missing) == 0, r.isToOne() && s.Replied > 0:
		return RequestAnswered
	case r.ended == endedByCancel:
		return RequestCancelled
	case r.ended == endedByTime:
		return RequestTimedOut
	case s.Replied > 0:
		return RequestAnsweredInPart
	case s.Receivers == 0:
		return RequestUndelivered
	}
	return RequestUnanswered
}

// nodeName returns an instance's name.
func (sh *shard) nodeName(node broker.NodeID) string { return nameIn(sh.hub.broker.Nodes(), node) }
