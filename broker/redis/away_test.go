package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestBufferBounds fills the buffer while Redis is away: what fits arrives in order once it is back, and everything
// else is refused and counted.
func TestBufferBounds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	o.BufferBytes = 64 << 10
	in := redisCluster(t, 2, o)
	a, b := in[0], in[1]
	s.Kill()
	awaitState(t, in, false)
	var mu sync.Mutex
	accepted, refused := []uint64(nil), 0
	for seq := range uint64(1000) {
		a.Publish(&broker.Message{Kind: broker.KindGlobal, Seq: seq, Payload: make([]byte, 100)}, broker.CompletionFunc(func(_ int, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted = append(accepted, seq)
			case errors.Is(err, broker.ErrUnavailable):
				refused++
			default:
				t.Errorf("message %d: %v", seq, err)
			}
		}))
	}
	if st := statsOf(a); st.BufferedBytes > o.BufferBytes || st.BufferedMessages < 50 || st.RefusedFull == 0 {
		t.Errorf("stats: %+v", st)
	}
	if a.Within(0, func() bool { return len(a.Pressures) > 0 }) {
		t.Error("pressure while the broker was away")
	}
	s.Restart()
	awaitState(t, in, true)
	eventually.True(t, "all outcomes", func() bool { mu.Lock(); defer mu.Unlock(); return len(accepted)+refused == 1000 })
	b.Await(t, "the messages", func() bool { return len(b.Got) >= len(accepted) })
	var got []uint64
	for _, d := range b.Deliveries() {
		got = append(got, d.Seq)
	}
	if !slices.Equal(got, accepted) {
		t.Errorf("accepted %v, got %v", accepted, got)
	}
	if st := statsOf(a); st.RefusedFull != uint64(refused) || st.BufferedMessages != 0 || st.BufferedBytes != 0 {
		t.Errorf("%d refused, stats: %+v", refused, st)
	}
}

func TestBufferAge(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	o.BufferAge = 300 * time.Millisecond
	a := redisCluster(t, 1, o)[0]
	s.Kill()
	awaitState(t, []*brokertest.Instance{a}, false)
	if _, err := a.Outcome(t, &broker.Message{Kind: broker.KindGlobal}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("too old: %v, want ErrUnavailable", err)
	}
	if st := statsOf(a); st.RefusedExpired != 1 || st.BufferedMessages != 0 {
		t.Errorf("stats: %+v", st)
	}
	if !strings.Contains(a.State().Err, "refused") {
		t.Errorf("reason: %q", a.State().Err)
	}
}

// TestUnknownOutcome breaks the connection for good after a message was sent.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := faultproxy.Start(t, s.Addr())
	o := quick("redis://" + p.Addr())
	o.BufferAge = time.Second
	a := redisCluster(t, 1, o)[0]
	p.Set(faultproxy.SwallowReplies)
	if _, err := a.Outcome(t, &broker.Message{Kind: broker.KindGlobal}); !errors.Is(err, broker.ErrUnknown) {
		t.Errorf("sent and never answered: %v, want ErrUnknown", err)
	}
	if st := statsOf(a); st.RefusedUnknown != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// TestPressure publishes faster than Redis takes it.
func TestPressure(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := Options{URL: s.URL(), BufferBytes: 2 << 20}
	a := redisCluster(t, 1, o)[0]
	s.Pause() // for less than it takes to be away
	for range 40 {
		a.Publish(&broker.Message{Kind: broker.KindGlobal, Payload: make([]byte, 32<<10)}, nil)
	}
	a.Await(t, "pressure", func() bool { return len(a.Pressures) == 1 && a.Pressures[0] })
	s.Resume()
	a.Await(t, "its end", func() bool { return len(a.Pressures) == 2 && !a.Pressures[1] })
	if st := statsOf(a); st.RefusedFull != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestPressureEndsWhenAway: a broker that is away holds up no clients.
func TestPressureEndsWhenAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	o.BufferBytes = 2 << 20
	a := redisCluster(t, 1, o)[0]
	awaitState(t, []*brokertest.Instance{a}, true)
	s.Pause()
	defer s.Resume()
	for range 40 {
		a.Publish(&broker.Message{Kind: broker.KindGlobal, Payload: make([]byte, 32<<10)}, nil)
	}
	a.Await(t, "pressure and its end", func() bool { return slices.Equal(a.Pressures, []bool{true, false}) })
	a.Await(t, "the report", func() bool { return !a.States[len(a.States)-1].Available })
}

// TestStartWithoutRedis starts while Redis is away, and works once it comes.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	o := quick(s.URL())
	a := brokertest.Join(t, newTestRedis(t, o))
	if st := a.State(); st.Available || !strings.Contains(st.Err, "refused") {
		t.Errorf("state: %+v", st)
	}
	confirmed := make(chan error, 1)
	a.Subscribe("g", func(err error) { confirmed <- err })
	a.Publish(&broker.Message{Kind: broker.KindGlobal}, nil)
	if node, ok := a.Draw([]byte("g"), 1, 0); !ok || node != a.ID {
		t.Errorf("drew %v, %v", node, ok)
	}
	if _, err := a.Gather(t.Context(), nil, nil, nil); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("gather: %v", err)
	}
	s.Restart()
	if err := <-confirmed; err != nil {
		t.Errorf("subscribe: %v", err)
	}
	a.Await(t, "the report", func() bool { return len(a.States) == 1 && a.States[0].Available })
}

func TestSubscribeTimesOut(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	o := quick(s.URL())
	o.SubscribeTimeout = 100 * time.Millisecond
	a := brokertest.Join(t, newTestRedis(t, o))
	confirmed := make(chan error, 2)
	a.Subscribe("g", func(err error) { confirmed <- err })
	if err := <-confirmed; !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without Redis: %v", err)
	}
	a.Subscribe("h", func(err error) { confirmed <- err })
	a.Unsubscribe("h")
	if err := <-confirmed; !errors.Is(err, errUnsubscribed) {
		t.Errorf("unsubscribed first: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), brokertest.Patience)
	defer cancel()
	a.Publish(&broker.Message{Kind: broker.KindGlobal}, nil)
	if err := a.Close(ctx); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("close with a message that waits: %v", err)
	}
}

// TestSlowDeliver holds up Deliver for longer than silence may last: the broker isn't taken for away, the instance
// keeps its lease, and nothing is lost.
func TestSlowDeliver(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	o.LeaseTTL = time.Second
	a := redisCluster(t, 1, o)[0]
	slow := &brokertest.SlowHandler{Recorder: brokertest.NewRecorder(), Hold: make(chan struct{})}
	b := newTestRedis(t, o)
	if err := b.Start(t.Context(), broker.Node{ID: a.ID ^ 1<<30}, slow); err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	for seq := range uint64(1000) {
		a.Publish(&broker.Message{Kind: broker.KindGlobal, Seq: seq}, nil)
	}
	began, renewed := time.Now(), s.Calls("evalsha")
	eventually.True(t, "leases to be renewed for longer than silence may last", func() bool {
		return time.Since(began) > 3*o.LeaseTTL && s.Calls("evalsha") > renewed+20
	})
	if st := b.Stats(); st.Reconnects > 0 || !b.State().Available || !has(a, b.self.ID) {
		t.Errorf("stats: %+v, state: %+v, nodes: %v", st, b.State(), a.Nodes())
	}
	close(slow.Hold)
	slow.Await(t, "the messages", func() bool { return len(slow.Got) == 1000 })
}
