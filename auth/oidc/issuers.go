package oidc

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/auth"
)

// Issuers verifies the tokens of several issuers, each by its own keys and settings. Close ends it.
type Issuers struct {
	all []*Verifier
}

// New begins to fetch the keys of each issuer, and returns without waiting for them. The error is about the options: no two
// of them may be of one issuer. A failed fetch is logged and tried again.
func New(issuers ...Options) (*Issuers, error) { return startAll(usualTimes(), issuers) }

func startAll(t times, issuers []Options) (*Issuers, error) {
	all, slots := &Issuers{}, newSlots()
	for _, o := range issuers {
		if all.named(o.Issuer) != nil {
			all.Close()
			return nil, fmt.Errorf("verify tokens: the issuer %.200q is there twice", o.Issuer)
		}
		v, err := start(o, t, slots)
		if err != nil {
			all.Close()
			return nil, err
		}
		all.all = append(all.all, v)
	}
	return all, nil
}

// Close ends the goroutines that fetch keys, and waits for them.
func (i *Issuers) Close() {
	for _, v := range i.all {
		v.Close()
	}
}

// named returns the Verifier of the issuer of that name; nil for none.
func (i *Issuers) named(issuer string) *Verifier {
	for _, v := range i.all {
		if v.opts.Issuer == issuer {
			return v
		}
	}
	return nil
}

// Verify is [Verifier.Verify] by the issuer that the token names in its claim iss. What the token says of its algorithm and
// key decides nothing here: another issuer's keys are never tried.
func (i *Issuers) Verify(ctx context.Context, token string) (auth.Identity, auth.Verdict) {
	if len(i.all) == 1 {
		return i.all[0].Verify(ctx, token)
	}
	issuer, ok := issuerOf(token)
	if !ok {
		return auth.Identity{}, auth.Malformed
	}
	v := i.named(issuer)
	if v == nil {
		return auth.Identity{}, auth.WrongIssuer
	}
	return v.Verify(ctx, token)
}

// issuerOf returns the claim iss of a token that nothing vouches for yet. ok is false if the claims are not well-formed, or
// have none.
func issuerOf(token string) (issuer string, ok bool) {
	if !auth.LooksSigned(token) {
		return "", false
	}
	_, rest, _ := strings.Cut(token, ".")
	encoded, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || checkForm(payload) != nil {
		return "", false
	}
	d := jsontext.NewDecoder(bytes.NewReader(payload))
	if _, err := d.ReadToken(); err != nil {
		return "", false
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return "", false
		}
		if name.String() == "iss" {
			if d.PeekKind() != '"' {
				return "", false
			}
			value, err := d.ReadToken()
			return value.String(), err == nil
		}
		if d.SkipValue() != nil {
			return "", false
		}
	}
	return "", false
}

// Refresh fetches the keys of all issuers now, and reports whether any are others than before.
func (i *Issuers) Refresh(ctx context.Context) (changed bool, err error) {
	changes, errs := make([]bool, len(i.all)), make([]error, len(i.all))
	var wait sync.WaitGroup
	for n, v := range i.all {
		wait.Go(func() { changes[n], errs[n] = v.Refresh(ctx) })
	}
	wait.Wait()
	for _, c := range changes {
		changed = changed || c
	}
	return changed, errors.Join(errs...)
}

// Stats tells what is known of the keys of each issuer.
func (i *Issuers) Stats() []auth.KeyStats {
	all := make([]auth.KeyStats, len(i.all))
	for n, v := range i.all {
		all[n] = v.Stats()
	}
	return all
}
