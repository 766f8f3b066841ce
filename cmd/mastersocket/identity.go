//go:build linux

package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/hub"
)

// verifyTokens makes the hub verify the tokens of issuers. Without any it returns nil. The caller closes the Issuers after
// the hub has ended.
func verifyTokens(issuers []oidc.Options, o *hub.Options, log *slog.Logger) (*oidc.Issuers, error) {
	if len(issuers) == 0 {
		return nil, nil
	}
	issuers = slices.Clone(issuers)
	for i := range issuers {
		issuers[i].Log = log
	}
	v, err := oidc.New(issuers...)
	if err != nil {
		return nil, usageError{err}
	}
	o.Verifier = v
	for _, s := range issuers {
		keys := cmp.Or(s.Keys, strings.Join(s.LocalKeys, " "), "where the issuer says")
		log.Info("tokens of an issuer are verified", "issuer", s.Issuer, "audiences", strings.Join(s.Audiences, " "), "keys", keys)
	}
	return v, nil
}

// keysTimeout bounds how long a reload waits for the issuers' keys. Fetching them goes on after it.
const keysTimeout = 5 * time.Second

// refreshKeys fetches the keys of the issuers and reports whether any changed. Where that fails the log says so, and the
// keys known before stay in use.
func refreshKeys(ctx context.Context, v *oidc.Issuers) (changed bool) {
	if v == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	changed, _ = v.Refresh(ctx)
	return changed
}
