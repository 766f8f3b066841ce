package redis

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// load is what senders publish on every instance of a cluster while something breaks.
type load struct {
	in      []*brokertest.Instance
	stop    chan struct{}
	sending sync.WaitGroup

	sent map[uuid.UUID]*sent // filled before the senders begin
}

// sent is what one sender published.
type sent struct {
	at    int // index of its instance
	count uint64
}

// pace is the pause between a sender's messages.
const pace = time.Millisecond

func startLoad(t *testing.T, in []*brokertest.Instance) *load {
	t.Helper()
	l := &load{in: in, stop: make(chan struct{}), sent: make(map[uuid.UUID]*sent)}
	for _, n := range in {
		n.JoinGroup(t, "g")
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
		l.in[s.at].Publish(brokertest.Mixed(id, s.count, l.in[(s.at+1)%len(l.in)].ID), nil)
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
		if !n.Within(brokertest.Patience, func() bool { return len(n.Got) >= want }) {
			t.Errorf("instance %d got %d of %d messages, stats: %+v", i, len(n.Deliveries()), want, statsOf(n))
		}
		got := make(map[uuid.UUID][]uint64)
		for _, d := range n.Deliveries() {
			got[d.Sender] = append(got[d.Sender], d.Seq)
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

func statsOf(in *brokertest.Instance) broker.Stats { return in.Broker.(broker.StatsSource).Stats() }

// quick are options for tests in which broken connections should be noticed soon.
func quick(url string) Options {
	return Options{
		URL: url, Prefix: uuid.NewString(), ProbeInterval: 250 * time.Millisecond, LeaseTTL: 3 * time.Second,
		DialTimeout: time.Second,
	}
}

// patient are options for tests in which no connection is to be taken for silent.
func patient(url string) Options {
	o := quick(url)
	o.ProbeInterval, o.LeaseTTL = 3*time.Second, 20*time.Second
	return o
}

func redisCluster(t *testing.T, n int, o Options) []*brokertest.Instance {
	t.Helper()
	return brokertest.Cluster(t, n, func(t testing.TB) broker.Broker { return newTestRedis(t, o) })
}

// awaitState waits until every instance finds the broker available, or not.
func awaitState(t *testing.T, in []*brokertest.Instance, available bool) {
	t.Helper()
	for _, n := range in {
		eventually.True(t, "the state", func() bool { return n.State().Available == available })
	}
}

// TestFaults breaks Redis and the connections to it under load. Whatever happens, every message arrives once and in
// order, as none waits for longer than it may.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, s *redistest.Server, in []*brokertest.Instance, l *load){
		"killed and restarted empty": func(t *testing.T, s *redistest.Server, in []*brokertest.Instance, l *load) {
			for range 3 {
				s.Kill()
				awaitState(t, in, false)
				l.runFor(300 * time.Millisecond)
				s.Restart()
				awaitState(t, in, true)
				l.runFor(300 * time.Millisecond)
			}
		},
		"restarted at once": func(t *testing.T, s *redistest.Server, in []*brokertest.Instance, l *load) {
			for range 5 {
				s.Restart()
				l.runFor(300 * time.Millisecond)
			}
		},
		"paused": func(t *testing.T, s *redistest.Server, in []*brokertest.Instance, l *load) {
			s.Pause()
			awaitState(t, in, false)
			l.runFor(3 * time.Second)
			s.Resume()
			awaitState(t, in, true)
		},
		"subscribers killed": func(t *testing.T, s *redistest.Server, _ []*brokertest.Instance, l *load) {
			for range 20 {
				s.Do("CLIENT", "KILL", "TYPE", "pubsub")
				l.runFor(100 * time.Millisecond)
			}
		},
		"publishers killed": func(t *testing.T, s *redistest.Server, _ []*brokertest.Instance, l *load) {
			for range 20 {
				s.Do("CLIENT", "KILL", "TYPE", "normal")
				l.runFor(100 * time.Millisecond)
			}
		},
		"data lost": func(t *testing.T, s *redistest.Server, in []*brokertest.Instance, l *load) {
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
				eventually.True(t, "all instances", func() bool { return len(n.Nodes()) == 3 })
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
			in = append(in, brokertest.Join(t, newTestRedis(t, o)))
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
	o := Options{URL: s.URL()}
	a := brokertest.Join(t, newTestRedis(t, o))
	o.URL = "redis://" + p.Addr()
	b := brokertest.Join(t, newTestRedis(t, o))
	eventually.True(t, "each other", func() bool { return len(a.Nodes()) == 2 && len(b.Nodes()) == 2 })

	began := time.Now()
	p.Set(faultproxy.SwallowReplies)
	b.Await(t, "the report", func() bool { return len(b.States) > 0 && !b.States[len(b.States)-1].Available })
	noticed := time.Since(began)
	a.Publish(&broker.Message{Kind: broker.KindDirect, To: b.ID, Seq: 1}, nil)
	began = time.Now()
	p.Set(faultproxy.None)
	b.Await(t, "the report", func() bool { return b.States[len(b.States)-1].Available })
	b.Await(t, "the message", func() bool { return len(b.Got) == 1 })
	healed := time.Since(began)
	t.Logf("noticed after %v, healed %v after the network", noticed, healed)
	if noticed > 3*time.Second || healed > 5*time.Second {
		t.Error("that is too late")
	}
	if s := b.States[0]; s.Available && len(b.States) != 3 {
		t.Errorf("states: %+v", b.States)
	}
}
