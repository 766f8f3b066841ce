package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// load is what senders publish on every instance of a cluster while something breaks.
type load struct {
	in      []*instance
	stop    chan struct{}
	sending sync.WaitGroup

	mu   sync.Mutex
	sent map[uuid.UUID]*sent
}

// sent is what one sender published.
type sent struct {
	at    int // index of its instance
	count uint64
}

// pace is the pause between a sender's messages.
const pace = time.Millisecond

func startLoad(t *testing.T, in []*instance) *load {
	t.Helper()
	l := &load{in: in, stop: make(chan struct{}), sent: make(map[uuid.UUID]*sent)}
	for _, n := range in {
		n.subscribe(t, "g")
	}
	for i := range in {
		for range 2 {
			id := uuid.New()
			s := &sent{at: i}
			l.sent[id] = s
			l.sending.Go(func() { l.send(id, s) })
		}
	}
	return l
}

func (l *load) send(id uuid.UUID, s *sent) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		l.in[s.at].Publish(mixed(id, s.count, l.in[(s.at+1)%len(l.in)].id), nil)
		s.count++
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
	}
}

// runFor lets the load run.
func (l *load) runFor(d time.Duration) { <-time.After(d) }

// end stops the senders, and expects every message at every receiver, once and in order.
func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.sending.Wait()
	for i, n := range l.in {
		want := 0
		for _, s := range l.sent {
			want += len(l.expected(s, i))
		}
		if !n.within(patience, func() bool { return len(n.got) >= want }) {
			t.Errorf("instance %d got %d of %d messages, stats: %+v", i, len(n.deliveries()), want, statsOf(n))
		}
		got := make(map[uuid.UUID][]uint64)
		for _, d := range n.deliveries() {
			got[d.sender] = append(got[d.sender], d.seq)
		}
		for id, s := range l.sent {
			if d := cmp.Diff(l.expected(s, i), got[id]); d != "" {
				t.Errorf("instance %d, sender on %d: %s", i, s.at, d)
			}
		}
		if s := statsOf(n); s.Missed != 0 {
			t.Errorf("instance %d missed %d", i, s.Missed)
		}
		s := statsOf(n)
		t.Logf("instance %d: %d received, %d duplicates dropped, %d recovered, %d reconnects", i, s.Received, s.Duplicates, s.Recovered, s.Reconnects)
	}
}

// expected are the numbers of s that instance i should get.
func (l *load) expected(s *sent, i int) (seqs []uint64) {
	if s.at == i {
		return nil
	}
	for seq := range s.count {
		if seq%3 != 2 || (s.at+1)%len(l.in) == i {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

func statsOf(in *instance) Stats { return in.Broker.(StatsSource).Stats() }

// quick are options for tests in which broken connections should be noticed soon.
func quick(url string) RedisOptions {
	return RedisOptions{
		URL: url, Prefix: uuid.NewString(), ProbeInterval: 250 * time.Millisecond, LeaseTTL: 3 * time.Second,
		DialTimeout: time.Second,
	}
}

func redisCluster(t *testing.T, n int, o RedisOptions) []*instance {
	t.Helper()
	return clusterOf(t, n, func(t testing.TB) Broker { return newTestRedis(t, o) })
}

// awaitState waits until every instance finds the broker available, or not.
func awaitState(t *testing.T, in []*instance, available bool) {
	t.Helper()
	for _, n := range in {
		eventually(t, "the state", func() bool { return n.State().Available == available })
	}
}

// TestFaults breaks Redis and the connections to it under load. Whatever happens, every message arrives once and in
// order, as none waits for longer than it may.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, s *redistest.Server, in []*instance, l *load){
		"killed and restarted empty": func(t *testing.T, s *redistest.Server, in []*instance, l *load) {
			for range 3 {
				s.Kill()
				awaitState(t, in, false)
				l.runFor(300 * time.Millisecond)
				s.Restart()
				awaitState(t, in, true)
				l.runFor(300 * time.Millisecond)
			}
		},
		"restarted at once": func(t *testing.T, s *redistest.Server, in []*instance, l *load) {
			for range 5 {
				s.Restart()
				l.runFor(300 * time.Millisecond)
			}
		},
		"paused": func(t *testing.T, s *redistest.Server, in []*instance, l *load) {
			s.Pause()
			awaitState(t, in, false)
			l.runFor(3 * time.Second)
			s.Resume()
			awaitState(t, in, true)
		},
		"subscribers killed": func(t *testing.T, s *redistest.Server, _ []*instance, l *load) {
			for range 20 {
				s.Do("CLIENT", "KILL", "TYPE", "pubsub")
				l.runFor(100 * time.Millisecond)
			}
		},
		"publishers killed": func(t *testing.T, s *redistest.Server, _ []*instance, l *load) {
			for range 20 {
				s.Do("CLIENT", "KILL", "TYPE", "normal")
				l.runFor(100 * time.Millisecond)
			}
		},
		"data lost": func(t *testing.T, s *redistest.Server, in []*instance, l *load) {
			for range 5 {
				s.Do("FLUSHALL")
				l.runFor(200 * time.Millisecond)
			}
			for _, n := range in {
				if s := statsOf(n); s.LostNodes > 0 {
					t.Errorf("%d instances were taken for dead", s.LostNodes)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			in := redisCluster(t, 3, quick(s.URL()))
			l := startLoad(t, in)
			l.runFor(200 * time.Millisecond)
			fault(t, s, in, l)
			l.runFor(200 * time.Millisecond)
			l.end(t)
			for _, n := range in {
				eventually(t, "all instances", func() bool { return len(n.Nodes()) == 3 })
			}
		})
	}
}

// TestNetworkFaults breaks the network between one of three instances and Redis.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultproxy.Fault{
		"replies swallowed": faultproxy.SwallowReplies, "requests swallowed": faultproxy.SwallowRequests,
		"silent": faultproxy.Swallow, "stalled": faultproxy.Stall, "refused": faultproxy.Refuse,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			p := faultproxy.Start(t, s.Addr())
			o := quick(s.URL())
			in := redisCluster(t, 2, o)
			o.URL = "redis://" + p.Addr()
			in = append(in, join(t, newTestRedis(t, o)))
			l := startLoad(t, in)
			l.runFor(200 * time.Millisecond)
			p.Set(fault)
			awaitState(t, in[2:], false)
			l.runFor(500 * time.Millisecond)
			if !in[0].State().Available || in[2].State().Err == "" {
				t.Errorf("states: %+v, %+v", in[0].State(), in[2].State())
			}
			p.Set(faultproxy.None)
			awaitState(t, in[2:], true)
			for range 5 {
				p.Cut()
				l.runFor(50 * time.Millisecond)
			}
			l.end(t)
		})
	}
}

// TestSilentPartition measures, with the default intervals, how soon swallowed replies are noticed and healed.
func TestSilentPartition(t *testing.T) { // not parallel: it takes times
	s := redistest.Start(t)
	p := faultproxy.Start(t, s.Addr())
	o := RedisOptions{URL: s.URL()}
	a := join(t, newTestRedis(t, o))
	o.URL = "redis://" + p.Addr()
	b := join(t, newTestRedis(t, o))
	eventually(t, "each other", func() bool { return len(a.Nodes()) == 2 && len(b.Nodes()) == 2 })

	began := time.Now()
	p.Set(faultproxy.SwallowReplies)
	b.await(t, "the report", func() bool { return len(b.states) > 0 && !b.states[len(b.states)-1].Available })
	noticed := time.Since(began)
	a.Publish(&Message{Kind: KindDirect, To: b.id, Seq: 1}, nil)
	began = time.Now()
	p.Set(faultproxy.None)
	b.await(t, "the report", func() bool { return b.states[len(b.states)-1].Available })
	b.await(t, "the message", func() bool { return len(b.got) == 1 })
	healed := time.Since(began)
	t.Logf("noticed after %v, healed %v after the network", noticed, healed)
	if noticed > 3*time.Second || healed > 5*time.Second {
		t.Error("that is too late")
	}
	if s := b.states[0]; s.Available && len(b.states) != 3 {
		t.Errorf("states: %+v", b.states)
	}
}

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
		a.Publish(&Message{Kind: KindGlobal, Seq: seq, Payload: make([]byte, 100)}, doneFunc(func(_ int, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted = append(accepted, seq)
			case errors.Is(err, ErrUnavailable):
				refused++
			default:
				t.Errorf("message %d: %v", seq, err)
			}
		}))
	}
	if st := statsOf(a); st.BufferedBytes > o.BufferBytes || st.BufferedMessages < 50 || st.RefusedFull == 0 {
		t.Errorf("stats: %+v", st)
	}
	a.mu.Lock()
	if len(a.pressure) > 0 {
		t.Errorf("pressure while the broker was away: %v", a.pressure)
	}
	a.mu.Unlock()
	s.Restart()
	awaitState(t, in, true)
	eventually(t, "all outcomes", func() bool { mu.Lock(); defer mu.Unlock(); return len(accepted)+refused == 1000 })
	b.await(t, "the messages", func() bool { return len(b.got) >= len(accepted) })
	var got []uint64
	for _, d := range b.deliveries() {
		got = append(got, d.seq)
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
	awaitState(t, []*instance{a}, false)
	if _, err := a.publish(t, &Message{Kind: KindGlobal}); !errors.Is(err, ErrUnavailable) {
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
	if _, err := a.publish(t, &Message{Kind: KindGlobal}); !errors.Is(err, ErrUnknown) {
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
	o := RedisOptions{URL: s.URL(), BufferBytes: 2 << 20}
	a := redisCluster(t, 1, o)[0]
	s.Pause() // for less than it takes to be away
	for range 40 {
		a.Publish(&Message{Kind: KindGlobal, Payload: make([]byte, 32<<10)}, nil)
	}
	a.await(t, "pressure", func() bool { return len(a.pressure) == 1 && a.pressure[0] })
	s.Resume()
	a.await(t, "its end", func() bool { return len(a.pressure) == 2 && !a.pressure[1] })
	if st := statsOf(a); st.RefusedFull != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestPressureEndsWhenAway: nobody's clients are held up for a broker that is away.
func TestPressureEndsWhenAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	o.BufferBytes = 2 << 20
	a := redisCluster(t, 1, o)[0]
	awaitState(t, []*instance{a}, true)
	s.Pause()
	defer s.Resume()
	for range 40 {
		a.Publish(&Message{Kind: KindGlobal, Payload: make([]byte, 32<<10)}, nil)
	}
	a.await(t, "pressure and its end", func() bool { return slices.Equal(a.pressure, []bool{true, false}) })
	a.await(t, "the report", func() bool { return !a.states[len(a.states)-1].Available })
}

// TestStartWithoutRedis starts while Redis is away, and works once it comes.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	o := quick(s.URL())
	a := join(t, newTestRedis(t, o))
	if st := a.State(); st.Available || !strings.Contains(st.Err, "refused") {
		t.Errorf("state: %+v", st)
	}
	confirmed := make(chan error, 1)
	a.Subscribe("g", func(err error) { confirmed <- err })
	a.Publish(&Message{Kind: KindGlobal}, nil)
	if node, ok := a.Draw([]byte("g"), 1, 0); !ok || node != a.id {
		t.Errorf("drew %v, %v", node, ok)
	}
	if _, err := a.Gather(t.Context(), nil, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("gather: %v", err)
	}
	s.Restart()
	if err := <-confirmed; err != nil {
		t.Errorf("subscribe: %v", err)
	}
	a.await(t, "the report", func() bool { return len(a.states) == 1 && a.states[0].Available })
}

func TestSubscribeTimesOut(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	o := quick(s.URL())
	o.SubscribeTimeout = 100 * time.Millisecond
	a := join(t, newTestRedis(t, o))
	confirmed := make(chan error, 2)
	a.Subscribe("g", func(err error) { confirmed <- err })
	if err := <-confirmed; !errors.Is(err, ErrUnavailable) {
		t.Errorf("without Redis: %v", err)
	}
	a.Subscribe("h", func(err error) { confirmed <- err })
	a.Unsubscribe("h")
	if err := <-confirmed; !errors.Is(err, errUnsubscribed) {
		t.Errorf("unsubscribed first: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a.Publish(&Message{Kind: KindGlobal}, nil)
	if err := a.Close(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("close with a message that waits: %v", err)
	}
}
