package memory

import (
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestInboxBounds fills the inbox of a slow instance: its publishers are asked to pause, then refused, and may go on
// once the inbox is empty.
func TestInboxBounds(t *testing.T) {
	t.Parallel()
	bus := NewBus()
	a := brokertest.Join(t, bus.Broker())
	slow := &brokertest.SlowHandler{Recorder: brokertest.NewRecorder(), Hold: make(chan struct{})}
	b := bus.Broker()
	if err := b.Start(t.Context(), broker.Node{ID: a.ID ^ 1<<30}, slow); err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	accepted := 0
	for {
		n, err := a.Outcome(t, &broker.Message{Kind: broker.KindGlobal, Payload: make([]byte, 64<<10)})
		if errors.Is(err, broker.ErrUnavailable) && n == 0 {
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
	a.Await(t, "pressure", func() bool { return slices.Equal(a.Pressures, []bool{true}) })
	close(slow.Hold)
	a.Await(t, "its end", func() bool { return slices.Equal(a.Pressures, []bool{true, false}) })
	slow.Await(t, "the messages", func() bool { return len(slow.Got) == accepted })
	if st := a.Broker.(broker.StatsSource).Stats(); st.Published != uint64(accepted) || st.RefusedFull != 1 {
		t.Errorf("%d accepted, stats: %+v", accepted, st)
	}
}

// TestAloneAllocations: a hub of one instance pays nothing for its broker.
func TestAloneAllocations(t *testing.T) {
	in := brokertest.Join(t, NewBus().Broker())
	m := &broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Payload: make([]byte, 250)}
	done := broker.CompletionFunc(func(int, error) {})
	if n := testing.AllocsPerRun(100, func() { in.Publish(m, done); in.Draw(m.Group, 1, 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Conform(t, func(testing.TB) func(testing.TB) broker.Broker {
		bus := NewBus()
		return func(testing.TB) broker.Broker { return bus.Broker() }
	})
}

func TestConformanceOfHistory(t *testing.T) {
	t.Parallel()
	brokertest.ConformHistory(t, func(testing.TB) func(testing.TB) broker.Broker {
		bus := NewBus()
		return func(testing.TB) broker.Broker { return bus.Broker() }
	})
}
