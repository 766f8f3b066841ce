package ordered

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSet compares a set that grows and shrinks with a sorted list.
func TestSet(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	s := New(func(v string) string { return v })
	var want []string
	for step := range 40_000 {
		name := fmt.Sprint(random.IntN(6000))
		at, ok := slices.BinarySearch(want, name)
		switch grow := step%20_000 < 12_000; {
		case !ok && (grow || random.IntN(4) == 0):
			s.Add(name)
			want = slices.Insert(want, at, name)
		case ok && (!grow || random.IntN(4) == 0):
			s.Remove(name)
			want = slices.Delete(want, at, at+1)
		case !ok:
			s.Remove(name) // not there
		}
		if step%997 == 0 {
			for _, after := range []string{"", "0", name, name + "x", "9999", "z"} {
				first, ok := slices.BinarySearch(want, after)
				if ok {
					first++
				}
				for _, n := range []int{0, 1, 700} {
					if got := s.After(after, make([]string, 0, n)); !slices.Equal(got, want[first:min(first+n, len(want))]) {
						t.Fatalf("step %d: %d behind %q: %v", step, n, after, got)
					}
				}
			}
		}
	}
	for len(want) > 0 {
		s.Remove(want[0])
		want = want[1:]
	}
	if got := s.After("", make([]string, 0, 1)); len(got) > 0 || len(s.blocks) > 0 {
		t.Errorf("left %v in %d blocks", got, len(s.blocks))
	}
}

func BenchmarkSet(b *testing.B) {
	s := New(func(v string) string { return v })
	for i := range 186_000 {
		s.Add(fmt.Sprintf("%06d", i*7%186_000))
	}
	b.Run("add and remove", func(b *testing.B) {
		for b.Loop() {
			s.Add("100000x")
			s.Remove("100000x")
		}
	})
	b.Run("page", func(b *testing.B) {
		page := make([]string, 0, 500)
		for b.Loop() {
			s.After("100000", page)
		}
	})
}
