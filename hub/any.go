package hub

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

const (
	// maxDraws bounds how often an ANY is drawn again because the client drawn had left.
	maxDraws = 4
	// maxAvoid is how many draws in a row may name an instance that is to be avoided. Its lease ends within seconds.
	maxAvoid = 32
)

// Bounds of the ANYs that wait for clients which are about to join.
const (
	maxHeld      = 64      // for one client
	maxHeldBytes = 4 << 20 // on one loop
)

// The number of draws travels in the upper half of a message's flags.
func drawFlags(draws uint8) broker.Flags { return broker.Flags(draws << 4) }
func drawsOf(f broker.Flags) uint8       { return uint8(f) >> 4 }

// drawAny delivers to one client drawn from the group, or from all clients where name is empty. avoid is an instance that
// had no receiver a moment ago, 0 for none.
func (sh *shard) drawAny(name []byte, draws uint8, avoid broker.NodeID, o *outbound) {
	h := sh.hub
	g := h.groups.everyone
	if len(name) > 0 {
		g = h.groups.find(name)
	}
	own := 0
	if g != nil {
		own = g.offered()
	}
	if own > 0 && len(name) == 0 { // others are known by their numbers alone
		own = g.total() - g.leaving()
	}
	node, ok := sh.drawNode(name, own, avoid)
	if !ok && own == 0 && g != nil && (g.leaving() > 0 || g.expectingLoop() >= 0) {
		node, ok = h.node.ID, true // those that are about to leave or to join, as there are no others
	}
	switch {
	case !ok:
		sh.reject(o.feedback, opcodes.CodeNoReceiver)
	case node != h.node.ID:
		retry := sh.newMail(drawAgainMail, o.buf)
		retry.name = append(retry.name, name...)
		retry.sender, retry.seq, retry.draws, retry.feedback, retry.origin = o.from.id, uint64(o.from.sent), draws, o.feedback, node
		if retry.track = o.track; o.track != nil {
			o.track.node = node
		}
		sh.relayOr(retry, broker.Message{
			Kind: broker.KindAny, Flags: drawFlags(draws), To: node, Sender: o.from.id, Seq: uint64(o.from.sent), Group: name,
			Payload: o.buf.Payload(), Extra: o.track.extra(h),
		}, 0, o.feedback)
	default:
		sh.drawHere(g, draws, o)
	}
}

// drawNode draws an instance for an ANY.
func (sh *shard) drawNode(name []byte, own int, avoid broker.NodeID) (node broker.NodeID, ok bool) {
	for range maxAvoid {
		if node, ok = sh.hub.broker.Draw(name, own, sh.random.Uint64()); !ok || node != avoid {
			return node, ok
		}
	}
	return 0, false // no other instance has a member
}

// drawHere delivers to a member of g on this instance, which had some a moment ago.
func (sh *shard) drawHere(g *group, draws uint8, o *outbound) {
	loop := g.drawLoop(sh.random)
	if loop < 0 {
		loop = g.expectingLoop()
	}
	if o.track != nil {
		o.track.node = sh.hub.node.ID
	}
	var m *mail
	switch {
	case loop < 0:
		sh.reject(o.feedback, opcodes.CodeNoReceiver)
		return
	case loop == sh.index && (sh.giveOne(g, &o.from.id, o.buf, o.track) || sh.giveExpected(g, &o.from.id, o.buf, o.track)):
		o.track.setHere()
		o.feedback.ack(1)
		return
	case loop == sh.index: // all members here are being disconnected, or have no use for it
		// Not before the next mail: its sender may have sent more by then, which it must not follow to a new member.
		m = sh.newMail(drawAgainMail, o.buf)
		m.name, m.track = append(m.name, g.name...), o.track
	default:
		m = sh.hub.shards[loop].newMail(anyMail, o.buf)
		m.group, m.track = g, o.track.forLoop()
		if o.client != nil {
			o.client.sentAcross(len(o.buf.Payload()))
		}
	}
	m.sender, m.seq, m.draws, m.feedback = o.from.id, uint64(o.from.sent), draws, o.feedback
	sh.hurry(m)
}

// anyMail delivers to one member, or to one that is about to join, or sends the message back to be drawn again.
func anyMail(sh *shard, m *mail) {
	switch {
	case sh.isExpired(m.track): // its sender has given it up
		m.tally.Add(0, 0)
		m.feedback.ack(1)
	case sh.giveOne(m.group, &m.sender, m.buf, m.track), sh.giveExpected(m.group, &m.sender, m.buf, m.track):
		m.tally.Add(1, 0)
		m.feedback.ack(1)
		if m.track != nil && sh.isOwn(m.track.requester) {
			m.track.here = true
		}
	case m.track != nil && m.track.drawing != nil && sh.nextLoop(m):
	case m.remote && sh.hold(m):
	case m.remote:
		m.tally.Add(0, 0)
		sh.hub.sendAnyBack(m)
	case m.track != nil && m.track.drawing != nil: // the request decides
		sh.reject(m.feedback, opcodes.CodeReceiverGone)
	default:
		back := sh.hub.shards[clientid.Locate(&m.sender).Loop].newMail(drawAgainMail, m.buf)
		back.name = append(back.name, m.group.name...)
		back.sender, back.seq, back.draws, back.feedback, back.track = m.sender, m.seq, m.draws, m.feedback, m.track
		sh.hurry(back)
	}
}

// sendAnyBack returns an ANY for which there is no receiver here to its sender's instance.
func (h *Hub) sendAnyBack(m *mail) {
	h.sendBack(&broker.Message{
		To: m.origin, Sender: m.sender, Seq: m.seq, Flags: drawFlags(m.draws), Group: []byte(m.group.name), Payload: m.buf.Payload(),
		Extra: m.track.extra(h),
	})
}

// drawAgainMail handles an ANY that came back to its sender's loop because the client drawn had left. It may be drawn again
// only if nothing that the sender sent later could have reached the next receiver before it.
func drawAgainMail(sh *shard, m *mail) {
	from := sh.senderOf(&m.sender)
	if from == nil || !from.unordered() && uint64(from.sent) != m.seq || m.draws >= maxDraws {
		sh.reject(m.feedback, opcodes.CodeReceiverGone)
		return
	}
	o := outbound{from: from, buf: m.buf, feedback: m.feedback}
	if m.track != nil {
		if o.track = sh.requests.lastAttempt(m.track); o.track == nil { // it is settled meanwhile
			sh.reject(m.feedback, opcodes.CodeReceiverGone)
			return
		}
	}
	sh.drawAny(m.name, m.draws+1, m.origin, &o)
}

// expectingLoop returns the loop of a client that is about to join the group; -1 for none.
func (g *group) expectingLoop() int {
	if s := g.anyExpected(func(_ *session, client bool) bool { return client }); s != nil {
		return s.shard.index
	}
	return -1
}

// giveExpected gives the message to a client of this loop that is about to join the group: at once, as others of the same
// sender may follow by other ways. It returns false if there is none.
func (sh *shard) giveExpected(g *group, from *uuid.UUID, b *transport.Buffer, request *tracked) bool {
	s := g.anyExpected(func(s *session, client bool) bool {
		return client && s.shard == sh && s.phase == phaseIdentified && s.weight > 0 && request.suits(s)
	})
	return s != nil && sh.give(s, from, b, request)
}

// hold keeps an ANY from another instance for a client of this loop that is about to join its group. It returns false if
// there is none.
func (sh *shard) hold(m *mail) bool {
	held := &sh.held
	s := m.group.anyExpected(func(s *session, _ bool) bool {
		return s.shard == sh && s.phase == phaseJoining && s.weight > 0 && m.track.suits(s) && len(held.of[s]) < maxHeld
	})
	if s == nil || held.bytes+m.Size() > maxHeldBytes {
		return false
	}
	if held.of == nil {
		held.of = make(map[*session][]*mail)
	}
	held.of[s] = append(held.of[s], m.copy())
	held.bytes += m.Size()
	return true
}

// giveHeld gives a client that has joined what was held for it: no other client, which may have got later messages of the
// same senders. What it does not get, as when it is over, goes back.
func (sh *shard) giveHeld(s *session) {
	all := sh.held.of[s]
	delete(sh.held.of, s)
	for _, m := range all {
		sh.held.bytes -= m.Size()
		if s.phase == phaseIdentified && sh.give(s, &m.sender, m.buf, m.track) {
			m.tally.Add(1, 0)
		} else {
			m.tally.Add(0, 0)
			sh.hub.sendAnyBack(m)
		}
		m.recycle()
	}
}
