package echo

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTable compares a table with a list, where texts repeat and hashes collide.
func TestTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table := newTable()
		var model []*wait
		texts := make(map[*wait]string)
		bytes := 0
		text := rapid.StringMatching(`[ab]{0,3}`)
		hash := func(s string) uint64 { return uint64(len(s)) } // collides
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				s := text.Draw(t, "text")
				w := table.add(nil, hash(s), []byte(s))
				model, texts[w], bytes = append(model, w), s, bytes+len(s)
			},
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip() // rapid takes another step instead
				}
				i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
				bytes -= len(texts[model[i]])
				table.remove(model[i])
				model = slices.Delete(model, i, i+1)
			},
			"remove all of a text": func(t *rapid.T) {
				s := text.Draw(t, "text")
				for w := range table.all(hash(s), []byte(s)) {
					bytes -= len(s)
					table.remove(w)
				}
				model = slices.DeleteFunc(model, func(w *wait) bool { return texts[w] == s })
			},
			"": func(t *rapid.T) {
				if table.bytes != bytes {
					t.Fatalf("%d bytes, want %d", table.bytes, bytes)
				}
				for _, s := range []string{"", "a", "b", "ab", "ba", "aa", "bbb", "aba"} {
					var got, want []*wait
					for w := range table.all(hash(s), []byte(s)) {
						got = append(got, w)
					}
					for _, w := range model {
						if texts[w] == s {
							want = append(want, w)
						}
					}
					slices.Reverse(got) // the latest is first
					if !slices.Equal(got, want) {
						t.Fatalf("%q: %d wait, want %d, or in another order", s, len(got), len(want))
					}
				}
				if len(model) == 0 && len(table.byHash) != 0 {
					t.Fatal("an empty table keeps hashes")
				}
			},
		})
	})
}
