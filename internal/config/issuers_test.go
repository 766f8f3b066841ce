package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mastersocket/mastersocket/auth/oidc"
)

const localSecret = "0123456789abcdef0123456789abcdef"

func TestIssuersFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "issuers.yaml", `
issuers:
  https://login.example.com/realms/a:
    audience: [mastersocket, hub]
    ca: ca.pem
    bearer-file: /token
  https://other.example.com:
    audience: mastersocket
    jwks: https://other.example.com/keys
  backend:
    key-file: [user.key, /old.key]
  any text:
    audience: hub
    jwks: keys.json
`)
	dir := filepath.Dir(path)
	tokens := writeFile(t, "tokens.yaml", `
tokens:
- {name: user, claims: {iss: backend, sub: "*"}, groups: ["user.{claim:sub}"]}
`)
	l, err := mustParse(t, nil, "--issuers-file="+path, "--tokens-file="+tokens, "--oidc-issuer=https://first.example.com", "--oidc-audience=hub").Load()
	if err != nil {
		t.Fatal(err)
	}
	want := []oidc.Options{
		{Issuer: "https://first.example.com", Audiences: []string{"hub"}},
		{Issuer: "https://login.example.com/realms/a", Audiences: []string{"mastersocket", "hub"}, CAFile: filepath.Join(dir, "ca.pem"), BearerFile: "/token"},
		{Issuer: "https://other.example.com", Audiences: []string{"mastersocket"}, Keys: "https://other.example.com/keys"},
		{Issuer: "backend", Audiences: []string{"mastersocket"}, LocalKeys: []string{filepath.Join(dir, "user.key"), "/old.key"}},
		{Issuer: "any text", Audiences: []string{"hub"}, Keys: filepath.Join(dir, "keys.json")},
	}
	if diff := cmp.Diff(want, l.Issuers, cmpopts.IgnoreFields(oidc.Options{}, "Log")); diff != "" {
		t.Errorf("issuers (-want +got):\n%s", diff)
	}
}

func TestIssuersRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    []string // beginnings of the problems, without the path
	}{
		"nothing":          {"issuers:\n", []string{":1: issuers must have the names of the issuers as keys"}},
		"none":             {"issuers: {}\n", []string{":1: issuers must have the names of the issuers as keys"}},
		"a list":           {"issuers: [local]\n", []string{":1: issuers must have the names of the issuers as keys"}},
		"another key":      {"issuers: {local: {key-file: a}}\nissuer: 1\n", []string{":2: unknown key issuer"}},
		"a name twice":     {"issuers:\n  a: {key-file: a}\n  a: {key-file: a}\n", []string{":3: the key a is already on line 2"}},
		"no keys":          {"issuers: {local: }\n", []string{":1: the issuer local must have keys"}},
		"an unknown key":   {"issuers:\n  local:\n    keyfile: a\n", []string{":3: unknown key keyfile; did you mean key-file?"}},
		"no audience":      {"issuers: {https://a.example: {jwks: keys.json}}\n", []string{":1: audience is missing"}},
		"an odd audience":  {"issuers: {https://a.example: {audience: ' a'}}\n", []string{`:1: " a" is no audience`}},
		"no audiences":     {"issuers: {https://a.example: {audience: []}}\n", []string{":1: audience must be a plain value, or a list"}},
		"plain http":       {"issuers: {http://a.example: {audience: a}}\n", []string{":1: the issuer must begin with https"}},
		"no address":       {"issuers: {local: {audience: a}}\n", []string{":1: the issuer must be an address"}},
		"three keys":       {"issuers: {local: {key-file: [a, b, c]}}\n", []string{":1: key-file must be a plain value, or a list of 1 to 2"}},
		"an empty key":     {"issuers: {local: {key-file: ''}}\n", []string{":1: key-file must be a plain value"}},
		"a map for a key":  {"issuers: {local: {key-file: {a: b}}}\n", []string{":1: key-file must be a plain value"}},
		"keys of both":     {"issuers: {local: {key-file: a, jwks: b}}\n", []string{":1: the issuer local has both key-file and jwks"}},
		"nothing to fetch": {"issuers: {local: {key-file: a, ca: b}}\n", []string{":1: ca and bearer-file have no meaning"}},
		"two local ones":   {"issuers:\n  a: {key-file: a}\n  b: {key-file: b}\n", []string{":3: both a and b have key-file; there is one local issuer"}},
	} {
		path := writeFile(t, "issuers.yaml", c.content)
		_, err := CheckFile(path)
		var got []string
		if err != nil {
			got = strings.Split(strings.ReplaceAll(err.Error(), path, ""), "\n")
		}
		ok := len(got) == len(c.want)
		for i := range got {
			ok = ok && i < len(c.want) && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// TestEntriesNameTheirIssuer: with several issuers, an entry must not match another one's subject of the same name.
func TestEntriesNameTheirIssuer(t *testing.T) {
	t.Parallel()
	key := writeFile(t, "user.key", localSecret)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	issuers := writeFile(t, "issuers.yaml", "issuers: {local: {key-file: "+key+"}}\n")
	open := writeFile(t, "tokens.yaml", "tokens:\n- {name: user, claims: {sub: '*'}, groups: a}\n")
	one := []string{"--issuers-file=" + issuers, "--tokens-file=" + open}
	two := append(one, "--oidc-issuer=https://a.example", "--oidc-audience=a")
	l, err := mustParse(t, nil, one...).Load()
	if err != nil || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "every user of this machine can read this file") {
		t.Errorf("one issuer: %v, %v", l, err)
	}
	_, err = mustParse(t, nil, two...).Load()
	if err == nil || !strings.Contains(err.Error(), `there are 2 issuers, and the entry "user" does not say which one's tokens it is for`) {
		t.Errorf("two issuers: %v", err)
	}
	same := writeFile(t, "same.yaml", "issuers: {https://a.example: {audience: a}}\n")
	_, err = mustParse(t, nil, "--issuers-file="+same, "--oidc-issuer=https://a.example", "--oidc-audience=a").Load()
	if err == nil || !strings.Contains(err.Error(), "is also that of oidc-issuer") {
		t.Errorf("the same issuer twice: %v", err)
	}
	if _, err := CheckFile(issuers); err != nil {
		t.Error(err)
	}
	bad := writeFile(t, "bad.yaml", "issuers: {local: {key-file: none.key}}\n")
	if warnings, err := CheckFile(bad); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "the hub keeps trying") {
		t.Errorf("without a key: %q, %v", warnings, err)
	}
}
