package config

import (
	"strings"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
)

func (s *Serve) oidcOptions() *oidc.Options {
	return &oidc.Options{
		Issuer: s.OIDCIssuer, Audiences: s.OIDCAudience, Keys: s.OIDCJWKS, CAFile: s.OIDCCA, BearerFile: s.OIDCBearerFile,
	}
}

// oidc checks the settings of the issuer.
func (v *validation) oidc() {
	s := v.s
	if s.OIDCIssuer == "" {
		const why = "it has no meaning without oidc-issuer; write the issuer of clients' tokens, or remove it"
		v.unless(len(s.OIDCAudience) == 0, "oidc-audience", why)
		v.unless(s.OIDCJWKS == "", "oidc-jwks", why)
		v.unless(s.OIDCCA == "", "oidc-ca", why)
		v.unless(s.OIDCBearerFile == "", "oidc-bearer-file", why)
		return
	}
	if err := oidc.CheckSource(s.oidcOptions()); err != nil {
		setting := "oidc-issuer"
		if s.OIDCJWKS != "" {
			setting = "oidc-jwks"
		}
		v.addf(setting, "%v", err)
	}
	if len(s.OIDCAudience) == 0 {
		v.addf("oidc-issuer", "oidc-audience is missing: the hub would accept tokens that are for other services; "+
			"write the audience that clients have their tokens issued for, such as mastersocket")
	}
	for _, audience := range s.OIDCAudience {
		if !isAudience(audience) {
			v.addf("oidc-audience", "%q is no audience; write the claim aud of the tokens, such as mastersocket", audience)
		}
	}
	if s.OIDCJWKS != "" && !strings.Contains(s.OIDCJWKS, "://") {
		const why = "it has no meaning where oidc-jwks is a file, as nothing is fetched; remove one of them"
		v.unless(s.OIDCCA == "", "oidc-ca", why)
		v.unless(s.OIDCBearerFile == "", "oidc-bearer-file", why)
	}
}

func isAudience(s string) bool { return s != "" && strings.TrimSpace(s) == s }

// unless adds a problem of the setting where it is not right.
func (v *validation) unless(right bool, setting, problem string) {
	if !right {
		v.addf(setting, "%s", problem)
	}
}

// identityWarnings returns why signed tokens or certificates let no client in: files of an issuer that can't be read at
// the moment, and entries of the tokens file that no client can match, or none at all.
func (s *Serve) identityWarnings(tokens *auth.Tokens, issuers []oidc.Options) []string {
	var warnings []string
	setting := "--oidc-issuer"
	if s.OIDCIssuer == "" {
		setting = "--issuers-file"
	}
	switch {
	case len(issuers) == 0 && tokens.ClaimRules() > 0:
		warnings = append(warnings, s.TokensFile+": entries with claims match no client, since neither --oidc-issuer nor --issuers-file says whose tokens are verified")
	case len(issuers) > 0 && tokens.ClaimRules() == 0:
		warnings = append(warnings, setting+": no entry of --tokens-file has claims, so none of the issuer's tokens lets a client in")
	}
	if tokens.CertificateRules() > 0 && s.TLSClientCA == "" {
		warnings = append(warnings, s.TokensFile+": entries with certificate match no client, since the hub asks for no certificate; set --tls-client-ca")
	}
	return append(warnings, issuerWarnings(issuers)...)
}

// issuerWarnings returns what is wrong at the moment with the files of issuers.
func issuerWarnings(issuers []oidc.Options) []string {
	var warnings []string
	for i := range issuers {
		for _, wrong := range oidc.CheckFiles(&issuers[i]) {
			warnings = append(warnings, wrong.Error()+"; the hub keeps trying")
		}
		for _, path := range issuers[i].LocalKeys {
			if readableByAll(path) {
				warnings = append(warnings, path+": every user of this machine can read this file; if the key is a secret, chmod o-r it")
			}
		}
	}
	return warnings
}
