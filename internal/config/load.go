package config

import (
	"crypto/x509"
	"net/netip"
	"slices"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/internal/handshake"
)

// Loaded is what the settings and the files that they name amount to.
type Loaded struct {
	Tokens *auth.Tokens
	// Generated is the token that was made because none is configured; empty otherwise. Its holders may do everything.
	Generated     string
	TLS           *TLS           // nil without --tls-cert
	Issuers       []oidc.Options // of --oidc-issuer and --issuers-file; the caller sets Log
	Origins       *handshake.OriginPolicy
	Proxies       []netip.Prefix // of --trusted-proxies
	Redis         *Redis         // nil without --redis
	AdvertisedCAs *x509.CertPool // of --advertise-ca; nil for the system's
	Fleets        []Fleet        // of --fleet-file
	History       []HistoryRule  // of --history
	// Warnings are not errors but worth a line in the log. They repeat no secret.
	Warnings []string
}

// Load checks all settings and reads the files that they name. It is the one check of a configuration: a start of the
// hub, a reload and [CheckFile] all call it. The error is an [InvalidError] with everything that is wrong.
func (s *Serve) Load() (*Loaded, error) {
	v := validation{s: s, problems: slices.Clone(s.problems)}
	v.settings()
	l := &Loaded{Warnings: s.Warnings()}
	v.loadOrigins(l)
	v.loadProxies(l)
	v.loadTokens(l)
	v.loadTLS(l)
	v.loadRedis(l)
	v.loadFleets(l)
	v.loadHistory(l)
	if s.AdvertiseCA != "" {
		l.AdvertisedCAs = v.readAuthorities("advertise-ca", s.AdvertiseCA, func(*x509.Certificate) {})
	}
	v.loadIssuers(l)
	if err := v.err(); err != nil {
		return nil, err
	}
	l.Warnings = append(l.Warnings, v.warnings...)
	if l.TLS != nil {
		l.Warnings = append(l.Warnings, l.TLS.warnings...)
	}
	l.Warnings = append(l.Warnings, s.identityWarnings(l.Tokens, l.Issuers)...)
	return l, nil
}
