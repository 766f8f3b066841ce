package clientid

import "testing"

func TestLocateReadsWhatNewWrote(t *testing.T) {
	t.Parallel()
	for _, loc := range []Location{
		{1, 0, 0}, {0xffffffff, MaxLoops - 1, AgentSlot}, {0x12345678, 7, PublisherSlot}, {2, 1, 0x10203},
	} {
		id := New(loc)
		if got := Locate(&id); got != loc {
			t.Errorf("%v is located at %+v, want %+v", id, got, loc)
		}
		if id.Version() != 8 {
			t.Errorf("%v is of version %d", id, id.Version())
		}
		if other := New(loc); other == id {
			t.Errorf("%v was made twice", id)
		}
	}
	if NewNode() == 0 {
		t.Error("an instance has the id 0")
	}
}
