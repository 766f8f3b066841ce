package hub

import (
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/passage"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file carries FENCEs. A FENCE must not arrive before anything that was sent before it, by its own sender or, as far
// as its sender can know of it, by any other: a client that just identified sends one to the connection that it is going to
// leave, and what it came too late for has to arrive there first.
//
// A message to many goes to the loops of an instance, and to the other instances, one after the other. While it is half
// done, a client that has seen its effect in one place could overtake it on the way to another. So a FENCE visits every
// loop before it leaves its instance and every loop before it is delivered, each time behind the mail that the loops have
// for each other. What it finds halfway is done by the time that the last loop has been visited.

// fence is a FENCE on its way.
type fence struct {
	hub      *Hub
	sender   uuid.UUID
	receiver uuid.UUID
	origin   broker.NodeID // the instance of its sender, if that is another; else 0
	message  []byte        // what instances send each other of it, with nothing but its id
	feedback *feedback     // of a sender here
	to       *shard        // the receiver's; nil if that is on another instance
	loops    atomic.Int32  // that are yet to be visited
}

// fence handles a FENCE that the client sends.
func (s *session) fence(e *opcodes.Envelope) {
	switch {
	case s.phase != phaseIdentified:
		s.disconnect(opcodes.Unauthorized)
		return
	case !s.features.Has(opcodes.FeatureDrain):
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	sh, h := s.shard, s.shard.hub
	if !s.mayFence(sh.loop.Clock()) || !s.limit.allowsFence(len(e.Raw)) {
		if s.allowed(len(e.Raw)) { // by its token, as any other message
			sh.reject(s.errorsOf(e.ID), opcodes.CodeOverloaded)
		}
		return
	}
	s.goesTo(e.Receiver)
	s.sent++ // an ANY from before it must not be drawn again behind it
	f := &fence{hub: h, sender: s.id, receiver: e.Receiver, message: fenceMessage(e.ID), feedback: s.errorsOf(e.ID)}
	if at := clientid.Locate(&f.receiver); at.Node == h.node.ID {
		if f.to = h.shardOf(&f.receiver); f.to == nil {
			sh.reject(f.feedback, opcodes.CodeNoReceiver)
			return
		}
	} else if !h.broker.State().Available {
		// It could wait until the broker is back, but then tell less than it should: clients that identify meanwhile miss
		// what others send.
		sh.reject(f.feedback, opcodes.CodeBrokerUnavailable)
		return
	}
	if f.to == nil {
		f.visit(sh)
		return
	}
	switch h.incoming.Await(func() { sh.loop.Post(task(func() { f.visit(sh) })) }) {
	case passage.Free:
		f.visit(sh)
	case passage.Full:
		sh.reject(f.feedback, opcodes.CodeOverloaded)
	}
}

// maxFences is how many FENCEs a client may send in a second, whatever its token says of messages: more than twice what a
// move needs. A FENCE needs no permission, so that without a bound any client could load every instance, and flood another.
const maxFences = 100

// mayFence counts a FENCE that the client sends, and reports whether it may. A second is one of the loop's clock, which gives
// in milliseconds, of 1024 of these; that they look alike again after four minutes does no harm.
func (s *session) mayFence(clock uint32) bool {
	if second := uint8(clock >> 10); second != s.fencedIn {
		s.fencedIn, s.fenced = second, 0
	}
	if s.fenced >= maxFences {
		return false
	}
	s.fenced++
	return true
}

// fenceMessage returns what instances send each other of a FENCE with that id, nil for none.
func fenceMessage(id []byte) []byte {
	m := []byte(`{"op":13`)
	if id != nil {
		m = append(m, `,"id":"`...)
		m = append(m, id...)
		m = append(m, '"')
	}
	return append(m, '}')
}

// errorsOf returns the feedback of a message with that id, nil for none, that reports its loss only.
func (s *session) errorsOf(id []byte) *feedback {
	if !s.features.Has(opcodes.FeatureErrors) {
		return nil
	}
	return feedbackOf(s.conn.Ref(), opcodes.FeatureErrors, id)
}

// visit begins the visit of all loops at that of sh, which is the caller's.
func (f *fence) visit(sh *shard) {
	f.loops.Store(int32(len(f.hub.shards)))
	for _, other := range f.hub.shards {
		if other != sh {
			sh.loop.Forward(other.loop, fenceVisit{f, other}) // behind all that this loop has for it
		}
	}
	f.proceed(sh)
}

// proceed goes on from the loop of sh, which is the caller's: everything that it began before is done, save what it has yet
// to send to other loops.
func (f *fence) proceed(sh *shard) {
	if f.to == nil || f.to == sh {
		f.arrive(sh)
		return
	}
	sh.loop.Forward(f.to.loop, fenceArrival{f}) // behind all that this loop has for the receiver's
}

// arrive notes that one more loop has been visited. After the last one it publishes the FENCE or, on the receiver's loop,
// delivers it.
func (f *fence) arrive(sh *shard) {
	switch {
	case f.loops.Add(-1) > 0:
	case f.to == nil:
		sh.relayOr(nil, broker.Message{
			Kind: broker.KindDirect, Flags: broker.FlagFence, To: clientid.Locate(&f.receiver).Node, Sender: f.sender,
			Receiver: f.receiver, Payload: f.message,
		}, 0, f.feedback)
	default:
		f.finish(sh)
	}
}

// finish queues the FENCE for its receiver, whose loop is the caller's.
func (f *fence) finish(sh *shard) {
	if s := sh.client(&f.receiver); s != nil && s.features.Has(opcodes.FeatureDrain) {
		b := transport.AllocBuffer(opcodes.FenceSize)
		b.Seal(opcodes.AppendFence(b.Room(), f.sender))
		sent := s.conn.Send(b)
		b.Release()
		if sent {
			s.depart()
			s.vouched(f.sender)
			sh.count.fences.Add(1)
			f.feedback.ack(1)
			return
		}
	}
	if f.origin == 0 {
		sh.reject(f.feedback, opcodes.CodeNoReceiver)
		return
	}
	sh.count.drop(DropNoReceiver)
	f.goBack()
}

// goBack tells the sender's instance that there is no such client here.
func (f *fence) goBack() {
	f.hub.sendBack(&broker.Message{
		Flags: broker.FlagFence, To: f.origin, Sender: f.sender, Receiver: f.receiver, Payload: f.message,
	})
}

// receiveFence handles a FENCE from another instance. It is behind everything that the broker delivered before.
func (h *Hub) receiveFence(m *broker.Message) {
	f := &fence{
		hub: h, sender: m.Sender, receiver: m.Receiver, origin: m.From, message: slices.Clone(m.Payload),
		to: h.shardOf(&m.Receiver),
	}
	if f.to == nil {
		h.shards[0].count.drop(DropNoReceiver)
		f.goBack()
		return
	}
	f.loops.Store(int32(len(h.shards)))
	for _, sh := range h.shards {
		sh.loop.PostWait(fenceVisit{f, sh})
	}
}

// fenceVisit is a FENCE that visits a loop.
type fenceVisit struct {
	fence *fence
	shard *shard
}

// Deliver implements transport.Mail.
func (v fenceVisit) Deliver(*transport.Loop) { v.fence.proceed(v.shard) }

// Size implements transport.Mail.
func (v fenceVisit) Size() int { return 64 }

// fenceArrival is a FENCE that comes to its receiver's loop from another loop.
type fenceArrival struct{ fence *fence }

// Deliver implements transport.Mail.
func (a fenceArrival) Deliver(*transport.Loop) { a.fence.arrive(a.fence.to) }

// Size implements transport.Mail.
func (a fenceArrival) Size() int { return 64 }
