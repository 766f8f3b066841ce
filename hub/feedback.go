package hub

import (
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// feedback is what becomes of one message, on its way to a sender that asked for ERROR or ACK. Exactly one of ack and
// refuse is called for each, on any goroutine; a nil feedback stands for a sender that didn't ask.
type feedback struct {
	hearer    hearer          // of a sender without a connection; nil for clients, which have ref
	ref       transport.Ref   // the client
	features  opcodes.Feature // the client's
	acked     int             // instances reached, if code is empty
	others    int             // instances reached other than this one, whatever code is
	code      opcodes.ErrorCode
	offset    uint64                       // of a message to a group with history; else 0
	duplicate bool                         // of an earlier one with its id
	id        [opcodes.MaxIDBytes * 6]byte // as it was sent, escaped: at most six bytes for one
	idLen     int
}

// hearer hears what became of a message. f is valid during the call only. The hearer of a sender without a connection is
// called on any goroutine and must not block; a client's, which is its session, on its loop.
type hearer interface{ hear(f *feedback) }

var feedbackPool = sync.Pool{New: func() any { return new(feedback) }}

// newFeedback returns a feedback for a hearer.
func newFeedback(to hearer) *feedback {
	f := feedbackPool.Get().(*feedback)
	f.hearer, f.acked, f.others, f.code, f.idLen = to, 0, 0, "", 0
	f.offset, f.duplicate = 0, false
	return f
}

// feedbackOf returns a feedback for a message with that id, nil for none, to a client with those features.
func feedbackOf(ref transport.Ref, features opcodes.Feature, id []byte) *feedback {
	f := newFeedback(nil)
	f.ref, f.features = ref, features
	f.idLen = copy(f.id[:], id)
	return f
}

// setAssigned gives the message, which has no id of its own, the one that the hub made.
func (f *feedback) setAssigned(id uuid.UUID) { f.idLen = copy(f.id[:], id.String()) }

// recycle returns f to the pool.
func (f *feedback) recycle() {
	f.hearer = nil
	feedbackPool.Put(f)
}

// ack reports that the message was handed to so many instances.
func (f *feedback) ack(instances int) {
	if f == nil {
		return
	}
	f.acked = instances
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

// send brings the feedback to the sender. It posts also on the client's own loop: the client is then told of its messages
// in the order of the decisions.
func (f *feedback) send() {
	if f.hearer != nil {
		f.hearer.hear(f)
		f.recycle()
		return
	}
	if !f.isWanted() || !f.ref.Loop().Post(f) {
		f.recycle()
	}
}

// isWanted reports whether the client asked for what f says.
func (f *feedback) isWanted() bool {
	if f.code == "" {
		return f.features.Has(opcodes.FeatureAcks)
	}
	return f.features.Has(opcodes.FeatureErrors)
}

// Size implements transport.Mail.
func (f *feedback) Size() int { return len(f.id) }

// Deliver implements transport.Mail: it tells the client.
func (f *feedback) Deliver(*transport.Loop) {
	if c := f.ref.Conn(); c != nil {
		if s, ok := c.Session().(hearer); ok {
			s.hear(f)
		}
	}
	f.recycle()
}

// messageID returns the id of the message that the feedback is about, nil for none.
func (f *feedback) messageID() []byte {
	if f.idLen == 0 {
		return nil
	}
	return f.id[:f.idLen]
}

// explanation says in words what an error code means.
func explanation(code opcodes.ErrorCode) string {
	switch code {
	case opcodes.CodeNoReceiver:
		return "no client matches the intent"
	case opcodes.CodeReceiverGone:
		return "the receiver left while the message was on its way"
	case opcodes.CodeForbidden:
		return "the token may not send this intent"
	case opcodes.CodeBrokerUnavailable:
		return "other instances can't be reached at the moment; only clients of this instance can have got the message"
	case opcodes.CodeDuplicateID:
		return "the client has an open request with this id"
	case opcodes.CodeReservedMember:
		return "offset is set by the hub in messages to a group with history, not by clients"
	case opcodes.CodeOverloaded:
		return "too much is on the way, or too many groups have a history"
	case opcodes.CodeTooManyRequests:
		return "too many requests are open, or this one has too many receivers"
	case opcodes.CodeOldRelease:
		return "an instance of an earlier release can't tell the receivers of several targets or exceptions; nothing was sent"
	case opcodes.CodeOutcomeUnknown:
		return "the connection to other instances broke; they may or may not have got the message"
	}
	return "the message was not delivered"
}

// reasonOf returns the reason to disconnect a client for a message that could not be scanned.
func reasonOf(err error) opcodes.Reason {
	if e, ok := err.(*opcodes.ScanError); ok { // Scan returns nothing else
		return e.Reason
	}
	return opcodes.InvalidPayload
}
