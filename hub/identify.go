package hub

import (
	"errors"
	"log/slog"

	"github.com/mastersocket/mastersocket/opcodes"
)

// identify handles an IDENTIFY with those data, of whatever protocol.
func (s *session) identify(data []byte) {
	if s.phase != phaseStranger {
		s.disconnect(opcodes.AlreadyIdentified)
		return
	}
	id, err := opcodes.ParseIdentify(data)
	if errors.Is(err, opcodes.ErrIdentifyPayload) {
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	h, from := s.shard.hub, s.conn.RemoteAddr().Addr()
	if !h.attempts.Allow(from) {
		h.opts.Transport.Log.Warn("attempt to identify not looked at", "too many failed from this address", slog.Any("address", from))
		s.disconnect(opcodes.TryAgainLater)
		return
	}
	// The token is looked up whatever else is wrong, so that the time tells nothing.
	grant, ok := h.tokens.Authenticate(id.Token)
	if !ok && err == nil && h.verifications.takes(id.Token) {
		s.verify(id)
		return
	}
	subject := ""
	if id.Token == "" && (err == nil || errors.Is(err, opcodes.ErrIdentifyNoToken)) {
		var c Credential
		c, ok = h.AuthenticateCertificate(s.conn.PeerCertificate())
		grant, subject, err = c.Grant, c.Subject, nil
		s.expires = unixSeconds(c.Expires)
	}
	if ok || id.Token != "" { // none is no guess
		h.attempts.Count(from, ok)
	}
	if err != nil || !ok || !mayJoinAll(grant, id.Groups) {
		s.disconnect(opcodes.IdentifyFailed)
		return
	}
	s.accept(grant, &id, subject)
}
