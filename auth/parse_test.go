package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mastersocket/mastersocket/intent"
)

var (
	hashA = Hash("token-a")
	hashB = Hash("token-b")
)

func TestParseTokens(t *testing.T) {
	t.Parallel()
	tokens, err := ParseTokens([]byte(`
# a comment
tokens:
  - name: billing
    sha256: ` + strings.ToUpper(hashA) + `
    groups: &groups ["billing", "billing.*"]
    send: ["GLOBAL", "GROUP:billing.*", "DIRECT", "ANY:workers"]
    admin: false
    rate: 100
    burst: 200
  - name: operator
    sha256: ["` + hashB + `", ` + Hash("c") + `]
    admin: true
  - name: reader
    sha256: ` + Hash("d") + `
    groups: *groups
    rate: 0.5
  - name: 7
    sha256: ` + Hash("e") + `
    groups: "*"
    send: "*"
    rate: 0
`))
	if err != nil {
		t.Fatalf("ParseTokens: %v", err)
	}
	s := NewStore(tokens)
	grant := func(token string) *Grant {
		t.Helper()
		g, ok := s.Authenticate(token)
		if !ok {
			t.Fatalf("Authenticate(%q) = false", token)
		}
		return g
	}

	billing := grant("token-a")
	if billing.Name != "billing" || billing.Admin != NoAdmin || billing.Rate != 100 || billing.Burst != 200 {
		t.Errorf("billing = %q, admin %v, rate %v, burst %d", billing.Name, billing.Admin, billing.Rate, billing.Burst)
	}
	for group, want := range map[string]bool{"billing": true, "billing.eu": true, "bill": false, "workers": false} {
		if got := billing.MayJoin(group); got != want {
			t.Errorf("MayJoin(%q) = %v, want %v", group, got, want)
		}
	}
	for _, c := range []struct {
		target     intent.Target
		identifier string
		want       bool
	}{
		{intent.Global, "", true}, {intent.Direct, "x", true},
		{intent.Group, "billing.eu", true}, {intent.Group, "billing", false},
		{intent.Any, "workers", true}, {intent.Any, "", false}, {intent.Any, "billing.eu", false},
	} {
		if got := billing.MaySend(c.target, []byte(c.identifier)); got != c.want {
			t.Errorf("MaySend(%v, %q) = %v, want %v", c.target, c.identifier, got, c.want)
		}
	}
	for _, token := range []string{"token-b", "c"} {
		if g := grant(token); g.Name != "operator" || g.Admin != AdminFull || g.MayJoin("a") || g.MaySend(intent.Global, nil) {
			t.Errorf("operator = %v, want the admin API and nothing else", g)
		}
	}
	if g := grant("d"); !g.MayJoin("billing") || g.MaySend(intent.Global, nil) || g.Rate != 0.5 || g.Burst != 1 {
		t.Errorf("reader: rate %v, burst %d, want 0.5 and the least burst, 1", g.Rate, g.Burst)
	}
	if g := grant("e"); g.Name != "7" || !g.MayJoin("a") || !g.MaySend(intent.Any, nil) || g.Rate != 0 || g.Burst != 0 {
		t.Errorf("7 = %v, rate %v, burst %d", g, g.Rate, g.Burst)
	}
}

// TestParseTokensMergeKeys has an entry that takes over what another one says.
func TestParseTokensWatchAndHold(t *testing.T) {
	t.Parallel()
	tokens, err := ParseTokens([]byte(`{tokens: [
		{name: a, sha256: ` + hashA + `, groups: x, watch: ["workers.*", x], hold: scheduler},
		{name: b, sha256: ` + hashB + `, groups: ["*"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := NewStore(tokens).Authenticate("token-a")
	b, _ := NewStore(tokens).Authenticate("token-b")
	for _, c := range []struct {
		group               string
		watch, hold, joined bool
	}{{"x", true, false, true}, {"workers.eu", true, false, false}, {"scheduler", false, true, false}, {"workers", false, false, false}} {
		if a.MayWatch(c.group) != c.watch || a.MayHold(c.group) != c.hold || a.MayJoin(c.group) != c.joined {
			t.Errorf("%s: watch %v, hold %v, join %v", c.group, a.MayWatch(c.group), a.MayHold(c.group), a.MayJoin(c.group))
		}
		if b.MayWatch(c.group) || b.MayHold(c.group) {
			t.Errorf("%s: an entry without watch and hold grants them", c.group)
		}
	}
	if a.same(b) || !a.same(a) {
		t.Error("rights to watch and hold make no difference")
	}
}

func TestParseTokensRecover(t *testing.T) {
	t.Parallel()
	tokens, err := ParseTokens([]byte(`{tokens: [
		{name: a, sha256: ` + hashA + `, groups: ["orders.*", x], recover: ["orders.eu", y]},
		{name: b, sha256: ` + hashB + `, groups: ["orders.*"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := NewStore(tokens).Authenticate("token-a")
	b, _ := NewStore(tokens).Authenticate("token-b")
	for group, want := range map[string][2]bool{"orders.eu": {true, true}, "orders.us": {false, true}, "x": {}, "y": {}} {
		if got := [2]bool{a.MayRecover(group), b.MayRecover(group)}; got != want {
			t.Errorf("%s: %v, want %v", group, got, want)
		}
	}
	if c := *a; a.same(b) || !a.same(&c) {
		t.Error("the right to recover makes no difference")
	}
	if _, err := ParseTokens([]byte(`{tokens: [{name: a, sha256: ` + hashA + `, groups: x, recover: "a\u0000"}]}`)); err == nil {
		t.Error("a malformed pattern in recover is accepted")
	}
}

func TestParseTokensTotals(t *testing.T) {
	t.Parallel()
	entry := func(members string) string {
		return "tokens:\n  - {name: a, sha256: " + Hash("a") + `, groups: "*", ` + members + "}\n"
	}
	tokens, err := ParseTokens([]byte(entry("total_connections: 50, total_rate: 0.5, total_bytes: 1000000")))
	if err != nil {
		t.Fatal(err)
	}
	if g, ok := NewStore(tokens).Authenticate("a"); !ok || g.Total != (Total{50, 0.5, 1e6}) {
		t.Errorf("got %+v", g.Total)
	}
	for _, bad := range []string{
		"total_connections: 0.5", "total_connections: -1", "total_rate: 010", "total_bytes: 1e99", `total_rate: "many"`, "total_bytes: 1MiB",
	} {
		if _, err := ParseTokens([]byte(entry(bad))); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestParseTokensMergeKeys(t *testing.T) {
	t.Parallel()
	tokens, err := ParseTokens([]byte(`tokens:
- &reader {name: a, sha256: ` + hashA + `, groups: [g], rate: 10}
- {<<: *reader, name: b, sha256: ` + hashB + `, send: DIRECT}
`))
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore(tokens)
	for token, name := range map[string]string{"token-a": "a", "token-b": "b"} {
		g, ok := s.Authenticate(token)
		if !ok || g.Name != name || !g.MayJoin("g") || g.Rate != 10 || g.MaySend(intent.Direct, nil) != (name == "b") {
			t.Errorf("%s: %v, %v", token, g, ok)
		}
	}
}

// TestParseTokensRefuses has what is wrong and the lines on which ParseTokens must say so, in order.
func TestParseTokensRefuses(t *testing.T) {
	t.Parallel()
	entry := func(more string) string {
		return "tokens:\n- name: a\n  sha256: " + hashA + "\n  " + more + "\n"
	}
	rule := func(condition string) string { // on line 3 and below
		return "tokens:\n- name: a\n  " + condition + "\n  groups: a\n"
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"empty":            {"", []string{"1: the file is empty"}},
		"comment":          {"# nothing", []string{"1: the file is empty"}},
		"null":             {"---\n", []string{"1: the file is empty"}},
		"scalar":           {"hello", []string{"1: the file must have the key tokens"}},
		"list":             {"- name: a", []string{"1: the file must have the key tokens"}},
		"no tokens":        {"{}", []string{"1: the key tokens is missing"}},
		"null tokens":      {"tokens:", []string{"1: tokens must be a list"}},
		"mapped tokens":    {"tokens:\n  billing: {}", []string{"2: tokens must be a list"}},
		"empty list":       {"tokens: []", []string{"1: the list has no token"}},
		"entry of text":    {"tokens:\n- billing", []string{"2: an entry must have keys"}},
		"second document":  {entry("groups: a") + "---\ntokens: []", []string{"5: a second YAML document"}},
		"broken second":    {entry("groups: a") + "---\n\"", []string{"6: not valid YAML"}},
		"tab":              {"tokens:\n\t- name: a", []string{"2: not valid YAML"}},
		"bare star":        {entry("groups: [*]"), []string{"4: not valid YAML: a * outside of quotes"}},
		"bare star prefix": {entry("groups: *billing"), []string{"4: not valid YAML: a * outside of quotes"}},
		"unknown top key":  {"version: 1\n" + entry("groups: a"), []string{`1: unknown key "version"`}},
		"unknown key":      {entry("group: a"), []string{`4: unknown key "group"`}},
		"repeated key":     {entry("name: b"), []string{`4: the key "name" is already on line 2`}},
		"key of list":      {entry("[a]: b"), []string{"4: a key here is not a plain word"}},
		"merged key":       {entry("<<: {group: a}"), []string{`4: unknown key "group"`}},
		"merge of a word":  {entry("<<: a"), []string{"4: a merge key (<<) must have a mapping"}},
		"empty entry":      {"tokens:\n- {}", []string{"2: the entry has no name", "2: the entry has no sha256"}},
		"null name":        {"tokens:\n- name:\n  sha256: " + hashA, []string{"2: name must be"}},
		"name of list":     {"tokens:\n- name: []\n  sha256: " + hashA, []string{"2: name must be"}},
		"control name":     {"tokens:\n- name: \"a\\tb\"\n  sha256: " + hashA, []string{"2: name must be"}},
		"long name":        {"tokens:\n- name: " + strings.Repeat("n", 129) + "\n  sha256: " + hashA, []string{"2: name must be"}},
		"short hash":       {"tokens:\n- name: a\n  sha256: abcd", []string{"3: sha256 must be 64"}},
		"long hash":        {"tokens:\n- name: a\n  sha256: " + hashA + "00", []string{"3: sha256 must be 64"}},
		"no hash":          {"tokens:\n- name: a\n  sha256: []", []string{"3: sha256 has no hash"}},
		"mapped hash":      {"tokens:\n- name: a\n  sha256: {a: b}", []string{"3: sha256 must be a list"}},
		"hash of nothing":  {"tokens:\n- name: a\n  sha256: " + Hash(""), []string{"3: this is the hash of an empty token"}},
		"hash of newline":  {"tokens:\n- name: a\n  sha256: " + Hash("\n"), []string{"3: this is the hash of an empty token"}},
		"same hash":        {"tokens:\n- name: a\n  sha256:\n  - " + hashA + "\n  - " + hashA, []string{"5: the same sha256 is already on line 4"}},
		"same hash again":  {entry("groups: a") + "- {name: b, groups: a, sha256: " + hashA + "}", []string{"5: the same sha256 is already on line 3"}},
		"same name":        {entry("groups: a") + "- {name: a, groups: a, sha256: " + hashB + "}", []string{`5: the name "a" is already on line 2`}},
		"plain token":      {"tokens:\n- name: a\n  token: hush-hush", []string{"3: the token itself does not belong"}},
		"token as hash":    {"tokens:\n- name: a\n  sha256: hush-hush", []string{"3: sha256 must be 64"}},
		"token as name":    {"tokens:\n- name: ms_hush\n  sha256: " + hashA, []string{"2: name looks like a token"}},
		"token as key":     {"tokens:\n- ms_hush: a", []string{"2: unknown key (not shown)", "2: the entry has no name", "2: the entry has no sha256"}},
		"bad pattern":      {entry(`groups: ["a", "$b"]`), []string{`4: pattern "$b"`}},
		"null pattern":     {entry("groups: [a, ~]"), []string{"4: each item of groups"}},
		"bad permission":   {entry("groups: a\n  send: [group]"), []string{`5: permission "group": no such target`}},
		"mapped send":      {entry("groups: a\n  send: [GROUP: b]"), []string{"5: each item of send must be one of permissions"}},
		"admin yes":        {entry("admin: yes"), []string{"4: admin must be true, read or false"}},
		"admin quoted":     {entry(`admin: "true"`), []string{"4: admin must be true, read or false"}},
		"grants nothing":   {entry("watch: a"), []string{"2: no client could use this token"}},
		"admin false":      {entry("admin: false"), []string{"2: no client could use this token"}},
		"empty groups":     {entry("groups: []"), []string{"2: no client could use this token"}},
		"rate with unit":   {entry("groups: a\n  rate: 100/s"), []string{"5: rate must be a number"}},
		"negative rate":    {entry("groups: a\n  rate: -1"), []string{"5: rate must be a number"}},
		"rate NaN":         {entry("groups: a\n  rate: .nan\n"), []string{"5: rate must be a number"}},
		"rate nan":         {entry("groups: a\n  rate: nan\n"), []string{"5: rate must be a number"}},
		"rate inf":         {entry("groups: a\n  rate: inf\n"), []string{"5: rate must be a number"}},
		"octal rate":       {entry("groups: a\n  rate: 0100\n"), []string{"5: rate must be a number of messages per second in decimal"}},
		"hex rate":         {entry("groups: a\n  rate: 0x10p0\n"), []string{"5: rate must be a number"}},
		"octal burst":      {entry("groups: a\n  rate: 5\n  burst: 010"), []string{"6: burst must be a whole number of messages in decimal"}},
		"null rate":        {entry("groups: a\n  rate:\n"), []string{"5: rate must be a number"}},
		"burst alone":      {entry("groups: a\n  burst: 5"), []string{"5: burst has no meaning without rate"}},
		"burst 0":          {entry("groups: a\n  rate: 5\n  burst: 0"), []string{"6: with a burst of 0"}},
		"fractional burst": {entry("groups: a\n  rate: 5\n  burst: 1.5"), []string{"6: burst must be a whole number"}},
		"great burst":      {entry("groups: a\n  rate: 5\n  burst: 99999999999999999999"), []string{"6: burst is too great"}},
		"two conditions":   {entry("groups: a\n  claims: {sub: a}"), []string{"2: an entry has exactly one of"}},
		"three conditions": {entry("groups: a\n  claims: {sub: a}\n  certificate: {cn: a}"), []string{"2: an entry has exactly one of"}},
		"token and claims": {rule("claims: {sub: a}\n  token: hush-hush"), []string{"4: the token itself does not belong"}},
		"no claims":        {rule("claims: {}"), []string{"3: claims has no claim"}},
		"null claims":      {rule("claims:"), []string{"3: claims must be a map"}},
		"text claims":      {rule("claims: sub"), []string{"3: claims must be a map"}},
		"listed claims":    {rule("claims: [sub]"), []string{"3: claims must be a map"}},
		"null claim":       {rule("claims: {sub: ~}"), []string{"3: a claim must be a list of texts"}},
		"empty claim":      {rule(`claims: {sub: ""}`), []string{"3: a claim must be 1 to 1024 bytes"}},
		"no values":        {rule("claims: {sub: []}"), []string{"3: the list is empty"}},
		"listed maps":      {rule("claims: {sub: [{a: b}]}"), []string{"3: each item of a claim must be one of texts"}},
		"nested nothing":   {rule("claims:\n    kubernetes.io: {}"), []string{"4: claims has no claim"}},
		"nested null":      {rule("claims:\n    a: {b: ~}\n    c: [~]"), []string{"4: a claim must be a list", "5: each item of a claim"}},
		"repeated claim":   {rule("claims:\n    sub: a\n    sub: b"), []string{`5: the key "sub" is already on line 4`}},
		"unnamed claim":    {rule(`claims: {"": a}`), []string{"3: the name of a claim must be"}},
		"long claim":       {rule("claims: {sub: " + strings.Repeat("x", 1025) + "}"), []string{"3: a claim must be 1 to 1024 bytes"}},
		"deep claims":      {rule("claims: " + strings.Repeat("{a: ", 9) + "b" + strings.Repeat("}", 9)), []string{"3: claims must not be nested deeper than 8"}},
		"cyclic claims":    {rule("claims: &a {b: *a}"), []string{"3: claims must not be nested deeper than 8"}},
		"branching claims": {rule("claims: &a {b: *a, c: *a, d: *a, e: *a, f: *a, g: *a, h: *a, i: *a}"), []string{"3: claims must not be nested deeper than 8"}},
		"many texts":       {rule("claims: {sub: [" + strings.Repeat("a,", 300) + "]}"), []string{"3: an entry must not have more than 256"}},
		"no certificate":   {rule("certificate: {}"), []string{"3: certificate must be a map"}},
		"text certificate": {rule("certificate: billing"), []string{"3: certificate must be a map"}},
		"other name":       {rule("certificate: {ou: a}"), []string{`3: unknown key "ou"; a certificate has uri, dns and cn`}},
		"bad names": {
			rule("certificate:\n    uri: billing\n    dns: [a..b, 'b.*', '*', ümlaut, -]\n    cn: []"),
			[]string{"4: uri must begin with", "5: dns must be one of", "5: dns must be one of", "5: dns must be one of", "5: dns must be one of", "6: the list is empty"},
		},
		"no dns":                        {rule("certificate: {dns: []}"), []string{"3: the list is empty"}},
		"rule grants nothing":           {"tokens:\n- name: a\n  claims: {sub: a}", []string{"2: no client could use this token"}},
		"placeholder in a hash's entry": {entry(`groups: "user.{claim:sub}"`), []string{"4: {claim:…} needs a signed token"}},
		"claim of a certificate":        {"tokens:\n- name: a\n  certificate: {cn: a}\n  groups: 'a.{claim:sub}'", []string{"4: {claim:…} needs a signed token"}},
		"name of a claim's holder":      {rule(`claims: {sub: a}` + "\n  send: ['GROUP:{cert:cn}']"), []string{"4: {cert:…} needs a client certificate"}},
		"other name in a placeholder":   {"tokens:\n- name: a\n  certificate: {cn: a}\n  groups: '{cert:ou}'", []string{"4: a certificate has {cert:cn} and {cert:san}"}},
		"open placeholder":              {rule("claims: {sub: a}\n  hold: ['u.{claim:sub']"), []string{"4: a placeholder has no }"}},
		"empty placeholder":             {rule("claims: {sub: a}\n  hold: ['u.{claim:}']"), []string{"4: the name in a placeholder must be"}},
		"placeholder of dots":           {rule("claims: {sub: a}\n  hold: ['u.{claim:a..b}']"), []string{"4: the name in a placeholder must be"}},
		"deep placeholder":              {rule("claims: {sub: a}\n  hold: ['u.{claim:a.b.c.d.e.f.g.h.i}']"), []string{"4: the name in a placeholder must be"}},
		"placeholder in a placeholder":  {rule("claims: {sub: a}\n  hold: ['{claim:{claim:a}}']"), []string{"4: the name in a placeholder must have"}},
		"placeholder and star":          {rule("claims: {sub: a}\n  watch: ['u.{claim:sub}*']"), []string{"4: only a dot, or the end, may follow {claim:sub}"}},
		"two placeholders in a row":     {rule("claims: {sub: a}\n  watch: ['{claim:a}{claim:b}']"), []string{"4: only a dot, or the end, may follow {claim:a}"}},
		"placeholder in a bad pattern":  {rule("claims: {sub: a}\n  watch: ['$a.{claim:sub}']"), []string{`4: pattern "$a.x"`}},
		"placeholder for a target":      {rule("claims: {sub: a}\n  send: ['{claim:t}:a', 'DIRECT:{claim:sub}', '{claim:sub}']"), []string{"4: only GROUP and ANY", "4: only GROUP and ANY", "4: only GROUP and ANY"}},
		"placeholder grants no way in":  {"tokens:\n- name: a\n  claims: {sub: a}\n  watch: '{claim:sub}'", []string{"2: no client could use this token"}},
		"cyclic alias":                  {"tokens: &a [*a]", []string{"1: an entry must have keys"}},
		"all at once": {
			"extra: 1\n" + entry("groups: [$]\n  rate: fast\n  send: [ALL]") + "- nothing",
			[]string{`1: unknown key "extra"`, `5: pattern "$"`, "6: rate must be", `7: permission "ALL"`, "8: an entry must"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens, err := ParseTokens([]byte(c.file))
			if err == nil || tokens != nil {
				t.Fatalf("ParseTokens = %v, %v, want an error", tokens, err)
			}
			var got []string
			for i, line := range strings.Split(err.Error(), "\n") {
				line = strings.TrimPrefix(line, "line ")
				if i < len(c.want) && strings.HasPrefix(line, c.want[i]) {
					line = c.want[i]
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("errors by their beginnings (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), hashA) {
				t.Errorf("the error repeats a token or a hash: %v", err)
			}
			var at *FileError
			if !errors.As(err, &at) || at.Line < 1 || at.Problem == "" {
				t.Errorf("error of type %T has no FileError", err)
			}
		})
	}
}

func TestParseTokensRefusesHugeFile(t *testing.T) {
	t.Parallel()
	if _, err := ParseTokens(make([]byte, maxFileBytes+1)); err == nil || !strings.Contains(err.Error(), "is it a tokens file?") {
		t.Errorf("ParseTokens of %d bytes: %v", maxFileBytes+1, err)
	}
}

func FuzzParseTokens(f *testing.F) {
	for _, seed := range []string{
		"", "tokens: []", "tokens: &a [*a]", "a: b\n---\nc: d", "tokens:\n- name: a\n  token: hush",
		fmt.Sprintf("tokens:\n- {name: a, sha256: %s, groups: ['*'], send: ['GROUP:a.*', ANY, DIRECT, GLOBAL], rate: 1e2, burst: 7}", hashA),
		fmt.Sprintf("tokens:\n- name: a\n  sha256: [%s, %s]\n  admin: true\n- <<: *x\n", hashA, hashB),
		"tokens:\n- {name: a, groups: a, claims: {sub: [a, 'b*'], kubernetes.io: {namespace: shop}}}\n- name: b\n  groups: b\n  certificate: {uri: 'spiffe://a/*', dns: '*.a', cn: [a, b]}\n",
		"tokens:\n- {name: a, groups: a, claims: &a {b: *a}}",
		"tokens:\n- {name: a, groups: ['u.{claim:sub}', '{claim:a.b}.*'], send: ['ANY:{claim:x}'], claims: {sub: '*'}}\n- {name: b, groups: '{cert:san}', certificate: {cn: a}}\n",
		"tokens: !!seq\n- !!map {? name : !!str a}\n", "\"tokens\": [{\"name\": \"a\", \"rate\": 0x10}]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		tokens, err := ParseTokens(file)
		if err != nil {
			if tokens != nil {
				t.Error("an error and a table")
			}
			var at *FileError
			if !errors.As(err, &at) || at.Line < 1 {
				t.Errorf("an error without a line: %v", err)
			}
			return
		}
		if tokens.Len() == 0 {
			t.Error("a table without a token")
		}
		if tokens.Len() != len(tokens.hashes)+tokens.ClaimRules()+tokens.CertificateRules() {
			t.Error("a grant that no client can have")
		}
		for i, g := range tokens.holders {
			if tokens.hashes[i] != g.token {
				t.Error("a grant at another's hash")
			}
		}
		for _, g := range tokens.grants {
			switch {
			case g.Name == "" || len(g.Groups)+len(g.templates) == 0 && g.Admin == NoAdmin:
				t.Errorf("an entry that must be refused: %v", g)
			case !(g.Rate >= 0) || (g.Rate > 0) != (g.Burst > 0):
				t.Errorf("rate %v with burst %d", g.Rate, g.Burst)
			}
			if now, ok := tokens.current(g.token); !ok || now != g {
				t.Errorf("%v is not found by its hash", g)
			}
		}
	})
}
