package hub

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// Verifier verifies tokens that an issuer signed. Its methods may be called from any goroutine.
type Verifier interface {
	// Verify tells what is to be thought of a token for which [auth.LooksSigned] holds, and what it says if that is
	// [auth.Verified]. It may take its time, but not longer than ctx.
	Verify(ctx context.Context, token string) (auth.Identity, auth.Verdict)
	// Stats tells what is known of the issuer's keys.
	Stats() auth.KeyStats
}

// maxVerifying bounds the tokens that are being verified, or wait for it, on the instance. Each is a goroutine and at most
// auth.MaxSignedBytes. Whoever comes then is told to come again.
const maxVerifying = 1024

// maxSubjectBytes bounds what is kept of whom a token is about.
const maxSubjectBytes = 256

// verifications are the tokens that are being verified. Their goroutines end with ctx.
type verifications struct {
	verifier Verifier // nil for none
	ctx      context.Context
	stop     context.CancelFunc
	done     sync.WaitGroup
	under    atomic.Int32 // way
	verdicts [auth.NumVerdicts]atomic.Uint64
}

func (v *verifications) start(verifier Verifier) {
	v.verifier = verifier
	v.ctx, v.stop = context.WithCancel(context.Background())
}

// close ends the goroutines, and waits for them. None is begun after: the loops have ended.
func (v *verifications) close() {
	v.stop()
	v.done.Wait()
}

// takes reports whether the token, which is in no table, is to be verified.
func (v *verifications) takes(token string) bool { return v.verifier != nil && auth.LooksSigned(token) }

// begin reports whether one more token may be verified; end must follow then.
func (v *verifications) begin() bool {
	if v.under.Add(1) > maxVerifying {
		v.under.Add(-1)
		v.verdicts[auth.Overloaded].Add(1)
		return false
	}
	return true
}

func (v *verifications) end() { v.under.Add(-1) }

// verify tells what is to be thought of the token, and what its holder may do.
func (v *verifications) verify(ctx context.Context, tokens *auth.Store, token string) (auth.Identity, *auth.Grant, auth.Verdict) {
	identity, verdict := v.verifier.Verify(ctx, token)
	var grant *auth.Grant
	if verdict == auth.Verified {
		var ok bool
		if grant, ok = tokens.ByClaims(identity.Claims); !ok {
			verdict = auth.NoGrant
		}
	}
	v.verdicts[verdict].Add(1)
	return identity, grant, verdict
}

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
	if !h.verifications.begin() {
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
	defer h.verifications.end()
	ctx, cancel := context.WithTimeout(h.verifications.ctx, left)
	defer cancel()
	var identity auth.Identity
	identity, v.grant, v.verdict = h.verifications.verify(ctx, h.tokens, v.asked.Token)
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
		return // it left meanwhile
	}
	s.phase = phaseStranger
	if v.verdict != auth.Verified {
		s.logVerdict(v.verdict, v.subject)
		s.disconnect(refusal(v.verdict))
		return
	}
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

// cutSubject returns what operators see of a subject.
func cutSubject(s string) string {
	if len(s) > maxSubjectBytes {
		s = s[:maxSubjectBytes]
	}
	return strings.ToValidUTF8(s, "")
}

// VerifierStats are the counts of a hub that verifies tokens of an issuer.
type VerifierStats struct {
	Verdicts [auth.NumVerdicts]uint64
	Keys     auth.KeyStats
	Under    int // way at the moment
}

func (v *verifications) stats() *VerifierStats {
	if v.verifier == nil {
		return nil
	}
	s := &VerifierStats{Keys: v.verifier.Stats(), Under: int(v.under.Load())}
	for i := range s.Verdicts {
		s.Verdicts[i] = v.verdicts[i].Load()
	}
	return s
}
