package hub

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/auth"
)

// Verifier verifies tokens that issuers signed. Its methods may be called from any goroutine.
type Verifier interface {
	// Verify returns the verdict on a token for which [auth.LooksSigned] holds, and what the token says if that is
	// [auth.Verified]. It may take as long as ctx.
	Verify(ctx context.Context, token string) (auth.Identity, auth.Verdict)
	// Stats tells what is known of the keys of each issuer.
	Stats() []auth.KeyStats
}

// maxVerifying bounds the tokens that are being verified, or wait for it, on the instance. Each is a goroutine and at most
// auth.MaxSignedBytes. Clients beyond it are told to try again later.
const maxVerifying = 1024

// maxSubjectBytes bounds what is kept of a token's subject.
const maxSubjectBytes = 256

// verifications are the tokens that are being verified. Their goroutines end with ctx.
type verifications struct {
	verifier Verifier // nil for none
	ctx      context.Context
	stop     context.CancelFunc
	done     sync.WaitGroup
	running  atomic.Int32
	verdicts [auth.NumVerdicts]atomic.Uint64
}

func (v *verifications) open(verifier Verifier) {
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

// reserve reports whether one more token may be verified; free must follow then.
func (v *verifications) reserve() bool {
	if v.running.Add(1) > maxVerifying {
		v.running.Add(-1)
		v.verdicts[auth.Overloaded].Add(1)
		return false
	}
	return true
}

func (v *verifications) free() { v.running.Add(-1) }

// examine returns the verdict on the token, what it says, and what its holder may do.
func (v *verifications) examine(ctx context.Context, tokens *auth.Store, token string) (auth.Identity, *auth.Grant, auth.Verdict) {
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

// cutSubject returns what operators see of a subject.
func cutSubject(s string) string {
	if len(s) > maxSubjectBytes {
		s = s[:maxSubjectBytes]
	}
	return strings.ToValidUTF8(s, "")
}

// VerifierStats are the counts of a hub that verifies tokens of issuers.
type VerifierStats struct {
	Verdicts [auth.NumVerdicts]uint64
	Keys     []auth.KeyStats // of each issuer
	Running  int             // verifications at the moment
}

func (v *verifications) stats() *VerifierStats {
	if v.verifier == nil {
		return nil
	}
	s := &VerifierStats{Keys: v.verifier.Stats(), Running: int(v.running.Load())}
	for i := range s.Verdicts {
		s.Verdicts[i] = v.verdicts[i].Load()
	}
	return s
}
