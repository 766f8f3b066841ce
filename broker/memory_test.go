package broker

import (
	"errors"
	"slices"
	"testing"
)

// TestInboxBounds fills the inbox of an instance that is slow: who publishes to it is told to pause, then refused, and
// may go on once the inbox is empty.
func TestInboxBounds(t *testing.T) {
	t.Parallel()
	bus := NewMemory()
	a := join(t, bus.Broker())
	slow := &slowHandler{newRecorder(), make(chan struct{})}
	b := bus.Broker()
	if err := b.Start(t.Context(), Node{ID: a.id ^ 1<<30}, slow); err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	accepted := 0
	for {
		n, err := a.publish(t, &Message{Kind: KindGlobal, Payload: make([]byte, 64<<10)})
		if errors.Is(err, ErrUnavailable) && n == 0 {
			break
		}
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		accepted++
	}
	if st := b.Stats(); st.InboxBytes > inboxLimit || st.InboxBytes < inboxHigh {
		t.Errorf("stats: %+v", st)
	}
	a.await(t, "pressure", func() bool { return slices.Equal(a.pressure, []bool{true}) })
	close(slow.hold)
	a.await(t, "its end", func() bool { return slices.Equal(a.pressure, []bool{true, false}) })
	slow.await(t, "the messages", func() bool { return len(slow.got) == accepted })
	if st := a.Broker.(StatsSource).Stats(); st.Published != uint64(accepted) || st.RefusedFull != 1 {
		t.Errorf("%d accepted, stats: %+v", accepted, st)
	}
}

// TestAloneAllocations: a hub of one instance pays nothing for its broker.
func TestAloneAllocations(t *testing.T) {
	in := join(t, NewMemory().Broker())
	m := &Message{Kind: KindGroup, Group: []byte("g"), Payload: make([]byte, 250)}
	done := doneFunc(func(int, error) {})
	if n := testing.AllocsPerRun(100, func() { in.Publish(m, done); in.Draw(m.Group, 1, 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
