package hub

import (
	"log/slog"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// phase is how far a session has come.
type phase uint8

const (
	phaseStranger   phase = iota // connected
	phaseJoining                 // IDENTIFY accepted, waiting for the broker
	phaseIdentified              // messages flow
	phaseOver                    // disconnected
)

// session is a client of the master socket protocol. It belongs to its shard's loop. There is one for every
// connection, so that its size counts.
type session struct {
	shard *shard
	conn  *transport.Conn
	grant *auth.Grant
	about *about // what the client says of itself; nil for nothing
	limit *rate.Limiter
	id    uuid.UUID

	everyone place    // in the list of all clients; of strangers, before IDENTIFY
	first    place    // in its group
	more     *[]place // in its further groups; nil for none

	sent     uint32 // EVENTs and REPLYs so far; wraps
	pingedAt uint32 // loop clock at the last PING
	since    uint32 // Unix time of IDENTIFY
	phase    phase
	features opcodes.Feature
	noEcho   bool
	pinged   bool // a PING is out and nothing arrived since
}

// about is what operators see of a client.
type about struct {
	name, version string
	meta          map[string]string
}

// endpoint opens sessions of the master socket protocol.
type endpoint struct{ hub *Hub }

// Open implements transport.Endpoint.
func (e endpoint) Open(c *transport.Conn, _ *transport.Request) (transport.Session, *transport.Rejection) {
	sh := e.hub.shards[c.Loop().Index()]
	s := &session{shard: sh, conn: c}
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
func (s *session) Message(_ *transport.Conn, binary bool, p []byte) {
	if s.limit != nil && !s.limit.Allow() {
		s.disconnect(opcodes.RateLimited)
		return
	}
	e := &s.shard.scan
	if binary {
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	if err := e.Scan(p); err != nil {
		s.disconnect(reasonOf(err))
		return
	}
	switch e.Op {
	case opcodes.Event, opcodes.Reply:
		if s.phase != phaseIdentified {
			s.disconnect(opcodes.Unauthorized)
			return
		}
		s.route(e)
	case opcodes.Identify:
		s.identify(e)
	case opcodes.Disconnect:
		s.disconnect(opcodes.NoReason)
	case opcodes.Ping:
		s.conn.Send(s.shard.hub.fixed.pong)
	case opcodes.Pong: // that it arrived is all that counts
	}
}

// reasonOf returns the reason to disconnect a client for a message that could not be scanned.
func reasonOf(err error) opcodes.Reason {
	if e, ok := err.(*opcodes.ScanError); ok { // Scan returns nothing else
		return e.Reason
	}
	return opcodes.InvalidPayload
}

// Violation implements transport.Session.
func (s *session) Violation(_ *transport.Conn, v transport.Violation) {
	switch v {
	case transport.TooBig:
		s.disconnect(opcodes.MessageTooBig)
	case transport.SlowConsumer:
		s.disconnect(opcodes.SlowConsumer)
	case transport.NoMemory:
		s.disconnect(opcodes.TryAgainLater)
	case transport.NotJSON, transport.Unfinished:
		s.disconnect(opcodes.InvalidPayload)
	}
}

// Sweep implements transport.Session: it keeps the deadlines of IDENTIFY and of silence.
func (s *session) Sweep(c *transport.Conn) {
	h := s.shard.hub
	switch s.phase {
	case phaseStranger, phaseJoining:
		if c.Age() > h.opts.IdentifyTimeout {
			s.disconnect(opcodes.IdentifyTimeout)
		}
	case phaseIdentified:
		s.checkSilence(c.Idle(), h.opts.PingInterval)
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
		s.conn.Send(s.shard.hub.fixed.ping)
	case idle < loop.Since(s.pingedAt): // it spoke since the PING
		s.pinged = false
	case loop.Since(s.pingedAt) >= interval:
		s.disconnect(opcodes.PingTimeout)
	}
}

// Closed implements transport.Session.
func (s *session) Closed(*transport.Conn, transport.End) {
	if s.phase != phaseOver {
		s.over(opcodes.NoReason)
	}
}

// disconnect tells the client why, and closes.
func (s *session) disconnect(r opcodes.Reason) {
	if s.phase == phaseOver {
		return
	}
	s.over(r)
	last := s.shard.hub.fixed.disconnect[r]
	last.Retain()
	code := ws.StatusCode(r.CloseCode())
	if r == opcodes.SlowConsumer {
		s.conn.Abort(code, r.String(), last)
		return
	}
	s.conn.Close(code, r.String(), last)
}

// over takes the session out of every list. Nothing is routed to it any more.
func (s *session) over(r opcodes.Reason) {
	switch s.phase {
	case phaseStranger:
		s.shard.removeStranger(s)
	case phaseJoining: // the joining gives back what it acquired when it finds the session gone
		s.shard.removeStranger(s)
	case phaseIdentified:
		s.leaveAll()
	}
	s.phase = phaseOver
	s.shard.count.reasons[r].Add(1)
	s.logEnd(r)
}

// logEnd writes who was disconnected and why. What the client or the operator wanted is not worth a line; the rest is
// worth one a second for each reason.
func (s *session) logEnd(r opcodes.Reason) {
	switch r {
	case opcodes.NoReason, opcodes.ServerRestart:
		return
	}
	attrs := []slog.Attr{slog.Any("address", s.conn.RemoteAddr())}
	if s.id != uuid.Nil {
		attrs = append(attrs, slog.String("client", s.id.String()))
	}
	if s.grant != nil {
		attrs = append(attrs, slog.String("token", s.grant.Name))
	}
	if s.about != nil {
		attrs = append(attrs, slog.String("name", s.about.name))
	}
	s.shard.hub.opts.Transport.Log.Warn("client disconnected", r.String(), attrs...)
}
