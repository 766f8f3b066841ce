package oidc

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/auth"
)

// algorithms are those that a signature may have.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// maxTries bounds the keys that are tried for a token that names none.
const maxTries = 8

// Verify tells whether the issuer signed the token, for one of the audiences, and for now. The Identity is that of the
// token if the verdict is [auth.Verified], and empty otherwise.
//
// It waits for a processor, and for the keys to be fetched where they don't settle it, but not longer than ctx. The
// verdict is then [auth.Overloaded], [auth.KeysUnavailable] or [auth.WrongSignature].
func (v *Verifier) Verify(ctx context.Context, token string) (auth.Identity, auth.Verdict) {
	if !auth.LooksSigned(token) {
		return auth.Identity{}, auth.Malformed
	}
	keys := v.keys.Load()
	identity, verdict := v.verifyWith(ctx, token, keys)
	var fresh *keySet
	switch verdict {
	case auth.UnknownKey, auth.KeysUnavailable:
		if fresh = v.refreshed(ctx); fresh == nil {
			return auth.Identity{}, auth.KeysUnavailable
		}
	case auth.WrongSignature:
		if fresh = v.replaced(ctx, keys); fresh == nil {
			return auth.Identity{}, auth.WrongSignature
		}
	default:
		return identity, verdict
	}
	return v.verifyWith(ctx, token, fresh)
}

// verifyWith verifies the token with these keys, nil for none.
func (v *Verifier) verifyWith(ctx context.Context, token string, keys *keySet) (auth.Identity, auth.Verdict) {
	if keys == nil {
		return auth.Identity{}, auth.KeysUnavailable
	}
	if !v.takeSlot(ctx) {
		return auth.Identity{}, auth.Overloaded
	}
	defer func() { <-v.slots }()
	a := attempt{v: v, keys: keys, verdict: auth.Malformed}
	switch _, err := gooidc.NewVerifier(v.opts.Issuer, &a, &v.config).Verify(ctx, token); {
	case !a.asked:
		return auth.Identity{}, v.refusedForm(token)
	case a.verdict != auth.Verified:
		return auth.Identity{}, a.verdict
	case err != nil: // go-oidc checks again
		return auth.Identity{}, auth.Malformed
	}
	return a.identity, auth.Verified
}

// takeSlot waits until another signature may be checked. It returns false if ctx ends before.
func (v *Verifier) takeSlot(ctx context.Context) bool {
	select {
	case v.slots <- struct{}{}:
		return true
	default:
	}
	select {
	case v.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// refusedForm returns why a token was refused before its signature was checked.
func (v *Verifier) refusedForm(token string) auth.Verdict {
	encoded, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return auth.Malformed
	}
	var h struct {
		Alg jose.SignatureAlgorithm `json:"alg"`
	}
	if err := json.Unmarshal(header, &h); err != nil || h.Alg == "" || slices.Contains(v.algorithms, h.Alg) {
		return auth.Malformed
	}
	return auth.WrongAlgorithm
}

// attempt is one token tried with one set of keys. It implements the KeySet of go-oidc, which asks it for the signature:
// the claims are read only after the signature is found good.
type attempt struct {
	v        *Verifier
	keys     *keySet
	asked    bool
	verdict  auth.Verdict
	identity auth.Identity
}

// errRefused stands for the verdict in an attempt: go-oidc passes on only the text of errors.
var errRefused = errors.New("refused")

// VerifySignature implements oidc.KeySet.
func (a *attempt) VerifySignature(_ context.Context, token string) ([]byte, error) {
	a.asked = true
	jws, err := jose.ParseSignedCompact(token, a.v.algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errRefused
	}
	payload, verdict := a.keys.verify(jws)
	if verdict == auth.Verified {
		a.identity, verdict = a.v.checkClaims(payload)
	}
	if a.verdict = verdict; verdict != auth.Verified {
		return nil, errRefused
	}
	return payload, nil
}

// verify returns what is signed by one of the keys.
func (k *keySet) verify(jws *jose.JSONWebSignature) ([]byte, auth.Verdict) {
	header := &jws.Signatures[0].Header
	tried := 0
	for i := range k.keys {
		key := &k.keys[i]
		if !k.local && header.KeyID != "" && header.KeyID != key.KeyID || !fits(key, header.Algorithm) {
			continue
		}
		if tried++; tried > maxTries {
			break
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, auth.Verified
		}
	}
	switch {
	case k.local && tried == 0:
		return nil, auth.WrongAlgorithm
	case !k.local && (tried == 0 || header.KeyID == ""):
		return nil, auth.UnknownKey
	}
	return nil, auth.WrongSignature
}
