package hub

import (
	"log/slog"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// disconnect tells the client why, and closes.
func (s *session) disconnect(r opcodes.Reason) {
	if s.phase == phaseOver {
		return
	}
	last := s.lastMessage(r)
	s.end(r)
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

// lastMessage returns the last message for a client that is disconnected for that reason. The caller owns a reference.
func (s *session) lastMessage(r opcodes.Reason) *transport.Buffer {
	if p := s.foreign(); p != nil {
		return p.farewell(r)
	}
	b := s.shard.hub.fixed.disconnect[r]
	b.Retain()
	return b
}

// end takes the session out of every list. Nothing is routed to it any more.
func (s *session) end(r opcodes.Reason) {
	s.recordEnd(r)
	switch s.phase {
	case phaseStranger, phaseVerifying: // the verification finds the session gone
		s.shard.removeStranger(s)
	case phaseJoining: // the IDENTIFY gives back what it acquired when it finds the session gone
		s.shard.removeStranger(s)
	case phaseIdentified:
		s.dropChanges()
		s.unwatchAll()
		s.dropHoldings()
		s.endReaders()
		s.dropNumberings()
		if s.shard.ending == "" {
			s.shard.ending = r.String()
		}
		s.exitAll()
		s.dropRequests()
		s.leaveParts(s.shard.ending)
		s.shard.ending = ""
	}
	if s.phase = phaseOver; s.limit != nil {
		s.shard.hub.holders.remove(s.limit)
	}
	s.shard.resumeSenders(s)
	s.shard.giveHeld(s) // back: once the loop has ended it could not
	if p := s.foreign(); p != nil {
		p.closed()
	}
	s.shard.count.reasons[r].Add(1)
	s.logEnd(r)
}

// logEnd writes which client was disconnected and why. What the client or the operator wanted is not worth a line; the rest
// is worth one a second for each reason.
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
