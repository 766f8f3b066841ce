package hub

import (
	"net/netip"
	"slices"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// Peer is a connection of a service type. It belongs to its loop: its methods may be called on the loop's goroutine
// only. After PeerHandler.Closed they do nothing.
type Peer struct {
	session *session
	handler PeerHandler // nil before Open has returned it
	joined  bool        // Identified is due, or was called
}

// PeerHandler gives the frames of one foreign connection their meaning.
type PeerHandler interface {
	// Receive handles one complete message of the client. b is valid, and may be overwritten, during the call only.
	Receive(binary bool, b []byte)
	// Deliver hands over an EVENT or REPLY that the hub routed to the client. m is valid during the call only. What it
	// does to the hub (Publish, Disconnect, …) takes effect after the delivery.
	Deliver(m *opcodes.Envelope) Outcome
	// Identified is called when the client has become a member of the groups that it was identified with: nothing that
	// is sent to them from now on is missed.
	Identified()
	// Sweep is called about once a second while the connection is open, for deadlines.
	Sweep()
	// Farewell returns the last message for a client that the hub disconnects for that reason, or nil. The caller takes
	// over the reference.
	Farewell(r opcodes.Reason) *transport.Buffer
	// Closed is the last call. The client is in no group any more.
	Closed()
}

// RequestHandler is a PeerHandler whose client can answer requests: with a REPLY, by Publish, or with Peer.Pass.
type RequestHandler interface {
	// AnswersRequests reports whether the client can answer the request that is being delivered.
	AnswersRequests() bool
	// Cancelled tells that the requester wants no answer any more to its message with that id.
	Cancelled(requester uuid.UUID, id string)
}

// RequestSender is a PeerHandler that sends requests with [Peer.Request].
type RequestSender interface {
	// Settled tells that no more answers come to the request with that id, and why. s is valid during the call only.
	Settled(id string, s *opcodes.Settlement)
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

// IsOpen reports whether the client has not been disconnected.
func (p *Peer) IsOpen() bool { return p.session.phase != phaseOver }

// RemoteAddr returns the address at the other end of the connection, a proxy's perhaps. It is invalid if the connection
// is broken.
func (p *Peer) RemoteAddr() netip.AddrPort {
	if !p.IsOpen() {
		return netip.AddrPort{}
	}
	return p.session.conn.RemoteAddr()
}

// Room returns how many bytes may still be queued for the client before it counts as a slow consumer; less if the
// messages are very short. What is sent in bulk should go on in a later turn once this runs out.
func (p *Peer) Room() int {
	if !p.IsOpen() {
		return 0
	}
	return p.session.shard.hub.opts.Transport.SendQueueBytes - p.session.conn.QueueBytes()
}

// Pause makes what the client sends wait, until Resume. It is for a Peer that can't be identified before an answer from
// elsewhere; call Resume before Identify, which pauses and resumes by itself.
func (p *Peer) Pause() {
	if p.IsOpen() {
		p.session.conn.Pause()
	}
}

// Resume undoes Pause.
func (p *Peer) Resume() {
	if p.IsOpen() {
		p.session.conn.Resume()
	}
}

// Identify makes the connection a client of the hub, once. PeerHandler.Identified follows, perhaps before Identify
// returns; what the client sends meanwhile waits. If the broker can't subscribe to the groups the client is disconnected
// as TRY_AGAIN_LATER.
func (p *Peer) Identify(i Identity) {
	s := p.session
	if s.phase != phaseStranger {
		return
	}
	s.grant = i.Grant
	s.label(labels{name: i.Name, version: i.Version, meta: i.Meta, right: i.Right})
	s.join(&change{asked: opcodes.Change{Groups: i.Groups, Weight: opcodes.KeepWeight}, trusted: true})
}

// Subscribe makes the client a member of further groups; reserved names are allowed. The service type has checked that it
// may. done, where not nil, is called once on the loop, perhaps before Subscribe returns: with nil when nothing is missed that
// is sent to the groups from then on, or with a *ChangeError when the client has joined none of them, because the broker
// can't subscribe to them or the client has gone. Changes of a client are carried out one at a time, in their order.
func (p *Peer) Subscribe(groups []string, done func(error)) {
	p.change(opcodes.Subscribe, groups, done)
}

// Unsubscribe takes the client out of groups, also out of those that it was identified with. Nothing that is sent to them
// arrives once done is called; see Subscribe.
func (p *Peer) Unsubscribe(groups []string, done func(error)) {
	p.change(opcodes.Unsubscribe, groups, done)
}

func (p *Peer) change(op opcodes.Op, groups []string, done func(error)) {
	c := &change{op: op, asked: opcodes.Change{Groups: slices.Clone(groups), Weight: opcodes.KeepWeight}, trusted: true}
	if done != nil {
		c.hear = func(e *ChangeError) {
			if e == nil {
				done(nil)
				return
			}
			done(e)
		}
	}
	s := p.session
	enqueue := func() {
		switch {
		case s.phase == phaseIdentified:
			s.enqueue(c)
		case done != nil:
			done(&ChangeError{Code: opcodes.CodeNoReceiver})
		}
	}
	s.shard.deferral.do(func() {
		if op == opcodes.Subscribe || !s.shard.follow(&s.sender, s, nil, enqueue) {
			enqueue()
		}
	})
}

// Send queues a message of the client's own protocol that is no delivery, taking a reference of its own. It reports
// whether it was queued.
func (p *Peer) Send(b *transport.Buffer) bool { return p.IsOpen() && p.session.conn.Send(b) }

// SendDelivery is Send for what PeerHandler.Deliver makes of a message, and says what that is to return.
func (p *Peer) SendDelivery(b *transport.Buffer) Outcome {
	if !p.Send(b) {
		return Refused
	}
	return Taken
}

// Publish routes a message that the client sends. It must be identified.
func (p *Peer) Publish(m *opcodes.Message) {
	s := p.session
	if s.phase == phaseIdentified {
		s.shard.publishAs(&s.sender, s, m, nil)
	}
}

// Request sends an EVENT of the client as a request, whose handler is a [RequestSender]: REPLYs are delivered to it, and
// Settled is called once, behind them. m has an id that no other open request of the client has, and its members have expect
// with this timeout. A request that can't be opened is settled at once, with the code as the reason.
func (p *Peer) Request(m *opcodes.Message, timeout time.Duration) {
	s := p.session
	if s.phase != phaseIdentified {
		return
	}
	if !s.shard.deferral.mustWait() && !s.numbers {
		s.requestNow(m, timeout)
		return
	}
	kept := *m
	kept.Data, kept.Members, kept.Group = slices.Clone(m.Data), slices.Clone(m.Members), slices.Clone(m.Group)
	request := func() {
		if s.phase == phaseIdentified {
			s.requestNow(&kept, timeout)
		}
	}
	s.shard.deferral.do(func() {
		if !s.shard.follow(&s.sender, s, nil, request) {
			s.shard.count.drop(DropOverloaded)
			s.foreign().settled(kept.ID, &opcodes.Settlement{Missing: []opcodes.Missing{{Reason: string(opcodes.CodeOverloaded)}}})
		}
	})
}

func (s *session) requestNow(m *opcodes.Message, timeout time.Duration) {
	sh := s.shard
	b := transport.AllocBuffer(opcodes.MessageSize(m))
	defer b.Release()
	b.Seal(opcodes.AppendMessage(b.Room(), m, s.id))
	e := &opcodes.Envelope{Op: opcodes.Event, Raw: b.Payload(), Target: m.Target, Identifier: m.Group, Receiver: m.Receiver}
	id := []byte(m.ID)
	hash := uint32(sh.hub.hashRequest(&s.id, id))
	x := opcodes.Expectation{Timeout: timeout}
	if code := s.refusal(e, id, hash, false); code != "" {
		sh.count.drop(dropOf(code))
		s.foreign().settled(m.ID, &opcodes.Settlement{Missing: []opcodes.Missing{{Reason: string(code)}}})
		return
	}
	s.sendRequest(e, id, hash, &x, b)
}

// Disconnect ends the connection for one of the hub's reasons, with the handler's farewell before the close frame.
func (p *Peer) Disconnect(r opcodes.Reason) {
	p.session.shard.deferral.do(func() { p.session.disconnect(r) })
}

// Close ends the connection with a close code and reason of the client's own protocol, and last before them (nil for
// none), whose reference it takes over.
func (p *Peer) Close(code uint16, reason string, last *transport.Buffer) {
	s := p.session
	s.shard.deferral.do(func() {
		if s.phase == phaseOver {
			if last != nil {
				last.Release()
			}
			return
		}
		s.end(opcodes.NoReason)
		s.conn.Close(ws.StatusCode(code), reason, last)
	})
}

// publishAs routes a message that was made here, as sent by from, which is the session of, where not nil. h, where not
// nil, hears what becomes of it.
func (sh *shard) publishAs(from *sender, of *session, m *opcodes.Message, h hearer) {
	if !sh.deferral.mustWait() && !from.numbers {
		sh.publishNow(from, of, m, h)
		return
	}
	kept := *m
	kept.Data, kept.Members, kept.Group = slices.Clone(m.Data), slices.Clone(m.Members), slices.Clone(m.Group)
	publish := func() {
		if of == nil || of.phase == phaseIdentified {
			sh.publishNow(from, of, &kept, h)
		}
	}
	sh.deferral.do(func() {
		if !sh.follow(from, of, sh.numberedGroup(&kept), publish) {
			var f *feedback
			if h != nil {
				f = newFeedback(h)
			}
			sh.reject(f, opcodes.CodeOverloaded)
		}
	})
}

// publishNow is publishAs while no message is being delivered.
func (sh *shard) publishNow(from *sender, of *session, m *opcodes.Message, h hearer) {
	o := outbound{from: from, client: of, buf: transport.AllocBuffer(opcodes.MessageSize(m))}
	if h != nil {
		o.feedback = newFeedback(h)
	}
	o.buf.Seal(opcodes.AppendMessage(o.buf.Room(), m, from.id))
	if of != nil {
		of.measureIn(m.Group, len(o.buf.Payload()))
		if sh.probes != nil {
			of.probeIn(o.buf.Payload())
		}
	}
	sh.count.types[from.kind].received[m.Target].Add(1)
	if m.Op == opcodes.Reply && m.Target == intent.Direct && of != nil && sh.answer(of, m.Receiver, []byte(m.ID), false, &o) {
		o.buf.Release()
		return
	}
	sh.dispatch(&opcodes.Envelope{Target: m.Target, Identifier: m.Group, Receiver: m.Receiver}, &o)
	o.buf.Release()
}

// opened gives the peer its handler.
func (p *Peer) opened(h PeerHandler) {
	p.handler = h
	if p.joined {
		h.Identified()
	}
}

// identified implements foreign, as do the following.
func (p *Peer) identified() {
	if p.joined = true; p.handler != nil { // else Open is not over
		p.handler.Identified()
	}
}

func (p *Peer) receive(binary bool, b []byte) { p.handler.Receive(binary, b) }

func (p *Peer) handle(m *opcodes.Envelope) Outcome {
	if p.handler == nil { // it sent something to itself before it was opened
		return Ignored
	}
	return p.handler.Deliver(m)
}

func (p *Peer) sweep() { p.handler.Sweep() }

func (p *Peer) farewell(r opcodes.Reason) *transport.Buffer {
	if p.handler == nil {
		return nil
	}
	return p.handler.Farewell(r)
}

func (p *Peer) answers() bool {
	h, ok := p.handler.(RequestHandler)
	return ok && h.AnswersRequests()
}

func (p *Peer) cancelled(requester uuid.UUID, id string) {
	if h, ok := p.handler.(RequestHandler); ok {
		p.session.shard.deferral.do(func() { h.Cancelled(requester, id) })
	}
}

func (p *Peer) settled(id string, s *opcodes.Settlement) {
	if h, ok := p.handler.(RequestSender); ok {
		h.Settled(id, s)
	}
}

func (p *Peer) closed() {
	if p.handler != nil {
		p.handler.Closed()
	}
}
