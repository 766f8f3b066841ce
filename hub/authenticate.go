package hub

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/mastersocket/mastersocket/auth"
)

// Errors of [Hub.Authenticate].
var (
	ErrNoGrant  = errors.New("the token is not in force")
	ErrNotKnown = errors.New("it can't be told at the moment whether the token is good; try again")
	ErrTooMany  = errors.New("too many attempts with wrong tokens from this address; try again later")
)

// RefusedToken is the error of [Hub.Authenticate] for a token that an issuer might have signed. It says why, for the log;
// its text, for the holder, is that of ErrNoGrant or ErrNotKnown, which it wraps.
type RefusedToken struct {
	Verdict auth.Verdict
	Subject string // of the token; empty unless the issuer vouches for it
}

// Error returns what the holder may know.
func (e *RefusedToken) Error() string { return e.Unwrap().Error() }

// Unwrap returns ErrNoGrant or ErrNotKnown.
func (e *RefusedToken) Unwrap() error {
	if e.Verdict.Temporary() {
		return ErrNotKnown
	}
	return ErrNoGrant
}

// Credential is what a token or a certificate gives its holder.
type Credential struct {
	Grant   *auth.Grant
	Subject string    // of a signed token or a certificate; empty for other tokens
	Expires time.Time // when these end; zero for never
}

// Authenticate returns what the holder of the token may do. A token that an issuer signed is verified, for which
// Authenticate waits no longer than ctx: a loop must not call it. from is the address of the token's holder. The error is
// ErrNoGrant, ErrTooMany, in which case the token was not looked at, or a *RefusedToken.
func (h *Hub) Authenticate(ctx context.Context, from netip.Addr, token string) (Credential, error) {
	if token == "" { // that is no guess
		return Credential{}, ErrNoGrant
	}
	if !h.attempts.Allow(from) {
		return Credential{}, ErrTooMany
	}
	c, err := h.authenticate(ctx, token)
	if !errors.Is(err, ErrNotKnown) {
		h.attempts.Count(from, err == nil)
	}
	return c, err
}

func (h *Hub) authenticate(ctx context.Context, token string) (Credential, error) {
	grant, ok := h.tokens.Authenticate(token)
	switch v := &h.verifications; {
	case ok:
		return Credential{Grant: grant}, nil
	case !v.takes(token):
		return Credential{}, ErrNoGrant
	case !v.reserve():
		return Credential{}, &RefusedToken{Verdict: auth.Overloaded}
	}
	defer h.verifications.free()
	return h.verifySigned(ctx, token)
}

// verifySigned has a signed token verified, for which verifications.reserve was called.
func (h *Hub) verifySigned(ctx context.Context, token string) (Credential, error) {
	identity, grant, verdict := h.verifications.examine(ctx, h.tokens, token)
	subject := cutSubject(identity.Subject)
	if verdict != auth.Verified {
		return Credential{}, &RefusedToken{verdict, subject}
	}
	h.logUnusable(grant, subject)
	return Credential{Grant: grant, Subject: subject, Expires: identity.Expires}, nil
}

// logUnusable writes which of the rights of an entry with placeholders its holder does not get, and why.
func (h *Hub) logUnusable(g *auth.Grant, subject string) {
	for _, u := range g.Unusable() {
		h.opts.Transport.Log.Warn("placeholder of the tokens file not filled: its right matches nothing", string(u.Cause),
			slog.String("token", g.Name), slog.String("placeholder", u.Placeholder), slog.String("subject", subject))
	}
}

// AuthenticateCertificate returns what the holder of the certificate may do, and whether the tokens file says so and the
// certificate is still valid. The caller has verified it; see [auth.Store.ByCertificate]. It does not block.
func (h *Hub) AuthenticateCertificate(c *x509.Certificate) (Credential, bool) {
	grant, ok := h.tokens.ByCertificate(c)
	if !ok || !time.Now().Before(c.NotAfter) {
		return Credential{}, false
	}
	subject := c.Subject.CommonName
	switch {
	case len(c.URIs) > 0:
		subject = c.URIs[0].String()
	case subject == "" && len(c.DNSNames) > 0:
		subject = c.DNSNames[0]
	}
	subject = cutSubject(subject)
	h.logUnusable(grant, subject)
	return Credential{Grant: grant, Subject: subject, Expires: c.NotAfter}, true
}

// KnownToken returns what the holder of the token may do, and whether it is one of those in the tokens' table. from is the
// address of its holder: where too many wrong tokens came from there, none is known. It never blocks, and takes no token
// that an issuer signed; see [Hub.Authenticate].
func (h *Hub) KnownToken(from netip.Addr, token string) (*auth.Grant, bool) {
	if !h.attempts.Allow(from) {
		return nil, false
	}
	grant, ok := h.tokens.Authenticate(token)
	h.attempts.Count(from, ok)
	return grant, ok
}

// Current returns what the holder of the token of an earlier grant may do now, and whether the token is still in force.
func (h *Hub) Current(old *auth.Grant) (*auth.Grant, bool) { return h.tokens.Current(old) }

// GrantNamed returns what the holder of the token of that name may do, and whether there is such a token here: for what
// another instance vouches for. See [auth.Store.Named].
func (h *Hub) GrantNamed(name string) (*auth.Grant, bool) { return h.tokens.Named(name) }
