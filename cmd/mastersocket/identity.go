//go:build linux

package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/hub"
)

// verifyTokens makes the hub verify the tokens of an issuer. Without settings it returns nil. The caller closes the
// Verifier after the hub has ended.
func verifyTokens(settings *oidc.Options, o *hub.Options, log *slog.Logger) (*oidc.Verifier, error) {
	if settings == nil {
		return nil, nil
	}
	settings.Log = log
	v, err := oidc.New(*settings)
	if err != nil {
		return nil, usageError{err}
	}
	o.Verifier = v
	keys := settings.Keys
	if keys == "" {
		keys = "where the issuer says"
	}
	log.Info("tokens of an issuer are verified", "issuer", settings.Issuer,
		"audiences", strings.Join(settings.Audiences, " "), "keys", keys)
	return v, nil
}

// keysTimeout bounds how long a reload waits for the issuer's keys. Fetching them goes on after it.
const keysTimeout = 5 * time.Second

// refreshKeys fetches the keys of the issuer and reports whether they changed. Where that fails the log says so, and
// the keys known before stay in use.
func refreshKeys(ctx context.Context, v *oidc.Verifier) (changed bool) {
	if v == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	changed, err := v.Refresh(ctx)
	return changed && err == nil
}
