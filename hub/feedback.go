package hub

import (
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// feedback is what becomes of one message, on its way to a sender that asked for ERROR or ACK. Exactly one of ack and
// refuse is called for each, on any loop; a nil feedback stands for a sender that didn't ask.
type feedback struct {
	ref      transport.Ref // the sender
	features opcodes.Feature
	acked    int                          // instances reached, if code is empty
	code     opcodes.ErrorCode            // why it was refused
	id       [opcodes.MaxIDBytes * 6]byte // as it was sent, escaped: at most six bytes for one
	idLen    int

	publishing *publishing // the message's, of a sender without a connection, who always asks; nil for others
	remotes    int         // of publishing alone: other instances reached

	told *told // of a message that a service type wants to hear of; nil for others
}

// told is who hears of a message that a service type sent.
type told struct {
	loop *transport.Loop
	f    func(instances int, code opcodes.ErrorCode)
}

var feedbackPool = sync.Pool{New: func() any { return new(feedback) }}

// wantFeedback returns the feedback of the message e, to which the hub gave the id assigned if it had none of its own.
func (s *session) wantFeedback(e *opcodes.Envelope, assigned uuid.UUID) *feedback {
	if s.features&(opcodes.FeatureErrors|opcodes.FeatureAcks) == 0 {
		return nil
	}
	f := feedbackPool.Get().(*feedback)
	f.ref, f.features, f.acked, f.code = s.conn.Ref(), s.features, 0, ""
	if e.ID != nil {
		f.idLen = copy(f.id[:], e.ID)
	} else {
		f.idLen = copy(f.id[:], assigned.String())
	}
	return f
}

// ack reports that the message was handed to so many instances.
func (f *feedback) ack(nodes int) {
	if f == nil {
		return
	}
	f.acked = nodes
	f.send()
}

// refuse reports that the message was dropped.
func (f *feedback) refuse(code opcodes.ErrorCode) {
	if f == nil {
		return
	}
	f.code = code
	f.send()
}

// send brings the feedback to the sender's loop. It is also right on that loop itself: what the sender is told of its
// messages then comes in the order in which it was decided.
func (f *feedback) send() {
	if f.publishing != nil {
		f.publishing.settle(f)
		return
	}
	if t := f.told; t != nil {
		instances, code := f.acked, f.code
		f.told = nil
		feedbackPool.Put(f)
		t.loop.Post(task(func() { t.f(instances, code) }))
		return
	}
	if f.code == "" && !f.features.Has(opcodes.FeatureAcks) || f.code != "" && !f.features.Has(opcodes.FeatureErrors) {
		feedbackPool.Put(f)
		return
	}
	if !f.ref.Loop().Post(f) {
		feedbackPool.Put(f)
	}
}

// Size implements transport.Mail.
func (f *feedback) Size() int { return len(f.id) }

// Deliver implements transport.Mail.
func (f *feedback) Deliver(*transport.Loop) {
	if c := f.ref.Conn(); c != nil {
		if s, ok := c.Session().(*session); ok && s.phase == phaseIdentified {
			if f.code == "" {
				s.sendAck(f.messageID(), f.acked)
			} else {
				s.sendError(f.messageID(), f.code)
			}
		}
	}
	feedbackPool.Put(f)
}

// messageID returns the id of the message that the feedback is about, nil for none.
func (f *feedback) messageID() []byte {
	if f.idLen == 0 {
		return nil
	}
	return f.id[:f.idLen]
}

// feedbackBytes is the room for an ERROR or ACK without the id.
const feedbackBytes = 256

func (s *session) sendAck(id []byte, nodes int) {
	b := transport.AllocBuffer(feedbackBytes + len(id))
	b.Seal(opcodes.AppendAck(b.Room(), id, nodes))
	s.conn.Send(b)
	b.Release()
}

func (s *session) sendError(id []byte, code opcodes.ErrorCode) {
	b := transport.AllocBuffer(feedbackBytes + len(id))
	b.Seal(opcodes.AppendError(b.Room(), id, code, explanation(code)))
	s.conn.Send(b)
	b.Release()
}

// explanation says in words what an error code means.
func explanation(code opcodes.ErrorCode) string {
	switch code {
	case opcodes.CodeNoReceiver:
		return "nobody matches the intent"
	case opcodes.CodeReceiverGone:
		return "the receiver left while the message was on its way"
	case opcodes.CodeForbidden:
		return "the token may not send this intent"
	case opcodes.CodeBrokerUnavailable:
		return "other instances can't be reached at the moment; only clients of this instance can have got the message"
	case opcodes.CodeOutcomeUnknown:
		return "the connection to other instances broke; they may or may not have got the message"
	}
	return "the message was not delivered"
}

// publication waits for what the broker says of a message.
type publication struct {
	shard    *shard // the sender's
	local    int    // receivers on this instance
	feedback *feedback
	retry    *mail // an ANY as it is to be drawn again if the instance drawn is gone; nil for other messages
}

var publicationPool = sync.Pool{New: func() any { return new(publication) }}

// publish hands the message to the other instances, and settles the feedback. local is the number of receivers here.
func (sh *shard) publish(m broker.Message, local int, f *feedback) {
	if local > 0 && f == nil {
		sh.outgoing = m // a message of the stack would be moved to the heap for each call of the interface
		sh.hub.broker.Publish(&sh.outgoing, sh.losses)
		return
	}
	sh.publishFor(m, local, f, nil)
}

// publishAny is publish for an ANY, which is in b and is drawn again if the instance addressed is gone.
func (sh *shard) publishAny(m broker.Message, draws uint8, b *transport.Buffer, f *feedback) {
	retry := sh.newMail(mailReturn, b)
	retry.name = append(retry.name, m.Group...)
	retry.sender, retry.seq, retry.draws, retry.feedback, retry.origin = m.Sender, m.Seq, draws, f, m.To
	sh.publishFor(m, 0, f, retry)
}

func (sh *shard) publishFor(m broker.Message, local int, f *feedback, retry *mail) {
	p := publicationPool.Get().(*publication)
	p.shard, p.local, p.feedback, p.retry = sh, local, f, retry
	sh.outgoing = m
	sh.hub.broker.Publish(&sh.outgoing, p)
}

// Published implements broker.Completion.
func (p *publication) Published(instances int, err error) {
	sh, f, local, retry := p.shard, p.feedback, p.local, p.retry
	*p = publication{}
	publicationPool.Put(p)
	if f != nil && f.publishing != nil {
		f.remotes = instances
	}
	if local > 0 {
		instances++
	}
	if retry != nil && instances == 0 && err == nil && sh.loop.Post(retry) {
		return
	}
	if retry != nil {
		retry.recycle()
	}
	switch code, drop := outcome(err); {
	case err != nil:
		sh.count.drop(drop)
		f.refuse(code)
	case instances == 0:
		sh.count.drop(DropNoReceiver)
		f.refuse(opcodes.CodeNoReceiver)
	default:
		f.ack(instances)
	}
}

// outcome translates an error of the broker.
func outcome(err error) (opcodes.ErrorCode, Drop) {
	if err == broker.ErrUnknown {
		return opcodes.CodeOutcomeUnknown, DropOutcomeUnknown
	}
	return opcodes.CodeBrokerUnavailable, DropBrokerUnavailable
}

// losses counts the messages that could not be published though they had receivers here and a sender that didn't ask.
type losses struct{ count *counters }

// Published implements broker.Completion.
func (l losses) Published(_ int, err error) {
	if err != nil {
		_, drop := outcome(err)
		l.count.drop(drop)
	}
}
