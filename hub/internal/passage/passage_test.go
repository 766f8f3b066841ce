package passage

import "testing"

// TestBound has as many functions wait for a message as may.
func TestBound(t *testing.T) {
	t.Parallel()
	var p Passage
	ran := 0
	then := func() { ran++ }
	if got := p.Await(then); got != Free {
		t.Errorf("%v", got)
	}
	p.Enter()
	for range MaxWaiting {
		if got := p.Await(then); got != Later {
			t.Fatalf("%v", got)
		}
	}
	if got := p.Await(then); got != Full {
		t.Errorf("%v", got)
	}
	p.Leave()
	if ran != MaxWaiting {
		t.Errorf("%d ran", ran)
	}
}
