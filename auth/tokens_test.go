package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/intent"
)

func TestGenerate(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^ms_[a-z2-7]{40}$`)
	seen := make(map[string]bool)
	for range 1000 {
		token := Generate()
		if !shape.MatchString(token) {
			t.Fatalf("Generate() = %q, want %v", token, shape)
		}
		if err := CheckToken(token); err != nil {
			t.Fatalf("CheckToken(%q): %v", token, err)
		}
		if seen[token] {
			t.Fatalf("Generate() returned %q twice", token)
		}
		seen[token] = true
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	// FIPS 180-4's example.
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := Hash("abc"); got != want {
		t.Errorf(`Hash("abc") = %s, want %s`, got, want)
	}
}

func TestCheckToken(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"x", "correct-horse", "ключ", strings.Repeat("a", MaxTokenBytes)} {
		if err := CheckToken(token); err != nil {
			t.Errorf("CheckToken(%.20q…): %v", token, err)
		}
	}
	for _, token := range []string{"", "hush hush", "hush\n", "\thush", "hu\x00sh", "hush\xff", "hush\u0085", strings.Repeat("hush", 1025)} {
		err := CheckToken(token)
		if err == nil {
			t.Errorf("CheckToken(%.20q…) = nil, want an error", token)
		} else if strings.Contains(err.Error(), "hu") {
			t.Errorf("CheckToken(%.20q…) repeats the token: %v", token, err)
		}
	}
}

func TestSharedTokenMayDoEverything(t *testing.T) {
	t.Parallel()
	g, ok := NewStore(SharedToken("hush")).Authenticate("hush")
	if !ok {
		t.Fatal("Authenticate of the shared token = false")
	}
	if !g.MayJoin("any.group") || !g.MayWatch("any.group") || !g.MayHold("any.group") || g.Admin != AdminFull || g.Rate != 0 {
		t.Errorf("grant of the shared token is limited: join %v, admin %v, rate %v", g.MayJoin("any.group"), g.Admin, g.Rate)
	}
	for _, to := range []struct {
		target     intent.Target
		identifier string
	}{
		{intent.Global, ""},
		{intent.Group, "workers"},
		{intent.Direct, "0d9f2f5e-2d3c-8a4b-9c11-000000000001"},
		{intent.Any, "workers"},
		{intent.Any, ""},
	} {
		if !g.MaySend(to.target, []byte(to.identifier)) {
			t.Errorf("MaySend(%v, %q) = false", to.target, to.identifier)
		}
	}
}

func TestZeroGrantAllowsNothing(t *testing.T) {
	t.Parallel()
	g := new(Grant)
	if g.MayJoin("a") || g.MaySend(intent.Global, nil) || g.MaySend(intent.Any, nil) || g.Admin != NoAdmin {
		t.Error("the zero Grant allows something")
	}
}

func TestCombine(t *testing.T) {
	t.Parallel()
	both, err := Combine(nil, SharedToken("a"), SharedToken("b"))
	if err != nil {
		t.Fatal(err)
	}
	if both.Len() != 2 {
		t.Errorf("Len() = %d, want 2", both.Len())
	}
	s := NewStore(both)
	for _, token := range []string{"a", "b"} {
		if _, ok := s.Authenticate(token); !ok {
			t.Errorf("Authenticate(%q) = false", token)
		}
	}
	if _, err := Combine(SharedToken("a"), both); !errors.Is(err, errDuplicate) {
		t.Errorf("Combine of the same token twice: %v, want errDuplicate", err)
	}
	none, err := Combine()
	if err != nil || none.Len() != 0 {
		t.Errorf("Combine() = %v, %v", none, err)
	}
}

// TestNothingPrintsAHash holds every usual way to print a value against the hash in it, in text and in bytes.
func TestNothingPrintsAHash(t *testing.T) {
	t.Parallel()
	tokens := SharedToken("hush")
	g := tokens.grants[0]
	store := NewStore(tokens)
	var out bytes.Buffer
	for _, v := range []any{g, *g, tokens, *tokens, store, store.Replace(SharedToken("other"))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
	}
	decimal := strings.Trim(fmt.Sprint(g.token[:4]), "[]")
	for _, secret := range []string{"hush", Hash("hush")[:8], string(g.token[:4]), decimal, strings.ReplaceAll(decimal, " ", ",")} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is printed", secret)
		}
	}
	if !strings.Contains(out.String(), `grant "shared"`) {
		t.Error("the grant's name is not printed")
	}
}

func TestGrantDoesNotAllocate(t *testing.T) {
	g := SharedToken("hush").grants[0]
	group := strings.Repeat("g", intent.MaxGroupBytes)
	identifier := []byte(group)
	if n := testing.AllocsPerRun(100, func() {
		if !g.MayJoin(group) || !g.MaySend(intent.Group, identifier) {
			t.Error("not allowed")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
