package intent_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mastersocket/mastersocket/intent"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]intent.Target{
		"GLOBAL": intent.Global, "GROUP": intent.Group, "DIRECT": intent.Direct, "ANY": intent.Any,
	} {
		if got, ok := intent.ParseTarget([]byte(name)); !ok || got != want || got.String() != name {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "NONE", "global", "GROUP ", "ANYONE", "GLOBA"} {
		if got, ok := intent.ParseTarget([]byte(name)); ok || got != intent.None {
			t.Errorf("%q: %v, %v", name, got, ok)
		}
	}
	if got := intent.None.String() + " " + intent.Target(9).String(); got != "NONE UNKNOWN" {
		t.Errorf("%q", got)
	}
}

var groups = []struct {
	name string
	want error
}{
	{"g", nil},
	{"billing.eu", nil},
	{"größe $1 *\u00a0\u2028\U0010ffff", nil},
	{strings.Repeat("g", 128), nil},
	{strings.Repeat("é", 64), nil},
	{"\ufffd", nil},
	{"", intent.ErrGroupEmpty},
	{strings.Repeat("g", 129), intent.ErrGroupTooLong},
	{strings.Repeat("é", 64) + "g", intent.ErrGroupTooLong},
	{"$", intent.ErrGroupReserved},
	{"$g", intent.ErrGroupReserved},
	{"a\x00", intent.ErrGroupControl},
	{"\n", intent.ErrGroupControl},
	{"a\x1fb", intent.ErrGroupControl},
	{"a\x7f", intent.ErrGroupControl},
	{"a\u0080", intent.ErrGroupControl},
	{"a\u009f", intent.ErrGroupControl},
	{"a\x80", intent.ErrGroupUTF8},
	{"\xff", intent.ErrGroupUTF8},
	{"a\xc3", intent.ErrGroupUTF8},
	{"\xed\xa0\x80", intent.ErrGroupUTF8},
	{"\xc0\x80", intent.ErrGroupUTF8},
	{"\xf4\x90\x80\x80", intent.ErrGroupUTF8},
	{"\xf0\x9f\x98", intent.ErrGroupUTF8},
}

func TestCheckGroup(t *testing.T) {
	t.Parallel()
	for _, tc := range groups {
		if err := intent.CheckGroup(tc.name); err != tc.want {
			t.Errorf("%q: %v, want %v", tc.name, err, tc.want)
		}
		if err := intent.CheckGroup([]byte(tc.name)); err != tc.want {
			t.Errorf("%q as bytes: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// FuzzCheckGroup compares CheckGroup with the definition of a valid name.
func FuzzCheckGroup(f *testing.F) {
	for _, tc := range groups {
		f.Add(tc.name)
	}
	control := regexp.MustCompile(`\p{Cc}`)
	f.Fuzz(func(t *testing.T, name string) {
		want := len(name) >= 1 && len(name) <= 128 && name[0] != '$' && utf8.ValidString(name) && !control.MatchString(name)
		if err := intent.CheckGroup(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	})
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for pattern, names := range map[string]struct{ match, other string }{
		"billing":   {"billing", "billing. billin billing.eu Billing"},
		"billing.*": {"billing. billing.eu billing.eu.invoices billing.*", "billing billingx Billing.eu"},
		"bill*":     {"bill billing billing.eu", "bil abill"},
		"*":         {"a billing * é", ""},
		"a*b":       {"a*b", "a ab aXb a*"},
		"a**":       {"a* a*b", "a ab"},
		"é*":        {"é éa", "e"},
	} {
		p, err := intent.ParsePattern(pattern)
		if err != nil || p.String() != pattern {
			t.Errorf("%s: %v, %v", pattern, p, err)
		}
		for name := range strings.FieldsSeq(names.match) {
			if !p.Match([]byte(name)) {
				t.Errorf("%s does not match %s", pattern, name)
			}
		}
		for name := range strings.FieldsSeq(names.other) {
			if p.Match([]byte(name)) {
				t.Errorf("%s matches %s", pattern, name)
			}
		}
		if p.Match(nil) {
			t.Errorf("%s matches the empty name", pattern)
		}
	}
	for _, pattern := range []string{"", "$*", "$a", "a\n*", "\xff", strings.Repeat("g", 129), strings.Repeat("g", 129) + "*"} {
		if p, err := intent.ParsePattern(pattern); err == nil || p != (intent.Pattern{}) {
			t.Errorf("%q: %v, %v", pattern, p, err)
		}
	}
	if (intent.Pattern{}).Match([]byte("a")) || (intent.Pattern{}).Match(nil) {
		t.Error("the zero Pattern matches something")
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	ps := intent.Patterns{parse(t, intent.ParsePattern, "a"), parse(t, intent.ParsePattern, "b.*")}
	for name, want := range map[string]bool{"a": true, "b.c": true, "b": false, "c": false, "": false} {
		if got := ps.Match([]byte(name)); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if (intent.Patterns)(nil).Match([]byte("a")) {
		t.Error("no patterns match something")
	}
}

func parse[T any](t *testing.T, parse func(string) (T, error), s string) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPermission(t *testing.T) {
	t.Parallel()
	// The messages that each permission allows, in the form of ParseTo; all others are refused.
	const direct = "DIRECT:70653cb0-5f6d-41fe-acbf-ea8f37a73034"
	all := []string{"GLOBAL", "GROUP:a", "GROUP:b.c", direct, "ANY", "ANY:a", "ANY:b.c"}
	for permission, allowed := range map[string]string{
		"GLOBAL":    "GLOBAL",
		"DIRECT":    direct,
		"GROUP":     "GROUP:a GROUP:b.c",
		"GROUP:*":   "GROUP:a GROUP:b.c",
		"GROUP:a":   "GROUP:a",
		"GROUP:b.*": "GROUP:b.c",
		"ANY":       "ANY ANY:a ANY:b.c",
		"ANY:*":     "ANY:a ANY:b.c",
		"ANY:a":     "ANY:a",
		"ANY:b.*":   "ANY:b.c",
		"*":         strings.Join(all, " "),
	} {
		p := parse(t, intent.ParsePermission, permission)
		if p.String() != permission {
			t.Errorf("%s reads as %v", permission, p)
		}
		ps := intent.Permissions{{}, p}
		for _, to := range all {
			target, identifier, err := intent.ParseTo(to)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Contains(" "+allowed+" ", " "+to+" ")
			if got := ps.Allow(target, []byte(identifier)); got != want {
				t.Errorf("%s to %s: %v, want %v", permission, to, got, want)
			}
		}
		if ps.Allow(intent.None, nil) || ps.Allow(intent.Target(9), []byte("a")) {
			t.Errorf("%s allows a message without a target", permission)
		}
	}
	for _, permission := range []string{
		"", "global", "NONE", "GLOBAL:", "GLOBAL:*", "DIRECT:x", "GROUP:", "ANY:", "GROUP:$*", "GROUP: \n", "**", "*:*", "GROUP a",
	} {
		if p, err := intent.ParsePermission(permission); err == nil || p != (intent.Permission{}) {
			t.Errorf("%q: %v, %v", permission, p, err)
		}
	}
	var zero intent.Permission
	if zero.Allow(intent.Global, nil) || zero.Allow(intent.None, nil) || zero.Allow(intent.Group, []byte("a")) || zero.String() != "NONE" {
		t.Errorf("the zero Permission %v allows something", zero)
	}
}

func TestParseTo(t *testing.T) {
	t.Parallel()
	const id = "70653cb0-5f6d-41fe-acbf-ea8f37a73034"
	for s, want := range map[string]struct {
		target     intent.Target
		identifier string
	}{
		"GLOBAL":                        {intent.Global, ""},
		"GROUP:a:b":                     {intent.Group, "a:b"},
		"GROUP:*":                       {intent.Group, "*"},
		"DIRECT:" + id:                  {intent.Direct, id},
		"DIRECT:" + strings.ToUpper(id): {intent.Direct, id},
		"ANY":                           {intent.Any, ""},
		"ANY:g":                         {intent.Any, "g"},
	} {
		target, identifier, err := intent.ParseTo(s)
		if target != want.target || identifier != want.identifier || err != nil {
			t.Errorf("%s: %v, %q, %v", s, target, identifier, err)
		}
	}
	for _, s := range []string{
		"", "g", "global", "GLOBAL:", "GLOBAL:g", "GROUP", "GROUP:", "GROUP:$g", "GROUP:\n", "DIRECT", "DIRECT:", "DIRECT:g",
		"DIRECT:" + strings.ReplaceAll(id, "-", ""), "DIRECT:{" + id + "}", "DIRECT:urn:uuid:" + id, "ANY:", "ANY:$g", "*", "NONE",
	} {
		if target, identifier, err := intent.ParseTo(s); err == nil || target != intent.None || identifier != "" {
			t.Errorf("%q: %v, %q, %v", s, target, identifier, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	ps := intent.Permissions{
		parse(t, intent.ParsePermission, "GLOBAL"), parse(t, intent.ParsePermission, "GROUP:b.*"), parse(t, intent.ParsePermission, "*"),
	}
	long, text := []byte(strings.Repeat("é", 64)), []byte("GROUP")
	if n := testing.AllocsPerRun(100, func() {
		intent.ParseTarget(text)
		intent.CheckGroup(long)
		intent.CheckGroup(text[:0])
		ps.Allow(intent.Group, long)
		ps.Allow(intent.Any, long)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
