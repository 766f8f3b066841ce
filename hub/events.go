package hub

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// route sends an EVENT or REPLY of the client to the receivers that its intent names.
func (s *session) route(e *opcodes.Envelope) {
	s.measureIn(e.Identifier, len(e.Raw))
	if s.shard.probes != nil {
		s.probeIn(e.Raw)
	}
	if s.isRequest(e) {
		s.openRequest(e)
		return
	}
	if !maySend(s.grant, e) {
		s.forbid(e)
		return
	}
	if s.forgesNumber(e) {
		s.refuseReserved(e)
		return
	}
	var id uuid.UUID
	if e.ID == nil {
		id = uuid.New()
	}
	o := outbound{from: &s.sender, client: s, buf: transport.AllocBuffer(opcodes.DeliverySize(e)), feedback: s.feedbackOf(e, id)}
	o.buf.Seal(opcodes.AppendDelivery(o.buf.Room(), e, id, s.id))
	s.shard.count.types[s.kind].received[e.Target].Add(1)
	if e.Op != opcodes.Reply || e.Target != intent.Direct || e.Selects() || !s.shard.answer(s, e.Receiver, e.PlainID(), e.More, &o) {
		s.shard.dispatch(e, &o)
	}
	o.buf.Release()
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

// refuseReserved refuses a message to a group with history that has a member which only the hub may add.
func (s *session) refuseReserved(e *opcodes.Envelope) {
	s.shard.count.history.refused[RefusedReserved].Add(1)
	s.shard.count.drop(DropReservedMember)
	if s.features.Has(opcodes.FeatureErrors) {
		s.sendError(e.ID, opcodes.CodeReservedMember)
	}
}

// feedbackOf returns the feedback of the message e, to which the hub gave the id assigned if it had none of its own; nil
// for a client that did not ask for any.
func (s *session) feedbackOf(e *opcodes.Envelope, assigned uuid.UUID) *feedback {
	if s.features&(opcodes.FeatureErrors|opcodes.FeatureAcks) == 0 {
		return nil
	}
	f := feedbackOf(s.conn.Ref(), s.features, e.ID)
	if e.ID == nil {
		f.setAssigned(assigned)
	}
	return f
}

// allowed counts a message of so many bytes of the client, which it disconnects if its token allows no more.
func (s *session) allowed(bytes int) bool {
	if s.limit.allows(bytes) {
		return true
	}
	s.disconnect(opcodes.RateLimited)
	return false
}

// hear implements hearer: it sends the client an ACK or ERROR.
func (s *session) hear(f *feedback) {
	switch {
	case s.phase != phaseIdentified:
	case f.code == "" && f.offset > 0:
		s.sendNumberedAck(f.messageID(), f.offset, f.duplicate)
	case f.code == "":
		s.sendAck(f.messageID(), f.acked)
	default:
		s.sendError(f.messageID(), f.code)
	}
}

// namesPerKiB is for how many names a request counts at least for each of its KiB.
const namesPerKiB = 1

// request handles a SUBSCRIBE or UNSUBSCRIBE of the client.
func (s *session) request(e *opcodes.Envelope) {
	if !s.features.Has(opcodes.FeatureGroups) { // also before IDENTIFY
		s.disconnect(opcodes.UnknownOp)
		return
	}
	asked, err := opcodes.ParseChange(e.Op, e.Data, s.features)
	if err != nil || e.ID == nil {
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	id := append(make([]byte, 0, len(e.ID)), e.ID...)
	cost := max(asked.Size(), 1, len(e.Raw)>>10*namesPerKiB)
	s.ask(&change{op: e.Op, id: id, asked: asked}, cost)
}

// ask has a change carried out that the client itself asks for. The more groups it names, the less often it may: cost is
// their number, or more.
func (s *session) ask(c *change, cost int) {
	s.enqueue(c)
	q := &s.others().changes
	if s.phase == phaseIdentified && !q.names.take(cost, s.shard.loop.Clock()) && !q.spent {
		q.spent = true
		s.wait()
	}
}
