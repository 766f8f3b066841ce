package deque

import (
	"testing"

	"pgregory.net/rapid"
)

func TestDeque(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var d Deque[int]
		var want []int
		next := 0
		check := func(got int, ok bool, i int) {
			if ok != (len(want) > 0) || ok && got != want[i] {
				t.Fatalf("got %d, %v of %v", got, ok, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push back":  func(*rapid.T) { next++; d.PushBack(next); want = append(want, next) },
			"push front": func(*rapid.T) { next++; d.PushFront(next); want = append([]int{next}, want...) },
			"pop front": func(*rapid.T) {
				v, ok := d.PopFront()
				check(v, ok, 0)
				want = want[min(1, len(want)):]
			},
			"pop back": func(*rapid.T) {
				v, ok := d.PopBack()
				check(v, ok, len(want)-1)
				want = want[:max(0, len(want)-1)]
			},
			"": func(*rapid.T) {
				if d.Len() != len(want) {
					t.Fatalf("length %d of %v", d.Len(), want)
				}
				for i, v := range want {
					if d.At(i) != v {
						t.Fatalf("element %d of %v is %d", i, want, d.At(i))
					}
				}
			},
		})
	})
}
