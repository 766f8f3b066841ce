package redis

import (
	"github.com/mastersocket/mastersocket/broker"
)

// A message that Redis passed to nobody is not lost while an instance lives that should have it: the instance's
// connection to Redis is broken, and once it has another it asks for what it missed. So such a message's fate is open,
// and its Completion waits, until
//
//	an instance asks for it          it is taken
//	no such instance lives any more  nobody has it and nobody will: it is struck, and who asks for it gets a blank
//	its time is over                 it is unknown
//
// What is open stands among the recent messages, with its Completion.

// flagStruck marks the blank in the place of a struck message: who gets it counts it, and delivers nothing.
const flagStruck broker.Flags = 1 << 1

// settleReply handles Redis's answer to e, which somebody wants to know. e.done is nil then, unless e's fate is open.
func (p *publisher) settleReply(e *entry, r reply, outcomes []outcome) []outcome {
	n := p.others(e, r.receivers)
	if n == 0 && e.had {
		n = 1
	}
	if n > 0 || r.err != nil || e.pubSeq == 0 {
		o := outcome{e.done, n, r.err}
		e.done = nil
		return append(outcomes, o)
	}
	p.unheard++
	if !p.expected(e) {
		return append(outcomes, p.nobody(e))
	}
	if e.addressed() {
		p.unreached(e.to)
	}
	return outcomes
}

// addressed says whether e is for one instance.
func (e *entry) addressed() bool { return e.kind != broker.KindGlobal && e.kind != broker.KindGroup }

// tell ends an open fate.
func (p *publisher) tell(e *entry, instances int, err error) outcome {
	o := outcome{e.done, instances, err}
	e.done = nil
	p.unheard--
	if err != nil {
		p.stats.refusal(err).Add(1)
	}
	return o
}

// nobody strikes e, for which no instance is left. One that was sent before, on a connection that broke, may have been
// taken then.
func (p *publisher) nobody(e *entry) outcome {
	if e.resent && e.addressed() {
		return p.tell(e, 0, broker.ErrUnknown)
	}
	e.struck = true
	return p.tell(e, 0, nil)
}

// settleUnheard ends the fates that time decides: oldest is when the oldest that may stay open was sent.
func (p *publisher) settleUnheard(oldest int64, outcomes []outcome) []outcome {
	for i := 0; p.unheard > 0 && i < p.recent.Len(); i++ {
		switch e := p.recent.At(i); {
		case e.done == nil:
		case !p.expected(e):
			outcomes = append(outcomes, p.nobody(e))
		case e.sent < oldest:
			outcomes = append(outcomes, p.tell(e, 0, broker.ErrUnknown))
		}
	}
	return outcomes
}

// passed ends the fates of what the asking instance has missed for good, as it has later messages already.
func (p *publisher) passed(q *resumeQuestion, now int64) (outcomes []outcome) {
	for i := 0; p.unheard > 0 && i < p.recent.Len() && p.recent.At(i).pubSeq <= q.last; i++ {
		if e := p.recent.At(i); e.done != nil && q.concerns(e, now) {
			outcomes = append(outcomes, p.tell(e, 0, broker.ErrUnknown))
		}
	}
	return outcomes
}

// appendMessage appends e's wire form, or that of the blank in its place.
func (e *entry) appendMessage(dst []byte) []byte {
	if !e.struck {
		return append(dst, e.message()...)
	}
	var f frame
	if parseFrame(e.message(), &f) != nil {
		return dst // not reached: it was encoded here
	}
	f.Flags, f.Payload = f.Flags|flagStruck, nil
	blank, err := appendFrame(dst, &f)
	if err != nil {
		return dst // not reached: its name was as long before
	}
	return blank
}

// expected says whether a live instance should have e. Where it is not known who has members, somebody may. It is called
// with the publisher's lock held.
func (r *Broker) expected(e *entry) bool {
	live := *r.peers.live.Load()
	switch e.kind {
	case broker.KindGlobal:
		return len(live) > 0
	case broker.KindGroup:
		return len(live) > 0 && (r.peers.unsynced.Load() || r.weights.Anybody(e.group(), r.self.ID))
	}
	return live[e.to]
}
