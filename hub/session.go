package hub

import (
	"log/slog"
	"slices"
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
	phaseVerifying               // waiting for what is to be thought of its token
	phaseJoining                 // IDENTIFY accepted, waiting for the broker
	phaseIdentified              // messages flow
	phaseOver                    // disconnected
)

// session is a client, of the master socket protocol or of a service type. It belongs to its shard's loop. There is one for every
// connection, so that its size counts.
type session struct {
	shard *shard
	conn  *transport.Conn
	grant *auth.Grant
	about *about        // what the client says of itself; nil for nothing
	limit *rate.Limiter // nil for none
	id    uuid.UUID

	everyone place    // in the list of all clients; of strangers, before IDENTIFY
	first    place    // in its group
	more     *[]place // in its further groups; nil for none

	kind     uint8  // of the service types; 0 for the hub's own protocol
	warned   bool   // it was told that what it identified with ends
	expires  uint32 // Unix time at which that ends; 0 for never
	sent     uint32 // EVENTs, REPLYs and FENCEs so far; wraps
	pingedAt uint32 // loop clock at the last PING
	since    uint32 // Unix time of IDENTIFY
	phase    phase
	features opcodes.Feature
	noEcho   bool
	pinged   bool // a PING is out and nothing arrived since

	told       bool   // a DRAIN was sent
	departing  bool   // it is about to leave: see depart
	fenced     uint8  // FENCEs that it has sent in that second
	fencedIn   uint8  // the second of its last FENCE: see mayFence
	departedAt uint32 // loop clock at its last FENCE over the new connection
}

// about is what operators see of a client, and what a service type knows of its own.
type about struct {
	name, version string
	meta          map[string]string
	subject       string // whom its signed token or certificate is about; empty for other tokens
	peer          *Peer  // nil for a client of the hub's own protocol
	right         string // a Peer's: the group that its token must allow to join; empty for none
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
func (s *session) Message(_ *transport.Conn, binary bool, b []byte) {
	if p := s.peer(); p != nil {
		if s.allowed() {
			p.handler.Receive(binary, b)
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
	if e.Op != opcodes.Fence && !s.allowed() { // a move sends as many of these as it needs: see mayFence
		return
	}
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
		s.identify(e)
	case opcodes.Disconnect:
		s.disconnect(opcodes.NoReason)
	case opcodes.Ping:
		s.conn.Send(s.shard.hub.fixed.pong)
	case opcodes.Pong: // that it arrived is all that counts
	}
}

// allowed counts a message of the client, which it disconnects if its token allows no more.
func (s *session) allowed() bool {
	if s.limit == nil || s.limit.Allow() {
		return true
	}
	s.disconnect(opcodes.RateLimited)
	return false
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
		if s.checkSilence(c.Idle(), h.opts.PingInterval); s.expires != 0 && s.phase == phaseIdentified {
			s.checkExpiry(time.Now())
		}
	}
	if p := s.peer(); p != nil && s.phase != phaseOver {
		p.handler.Sweep()
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
	last := s.farewell(r)
	s.over(r)
	code := ws.StatusCode(r.CloseCode())
	if s.kind != 0 || s.features == 0 { // its library may not know codes that are newer than RFC 6455
		code = ws.StatusCode(r.LegacyCloseCode())
	}
	if r == opcodes.SlowConsumer {
		s.conn.Abort(code, r.String(), last)
		return
	}
	s.conn.Close(code, r.String(), last)
}

// over takes the session out of every list. Nothing is routed to it any more.
func (s *session) over(r opcodes.Reason) {
	switch s.phase {
	case phaseStranger, phaseVerifying: // the verification finds the session gone
		s.shard.removeStranger(s)
	case phaseJoining: // the joining gives back what it acquired when it finds the session gone
		s.shard.removeStranger(s)
	case phaseIdentified:
		s.leaveAll()
	}
	s.phase = phaseOver
	s.shard.returnHeld(s)
	if p := s.peer(); p != nil && p.handler != nil {
		p.handler.Closed()
	}
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
		if s.about.subject != "" {
			attrs = append(attrs, slog.String("subject", s.about.subject))
		}
	}
	s.shard.hub.opts.Transport.Log.Warn("client disconnected", r.String(), attrs...)
}

// memberOf reports whether the client is in the group of that name.
func (s *session) memberOf(name string) bool {
	if s.first.group == nil {
		return false
	}
	return s.first.group.name == name ||
		s.more != nil && slices.ContainsFunc(*s.more, func(p place) bool { return p.group.name == name })
}

// groupNames returns the names of the client's groups.
func (s *session) groupNames() []string {
	if s.first.group == nil {
		return []string{}
	}
	names := []string{s.first.group.name}
	if s.more != nil {
		for _, p := range *s.more {
			names = append(names, p.group.name)
		}
	}
	return names
}
