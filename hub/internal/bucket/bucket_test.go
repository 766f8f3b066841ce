package bucket

import "testing"

func TestBucket(t *testing.T) {
	t.Parallel()
	b := New(10)
	passed := 0
	begin := uint32(1<<32 - 256) // the clock wraps meanwhile
	for i := range uint32(3000) {
		for range 3 {
			if b.Take(begin + i) {
				passed++
			}
		}
	}
	if passed < 38 || passed > 40 { // ten at once, and ten in each second
		t.Errorf("%d passed in three seconds, want 40", passed)
	}
}
