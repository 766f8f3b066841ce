package hub

import (
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// route sends an EVENT or REPLY to whom its intent names.
func (s *session) route(e *opcodes.Envelope) {
	if !s.grant.MaySend(e.Target, e.Identifier) {
		s.forbid(e)
		return
	}
	var id uuid.UUID
	if e.ID == nil {
		id = uuid.New()
	}
	b := transport.AllocBuffer(opcodes.DeliverySize(e))
	b.Seal(opcodes.AppendDelivery(b.Room(), e, id, s.id))
	s.dispatch(e, b, s.wantFeedback(e, id))
	b.Release()
}

// dispatch sends the message in b the way that e names.
func (s *session) dispatch(e *opcodes.Envelope, b *transport.Buffer, f *feedback) {
	sh := s.shard
	sh.count.types[s.kind].received[e.Target].Add(1)
	s.sent++
	switch e.Target {
	case intent.Global:
		sh.spread(s, sh.hub.groups.everyone, broker.KindGlobal, e, b, f)
	case intent.Group:
		sh.spread(s, sh.hub.groups.find(e.Identifier), broker.KindGroup, e, b, f)
	case intent.Direct:
		sh.direct(s, e.Receiver, b, f)
	case intent.Any:
		sh.any(s, e.Identifier, 0, 0, b, f)
	}
}

// spread delivers to every member of g, nil for a group without members here, and publishes to the other instances.
func (sh *shard) spread(s *session, g *group, kind broker.Kind, e *opcodes.Envelope, b *transport.Buffer, f *feedback) {
	sh.beginSpread()
	local := 0
	if g != nil {
		var except *session
		if s.noEcho {
			except = s
		}
		local = sh.spreadLocal(g, except, b)
	}
	sh.publish(broker.Message{Kind: kind, Sender: s.id, Group: e.Identifier, Payload: b.Payload()}, local, f)
	sh.endSpread()
}

// spreadLocal delivers to the group's members on this instance and returns how many there are.
func (sh *shard) spreadLocal(g *group, except *session, b *transport.Buffer) int {
	n := sh.deliver(g, except, b)
	for i, other := range sh.hub.shards {
		if receivers, ok := g.reaches(i); ok && i != sh.index {
			sh.forward(other, mailSpread, b, func(m *mail) { m.group = g })
			n += receivers
		}
	}
	return n
}

// deliver queues the message for each of the group's members here but one, and returns how many receivers that were.
func (sh *shard) deliver(g *group, except *session, b *transport.Buffer) int {
	n, refused, foreign := 0, 0, 0
	sh.beginDelivery()
	for _, s := range g.local[sh.index].list {
		if s == except {
			continue
		}
		n++
		switch {
		case s.kind != 0:
			foreign++
			sh.deliverForeign(s, b)
		case !s.conn.Send(b):
			refused++
		}
	}
	observers := sh.observed(g, b)
	sh.endDelivery()
	sh.count.types[0].deliveries.Add(uint64(n - foreign - refused))
	if refused > 0 {
		sh.count.drops[DropClosing].Add(uint64(refused))
	}
	return n + observers
}

// deliverForeign hands the message to a client of a service type, and counts what became of it.
func (sh *shard) deliverForeign(s *session, b *transport.Buffer) Outcome {
	o := sh.hand(s, b)
	switch o {
	case Taken:
		sh.count.types[s.kind].deliveries.Add(1)
	case Refused:
		sh.count.drop(DropClosing)
	}
	return o
}

// direct delivers to the client of that id, wherever it is.
func (sh *shard) direct(s *session, to uuid.UUID, b *transport.Buffer, f *feedback) {
	at := locate(&to)
	switch {
	case at.node != sh.hub.node.ID:
		sh.publish(broker.Message{
			Kind: broker.KindDirect, To: at.node, Sender: s.id, Receiver: to, Payload: b.Payload(),
		}, 0, f)
	case at.loop >= len(sh.hub.shards):
		sh.noReceiver(f)
	case at.loop != sh.index:
		sh.forward(sh.hub.shards[at.loop], mailDirect, b, func(m *mail) { m.receiver, m.feedback = to, f })
	case sh.deliverDirect(&to, b):
		f.ack(1)
	default:
		sh.noReceiver(f)
	}
}

// give queues the message for one session. It returns false if the session is being disconnected, or can't use it.
func (sh *shard) give(s *session, b *transport.Buffer) bool {
	if s.kind != 0 {
		sh.beginDelivery()
		o := sh.hand(s, b)
		if o == Taken {
			sh.count.types[s.kind].deliveries.Add(1)
		}
		sh.endDelivery()
		return o == Taken
	}
	if !s.conn.Send(b) {
		return false
	}
	sh.count.types[0].deliveries.Add(1)
	return true
}

// deliverDirect delivers to a client of this loop. It returns false if there is none of that id, or not any more.
func (sh *shard) deliverDirect(to *uuid.UUID, b *transport.Buffer) bool {
	s := sh.client(to)
	return s != nil && sh.give(s, b)
}

// client returns the identified client of that id on this loop, or nil.
func (sh *shard) client(id *uuid.UUID) *session {
	c := sh.loop.Conn(locate(id).slot)
	if c == nil {
		return nil
	}
	s, ok := c.Session().(*session)
	if !ok || s.phase != phaseIdentified || s.id != *id {
		return nil
	}
	return s
}

// maxDraws bounds how often an ANY is drawn again because the client drawn had left.
const maxDraws = 4

// any delivers to one client drawn from the group, or from all clients where name is empty. avoid is an instance that had
// nobody a moment ago, 0 for none.
func (sh *shard) any(s *session, name []byte, draws uint8, avoid broker.NodeID, b *transport.Buffer, f *feedback) {
	h := sh.hub
	g := h.groups.everyone
	if len(name) > 0 {
		g = h.groups.find(name)
	}
	own := 0
	if g != nil {
		own = g.offered()
	}
	node, ok := sh.drawNode(name, own, avoid)
	if !ok && own == 0 && g != nil && g.total() > 0 { // those who are about to leave, for want of others
		node, ok = h.node.ID, true
	}
	switch {
	case !ok:
		sh.noReceiver(f)
	case node != h.node.ID:
		sh.publishAny(broker.Message{
			Kind: broker.KindAny, Flags: drawFlags(draws), To: node, Sender: s.id, Seq: uint64(s.sent), Group: name,
			Payload: b.Payload(),
		}, draws, b, f)
	default:
		sh.anyLocal(s, g, draws, b, f)
	}
}

// maxAvoid is how many draws in a row may name an instance that is to be avoided. Its lease ends within seconds.
const maxAvoid = 32

// drawNode draws an instance for an ANY.
func (sh *shard) drawNode(name []byte, own int, avoid broker.NodeID) (node broker.NodeID, ok bool) {
	for range maxAvoid {
		if node, ok = sh.hub.broker.Draw(name, own, sh.random.Uint64()); !ok || node != avoid {
			return node, ok
		}
	}
	return 0, false // nobody else has a member
}

// anyLocal delivers to a member of g on this instance, which had some a moment ago.
func (sh *shard) anyLocal(s *session, g *group, draws uint8, b *transport.Buffer, f *feedback) {
	loop := g.drawLoop(sh.random)
	switch {
	case loop < 0:
		sh.noReceiver(f)
	case loop == sh.index && sh.deliverAny(g, b):
		f.ack(1)
	case loop == sh.index: // all members here are being disconnected, or have no use for it
		// Not before the next mail: its sender may have sent more by then, which it must not follow to a new member.
		sh.forward(sh, mailReturn, b, func(m *mail) {
			m.name = append(m.name, g.name...)
			m.sender, m.seq, m.draws, m.feedback = s.id, uint64(s.sent), draws, f
		})
	default:
		sh.forward(sh.hub.shards[loop], mailAny, b, func(m *mail) {
			m.group, m.sender, m.seq, m.draws, m.feedback = g, s.id, uint64(s.sent), draws, f
		})
	}
}

// drawLoop draws a loop with a probability proportional to its members of g, those who are about to leave only for want
// of others; -1 if nobody has any.
func (g *group) drawLoop(random *rand.Rand) int {
	for {
		total, on := g.offered(), g.offeredOn
		if total == 0 {
			total, on = g.total(), func(loop int) int { return int(g.counts[loop].Load()) }
		}
		if total == 0 {
			return -1
		}
		at := random.IntN(total)
		for i := range g.counts {
			if at -= on(i); at < 0 {
				return i
			}
		}
		// Somebody left between the two looks.
	}
}

// deliverAny delivers to one of the group's members on this loop. It returns false if there is none.
func (sh *shard) deliverAny(g *group, b *transport.Buffer) bool {
	return sh.deliverOne(g, b, false) || g.departing[sh.index].Load() > 0 && sh.deliverOne(g, b, true)
}

// deliverOne delivers to one of those members on this loop who are, or are not, about to leave.
func (sh *shard) deliverOne(g *group, b *transport.Buffer, departing bool) bool {
	list := g.local[sh.index].list
	if len(list) == 0 {
		return false
	}
	first := sh.random.IntN(len(list))
	for i := range list { // more than one only where the first are being disconnected
		if s := list[(first+i)%len(list)]; s.departing == departing && sh.give(s, b) {
			return true
		}
		if list = g.local[sh.index].list; len(list) == 0 { // a service type may have ended connections meanwhile
			return false
		}
	}
	return false
}

// drawAgain handles an ANY that came back to its sender's loop because the client drawn had left. It may be drawn again
// only if nothing that the sender sent later could have reached the next receiver before it.
func (sh *shard) drawAgain(m *mail) {
	s := sh.senderOf(&m.sender)
	if s == nil || !s.unordered() && uint64(s.sent) != m.seq || m.draws >= maxDraws {
		sh.count.drop(DropReceiverGone)
		m.feedback.refuse(opcodes.CodeReceiverGone)
		return
	}
	sh.any(s, m.name, m.draws+1, m.origin, m.buf, m.feedback)
}

// unordered reports whether an ANY of the client may be drawn again though it sent more since: the order of messages is
// promised to clients of the hub's own protocol, those of service types rather want each to arrive.
func (s *session) unordered() bool { return s.kind != 0 }

// The number of draws travels in the upper half of a message's flags.
func drawFlags(draws uint8) broker.Flags { return broker.Flags(draws << 4) }
func drawsOf(f broker.Flags) uint8       { return uint8(f) >> 4 }

// noReceiver counts a message that nobody matched, and says so to its sender.
func (sh *shard) noReceiver(f *feedback) {
	sh.count.drop(DropNoReceiver)
	f.refuse(opcodes.CodeNoReceiver)
}

// forbid refuses an intent that the client's token may not send.
func (s *session) forbid(e *opcodes.Envelope) {
	s.shard.count.drop(DropForbidden)
	if !s.features.Has(opcodes.FeatureErrors) {
		s.disconnect(opcodes.Unauthorized)
		return
	}
	s.sendError(e.ID, opcodes.CodeForbidden)
}
