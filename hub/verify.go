package hub

import (
	"context"
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// verification is an IDENTIFY that waits until its token is verified, as mail to its loop.
type verification struct {
	session *session
	ref     transport.Ref
	asked   opcodes.Identification

	grant   *auth.Grant
	subject string
	expires time.Time
	verdict auth.Verdict
}

// verify has the token of an IDENTIFY verified. What the client sends behind it waits.
func (s *session) verify(asked opcodes.Identification) {
	h := s.shard.hub
	if !h.verifications.reserve() {
		s.logVerdict(auth.Overloaded, "")
		s.disconnect(opcodes.TryAgainLater)
		return
	}
	s.phase = phaseVerifying
	s.conn.Pause()
	v := &verification{session: s, ref: s.conn.Ref(), asked: asked}
	left := h.opts.IdentifyTimeout - s.conn.Age()
	h.verifications.done.Go(func() { v.run(h, left) })
}

// run verifies the token, on a goroutine of its own.
func (v *verification) run(h *Hub, left time.Duration) {
	defer h.verifications.free()
	ctx, cancel := context.WithTimeout(h.verifications.ctx, left)
	defer cancel()
	var identity auth.Identity
	identity, v.grant, v.verdict = h.verifications.examine(ctx, h.tokens, v.asked.Token)
	v.subject, v.expires = cutSubject(identity.Subject), identity.Expires
	v.asked.Token = ""
	v.ref.Loop().Post(v) // a loop that takes none has ended, with the session
}

// Size implements transport.Mail.
func (v *verification) Size() int { return 256 }

// Deliver implements transport.Mail.
func (v *verification) Deliver(*transport.Loop) {
	c, s := v.ref.Conn(), v.session
	if c == nil || s.phase != phaseVerifying {
		return // it has left
	}
	s.phase = phaseStranger
	if !v.verdict.Temporary() {
		s.shard.hub.attempts.Count(c.RemoteAddr().Addr(), v.verdict == auth.Verified)
	}
	if v.verdict != auth.Verified {
		s.logVerdict(v.verdict, v.subject)
		s.disconnect(refusal(v.verdict))
		return
	}
	s.shard.hub.logUnusable(v.grant, v.subject)
	grant, ok := s.shard.hub.tokens.Current(v.grant)
	switch {
	case !ok: // the tokens changed meanwhile: other rules may be for it now
		s.disconnect(opcodes.TryAgainLater)
		return
	case !mayJoinAll(grant, v.asked.Groups):
		s.disconnect(opcodes.IdentifyFailed)
		return
	}
	s.expires = unixSeconds(v.expires)
	s.accept(grant, &v.asked, v.subject)
	if s.phase != phaseJoining { // that resumes by itself
		c.Resume()
	}
}

// refusal returns the reason to disconnect a client whose token was not verified.
func refusal(v auth.Verdict) opcodes.Reason {
	if v.Temporary() {
		return opcodes.TryAgainLater
	}
	return opcodes.IdentifyFailed
}

// logVerdict writes why a token was refused: to its holder all refusals are the same. The subject is not empty only where
// the issuer vouches for it.
func (s *session) logVerdict(v auth.Verdict, subject string) {
	attrs := []slog.Attr{slog.Any("address", s.conn.RemoteAddr())}
	if subject != "" {
		attrs = append(attrs, slog.String("subject", subject))
	}
	s.shard.hub.opts.Transport.Log.Warn("signed token refused", v.String(), attrs...)
}
