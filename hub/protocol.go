package hub

import (
	"time"

	"github.com/mastersocket/mastersocket/hub/internal/roster"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is the hub's own protocol as package transport sees it: what arrives from a client goes to the capability that
// it is for.

// endpoint opens sessions of the master socket protocol.
type endpoint struct{ hub *Hub }

// Open implements transport.Endpoint.
func (e endpoint) Open(c *transport.Conn, _ *transport.Request) (transport.Session, *transport.Rejection) {
	sh := e.hub.shards[c.Loop().Index()]
	s := &session{shard: sh, conn: c, weight: opcodes.DefaultWeight}
	sh.addStranger(s)
	switch {
	case c.Excess():
		s.disconnect(opcodes.TryAgainLater)
	case e.hub.draining.Load():
		s.disconnect(opcodes.ServerRestart)
	}
	return s, nil
}

// Message implements transport.Session.
func (s *session) Message(_ *transport.Conn, binary bool, b []byte) {
	if p := s.foreign(); p != nil {
		if s.allowed(len(b)) {
			p.receive(binary, b)
		}
		return
	}
	e := &s.shard.scan
	if binary {
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	if err := e.Scan(b); err != nil {
		s.disconnect(reasonOf(err))
		return
	}
	switch e.Op {
	case opcodes.Fence, opcodes.Subscribe, opcodes.Unsubscribe: // a move sends as many of these as it needs: see mayFence
	default:
		if !s.allowed(len(b)) {
			return
		}
	}
	if s.numbers && s.mustFollow(e) {
		s.keep(b)
		return
	}
	s.handle(e)
}

// handle does what the client's message asks for.
func (s *session) handle(e *opcodes.Envelope) {
	switch e.Op {
	case opcodes.Event, opcodes.Reply:
		if s.phase != phaseIdentified {
			s.disconnect(opcodes.Unauthorized)
			return
		}
		s.route(e)
	case opcodes.Fence:
		s.fence(e)
	case opcodes.Identify:
		s.identify(e.Data)
	case opcodes.Disconnect:
		if s.holdings() != nil {
			s.others().goodbye = true
		}
		if string(e.Data) == opcodes.MovedData && s.features.Has(opcodes.FeatureRequests) {
			s.passCopies()
		}
		s.disconnect(opcodes.NoReason)
	case opcodes.Ping:
		s.conn.Send(s.shard.hub.fixed.pong)
	case opcodes.Pong: // that it arrived is all that counts
	case opcodes.Subscribe, opcodes.Unsubscribe:
		s.request(e)
	case opcodes.Settled, opcodes.Cancel:
		s.track(e)
	default:
		s.disconnect(opcodes.UnknownOp)
	}
}

// track handles what a client says of a request: that it does not answer it, or that it wants no answer any more.
func (s *session) track(e *opcodes.Envelope) {
	switch {
	case !s.features.Has(opcodes.FeatureRequests):
		s.disconnect(opcodes.UnknownOp)
	case e.ID == nil || e.Op == opcodes.Settled && e.Target != intent.Direct:
		s.disconnect(opcodes.InvalidPayload)
	case e.Op == opcodes.Cancel:
		s.cancelRequest(e)
	default:
		s.pass(e)
	}
}

// Violation implements transport.Session.
func (s *session) Violation(_ *transport.Conn, v transport.Violation) {
	switch v {
	case transport.TooBig:
		s.disconnect(opcodes.MessageTooBig)
	case transport.SlowConsumer, transport.QueuesFull:
		s.disconnect(opcodes.SlowConsumer)
	case transport.NoMemory:
		s.disconnect(opcodes.TryAgainLater)
	case transport.NotJSON, transport.Unfinished:
		s.disconnect(opcodes.InvalidPayload)
	}
}

// AppendShort implements transport.Shortener. The original client has no use for sender.
func (*session) AppendShort(dst, payload []byte) []byte {
	return opcodes.AppendWithoutSender(dst, payload)
}

// Sweep implements transport.Session: it keeps the deadlines of IDENTIFY and of silence.
func (s *session) Sweep(c *transport.Conn) {
	h := s.shard.hub
	switch s.phase {
	case phaseStranger, phaseVerifying, phaseJoining:
		if c.Age() > h.opts.IdentifyTimeout {
			s.disconnect(opcodes.IdentifyTimeout)
		}
	case phaseIdentified:
		s.stay()
		s.shard.sweepParts()
		s.checkHold()
		s.checkHidden()
		s.readFurther()
		s.pull()
		s.sweepChanges()
		if !c.Detached() && s.waits == 0 { // else its service type asks
			s.checkSilence(c.Idle(), h.opts.PingInterval)
		}
		if s.expires != 0 && s.phase == phaseIdentified {
			s.checkExpiry(time.Now())
		}
	}
	if p := s.foreign(); p != nil && s.phase != phaseOver {
		p.sweep()
	}
}

// checkSilence asks a silent client whether it is there, and gives it as long again to say so.
func (s *session) checkSilence(idle, interval time.Duration) {
	loop := s.shard.loop
	switch {
	case idle < interval:
		s.pinged = false
	case !s.pinged:
		s.pinged, s.pingedAt = true, loop.Clock()
		s.ping()
	case idle < loop.Since(s.pingedAt): // it spoke since the PING
		s.pinged = false
	case loop.Since(s.pingedAt) >= interval:
		s.disconnect(opcodes.PingTimeout)
	}
}

// ping asks the client whether it is there: with a PING, or, where that is unknown, with one of RFC 6455 section 5.5.2.
func (s *session) ping() {
	if s.kind == 0 {
		s.conn.Send(s.shard.hub.fixed.ping)
		return
	}
	s.conn.Send(s.shard.hub.fixed.frame)
}

// Closed implements transport.Session.
func (s *session) Closed(_ *transport.Conn, end transport.End) {
	if s.phase != phaseOver {
		if end == transport.EndError || end == transport.EndOfStream {
			s.shard.ending = roster.Lost
		}
		s.end(opcodes.NoReason)
		s.shard.ending = ""
	}
}

// Relieved implements transport.Relieved: the backlog is shorter.
func (s *session) Relieved(*transport.Conn) {
	s.relieved()
	s.readFurther()
	s.pull()
}
