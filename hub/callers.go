package hub

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/auth"
)

// This file knows the holders of tokens that send without being clients, such as callers by HTTP. All that one of them sends
// on an instance counts as sent over one connection.

// Errors of what Callers send.
var (
	ErrForbidden = errors.New("the token may not send this intent")
	ErrTooBig    = errors.New("the message is larger than max_message_bytes")
	// ErrRateLimited: what the token allows in a second has been sent.
	ErrRateLimited = errors.New("the rate of the token is exceeded; try again later")
	// ErrBusy: a loop or the broker can't keep up, and nothing is read from clients either.
	ErrBusy = errors.New("overloaded: a loop or the broker can't keep up")
	// ErrClosed: the hub has ended.
	ErrClosed = errors.New("the hub is closed")
)

// Caller is the holder of a token or a certificate that sends without being a client. It never changes.
type Caller struct {
	credential Credential
	limits     *limits
}

const (
	// callerIdle is how long a Caller is remembered that sends nothing: as long its limits know what it has sent.
	callerIdle = time.Minute
	// signedFor is how long a signed token is not verified again.
	signedFor = time.Minute
	// callersSwept is the time between two looks for what is to be forgotten.
	callersSwept = 10 * time.Second
	// maxCallers bounds the Callers, and the signed tokens, that are remembered.
	maxCallers = 65536
)

// callers are the Callers of late, and the signed tokens that they showed. The zero callers are none. Any goroutine may use
// it.
type callers struct {
	mu     sync.Mutex
	known  map[string]*knownCaller // by name and subject, as holders are
	signed map[[sha256.Size]byte]verifiedToken
	swept  time.Time
}

// knownCaller is a Caller, and when it was last asked for.
type knownCaller struct {
	*Caller
	used time.Time
}

// verifiedToken is what was found out about a signed token.
type verifiedToken struct {
	credential Credential
	verified   time.Time
}

// Caller returns the holder of the credential as a sender.
func (h *Hub) Caller(c Credential) *Caller { return h.callers.of(h, c, time.Now()) }

func (a *callers) of(h *Hub, c Credential, now time.Time) *Caller {
	key := holderKey(c.Grant, c.Subject)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(h, now)
	k := a.known[key]
	if k != nil && k.credential == c {
		k.used = now
		return k.Caller
	}
	if a.known == nil {
		a.known = make(map[string]*knownCaller)
	}
	if k == nil && len(a.known) >= maxCallers {
		for other := range a.known {
			a.forget(h, other)
			break
		}
	}
	l := h.holders.visit(c.Grant, c.Subject, h.opts.Transport.MaxMessageBytes)
	if k != nil { // the rights are others now
		h.holders.leave(k.limits)
	}
	k = &knownCaller{&Caller{c, l}, now}
	a.known[key] = k
	return k.Caller
}

// forget removes a Caller; mu must be held.
func (a *callers) forget(h *Hub, key string) {
	h.holders.leave(a.known[key].limits)
	delete(a.known, key)
}

// sweep forgets what was not used of late; mu must be held.
func (a *callers) sweep(h *Hub, now time.Time) {
	if now.Sub(a.swept) < callersSwept {
		return
	}
	a.swept = now
	for key, k := range a.known {
		if now.Sub(k.used) >= callerIdle {
			a.forget(h, key)
		}
	}
	for sum, s := range a.signed {
		if now.Sub(s.verified) >= signedFor {
			delete(a.signed, sum)
		}
	}
}

// remembered returns what a signed token gives its holder, and whether that was found out within signedFor.
func (a *callers) remembered(tokens *auth.Store, sum *[sha256.Size]byte, now time.Time) (Credential, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.signed[*sum]
	if !ok || now.Sub(s.verified) >= signedFor || s.credential.hasEnded(now) {
		return Credential{}, false
	}
	current, ok := tokens.Current(s.credential.Grant)
	return s.credential, ok && current == s.credential.Grant
}

// remember notes what a signed token gives its holder.
func (a *callers) remember(sum *[sha256.Size]byte, c Credential, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signed == nil {
		a.signed = make(map[[sha256.Size]byte]verifiedToken)
	}
	if len(a.signed) >= maxCallers {
		for other := range a.signed {
			delete(a.signed, other)
			break
		}
	}
	a.signed[*sum] = verifiedToken{c, now}
}

// hasEnded reports whether the token or certificate has expired.
func (c *Credential) hasEnded(now time.Time) bool {
	return !c.Expires.IsZero() && !now.Before(c.Expires)
}

// call is [ServiceLoop.Call].
func (sh *shard) call(from netip.Addr, token string, certificate *x509.Certificate, f func(*Caller, error)) {
	h, now := sh.hub, time.Now()
	if token == "" {
		if c, ok := h.AuthenticateCertificate(certificate); ok {
			f(h.callers.of(h, c, now), nil)
			return
		}
		f(nil, ErrNoGrant) // none is no guess
		return
	}
	if !h.attempts.Allow(from) {
		f(nil, ErrTooMany)
		return
	}
	if grant, ok := h.tokens.Authenticate(token); ok {
		h.attempts.Count(from, true)
		f(h.callers.of(h, Credential{Grant: grant}, now), nil)
		return
	}
	if !h.verifications.takes(token) {
		h.attempts.Count(from, false)
		f(nil, ErrNoGrant)
		return
	}
	sum := sha256.Sum256([]byte(token))
	if c, ok := h.callers.remembered(h.tokens, &sum, now); ok {
		f(h.callers.of(h, c, now), nil)
		return
	}
	if !h.verifications.reserve() {
		f(nil, &RefusedToken{Verdict: auth.Overloaded})
		return
	}
	h.verifications.done.Go(func() { sh.verifyCaller(from, token, &sum, f) })
}

// verifyCaller has a signed token verified, on a goroutine of its own, for which reserve was called.
func (sh *shard) verifyCaller(from netip.Addr, token string, sum *[sha256.Size]byte, f func(*Caller, error)) {
	h := sh.hub
	defer h.verifications.free()
	ctx, cancel := context.WithTimeout(h.verifications.ctx, h.opts.IdentifyTimeout)
	defer cancel()
	c, err := h.verifySigned(ctx, token)
	refused, _ := err.(*RefusedToken)
	if refused == nil || !refused.Verdict.Temporary() {
		h.attempts.Count(from, err == nil)
	}
	var caller *Caller
	if err == nil {
		now := time.Now()
		h.callers.remember(sum, c, now)
		caller = h.callers.of(h, c, now)
	}
	sh.loop.Post(task(func() { f(caller, err) }))
}
