package hub

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// dispatch sends the message to the receivers that e names.
func (sh *shard) dispatch(e *opcodes.Envelope, o *outbound) {
	o.from.sent++
	if e.Selects() {
		sh.sendSelected(e, o)
		return
	}
	switch e.Target {
	case intent.Global:
		sh.spread(sh.hub.groups.everyone, broker.KindGlobal, nil, o)
	case intent.Group:
		if o.track == nil {
			if c := sh.hub.chronicles.find(e.Identifier); c != nil {
				sh.number(c, e, o)
				return
			}
		}
		sh.spread(sh.hub.groups.find(e.Identifier), broker.KindGroup, e.Identifier, o)
	case intent.Direct:
		sh.direct(e.Receiver, o)
	case intent.Any:
		sh.drawAny(e.Identifier, 0, 0, o)
	}
}

// spread delivers to every member of g, nil for a group without members here, and publishes to the other instances.
func (sh *shard) spread(g *group, kind broker.Kind, name []byte, o *outbound) {
	sh.deferral.beginSpread()
	local, flags := 0, broker.Flags(0)
	o.tally.Expect()
	if g != nil {
		term := g.term()
		if term != 0 {
			flags = flagHolderHere
		}
		local = sh.spreadHere(g, term, o)
	}
	o.tally.Add(0, 0)
	m := broker.Message{Kind: kind, Flags: flags, Sender: o.from.id, Group: name, Payload: o.buf.Payload()}
	if o.track != nil {
		m.Extra = o.track.extra(sh.hub)
	}
	sh.relay(m, local, o.feedback)
	sh.deferral.endSpread()
}

// flagHolderHere is set in a message to an exclusive group whose holder is on the sender's instance: it is for no other.
const flagHolderHere broker.Flags = 1 << 4

// spreadHere delivers to the group's members on this instance and returns how many there are. term is that of the holder.
func (sh *shard) spreadHere(g *group, term uint64, o *outbound) int {
	o.tally.Expect()
	n, across := sh.deliver(g, term, &o.from.id, o.except(), o.buf, o.tally, o.track), false
	for i, other := range sh.hub.shards {
		if receivers, ok := g.reaches(i); ok && i != sh.index {
			o.tally.Expect()
			m := other.newMail(deliverMail, o.buf)
			m.group, m.seq, m.tally, m.sender = g, term, o.tally, o.from.id
			if o.track != nil {
				m.track = o.track.forLoop()
				o.loops++
			}
			sh.loop.Forward(other.loop, m)
			n += receivers
			across = true
		}
	}
	if across && o.client != nil {
		o.client.sentAcross(len(o.buf.Payload()))
	}
	return n
}

// deliverMail delivers a message to the group's members on the loop.
func deliverMail(sh *shard, m *mail) {
	if m.track == nil {
		sh.deliver(m.group, m.seq, &m.sender, nil, m.buf, m.tally, nil)
		return
	}
	if sh.isExpired(m.track) {
		m.tally.Add(0, 0)
	} else {
		sh.deliver(m.group, m.seq, &m.sender, nil, m.buf, m.tally, m.track)
	}
	sh.tellReceivers(m.track)
}

// direct delivers to the client of that id, wherever it is.
func (sh *shard) direct(to uuid.UUID, o *outbound) {
	at := clientid.Locate(&to)
	if o.track != nil {
		o.track.node = at.Node
	}
	flags := broker.Flags(0)
	if o.selected {
		flags = flagSelected
	}
	switch {
	case at.Node != sh.hub.node.ID:
		sh.relay(broker.Message{
			Kind: broker.KindDirect, Flags: flags, To: at.Node, Sender: o.from.id, Receiver: to, Payload: o.buf.Payload(),
			Extra: o.track.extra(sh.hub),
		}, 0, o.feedback)
	case at.Loop >= len(sh.hub.shards):
		sh.reject(o.feedback, opcodes.CodeNoReceiver)
	case at.Loop != sh.index:
		m := sh.hub.shards[at.Loop].newMail(directMail, o.buf)
		m.sender, m.receiver, m.feedback, m.track = o.from.id, to, o.feedback, o.track.forLoop()
		o.tally.Expect()
		m.tally, m.selected = o.tally, o.selected
		sh.hurry(m)
		if o.client != nil {
			o.client.sentAcross(len(o.buf.Payload()))
		}
	case o.selected && sh.isLeftOut(&to, o.buf):
		sh.reject(o.feedback, opcodes.CodeNoReceiver)
	case sh.giveTo(&to, &o.from.id, o.buf, o.track):
		o.track.setHere()
		o.tally.Expect()
		o.tally.Add(1, 0)
		o.feedback.ack(1)
	default:
		sh.reject(o.feedback, opcodes.CodeNoReceiver)
	}
}

// directMail delivers to one client, or tells its sender that it is gone.
func directMail(sh *shard, m *mail) {
	switch {
	case sh.isExpired(m.track): // its sender has given it up
		m.tally.Add(0, 0)
		m.feedback.ack(1)
	case !(m.selected && sh.isLeftOut(&m.receiver, m.buf)) && sh.giveTo(&m.receiver, &m.sender, m.buf, m.track):
		m.tally.Add(1, 0)
		m.feedback.ack(1)
		if m.track != nil && m.track.added == 0 { // it can't answer
			sh.tellReceivers(m.track)
		}
	case m.remote:
		m.tally.Add(0, 0)
		sh.count.drop(DropNoReceiver)
		sh.hub.sendBack(&broker.Message{
			To: m.origin, Sender: m.sender, Receiver: m.receiver, Payload: m.buf.Payload(), Extra: m.track.extra(sh.hub),
		})
	default:
		m.tally.Add(0, 0)
		sh.reject(m.feedback, opcodes.CodeNoReceiver)
	}
}
