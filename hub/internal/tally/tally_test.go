package tally

import (
	"testing"

	"github.com/google/uuid"
)

func TestBookIsBounded(t *testing.T) {
	t.Parallel()
	var b Book
	first := uuid.New()
	b.Open(&first).Add(1, 2)
	if got := b.Find(&first); got == nil || *got != (Sum{1, 2}) {
		t.Fatalf("got %+v", got)
	}
	for range 2 * Size {
		id := uuid.New()
		b.Open(&id)
		if b.Find(&id) != nil {
			t.Fatal("a count without its part is complete")
		}
	}
	if len(b.bySender) > Size || b.Find(&first) != nil {
		t.Errorf("%d are kept", len(b.bySender))
	}
}

func TestCountsAddUp(t *testing.T) {
	t.Parallel()
	var none *Count // counts nothing
	none.Expect()
	none.Add(1, 1)
	var c Count
	c.Expect()
	c.Expect()
	c.Add(3, 1)
	if _, complete := c.Sum(); complete {
		t.Error("complete before its second part")
	}
	c.Add(2, 0)
	if got, complete := c.Sum(); !complete || got != (Sum{5, 1}) {
		t.Errorf("got %+v, %v", got, complete)
	}
}
