package hub

import (
	"errors"

	"github.com/mastersocket/mastersocket/opcodes"
)

// identify handles an IDENTIFY.
func (s *session) identify(e *opcodes.Envelope) {
	if s.phase != phaseStranger {
		s.disconnect(opcodes.AlreadyIdentified)
		return
	}
	id, err := opcodes.ParseIdentify(e.Data)
	if errors.Is(err, opcodes.ErrIdentifyPayload) {
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	// The token is looked up whatever else is wrong, so that the time tells nothing.
	h := s.shard.hub
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
	if err != nil || !ok || !mayJoinAll(grant, id.Groups) {
		s.disconnect(opcodes.IdentifyFailed)
		return
	}
	s.accept(grant, &id, subject)
}
