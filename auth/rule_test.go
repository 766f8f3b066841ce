package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, file string) *Tokens {
	t.Helper()
	tokens, err := ParseTokens([]byte(file))
	if err != nil {
		t.Fatalf("ParseTokens: %v", err)
	}
	return tokens
}

// claims decodes a JSON object, numbers as they are written.
func claims(t testing.TB, object string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(object))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

const ruleFile = `
tokens:
- name: exact
  claims: {sub: "system:serviceaccount:shop:billing"}
  groups: "*"
- name: operator
  claims:
    sub: "system:serviceaccount:ops:*"
    kubernetes.io:
      namespace: ops
      pod: {name: ["console-*", shell]}
  admin: true
- name: shop
  claims: {sub: "system:serviceaccount:shop:*"}
  groups: ["shop.*"]
- name: staff
  claims: {groups: [staff, "admins-*"], email_verified: true, level: 3}
  groups: staff
- name: nested list
  claims: {roles: {name: admin, scope: all}}
  groups: r
- name: any subject
  claims: {iss: "https://other.example", sub: "*"}
  groups: o
- name: token
  sha256: ` + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" + `
  groups: "*"
- name: spiffe
  certificate: {uri: ["spiffe://cluster.local/ns/shop/*", "spiffe://b/c"], dns: [billing.shop.svc, "*.example.com"]}
  groups: "*"
- name: by name
  certificate: {cn: "billing-*"}
  groups: b
- name: by domain
  certificate: {dns: "*.Example.org"}
  groups: b
`

func TestByClaims(t *testing.T) {
	t.Parallel()
	tokens := parse(t, ruleFile)
	if tokens.ClaimRules() != 6 || tokens.CertificateRules() != 3 || tokens.Len() != 10 {
		t.Errorf("%d rules about claims, %d about certificates, %d in all", tokens.ClaimRules(), tokens.CertificateRules(), tokens.Len())
	}
	s := NewStore(tokens)
	for object, want := range map[string]string{
		`{"sub":"system:serviceaccount:shop:billing"}`:  "exact",
		`{"sub":"system:serviceaccount:shop:billing2"}`: "shop",
		`{"sub":"system:serviceaccount:shop:"}`:         "shop",
		`{"sub":"system:serviceaccount:shop"}`:          "",
		`{"sub":"system:serviceaccount:shop2:billing"}`: "",
		`{"sub":"SYSTEM:serviceaccount:shop:billing"}`:  "",
		`{"sub":["x","system:serviceaccount:shop:a"]}`:  "shop",
		`{"sub":[["system:serviceaccount:shop:a"]]}`:    "",
		`{"sub":null}`: "",
		`{"sub":{"system:serviceaccount:shop:a":"system:serviceaccount:shop:a"}}`: "",
		`{}`: "",
		`{"sub":"system:serviceaccount:ops:x","kubernetes.io":{"namespace":"ops","pod":{"name":"console-1","uid":"u"}}}`: "operator",
		`{"sub":"system:serviceaccount:ops:x","kubernetes.io":{"namespace":"ops","pod":{"name":"shell"}}}`:               "operator",
		`{"sub":"system:serviceaccount:ops:x","kubernetes.io":{"namespace":"ops","pod":{"name":"shell-1"}}}`:             "",
		`{"sub":"system:serviceaccount:ops:x","kubernetes.io":{"namespace":"ops"}}`:                                      "",
		`{"sub":"system:serviceaccount:ops:x","kubernetes.io":"ops"}`:                                                    "",
		`{"sub":"system:serviceaccount:ops:x","kubernetes.io.namespace":"ops"}`:                                          "",
		`{"groups":["a","admins-eu"],"email_verified":true,"level":3}`:                                                   "staff",
		`{"groups":"staff","email_verified":"true","level":"3"}`:                                                         "staff",
		`{"groups":"staff","email_verified":false,"level":3}`:                                                            "",
		`{"groups":"staff","email_verified":true,"level":33}`:                                                            "",
		`{"groups":"staff","email_verified":true}`:                                                                       "",
		`{"groups":[],"email_verified":true,"level":3}`:                                                                  "",
		`{"roles":[{"name":"admin","scope":"some"},{"name":"reader","scope":"all"}]}`:                                    "",
		`{"roles":[{"name":"reader"},{"name":"admin","scope":"all"}]}`:                                                   "nested list",
		`{"iss":"https://other.example","sub":"anybody"}`:                                                                "any subject",
		`{"iss":"https://other.example","sub":""}`:                                                                       "",
		`{"iss":"https://other.example","sub":5}`:                                                                        "",
		`{"iss":"https://other.example"}`:                                                                                "",
	} {
		g, ok := s.ByClaims(claims(t, object))
		if ok != (want != "") || ok && g.Name != want || !ok && g != nil {
			t.Errorf("ByClaims(%s) = %v, %v, want %q", object, g, ok, want)
		}
	}
	// What encoding/json makes of numbers by itself.
	if g, ok := s.ByClaims(map[string]any{"groups": []any{"staff"}, "email_verified": true, "level": 3.0}); !ok || g.Name != "staff" {
		t.Errorf("ByClaims with a float64 = %v, %v", g, ok)
	}
	for _, s := range []*Store{NewStore(nil), new(Store), NewStore(SharedToken("hush"))} {
		if g, ok := s.ByClaims(claims(t, `{"sub":"system:serviceaccount:shop:billing"}`)); ok || g != nil {
			t.Errorf("a store without rules gives %v", g)
		}
	}
}

func TestByCertificate(t *testing.T) {
	t.Parallel()
	s := NewStore(parse(t, ruleFile))
	uri := func(texts ...string) (all []*url.URL) {
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, u)
		}
		return all
	}
	for name, c := range map[string]struct {
		certificate x509.Certificate
		want        string
	}{
		"both":          {x509.Certificate{URIs: uri("spiffe://cluster.local/ns/shop/sa/billing"), DNSNames: []string{"x", "billing.shop.svc"}}, "spiffe"},
		"second uri":    {x509.Certificate{URIs: uri("https://x", "spiffe://b/c"), DNSNames: []string{"BILLING.shop.svc"}}, "spiffe"},
		"below":         {x509.Certificate{URIs: uri("spiffe://b/c"), DNSNames: []string{"a.b.example.com"}}, "spiffe"},
		"not below":     {x509.Certificate{URIs: uri("spiffe://b/c"), DNSNames: []string{"example.com", ".example.com", "badexample.com"}}, ""},
		"uri alone":     {x509.Certificate{URIs: uri("spiffe://b/c")}, ""},
		"other uri":     {x509.Certificate{URIs: uri("spiffe://b/c/d", "spiffe://cluster.local/ns/shops/sa/a"), DNSNames: []string{"billing.shop.svc"}}, ""},
		"encoded slash": {x509.Certificate{URIs: uri("spiffe://cluster.local/ns/shop%2Fsa"), DNSNames: []string{"billing.shop.svc"}}, ""},
		"cn":            {x509.Certificate{Subject: pkix.Name{CommonName: "billing-7"}}, "by name"},
		"other cn":      {x509.Certificate{Subject: pkix.Name{CommonName: "billing"}, DNSNames: []string{"billing-7"}}, ""},
		"domain":        {x509.Certificate{DNSNames: []string{"a.example.ORG"}}, "by domain"},
		"nothing":       {x509.Certificate{}, ""},
	} {
		g, ok := s.ByCertificate(&c.certificate)
		if ok != (c.want != "") || ok && g.Name != c.want {
			t.Errorf("%s: ByCertificate = %v, %v, want %q", name, g, ok, c.want)
		}
	}
	if g, ok := s.ByCertificate(nil); ok || g != nil {
		t.Errorf("ByCertificate(nil) = %v", g)
	}
	if g, ok := NewStore(nil).ByCertificate(&x509.Certificate{}); ok || g != nil {
		t.Errorf("ByCertificate without rules = %v", g)
	}
}

// TestRuleIsNoToken: what distinguishes rules, which is no secret, lets no client in.
func TestRuleIsNoToken(t *testing.T) {
	t.Parallel()
	tokens := parse(t, ruleFile)
	s := NewStore(tokens)
	for _, g := range slices.Concat(tokens.claims, tokens.certificates) {
		presented := string(g.rule.appendIdentity(appendText(nil, g.Name)))
		if identityOf(g.Name, g.rule) != g.token {
			t.Errorf("%v: its identity is another", g)
		}
		if got, ok := s.Authenticate(presented); ok {
			t.Errorf("Authenticate(%q) = %v", presented, got)
		}
	}
	if g, ok := s.Authenticate("test"); !ok || g.Name != "token" {
		t.Errorf("Authenticate = %v, %v, want the token among the rules", g, ok)
	}
}

func TestReplaceRules(t *testing.T) {
	t.Parallel()
	const same = "- {name: same, groups: a, claims: {sub: a, x: {y: b}}}\n- {name: cert, groups: a, certificate: {cn: a}}\n"
	s := NewStore(parse(t, "tokens:\n"+same+`
- {name: rights, groups: a, claims: {sub: b}}
- {name: condition, groups: a, claims: {sub: c}}
- {name: gone, groups: a, claims: {sub: d}}
- {name: dns, groups: a, certificate: {dns: a}}
`))
	by := func(sub string) *Grant {
		t.Helper()
		g, ok := s.ByClaims(map[string]any{"sub": sub, "x": map[string]any{"y": "b"}})
		if !ok {
			t.Fatalf("nothing for %s", sub)
		}
		return g
	}
	kept, rights, condition, gone := by("a"), by("b"), by("c"), by("d")
	change := s.Replace(parse(t, `tokens:
- {name: general, groups: g, claims: {sub: "*"}}
`+same+`
- {name: rights, groups: b, claims: {sub: b}}
- {name: condition, groups: a, claims: {sub: [c]}}
- {name: gone, groups: a, claims: {sub: dd}}
- {name: dns, groups: a, certificate: {uri: "a://a", dns: a}}
`))
	want := [][]string{{"general", "gone", "dns"}, {"rights"}, {"gone", "dns"}}
	if diff := cmp.Diff(want, [][]string{names(change.Added), names(change.Changed), names(change.Revoked)}); diff != "" {
		t.Errorf("Replace (-want +got):\n%s", diff)
	}
	for g, want := range map[*Grant]*Grant{kept: kept, condition: condition} {
		if now, ok := s.Current(g); !ok || now != want {
			t.Errorf("Current(%v) = %v, %v, want the same", g, now, ok)
		}
	}
	if now, ok := s.Current(rights); !ok || now == rights || !now.MayJoin("b") {
		t.Errorf("Current of changed rights = %v, %v", now, ok)
	}
	if now, ok := s.Current(gone); ok {
		t.Errorf("Current of a rule with another condition = %v", now)
	}
	if g := by("a"); g.Name != "general" {
		t.Errorf("%v, want the first entry that matches", g)
	}
}

// TestRuleIdentities: no two of these conditions are one.
func TestRuleIdentities(t *testing.T) {
	t.Parallel()
	seen := make(map[hash]string)
	for _, condition := range []string{
		"claims: {a: b}", "claims: {a: 'b*'}", "claims: {a: 'b**'}", "claims: {a: [b, c]}", "claims: {a: b, c: d}", "claims: {a: {b: c}}",
		"claims: {a: {b: c}, d: e}", "claims: {a: {b: c, d: e}}", "claims: {ab: c}", "claims: {a: bc}", "claims: {certificate: a}",
		"certificate: {uri: 'a://b'}", "certificate: {cn: 'a://b'}", "certificate: {dns: a}", "certificate: {cn: a}",
		"certificate: {dns: '*.a'}", "certificate: {dns: [a, b]}", "certificate: {dns: a, cn: b}",
	} {
		tokens := parse(t, "tokens: [{name: x, groups: a, "+condition+"}]")
		id := tokens.grants[0].token
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are one rule", condition, other)
		}
		seen[id] = condition
	}
}

func TestRulesDoNotAllocate(t *testing.T) {
	s := NewStore(parse(t, ruleFile))
	given := claims(t, `{"sub":["x","system:serviceaccount:ops:x"],"level":3,"kubernetes.io":{"namespace":"ops","pod":{"name":"shell"}}}`)
	certificate := &x509.Certificate{Subject: pkix.Name{CommonName: "billing-7"}}
	if n := testing.AllocsPerRun(100, func() {
		if g, ok := s.ByClaims(given); !ok || g.Name != "operator" {
			t.Error("no grant by claims")
		}
		if g, ok := s.ByCertificate(certificate); !ok || g.Name != "by name" {
			t.Error("no grant by certificate")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// FuzzByClaims has rules and claims that strangers write: nothing may panic, and the same claims get the same grant when
// they are decoded with numbers as float64.
func FuzzByClaims(f *testing.F) {
	f.Add("sub: a", `{"sub":"a"}`)
	f.Add(`{sub: ["a*", b], x: {y: "*", z: true}}`, `{"sub":["c","ab"],"x":[{"y":"q","z":true}]}`)
	f.Add("{n: [0, 1, -7, 1.5]}", `{"n":[1e0,-7,1.50]}`)
	f.Add("{a: {b: {c: {d: e}}}}", `{"a":{"b":{"c":[[],{},null,{"d":["e"]}]}}}`)
	f.Fuzz(func(t *testing.T, condition, object string) {
		condition = strings.ReplaceAll(strings.ReplaceAll(condition, "\n", " "), "\t", " ")
		tokens, err := ParseTokens([]byte("tokens: [{name: x, groups: a, claims: {" + strings.Trim(condition, "{}") + "}}]"))
		if err != nil {
			return
		}
		var given map[string]any
		if json.Unmarshal([]byte(object), &given) != nil {
			return
		}
		s := NewStore(tokens)
		g, ok := s.ByClaims(given)
		if ok != (g != nil) {
			t.Errorf("ByClaims = %v, %v", g, ok)
		}
		if ok {
			if now, still := s.Current(g); !still || now != g {
				t.Errorf("Current(%v) = %v, %v", g, now, still)
			}
			if len(given) == 0 {
				t.Error("a grant for no claims")
			}
		}
	})
}
