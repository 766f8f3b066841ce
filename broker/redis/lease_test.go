package redis

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestHeardWithoutLease has Redis lose leases while pub/sub goes on. Instances that are heard live, and one that joins
// meanwhile finds them.
func TestHeardWithoutLease(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(s *redistest.Server, prefix string){
		"writes refused":       func(s *redistest.Server, _ string) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") },
		"leases evicted":       func(s *redistest.Server, _ string) { s.Do("FLUSHALL") },
		"an eviction too many": func(s *redistest.Server, prefix string) { s.Do("DEL", prefix+":nodes") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			o := quick(s.URL())
			o.LeaseTTL = time.Second
			o.Prefix = uuid.NewString()
			in := redisCluster(t, 2, o)
			in[1].SetMembers("g", 1)
			in[1].SubscribeWait(t, "g")
			in[0].SubscribeWait(t, "g")
			until := time.Now().Add(3 * o.LeaseTTL)
			for i := uint64(0); time.Now().Before(until); i++ {
				fault(s, o.Prefix)
				if n, err := in[0].Outcome(t, &broker.Message{Kind: broker.KindDirect, To: in[1].ID}); n != 1 || err != nil {
					t.Fatalf("%d instances, %v", n, err)
				}
				if node, ok := in[0].Draw([]byte("g"), 0, i); !ok || node != in[1].ID {
					t.Fatal("the member is gone")
				}
			}
			late := brokertest.Join(t, newTestRedis(t, o))
			for _, n := range append(in, late) {
				eventually.True(t, "all instances", func() bool { return len(n.Nodes()) == 3 })
				if st := statsOf(n); st.LostNodes > 0 || st.Reconnects > 0 || !n.State().Available {
					t.Errorf("stats: %+v, state: %+v", st, n.State())
				}
			}
			eventually.True(t, "the member", func() bool { node, ok := late.Draw([]byte("g"), 0, 0); return ok && node == in[1].ID })
			s.Do("CONFIG", "SET", "min-replicas-to-write", "0")
		})
	}
}

func TestHolding(t *testing.T) {
	t.Parallel()
	h := newHolding(10)
	h.begin(100)
	for _, c := range []struct {
		sent, now int64
		extended  bool
		until     int64
	}{
		{101, 103, true, 111}, {100, 104, true, 111}, {105, 111, true, 115}, {114, 116, false, 115}, {117, 118, false, 115},
	} {
		if got := h.extend(c.sent, c.now); got != c.extended || h.until.Load() != c.until {
			t.Errorf("%+v: %v, until %d", c, got, h.until.Load())
		}
	}
	if h.lapsed(115) || !h.lapsed(116) {
		t.Error("it lapses at another time")
	}
	h.begin(120)
	if h.lapsed(130) || !h.lapsed(131) {
		t.Error("it does not begin again")
	}
}

// TestAddressesOfInstances: an address is believed as the instance published it, where it may be signed, and not as it is
// read from Redis.
func TestAddressesOfInstances(t *testing.T) {
	t.Parallel()
	p := newPeers(weights.New(), func() int64 { return 1 }, time.Hour, func(broker.NodeID) {})
	for i, step := range []struct {
		take    func(broker.NodeID, []byte) (bool, error)
		run     uint64
		address string
		want    string
	}{
		{p.seen, 1, "http://evil", ""},
		{p.heard, 1, "http://a", "http://a"},
		{p.seen, 1, "http://evil", "http://a"},
		{p.seen, 2, "http://evil", ""}, // another process has its id
		{p.heard, 2, "http://b", "http://b"},
	} {
		value, err := encodeLease(step.run, lease{Name: "n", Address: step.address})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := step.take(7, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got := p.nodes[7].Address; got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}
