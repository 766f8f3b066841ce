//go:build linux

package main

import (
	"log/slog"
	"strings"

	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/hub"
)

// verifyTokens makes the hub verify the tokens of an issuer; settings is nil for none. end, never nil, stops that; it must
// be called after the hub has ended.
func verifyTokens(settings *oidc.Options, o *hub.Options, log *slog.Logger) (end func(), err error) {
	if settings == nil {
		return func() {}, nil
	}
	settings.Log = log
	v, err := oidc.New(*settings)
	if err != nil {
		return func() {}, usageError{err}
	}
	o.Verifier = v
	keys := settings.Keys
	if keys == "" {
		keys = "where the issuer says"
	}
	log.Info("tokens of an issuer are verified", "issuer", settings.Issuer,
		"audiences", strings.Join(settings.Audiences, " "), "keys", keys)
	return v.Close, nil
}
