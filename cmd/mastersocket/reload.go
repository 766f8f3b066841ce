//go:build linux

package main

import (
	"log/slog"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/config"
)

// reload reads the configuration again, as a whole: it takes over tokens and the log level, or nothing at all.
func (c *serveCmd) reload(h *hub.Hub, store *auth.Store, log *slog.Logger) {
	fresh, err := c.Reload()
	if err != nil {
		log.Error("configuration not reloaded: all stays as it was", "error", err)
		return
	}
	tokens, generated, err := config.LoadTokens(*fresh)
	if err != nil {
		log.Error("configuration not reloaded: all stays as it was", "error", err)
		return
	}
	c.level.Set(fresh.Level())
	if generated != "" { // no token is configured: the one made at the start goes on
		log.Info("configuration reloaded")
		return
	}
	change := store.Replace(tokens)
	h.TokensChanged()
	log.Info("configuration reloaded", "tokens", tokens.Len(),
		"added", len(change.Added), "changed", len(change.Changed), "revoked", len(change.Revoked))
}
