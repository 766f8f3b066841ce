package hub

import (
	"slices"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// Peer is a connection of a service type. It belongs to its loop: its methods may be called on the loop's goroutine
// only. After PeerHandler.Closed they do nothing.
type Peer struct {
	session    *session
	handler    PeerHandler
	identified bool
}

// Identity is as what a Peer takes part in the hub.
type Identity struct {
	Grant   *auth.Grant // of the token that it showed; nil for none. Its rate limit applies
	Groups  []string    // to be a member of, perhaps none; reserved names are allowed. The service type has checked that it may
	Right   string      // group that Grant must allow to join for as long as the connection lasts; empty for none
	Name    string      // shown to operators, as are the next two
	Version string
	Meta    map[string]string
}

// ID returns the client's id; it has none before it is identified.
func (p *Peer) ID() uuid.UUID { return p.session.id }

// Open reports whether the client has not been disconnected.
func (p *Peer) Open() bool { return p.session.phase != phaseOver }

// Identify makes the connection a client of the hub, once. PeerHandler.Identified follows, perhaps before Identify
// returns; what the client sends meanwhile waits. If the broker can't subscribe to the groups the client is disconnected
// as TRY_AGAIN_LATER.
func (p *Peer) Identify(i Identity) {
	s := p.session
	if s.phase != phaseStranger {
		return
	}
	s.grant = i.Grant
	s.about.name, s.about.version, s.about.meta, s.about.right = i.Name, i.Version, i.Meta, i.Right
	s.join(i.Groups)
}

// Send queues a message of the client's own protocol that is no delivery, taking a reference of its own. It reports
// whether it was queued.
func (p *Peer) Send(b *transport.Buffer) bool { return p.Open() && p.session.conn.Send(b) }

// Deliver is Send for what PeerHandler.Deliver makes of a message, and says what that is to return.
func (p *Peer) Deliver(b *transport.Buffer) Outcome {
	if !p.Send(b) {
		return Refused
	}
	return Taken
}

// Publish routes a message that the client sends. It must be identified.
func (p *Peer) Publish(m *opcodes.Message) {
	if p.session.phase == phaseIdentified {
		p.session.publish(m)
	}
}

// Disconnect ends the connection for one of the hub's reasons, with the handler's farewell before the close frame.
func (p *Peer) Disconnect(r opcodes.Reason) {
	sh := p.session.shard
	sh.afterDelivery(func() { p.session.disconnect(r) })
}

// Close ends the connection with a close code and reason of the client's own protocol, and last before them (nil for
// none), whose reference it takes over.
func (p *Peer) Close(code uint16, reason string, last *transport.Buffer) {
	s := p.session
	s.shard.afterDelivery(func() {
		if s.phase == phaseOver {
			if last != nil {
				last.Release()
			}
			return
		}
		s.over(opcodes.NoReason)
		s.conn.Close(ws.StatusCode(code), reason, last)
	})
}

// peer returns the session's Peer, nil for a client of the hub's own protocol.
func (s *session) peer() *Peer {
	if s.kind == 0 || s.about == nil {
		return nil
	}
	return s.about.peer
}

// farewell returns the last message for a client that is disconnected for that reason. The caller owns a reference.
func (s *session) farewell(r opcodes.Reason) *transport.Buffer {
	if p := s.peer(); p != nil {
		if p.handler == nil {
			return nil
		}
		return p.handler.Farewell(r)
	}
	b := s.shard.hub.fixed.disconnect[r]
	b.Retain()
	return b
}

// publish routes a message that was made here on behalf of a client, or of the loop's agent.
func (s *session) publish(m *opcodes.Message) { s.publishAndHear(m, nil) }

// publishAndHear is publish. f, where not nil, hears what becomes of the message.
func (s *session) publishAndHear(m *opcodes.Message, f func(instances int, code opcodes.ErrorCode)) {
	if s.shard.mustWait() {
		kept := *m
		kept.Data, kept.Group = slices.Clone(m.Data), slices.Clone(m.Group)
		s.shard.afterDelivery(func() {
			if s.phase == phaseIdentified {
				s.publishNow(&kept, f)
			}
		})
		return
	}
	s.publishNow(m, f)
}

func (s *session) publishNow(m *opcodes.Message, hear func(instances int, code opcodes.ErrorCode)) {
	sh := s.shard
	var f *feedback
	if hear != nil {
		f = feedbackPool.Get().(*feedback)
		f.told, f.acked, f.code = &told{sh.loop, hear}, 0, ""
	}
	b := transport.AllocBuffer(opcodes.MessageSize(m))
	b.Seal(opcodes.AppendMessage(b.Room(), m, s.id))
	sh.composed.Target, sh.composed.Identifier, sh.composed.Receiver = m.Target, m.Group, m.Receiver
	s.dispatch(&sh.composed, b, f)
	b.Release()
}

// mustWait reports whether what a service type does has to be put off: while a message is being delivered, since the
// list of its receivers must not change meanwhile, and behind what was put off before.
func (sh *shard) mustWait() bool { return sh.delivering || len(sh.deferred) > 0 }

// afterDelivery runs f now, or, where it must wait, when its turn has come.
func (sh *shard) afterDelivery(f func()) {
	if sh.mustWait() {
		sh.deferred = append(sh.deferred, f)
		return
	}
	f()
}

// beginDelivery and endDelivery enclose the delivery of one message to service types.
func (sh *shard) beginDelivery() {
	sh.delivering = true
	sh.parsed = nil
}

func (sh *shard) endDelivery() {
	sh.delivering = false
	sh.parsed = nil
	sh.settle()
}

// beginSpread and endSpread enclose all that is done with one message to many: what its delivery here causes must not
// overtake it on its way to other loops and instances.
func (sh *shard) beginSpread() { sh.spreading = true }

func (sh *shard) endSpread() {
	sh.spreading = false
	sh.settle()
}

// settle does what was put off, in its order: what it causes in turn comes behind the rest.
func (sh *shard) settle() {
	if sh.spreading || sh.settling {
		return
	}
	sh.settling = true
	for len(sh.deferred) > 0 {
		f := sh.deferred[0]
		sh.deferred = slices.Delete(sh.deferred, 0, 1)
		f()
	}
	sh.settling = false
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

// hand gives the message to a Peer's handler.
func (sh *shard) hand(s *session, b *transport.Buffer) Outcome {
	p := s.about.peer
	if p.handler == nil { // it sent something to itself before it was opened
		return Ignored
	}
	m := sh.parse(b)
	if m == nil {
		return Ignored
	}
	return p.handler.Deliver(m)
}

// observed gives the message to those who watch the group on this loop and returns how many observers there are: who
// taps is nobody that the message reaches.
func (sh *shard) observed(g *group, b *transport.Buffer) int {
	w := g.local[sh.index].watchers.Load()
	if w == nil {
		return 0
	}
	for _, t := range w.taps {
		t.look(sh, b)
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
