package hub

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub/internal/tally"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// deliver queues the message for each of the group's members on the loop but one, and shows it to the watchers. It adds
// what became of the message to t, and returns the number of receivers, observers included. from is the sender's id.
// term is that of the holder that the message is for, where the group is an exclusive one. Of a request, which is not nil
// then, the receivers owe an answer.
func (sh *shard) deliver(
	g *group, term uint64, from *uuid.UUID, except *session, b *transport.Buffer, t *tally.Count, request *tracked,
) int {
	receivers, own, foreign, closing := 0, 0, 0, 0
	var slowest *session // of those that are behind
	most := sh.hub.opts.Transport.SendQueueBytes / 2
	barred := g.barred(term)
	sh.beginDelivery()
	for _, s := range g.local[sh.index].list {
		if s == except || s == barred {
			continue
		}
		receivers++
		switch {
		case s.kind != 0:
			switch sh.hand(s, b) {
			case Taken:
				foreign++
				if request != nil {
					sh.owe(request, s)
				}
			case Refused:
				closing++
			}
		case s.conn.Send(b):
			own++
			if request != nil {
				sh.owe(request, s)
			}
		default:
			closing++
		}
		if load := s.conn.QueueLoad(); load > most && !s.spent {
			slowest, most = s, load
		}
	}
	if slowest != nil {
		sh.press(from, slowest)
	}
	sh.measureSpread(g, except, len(b.Payload()))
	if sh.probes != nil {
		sh.probeSpread(g, except, b)
	}
	receivers += sh.observed(g, b)
	sh.endDelivery()
	sh.count.types[0].deliveries.Add(uint64(own))
	if closing > 0 {
		sh.count.drops[DropClosing].Add(uint64(closing))
	}
	t.Add(own+foreign, closing)
	return receivers
}

// give queues the message, of the sender from, for one session. It returns false if the session is being disconnected, or
// can't use it. Of a request, which is not nil then, the session owes an answer.
func (sh *shard) give(s *session, from *uuid.UUID, b *transport.Buffer, request *tracked) bool {
	if s.isBehind() {
		sh.press(from, s)
	}
	if s.kind != 0 {
		sh.beginDelivery()
		o := sh.hand(s, b)
		if o == Taken && request != nil {
			sh.owe(request, s)
		}
		if o == Taken && sh.probes != nil {
			sh.probeOut(s, b)
		}
		sh.endDelivery()
		return o == Taken
	}
	if !s.conn.Send(b) {
		return false
	}
	sh.count.types[0].deliveries.Add(1)
	if sh.probes != nil {
		sh.probeOut(s, b)
	}
	if request != nil {
		sh.owe(request, s)
	}
	return true
}

// giveTo is give for the client of that id. It returns false also if there is none on the loop.
func (sh *shard) giveTo(id, from *uuid.UUID, b *transport.Buffer, request *tracked) bool {
	s := sh.client(id)
	return s != nil && sh.giveMember(s, nil, from, b, request)
}

// giveMember is give, and measures the message. g is the group of which the session is drawn as a member; nil for none.
func (sh *shard) giveMember(s *session, g *group, from *uuid.UUID, b *transport.Buffer, request *tracked) bool {
	if !sh.give(s, from, b, request) {
		return false
	}
	sh.measureOut(s, g, len(b.Payload()))
	return true
}

// giveOne is give for one member of the group on the loop, drawn by the weights among those that are not about to leave where
// there are such. It returns false if there is none.
func (sh *shard) giveOne(g *group, from *uuid.UUID, b *transport.Buffer, request *tracked) bool {
	return sh.giveOneOf(g, false, from, b, request) ||
		g.local[sh.index].leaving() > 0 && sh.giveOneOf(g, true, from, b, request)
}

// giveOneOf is giveOne among those members that are, or are not, about to leave.
func (sh *shard) giveOneOf(g *group, departing bool, from *uuid.UUID, b *transport.Buffer, request *tracked) bool {
	list := g.local[sh.index].list
	if len(list) == 0 {
		return false
	}
	barred := g.barred(g.term())
	if s := request.named(list, departing); s != nil && s != barred && sh.giveMember(s, g, from, b, request) {
		return true
	}
	first := sh.drawMember(g, departing)
	for i := range list { // more than one only where the first are being disconnected
		if s := list[(first+i)%len(list)]; s != barred && s.departing == departing && s.weight > 0 && request.suits(s) &&
			sh.giveMember(s, g, from, b, request) {
			return true
		}
		if list = g.local[sh.index].list; len(list) == 0 { // a service type may have ended connections meanwhile
			return false
		}
	}
	return false
}

// drawMember draws the place of a member in the loop's list, which is not empty: by the weights of those that are not about
// to leave where these differ, else evenly.
func (sh *shard) drawMember(g *group, departing bool) int {
	m := g.local[sh.index]
	total := m.offered()
	if m.uneven == 0 || departing || total <= 0 {
		return sh.random.IntN(len(m.list))
	}
	at := sh.random.IntN(total)
	for i, s := range m.list {
		if s.departing {
			continue
		}
		if at -= int(s.weight); at < 0 {
			return i
		}
	}
	return 0
}

// hand gives the message to a client of a service type.
func (sh *shard) hand(s *session, b *transport.Buffer) Outcome {
	m := sh.parse(b)
	if m == nil {
		return Ignored
	}
	o := s.about.foreign.handle(m)
	if o == Taken {
		sh.count.types[s.kind].deliveries.Add(1)
	}
	return o
}

// observed shows the message to the group's watchers on the loop, and returns how many observers there are: a tap is no
// receiver.
func (sh *shard) observed(g *group, b *transport.Buffer) int {
	w := g.local[sh.index].watchers.Load()
	if w == nil {
		return 0
	}
	for _, t := range w.taps {
		t.look(sh.loop.Clock(), b, sh)
	}
	if len(w.observers) == 0 {
		return 0
	}
	if m := sh.parse(b); m != nil {
		for _, f := range w.observers {
			f(m)
		}
	}
	return len(w.observers)
}

// beginDelivery and endDelivery enclose the delivery of one message, to service types too.
func (sh *shard) beginDelivery() {
	sh.parsed = nil
	sh.deferral.beginDelivery()
}

func (sh *shard) endDelivery() {
	sh.parsed = nil
	sh.deferral.endDelivery()
}

// parse returns the message that is being delivered, taken apart once for all its receivers here; nil if it can't be:
// an instance of another release may have sent what this one doesn't understand.
func (sh *shard) parse(b *transport.Buffer) *opcodes.Envelope {
	if sh.parsed != b {
		if sh.delivered.ScanDelivery(b.Payload()) != nil {
			return nil
		}
		sh.parsed = b
	}
	return &sh.delivered
}
