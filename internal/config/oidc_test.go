package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
)

func TestOIDCSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags []string
		want  []string
	}{
		"discovered": {[]string{"--oidc-issuer=https://a.example", "--oidc-audience=a,b", "--oidc-ca=/ca", "--oidc-bearer-file=/token"}, nil},
		"by address": {[]string{"--oidc-issuer=any text", "--oidc-audience=a", "--oidc-jwks=https://a.example/keys", "--oidc-ca=/ca"}, nil},
		"by file":    {[]string{"--oidc-issuer=any text", "--oidc-audience=a", "--oidc-jwks=/keys.json"}, nil},
		"no issuer": {
			[]string{"--oidc-audience=a", "--oidc-jwks=/b", "--oidc-ca=/c", "--oidc-bearer-file=/d"},
			[]string{
				"--oidc-audience: it has no meaning without oidc-issuer", "--oidc-jwks: it has no meaning without", "--oidc-ca: it has no meaning without",
				"--oidc-bearer-file: it has no meaning without",
			},
		},
		"no audience":    {[]string{"--oidc-issuer=https://a.example"}, []string{"--oidc-issuer: oidc-audience is missing"}},
		"odd audience":   {[]string{"--oidc-issuer=https://a.example", "--oidc-audience= a"}, []string{`--oidc-audience: " a" is no audience`}},
		"plain http":     {[]string{"--oidc-issuer=http://a.example", "--oidc-audience=a"}, []string{"--oidc-issuer: the issuer must begin with https"}},
		"no address":     {[]string{"--oidc-issuer=any text", "--oidc-audience=a"}, []string{"--oidc-issuer: the issuer must be an address"}},
		"bad keys":       {[]string{"--oidc-issuer=any text", "--oidc-audience=a", "--oidc-jwks=http://a.example/keys"}, []string{"--oidc-jwks: the address of the keys must begin with https"}},
		"file and fetch": {[]string{"--oidc-issuer=a", "--oidc-audience=a", "--oidc-jwks=/k", "--oidc-ca=/c", "--oidc-bearer-file=/d"}, []string{"--oidc-ca: it has no meaning where oidc-jwks is a file", "--oidc-bearer-file: it has no meaning where"}},
	} {
		_, err := parse(nil, c.flags...)
		if diff := cmp.Diff(c.want, problemsOf(t, err, c.want)); diff != "" {
			t.Errorf("%s: problems by their beginnings (-want +got):\n%s", name, diff)
		}
	}
	for _, flags := range [][]string{nil, {"--oidc-issuer=https://a.example", "--oidc-audience=a,b"}} {
		l, err := mustParse(t, nil, flags...).Load()
		if err != nil {
			t.Fatal(err)
		}
		if all := l.Issuers; (len(all) == 1) != (flags != nil) || len(all) == 1 && (all[0].Issuer != "https://a.example" || len(all[0].Audiences) != 2) {
			t.Errorf("flags %q: %+v", flags, all)
		}
	}
}

// TestOIDCPaths: paths in the file are relative to it, addresses are not.
func TestOIDCPaths(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"keys.json": "FOLDER/keys.json", "https://a.example/keys": "https://a.example/keys", "/keys": "/keys"} {
		file := writeFile(t, "hub.yaml", "oidc-issuer: a\noidc-audience: [a, b]\noidc-jwks: "+in)
		s := mustParse(t, nil, "--config", file)
		if want = strings.Replace(want, "FOLDER", filepath.Dir(file), 1); s.OIDCJWKS != want || len(s.OIDCAudience) != 2 {
			t.Errorf("oidc-jwks: %s is read as %s, want %s", in, s.OIDCJWKS, want)
		}
	}
}

func TestOIDCWarnings(t *testing.T) {
	t.Parallel()
	rules, err := auth.ParseTokens([]byte("tokens:\n- {name: a, groups: a, claims: {sub: a}}\n- {name: b, groups: b, certificate: {cn: b}}"))
	if err != nil {
		t.Fatal(err)
	}
	ca := writeFile(t, "ca.pem", "nothing")
	for name, c := range map[string]struct {
		flags  []string
		tokens *auth.Tokens
		want   []string
	}{
		"neither":       {nil, auth.SharedToken("a"), nil},
		"rules alone":   {[]string{"--tokens-file=t"}, rules, []string{"t: entries with claims match no client", "t: entries with certificate match no client"}},
		"issuer alone":  {[]string{"--oidc-issuer=https://a", "--oidc-audience=a"}, auth.SharedToken("a"), []string{"--oidc-issuer: no entry of --tokens-file has claims"}},
		"missing files": {[]string{"--oidc-issuer=https://a", "--oidc-audience=a", "--oidc-ca=" + ca, "--oidc-bearer-file=/none", "--tls-client-ca=/a"}, rules, []string{"read certificates: ", "read the token to fetch keys with: "}},
		"missing keys":  {[]string{"--oidc-issuer=https://a", "--oidc-audience=a", "--oidc-jwks=/none", "--tls-client-ca=/a"}, rules, []string{"read keys: "}},
		"bad keys":      {[]string{"--oidc-issuer=https://a", "--oidc-audience=a", "--oidc-jwks=" + ca, "--tls-client-ca=/a"}, rules, []string{"read keys: "}},
	} {
		s, _ := parse(nil, c.flags...)
		var issuers []oidc.Options
		if s.OIDCIssuer != "" {
			issuers = append(issuers, *s.oidcOptions())
		}
		var got []string
		for i, w := range s.identityWarnings(c.tokens, issuers) {
			if i < len(c.want) && strings.HasPrefix(w, c.want[i]) {
				w = c.want[i]
			}
			got = append(got, w)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: warnings by their beginnings (-want +got):\n%s", name, diff)
		}
	}
	bad := writeFile(t, "hub.yaml", "oidc-issuer: https://a.example\n")
	want := []string{bad + ":1: oidc-issuer: oidc-audience is missing"}
	_, err = CheckFile(bad)
	if diff := cmp.Diff(want, problemsOf(t, err, want)); diff != "" {
		t.Errorf("CheckFile (-want +got):\n%s", diff)
	}
	file := writeFile(t, "hub.yaml", "oidc-issuer: https://a.example\noidc-audience: a\noidc-ca: ca.pem\n")
	warnings, err := CheckFile(file)
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[1], "ca.pem") {
		t.Errorf("CheckFile = %q, %v", warnings, err)
	}
}
