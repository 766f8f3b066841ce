package auth

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mustParse is the table of a tokens file in which each of names has the token of its own name and may join groups.
func mustParse(t testing.TB, groups string, names ...string) *Tokens {
	t.Helper()
	var file strings.Builder
	file.WriteString("tokens:\n")
	for _, name := range names {
		fmt.Fprintf(&file, "- {name: %s, sha256: %s, groups: %q}\n", name, Hash(name), groups)
	}
	tokens, err := ParseTokens([]byte(file.String()))
	if err != nil {
		t.Fatalf("ParseTokens: %v", err)
	}
	return tokens
}

func names(grants []*Grant) []string {
	var list []string
	for _, g := range grants {
		list = append(list, g.Name)
	}
	return list
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxTokenBytes)
	tokens, err := Combine(mustParse(t, "*", "a", "b", "c"), SharedToken(long), SharedToken(""))
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore(tokens)
	for token, name := range map[string]string{"a": "a", "b": "b", "c": "c", long: "shared"} {
		if g, ok := s.Authenticate(token); !ok || g.Name != name {
			t.Errorf("Authenticate(%.10q) = %v, %v, want the grant %q", token, g, ok, name)
		}
	}
	// The table has the hash of the empty token and that of what is left of a token cut at the limit.
	for _, token := range []string{"", "A", "a ", "d", Hash("a"), long + "y", long[1:]} {
		if g, ok := s.Authenticate(token); ok || g != nil {
			t.Errorf("Authenticate(%.10q) = %v, %v, want false", token, g, ok)
		}
	}
	for _, empty := range []*Store{new(Store), NewStore(nil), NewStore(new(Tokens))} {
		if g, ok := empty.Authenticate("a"); ok || g != nil {
			t.Errorf("a store without tokens authenticates: %v", g)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	s := NewStore(mustParse(t, "*", "kept", "changed", "revoked"))
	grant := func(token string) *Grant {
		g, _ := s.Authenticate(token)
		return g
	}
	kept, changed, revoked := grant("kept"), grant("changed"), grant("revoked")

	next, err := Combine(mustParse(t, "*", "added", "kept"), mustParse(t, "less", "changed"))
	if err != nil {
		t.Fatal(err)
	}
	change := s.Replace(next)
	want := [][]string{{"added"}, {"changed"}, {"revoked"}}
	if diff := cmp.Diff(want, [][]string{names(change.Added), names(change.Changed), names(change.Revoked)}); diff != "" {
		t.Errorf("Replace (-want +got):\n%s", diff)
	}
	if g, ok := s.Current(kept); !ok || g != kept || grant("kept") != kept {
		t.Errorf("Current of an unchanged grant = %p, %v, want the same pointer %p", g, ok, kept)
	}
	if g, ok := s.Current(changed); !ok || g.MayJoin("other") || !g.MayJoin("less") || g != grant("changed") {
		t.Errorf("Current of a changed grant = %v, %v, want its new rights", g, ok)
	}
	if !changed.MayJoin("other") {
		t.Error("the old grant of a changed token was changed itself")
	}
	if g, ok := s.Current(revoked); ok || g != nil {
		t.Errorf("Current of a revoked grant = %v, %v, want false", g, ok)
	}
	if _, ok := s.Authenticate("revoked"); ok {
		t.Error("a revoked token authenticates")
	}

	// A session that slept through the first change learns of it after the second, in either direction.
	s.Replace(mustParse(t, "*", "revoked", "changed"))
	if _, ok := s.Current(revoked); !ok {
		t.Error("Current of a token that came back = false")
	}
	if change := s.Replace(nil); len(change.Revoked) != 2 {
		t.Errorf("Replace(nil) revoked %v, want both", names(change.Revoked))
	}
	if _, ok := s.Current(changed); ok {
		t.Error("Current after Replace(nil) = true")
	}
}

// TestRotation: one entry has an old and a new hash; removing the old one revokes only those who hold the old token.
func TestRotation(t *testing.T) {
	t.Parallel()
	file := func(hashes ...string) *Tokens {
		tokens, err := ParseTokens([]byte("tokens: [{name: svc, groups: [a], sha256: [" + strings.Join(hashes, ", ") + "]}]"))
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	s := NewStore(file(Hash("old"), Hash("new")))
	old, _ := s.Authenticate("old")
	fresh, _ := s.Authenticate("new")
	if old.Name != "svc" || fresh.Name != "svc" || old == fresh {
		t.Fatalf("grants of one entry: %v and %v, want two of the same name", old, fresh)
	}
	if change := s.Replace(file(Hash("new"))); len(change.Revoked) != 1 || change.Revoked[0] != old {
		t.Errorf("Revoked = %v, want the old token's grant", change.Revoked)
	}
	if _, ok := s.Current(fresh); !ok {
		t.Error("the holder of the new token lost it")
	}
}

func TestConcurrentReplaceLosesNoRevocation(t *testing.T) {
	t.Parallel()
	s := NewStore(mustParse(t, "*", "t0"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	added, revoked := 1, 0
	for i := range 8 {
		tokens := mustParse(t, "*", fmt.Sprintf("t%d", i+1))
		wg.Go(func() {
			for range 100 {
				s.Authenticate("t0")
				c := s.Replace(tokens)
				mu.Lock()
				added, revoked = added+len(c.Added), revoked+len(c.Revoked)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if added-revoked != 1 {
		t.Errorf("%d added, %d revoked, but one token is left", added, revoked)
	}
}

func TestStoreDoesNotAllocate(t *testing.T) {
	s := NewStore(mustParse(t, "*", "a", "b"))
	long := strings.Repeat("x", MaxTokenBytes+1)
	g, _ := s.Authenticate("a")
	if n := testing.AllocsPerRun(100, func() {
		s.Authenticate("b")
		s.Authenticate(long)
		s.Current(g)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, n := range []int{1, 1000} {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("service-%d", i)
		}
		s := NewStore(mustParse(b, "*", list...))
		for what, token := range map[string]string{
			"first": list[0], "last": list[n-1], "wrong": "service-x", "generated": Generate(), "long": strings.Repeat("x", 1<<20),
		} {
			b.Run(fmt.Sprintf("%d/%s", n, what), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Authenticate(token)
				}
			})
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	s := NewStore(mustParse(t, "*", "a", "b"))
	if g, ok := s.Named("b"); !ok || g.Name != "b" {
		t.Errorf("Named(b) = %v, %v", g, ok)
	}
	if want, _ := s.Authenticate("a"); want == nil {
		t.Error("no grant of a")
	} else if g, ok := s.Named("a"); !ok || g != want {
		t.Errorf("Named(a) = %v, %v; want the one that Authenticate returns", g, ok)
	}
	for _, s := range []*Store{s, NewStore(nil), new(Store)} {
		if g, ok := s.Named("c"); ok || g != nil {
			t.Errorf("Named(c) = %v, %v", g, ok)
		}
	}
}
