package redis

import (
	"github.com/mastersocket/mastersocket/broker"
)

// The fate of a message is what its Completion is told. The live instances with members decide it. Redis' answer, the
// number of subscribers that it passed the message to, is a check: it includes the connections of hosts that are gone,
// for as long as Redis keeps them, and subscribers that are no instances. So
//
//	Redis counts               the fate is
//	none, none is expected     no instance: the message is struck
//	none, some are expected    open: their connections to Redis are broken, and they will ask for what they missed
//	no more than are expected  that number
//	more than are expected     open: in doubt
//
// An open fate ends when
//
//	an instance asks for the message   it is taken
//	no live instance is expected       no instance has it: the message is struck, and a blank replaces it
//	its time is over                   it is unknown
//
// A doubt ends with the next probe that returns. By then this instance has read everything that was published before
// Redis took the message, so that it knows every instance that could have got it: an instance announces itself before
// it subscribes. Those decide, and there may be none.
//
// An instance that others take for dead must not deliver what waits in its connections: see holding.
//
// Messages with open fates are among the recent ones, with their Completions.

// flagStruck marks the blank in the place of a struck message: its receiver counts it, and delivers nothing.
const flagStruck broker.Flags = 1 << 1

// expectation is what this instance knows of the receivers of a message.
type expectation struct {
	instances int  // live instances that should have it
	left      int  // where there are none: instances that should have had it and went after it was sent
	older     int  // live instances of a release that doesn't say which groups it watches: each may have it
	unsynced  bool // some live instances may have members of its group: their counts are not known
	complete  bool // every live instance is known, and its members
}

// most returns how many instances may have the message.
func (x expectation) most() int { return x.instances + x.left + x.older }

// none says whether no live instance may get the message.
func (x expectation) none() bool { return x.instances == 0 && !x.unsynced }

// doubt is a message in doubt. Its entry may have been used again, with another pubSeq.
type doubt struct {
	e        *entry
	pubSeq   uint64
	answered int64 // when Redis answered
}

// settleReply handles Redis' answer to e, which has a Completion. e.done is nil then, unless e's fate is open.
func (p *publisher) settleReply(e *entry, r reply, outcomes []outcome) []outcome {
	n := p.others(e, r.receivers)
	if r.err != nil || e.pubSeq == 0 || e.had {
		if e.had {
			n = max(n, 1)
		}
		o := outcome{e.done, n, r.err}
		e.done = nil
		return append(outcomes, o)
	}
	x := p.expectedOf(e)
	if n > 0 && n <= x.most() {
		o := outcome{e.done, n, nil}
		e.done = nil
		return append(outcomes, o)
	}
	p.open++
	switch {
	case n > 0:
		e.heard = n
		p.doubts.PushBack(doubt{e, e.pubSeq, p.now()})
		p.sendBarrier()
	case x.none():
		return append(outcomes, p.strike(e))
	case e.addressed():
		p.unreached(e.to)
	}
	return outcomes
}

// addressed says whether e is for one instance.
func (e *entry) addressed() bool { return e.kind != broker.KindGlobal && e.kind != broker.KindGroup }

// tell ends an open fate.
func (p *publisher) tell(e *entry, instances int, err error) outcome {
	o := outcome{e.done, instances, err}
	e.done, e.heard = nil, 0
	p.open--
	if err != nil {
		p.stats.refusal(err).Add(1)
	}
	return o
}

// strike ends the fate of e, for which no instance is left. A message that was sent before, on a connection that broke,
// may have been taken then.
func (p *publisher) strike(e *entry) outcome {
	if e.resent && e.addressed() {
		return p.tell(e, 0, broker.ErrUnknown)
	}
	e.struck = true
	return p.tell(e, 0, nil)
}

// sendBarrier sends a probe that ends the doubts of now. One is under way at a time.
func (p *publisher) sendBarrier() {
	if !p.barrierOut {
		p.barrierOut = p.queueControl(p.barrier(), nil)
	}
}

// caughtUp is called when a probe that was sent at the time sent has returned.
func (p *publisher) caughtUp(sent int64) (outcomes []outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.barrierOut = false
	newer := false
	for range p.doubts.Len() {
		d, _ := p.doubts.PopFront()
		if d.e.pubSeq != d.pubSeq || d.e.done == nil {
			continue
		}
		if d.answered <= sent {
			if o, ok := p.judge(d.e); ok {
				outcomes = append(outcomes, o)
				continue
			}
		} else {
			newer = true
		}
		p.doubts.PushBack(d)
	}
	if newer {
		p.sendBarrier()
	}
	return outcomes
}

// judge ends the doubt about e, or returns false where the instances that may have it are not all known yet.
func (p *publisher) judge(e *entry) (outcome, bool) {
	x := p.expectedOf(e)
	n := x.most()
	switch {
	case e.heard <= n:
		return p.tell(e, e.heard, nil), true
	case !x.complete:
		return outcome{}, false
	case n > 0:
		return p.tell(e, n, nil), true
	}
	return p.strike(e), true
}

// settleOpen ends the fates that time decides. oldest is when the oldest that may stay open was sent.
func (p *publisher) settleOpen(oldest int64, outcomes []outcome) []outcome {
	for i := 0; p.open > 0 && i < p.recent.Len(); i++ {
		e := p.recent.At(i)
		if e.done == nil {
			continue
		}
		x := p.expectedOf(e)
		switch {
		case e.heard == 0 && x.none():
			outcomes = append(outcomes, p.strike(e))
		case e.sent >= oldest:
		case e.heard > 0 && x.most() > 0:
			outcomes = append(outcomes, p.tell(e, min(e.heard, x.most()), nil))
		default:
			outcomes = append(outcomes, p.tell(e, 0, broker.ErrUnknown))
		}
	}
	return outcomes
}

// passed ends the fates of messages that the asking instance has missed for good, as it has later ones already.
func (p *publisher) passed(q *resumeQuestion, now int64) (outcomes []outcome) {
	for i := 0; p.open > 0 && i < p.recent.Len() && p.recent.At(i).pubSeq <= q.last; i++ {
		if e := p.recent.At(i); e.done != nil && e.heard == 0 && q.concerns(e, now) {
			outcomes = append(outcomes, p.tell(e, 0, broker.ErrUnknown))
		}
	}
	return outcomes
}

// appendMessage appends e's wire form, or that of the blank in its place, signed by s.
func (e *entry) appendMessage(dst []byte, s *signer) []byte {
	if !e.struck {
		return append(dst, e.message()...)
	}
	var f frame
	if parseFrame(e.message(), &f) != nil {
		return dst // not reached: it was encoded here
	}
	f.Flags, f.Payload = f.Flags|flagStruck, nil
	blank, err := appendFrame(dst, &f, s)
	if err != nil {
		return dst // not reached: its name was as long before
	}
	return blank
}

// expectedOf returns which instances should have e.
func (p *publisher) expectedOf(e *entry) expectation {
	return p.expected(e.kind, e.to, e.group(), e.sent)
}

// expected returns which instances should have a message that was sent at the time sent. It is called with the
// publisher's lock held.
func (r *Broker) expected(kind broker.Kind, to broker.NodeID, group []byte, sent int64) (x expectation) {
	x.complete = r.now() >= r.completeAt.Load()
	live := *r.peers.live.Load()
	switch kind {
	case broker.KindGroup:
		x.unsynced = r.peers.unsynced.Load()
		x.complete = x.complete && !x.unsynced
		x.instances, x.left = r.weights.Holders(group, r.self.ID, sent)
		x.instances += (*r.peers.watchers.Load())[string(group)]
		x.older = int(r.peers.older.Load())
		return x
	case broker.KindGlobal:
		x.instances = len(live)
	default:
		if live[to] {
			x.instances = 1
		}
	}
	if x.instances == 0 {
		for id, at := range *r.peers.gone.Load() {
			if at >= sent && (kind == broker.KindGlobal || id == to) {
				x.left++
			}
		}
	}
	return x
}
