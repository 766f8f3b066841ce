//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/services/fleet"
)

// reloader reads the configuration again, for a signal, a changed file or an operator. One reload runs at a time, and takes
// effect as a whole or not at all.
type reloader struct {
	started  *config.Serve // as the hub was started with it
	level    *slog.LevelVar
	hub      *hub.Hub
	store    *auth.Store
	certs    *certificates
	login    *redisLogin
	verifier *oidc.Issuers  // nil without an issuer
	issuers  []oidc.Options // whose tokens it verifies
	fleets   *fleet.Service // nil where the service type is not enabled
	log      *slog.Logger

	mu        sync.Mutex
	current   *config.Serve // as it is in force
	generated bool          // the one token in force was made at the start
	settings  []config.Fleet
	warnings  []string // that the log has, of the start or the last reload
	stats     admin.ReloadStats
}

func newReloader(c *serveCmd, h *hub.Hub, store *auth.Store, certs *certificates, login *redisLogin, loaded *config.Loaded, log *slog.Logger) *reloader {
	return &reloader{
		started: &c.Serve, level: &c.level, hub: h, store: store, certs: certs, login: login, issuers: loaded.Issuers, log: log, fleets: c.fleets, settings: loaded.Fleets,
		current: &c.Serve, generated: loaded.Generated != "", warnings: loaded.Warnings,
		stats: admin.ReloadStats{LastSuccess: time.Now()},
	}
}

// sourceFile is the source of a reload that a changed file caused. It does not fetch the issuer's keys.
const sourceFile = "changed file"

// Reload implements admin.Reloader.
func (r *reloader) Reload(ctx context.Context, source string) (admin.ReloadResult, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	result, err := r.reload()
	if err == nil && source != sourceFile && refreshKeys(ctx, r.verifier) {
		result.Changed = append(result.Changed, "oidc-keys")
	}
	if err != nil {
		r.stats.Failed++
		r.stats.Failing = true
		r.log.Error("configuration not reloaded: all stays as it was", "source", source, "error", err)
		r.hub.Record(hub.LogReload, "REFUSED", source+": "+err.Error(), "")
		return result, err
	}
	r.stats.Succeeded++
	r.stats.LastSuccess = result.At
	r.stats.Failing = false
	r.log.Info("configuration reloaded", "source", source, "changed", strings.Join(result.Changed, " "),
		"tokens_added", len(result.TokensAdded), "tokens_changed", len(result.TokensChanged),
		"tokens_revoked", len(result.TokensRevoked))
	r.hub.Record(hub.LogReload, "DONE", strings.TrimSuffix(source+": "+strings.Join(result.Changed, " "), ": "), "")
	if len(result.NeedRestart) > 0 {
		r.log.Warn("settings changed that take effect only at the next start", "settings", strings.Join(result.NeedRestart, " "))
	}
	return result, nil
}

// Reloads implements admin.Reloader.
func (r *reloader) Reloads() admin.ReloadStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// drainTimeout returns the setting in force.
func (r *reloader) drainTimeout() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.DrainTimeout
}

// drainSettings are the pace that a configuration sets.
func drainSettings(s *config.Serve) hub.DrainSettings {
	return hub.DrainSettings{Timeout: s.DrainTimeout, Rate: s.DrainRate}
}

// files returns the files that the configuration in force consists of.
func (r *reloader) files() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.Files()
}

// reload checks everything before it changes anything. mu must be held.
func (r *reloader) reload() (admin.ReloadResult, error) {
	fresh, err := r.started.Reload()
	if err != nil {
		return admin.ReloadResult{}, invalidConfig(err)
	}
	loaded, err := fresh.Load()
	if err != nil {
		return admin.ReloadResult{}, invalidConfig(err)
	}
	if loaded.Generated != "" && !r.generated {
		return admin.ReloadResult{}, &admin.InvalidConfig{Problems: []admin.ConfigProblem{{
			Where: "token", What: "no token is configured any more, and a running hub makes none; configure one, or restart it",
		}}}
	}
	if err := config.CheckIssuers(loaded.Tokens, r.issuers); err != nil { // those that are in force until the next start
		return admin.ReloadResult{}, invalidConfig(err)
	}
	result := admin.ReloadResult{At: time.Now().UTC()}
	if loaded.Generated == "" {
		r.takeTokens(loaded.Tokens, &result)
	}
	r.warn(loaded.Warnings)
	if r.certs.take(loaded.TLS) {
		result.Changed = append(result.Changed, "certificate")
	}
	// The login for another Redis is of no use until the next start.
	if fresh.Redis == r.started.Redis && r.login.take(loaded.Redis) {
		result.Changed = append(result.Changed, "redis-login")
	}
	if r.fleets != nil && !reflect.DeepEqual(r.settings, loaded.Fleets) {
		r.fleets.Configure(fleetSettings(loaded.Fleets))
		r.settings = loaded.Fleets
		result.Changed = append(result.Changed, "fleets")
	}
	for _, d := range config.Differences(r.current, fresh) {
		if d.Reload && !d.Path && !d.Secret && !strings.HasPrefix(d.Name, "redis-") { // the others are told by what they hold
			result.Changed = append(result.Changed, d.Name)
		}
	}
	for _, d := range config.Differences(r.started, fresh) {
		if !d.Reload {
			result.NeedRestart = append(result.NeedRestart, d.Name)
		}
	}
	if fresh.IssuersFile == r.started.IssuersFile && !reflect.DeepEqual(r.issuers, loaded.Issuers) && fresh.IssuersFile != "" {
		result.NeedRestart = append(result.NeedRestart, "issuers-file")
	}
	r.level.Set(fresh.Level())
	r.hub.SetDrain(drainSettings(fresh))
	r.hub.SetHistory(historyRules(loaded.History))
	r.current = fresh
	return result, nil
}

// takeTokens puts tokens in force, and disconnects the clients whose token is revoked.
func (r *reloader) takeTokens(tokens *auth.Tokens, result *admin.ReloadResult) {
	change := r.store.Replace(tokens)
	r.hub.TokensChanged()
	r.generated = false
	result.TokensAdded, result.TokensChanged, result.TokensRevoked = names(change.Added), names(change.Changed), names(change.Revoked)
	if len(change.Added)+len(change.Changed)+len(change.Revoked) > 0 {
		result.Changed = append(result.Changed, "tokens")
	}
}

// warn logs the warnings that the configuration before did not have. mu must be held.
func (r *reloader) warn(warnings []string) {
	for _, w := range warnings {
		if !slices.Contains(r.warnings, w) {
			r.log.Warn(w)
		}
	}
	r.warnings = warnings
}

func names(grants []*auth.Grant) []string {
	var all []string
	for _, g := range grants {
		all = append(all, g.Name)
	}
	return all
}

// invalidConfig translates an error of package config.
func invalidConfig(err error) error {
	var invalid *config.InvalidError
	if !errors.As(err, &invalid) {
		return &admin.InvalidConfig{Problems: []admin.ConfigProblem{{Where: "configuration", What: err.Error()}}}
	}
	e := &admin.InvalidConfig{}
	for _, p := range invalid.Problems {
		e.Problems = append(e.Problems, admin.ConfigProblem{Where: p.Where, What: p.What})
	}
	return e
}
