//go:build linux

package main

import (
	"log/slog"
	"strings"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/config"
)

// verifyTokens makes the hub verify the tokens of the issuer that the settings name, if they name one. The function that it
// returns ends that, and is never nil; it is for when the hub has ended.
func (c *serveCmd) verifyTokens(o *hub.Options, log *slog.Logger) (end func(), err error) {
	settings, ok, err := c.OIDC()
	if err != nil {
		return func() {}, usageError{err}
	}
	if !ok {
		return func() {}, nil
	}
	settings.Log = log
	v, err := oidc.New(settings)
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

// warnOfIdentity logs what lets no signed token or certificate in.
func warnOfIdentity(s *config.Serve, tokens *auth.Tokens, log *slog.Logger) {
	for _, w := range s.OIDCWarnings(tokens) {
		log.Warn(w)
	}
}
