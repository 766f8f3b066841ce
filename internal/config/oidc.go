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
	if err := oidc.CheckSource(s.OIDCIssuer, s.OIDCJWKS); err != nil {
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
		if audience == "" || strings.TrimSpace(audience) != audience {
			v.addf("oidc-audience", "%q is no audience; write the claim aud of the tokens, such as mastersocket", audience)
		}
	}
	if s.OIDCJWKS != "" && !strings.Contains(s.OIDCJWKS, "://") {
		const why = "it has no meaning where oidc-jwks is a file, as nothing is fetched; remove one of them"
		v.unless(s.OIDCCA == "", "oidc-ca", why)
		v.unless(s.OIDCBearerFile == "", "oidc-bearer-file", why)
	}
}

// unless adds a problem of the setting where it is not right.
func (v *validation) unless(right bool, setting, problem string) {
	if !right {
		v.addf(setting, "%s", problem)
	}
}

// identityWarnings returns why signed tokens or certificates let no client in: files of the issuer that can't be read at
// the moment, and entries of the tokens file that no client can match, or none at all.
func (s *Serve) identityWarnings(tokens *auth.Tokens) []string {
	var warnings []string
	switch {
	case s.OIDCIssuer == "" && tokens.ClaimRules() > 0:
		warnings = append(warnings, s.TokensFile+": entries with claims match no client, since --oidc-issuer does not say whose tokens are verified")
	case s.OIDCIssuer != "" && tokens.ClaimRules() == 0:
		warnings = append(warnings, "--oidc-issuer: no entry of --tokens-file has claims, so none of the issuer's tokens lets a client in")
	}
	if tokens.CertificateRules() > 0 && s.TLSClientCA == "" {
		warnings = append(warnings, s.TokensFile+": entries with certificate match no client, since the hub asks for no certificate; set --tls-client-ca")
	}
	if s.OIDCIssuer != "" {
		for _, wrong := range oidc.CheckFiles(s.oidcOptions()) {
			warnings = append(warnings, wrong.Error()+"; the hub keeps trying")
		}
	}
	return warnings
}
