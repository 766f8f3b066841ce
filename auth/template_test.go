package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/intent"
)

const templateFile = `
tokens:
- name: user
  claims: {iss: local}
  groups: ["user.{claim:sub}", "public.*"]
  send: ["GROUP:room.{claim:tenant.id}.*", "ANY:{claim:sub}.{claim:tenant.id}", DIRECT]
  watch: "user.{claim:sub}"
  hold: "lock-{claim:sub}"
- name: robot
  certificate: {cn: "*"}
  groups: ["robot.{cert:cn}", "host.{cert:san}"]
`

// rights are a grant's rights as they are written.
func rights(g *Grant) map[string][]string {
	all := make(map[string][]string)
	for name, ps := range map[string]intent.Patterns{"groups": g.Groups, "watch": g.Watch, "hold": g.Hold} {
		for _, p := range ps {
			all[name] = append(all[name], p.String())
		}
	}
	for _, p := range g.Send {
		all["send"] = append(all["send"], p.String())
	}
	return all
}

func TestPlaceholders(t *testing.T) {
	t.Parallel()
	s := NewStore(parse(t, templateFile))
	for object, want := range map[string]map[string][]string{
		`{"iss":"local","sub":"42","tenant":{"id":"t1"}}`: {
			"groups": {"public.*", "user.42"}, "watch": {"user.42"}, "hold": {"lock-42"},
			"send": {"DIRECT", "GROUP:room.t1.*", "ANY:42.t1"},
		},
		`{"iss":"local","sub":"größe $1 {claim:sub}"}`: {
			"groups": {"public.*", "user.größe $1 {claim:sub}"}, "watch": {"user.größe $1 {claim:sub}"},
			"hold": {"lock-größe $1 {claim:sub}"}, "send": {"DIRECT"},
		},
		`{"iss":"local","sub":"$sys","tenant.id":"t2"}`: {
			"groups": {"public.*", "user.$sys"}, "watch": {"user.$sys"}, "hold": {"lock-$sys"},
			"send": {"DIRECT", "GROUP:room.t2.*"}, // $sys.t2 would be reserved
		},
		`{"iss":"local","sub":"42","tenant.id":"t2","tenant":{"id":"t1"}}`: {
			"groups": {"public.*", "user.42"}, "watch": {"user.42"}, "hold": {"lock-42"}, "send": {"DIRECT"},
		},
	} {
		g, ok := s.ByClaims(claims(t, object))
		if !ok {
			t.Fatalf("%s: no grant", object)
		}
		if diff := cmp.Diff(want, rights(g)); diff != "" {
			t.Errorf("%s: rights (-want +got):\n%s", object, diff)
		}
	}
}

// TestUnusableValues: what is no plain segment of a name matches nothing, and never everything.
func TestUnusableValues(t *testing.T) {
	t.Parallel()
	s := NewStore(parse(t, templateFile))
	for sub, want := range map[string]Cause{
		`"a.b"`: CauseSpecial, `"*"`: CauseSpecial, `"4*"`: CauseSpecial, `"."`: CauseSpecial, `"42."`: CauseSpecial,
		`""`: CauseEmpty, `"` + strings.Repeat("x", 65) + `"`: CauseTooLong, `"` + strings.Repeat("é", 33) + `"`: CauseTooLong,
		`"a\u0000"`: CauseControl, `"\n"`: CauseControl, `"\u007f"`: CauseControl, `"\u0085"`: CauseControl,
		`42`: CauseNoText, `true`: CauseNoText, `null`: CauseNoText, `["42"]`: CauseNoText, `{"sub":"42"}`: CauseNoText,
	} {
		g, ok := s.ByClaims(claims(t, `{"iss":"local","tenant":{"id":"t1"},"sub":`+sub+`}`))
		if !ok {
			t.Fatalf("sub %s: no grant", sub)
		}
		if got := g.Unusable(); !slices.Equal(got, []Unusable{{"{claim:sub}", want}}) {
			t.Errorf("sub %s: unusable %v, want the cause %q", sub, got, want)
		}
		if diff := cmp.Diff(map[string][]string{"groups": {"public.*"}, "send": {"DIRECT", "GROUP:room.t1.*"}}, rights(g)); diff != "" {
			t.Errorf("sub %s: rights (-want +got):\n%s", sub, diff)
		}
		if g.MaySend(intent.Any, []byte("a.t1")) || g.MaySend(intent.Any, nil) || g.MayJoin("user.42") || g.MayJoin("user.") || g.MayHold("lock-") {
			t.Errorf("sub %s: it allows what no one was granted", sub)
		}
	}
	g, _ := s.ByClaims(claims(t, `{"iss":"local"}`))
	want := []Unusable{{"{claim:tenant.id}", CauseMissing}, {"{claim:sub}", CauseMissing}}
	if got := g.Unusable(); len(got) != 2 || !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) {
		t.Errorf("without a claim: %v", got)
	}
	// Two values of 64 bytes each are more than a name may have.
	long := strings.Repeat("x", 64)
	g, _ = s.ByClaims(map[string]any{"iss": "local", "sub": long, "tenant": map[string]any{"id": long}})
	if got := g.Unusable(); !slices.Equal(got, []Unusable{{"{claim:sub}", CauseName}}) || g.MaySend(intent.Any, []byte(long+"."+long)) {
		t.Errorf("a name of 129 bytes: %v", got)
	}
	if g, _ := s.ByClaims(map[string]any{"iss": "local", "sub": "\xff"}); g.MayJoin("user.\xff") || g.Unusable()[0].Cause != CauseUTF8 && g.Unusable()[1].Cause != CauseUTF8 {
		t.Errorf("invalid UTF-8: %v", g.Unusable())
	}
}

func TestPlaceholdersOfCertificates(t *testing.T) {
	t.Parallel()
	s := NewStore(parse(t, templateFile))
	uri, err := url.Parse("urn:robot:7")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cn       string
		dns      []string
		uris     []*url.URL
		groups   []string
		unusable []Unusable
	}{
		{"r7", []string{"h1"}, nil, []string{"robot.r7", "host.h1"}, nil},
		{"r7", nil, []*url.URL{uri}, []string{"robot.r7", "host.urn:robot:7"}, nil},
		{"r.7", nil, nil, nil, []Unusable{{"{cert:cn}", CauseSpecial}, {"{cert:san}", CauseMissing}}},
		{"r7", []string{"h1", "h2"}, nil, []string{"robot.r7"}, []Unusable{{"{cert:san}", CauseAmbiguous}}},
		{"r7", []string{"h1"}, []*url.URL{uri}, []string{"robot.r7"}, []Unusable{{"{cert:san}", CauseAmbiguous}}},
		{"r7", []string{"h1.example.com"}, nil, []string{"robot.r7"}, []Unusable{{"{cert:san}", CauseSpecial}}},
	} {
		g, ok := s.ByCertificate(&x509.Certificate{Subject: pkix.Name{CommonName: c.cn}, DNSNames: c.dns, URIs: c.uris})
		if !ok || !slices.Equal(rights(g)["groups"], c.groups) || !slices.Equal(g.Unusable(), c.unusable) {
			t.Errorf("%+v: %v, groups %v, unusable %v", c, ok, rights(g)["groups"], g.Unusable())
		}
	}
}

// TestReplaceWithPlaceholders: a holder's grant follows its entry with the values that it came with.
func TestReplaceWithPlaceholders(t *testing.T) {
	t.Parallel()
	table := func(groups string) *Tokens {
		return parse(t, "tokens:\n- name: user\n  claims: {iss: local}\n  groups: "+groups+"\n")
	}
	s := NewStore(table(`["user.{claim:sub}"]`))
	g, _ := s.ByClaims(claims(t, `{"iss":"local","sub":"42","tenant":"t1"}`))
	if now, ok := s.Current(g); !ok || now != g {
		t.Errorf("nothing changed: %v, %v", now, ok)
	}
	if c := s.Replace(table(`["user.{claim:sub}"]`)); len(c.Added)+len(c.Changed)+len(c.Revoked) != 0 {
		t.Errorf("the same table: %+v", c)
	}
	if now, ok := s.Current(g); !ok || now != g {
		t.Errorf("the same table: %v, %v", now, ok)
	}
	if c := s.Replace(table(`["user.{claim:sub}", "inbox.{claim:sub}"]`)); len(c.Changed) != 1 {
		t.Errorf("another placeholder's place: %+v", c)
	}
	g, ok := s.Current(g)
	if !ok || !g.MayJoin("user.42") || !g.MayJoin("inbox.42") || g.MayJoin("inbox.43") {
		t.Fatalf("new rights: %v, %v", g, ok)
	}
	s.Replace(table(`["user.{claim:sub}", "of.{claim:tenant}"]`))
	if now, ok := s.Current(g); ok {
		t.Errorf("a value that was not kept: %v", rights(now))
	}
	s.Replace(table(`["all"]`))
	plain, ok := s.Current(g)
	if !ok || !plain.MayJoin("all") || plain.MayJoin("user.42") {
		t.Fatalf("without placeholders: %v, %v", plain, ok)
	}
	s.Replace(table(`["user.{claim:sub}"]`))
	if now, ok := s.Current(plain); ok {
		t.Errorf("a grant without values: %v", rights(now))
	}
}

// FuzzPlaceholder: whatever a claim is, its holder gets the one group of that name, or none.
func FuzzPlaceholder(f *testing.F) {
	for _, seed := range []string{"42", "*", "a.b", "$", "", "\xff", "é", "x*", "{claim:sub}", strings.Repeat("y", 65)} {
		f.Add(seed, "42")
	}
	s := NewStore(parse(f, `
tokens:
- name: user
  claims: {iss: local}
  groups: ["user.{claim:sub}", "{claim:sub}.*"]
  send: "GROUP:{claim:sub}"
`))
	f.Fuzz(func(t *testing.T, sub, other string) {
		g, ok := s.ByClaims(map[string]any{"iss": "local", "sub": sub})
		if !ok {
			t.Fatal("no grant")
		}
		plain := sub != "" && len(sub) <= 64 && utf8.ValidString(sub) && !strings.ContainsAny(sub, ".*") && !strings.ContainsFunc(sub, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 })
		if got := g.MayJoin("user." + sub); got != plain {
			t.Errorf("user.%q: %v", sub, got)
		}
		if got := g.MaySend(intent.Group, []byte(sub)); got != (plain && sub[0] != '$') {
			t.Errorf("GROUP:%q: %v", sub, got)
		}
		if other != sub && intent.CheckGroup(other) == nil {
			if g.MayJoin("user."+other) || g.MaySend(intent.Group, []byte(other)) {
				t.Errorf("%q may use the group of %q", sub, other)
			}
			if g.MayJoin(other) && !strings.HasPrefix(other, sub+".") && !strings.HasPrefix(other, "user.") {
				t.Errorf("%q may join %q", sub, other)
			}
		}
	})
}

func TestClaimsAllocations(t *testing.T) {
	s := NewStore(parse(t, templateFile))
	g, _ := s.ByClaims(map[string]any{"iss": "local", "sub": "42", "level": json.Number("3")})
	if n := testing.AllocsPerRun(100, func() {
		s.Current(g)
		g.MayJoin("user.42")
		g.MaySend(intent.Group, []byte("room.t1.x"))
	}); n != 0 {
		t.Errorf("%v allocations for a message of a holder by placeholders", n)
	}
}
