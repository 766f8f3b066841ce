package redis

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// proxied is an instance whose connections to Redis a test can break.
type proxied struct {
	*brokertest.Instance
	proxy *faultproxy.Proxy
}

// proxiedCluster makes n instances that have a member of group "g" each.
func proxiedCluster(t *testing.T, n int, o Options) []proxied {
	t.Helper()
	s := redistest.Start(t)
	in := make([]proxied, n)
	for i := range in {
		p := faultproxy.Start(t, s.Addr())
		o.URL = "redis://" + p.Addr()
		in[i] = proxied{brokertest.Join(t, newTestRedis(t, o)), p}
		in[i].SetMembers("g", 1)
		in[i].SubscribeWait(t, "g")
	}
	for _, a := range in {
		for _, b := range in {
			if a != b {
				awaitKnown(t, a, b, true)
			}
		}
	}
	return in
}

// awaitKnown waits until a knows b and its member, or neither.
func awaitKnown(t *testing.T, a, b proxied, known bool) {
	t.Helper()
	eventually.True(t, "what is known of an instance", func() bool {
		return has(a.Instance, b.ID) == known && (!known || a.Broker.(*Broker).weights.Count(b.ID, "g") == 1)
	})
}

// cut holds back everything between p and Redis, unless another fault is set, and waits until p notices.
func (p proxied) cut(t *testing.T) {
	t.Helper()
	p.proxy.Set(faultproxy.Stall)
	eventually.True(t, "the cut to be noticed", func() bool { return !p.State().Available })
}

func (p proxied) heal(t *testing.T) {
	t.Helper()
	p.proxy.Set(faultproxy.None)
	eventually.True(t, "the cut to be healed", func() bool { return p.State().Available })
}

// acked publishes numbered messages and notes which were acknowledged.
type acked struct {
	mu   sync.Mutex
	next uint64
	got  []uint64
	open int
}

// publish publishes one message to the instance to, and one to group "g".
func (a *acked) publish(from, to proxied) {
	a.direct(from, to)
	a.send(from, &broker.Message{Kind: broker.KindGroup, Group: []byte("g")})
}

// direct publishes one message to the instance to.
func (a *acked) direct(from, to proxied) {
	a.send(from, &broker.Message{Kind: broker.KindDirect, To: to.ID})
}

func (a *acked) send(from proxied, m *broker.Message) {
	a.mu.Lock()
	m.Seq = a.next
	a.next, a.open = a.next+1, a.open+1
	a.mu.Unlock()
	seq := m.Seq
	from.Publish(m, broker.CompletionFunc(func(n int, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.open--; n > 0 && err == nil {
			a.got = append(a.got, seq)
		}
	}))
}

// acknowledged waits for all outcomes and returns the messages that an instance has, in order.
func (a *acked) acknowledged(t *testing.T) []uint64 {
	t.Helper()
	eventually.True(t, "the outcomes", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.open == 0 })
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.got)
	return a.got
}

// expectDelivered expects from's messages that were acknowledged to have come to the instance to, each once and in order.
func (a *acked) expectDelivered(t *testing.T, from, to proxied) {
	t.Helper()
	want := a.acknowledged(t)
	delivered := func() (seqs []uint64) {
		for _, d := range to.Deliveries() {
			if d.From == from.ID {
				seqs = append(seqs, d.Seq)
			}
		}
		return seqs
	}
	missing := func() (missing []uint64) {
		got := delivered()
		for _, seq := range want {
			if _, ok := slices.BinarySearch(got, seq); !ok {
				missing = append(missing, seq)
			}
		}
		return missing
	}
	if eventually.Within(5*time.Second, func() bool { return len(missing()) == 0 }) != nil {
		lost := missing()
		t.Errorf("%d of %d acknowledged messages are lost, from %d to %d, stats: %+v", len(lost), len(want), lost[0], lost[len(lost)-1], statsOf(to.Instance))
	}
	got := delivered()
	for i := range got {
		if i > 0 && got[i] <= got[i-1] {
			t.Fatalf("%d after %d", got[i], got[i-1])
		}
	}
}

// TestCutsOverlap cuts a receiver off from Redis, then its publisher, so that the publisher is away when the receiver
// comes back, for longer than its lease lasts. The publisher still has the receiver's messages.
func TestCutsOverlap(t *testing.T) {
	t.Parallel()
	o := quick("")
	o.LeaseTTL = time.Second
	in := proxiedCluster(t, 3, o)
	pub, recv, witness := in[0], in[1], in[2]
	var a acked
	a.publish(pub, recv)
	recv.Await(t, "the first messages", func() bool { return len(recv.Got) == 2 })
	recv.proxy.Set(faultproxy.Stall)
	for range 50 {
		a.publish(pub, recv)
	}
	recv.cut(t)
	pub.cut(t)
	awaitKnown(t, witness, pub, false)
	recv.heal(t)
	awaitKnown(t, recv, pub, false)
	awaitKnown(t, recv, witness, true)
	for range 20 {
		recv.Broker.(*Broker).recv.tick() // whatever the end of the lease brings
	}
	pub.heal(t)
	awaitKnown(t, pub, recv, true)
	a.publish(pub, recv)
	a.expectDelivered(t, pub, recv)
	if len(a.acknowledged(t)) < 90 {
		t.Errorf("%d messages were acknowledged: the test shows nothing", len(a.got))
	}
	if st := statsOf(recv.Instance); st.Missed != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestRollingCuts cuts each of four instances off in turn, each as soon as the one before is back, while all publish.
func TestRollingCuts(t *testing.T) {
	t.Parallel()
	o := quick("")
	o.LeaseTTL = time.Second
	in := proxiedCluster(t, 4, o)
	acks := make([][]acked, len(in))
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for i := range in {
		acks[i] = make([]acked, len(in))
		publishing.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if j := n % len(in); j != i {
					acks[i][j].direct(in[i], in[j])
				}
			}
		})
	}
	for range 2 {
		for i, cut := range in {
			cut.cut(t)
			awaitKnown(t, in[(i+1)%len(in)], cut, false)
			cut.proxy.Set(faultproxy.None) // the next one is cut before this one has asked
		}
	}
	for _, n := range in {
		n.heal(t)
	}
	close(stop)
	publishing.Wait()
	for i := range in {
		for j := range in {
			if i != j {
				acks[i][j].expectDelivered(t, in[i], in[j])
			}
		}
	}
}

// TestLargestMessageIsSentAgain cuts the receiver of messages of 8 MiB off, the largest that a hub over Redis allows.
func TestLargestMessageIsSentAgain(t *testing.T) {
	t.Parallel()
	o := quick("")
	o.LeaseTTL, o.BufferAge = 30*time.Second, 30*time.Second
	in := proxiedCluster(t, 2, o)
	pub, recv := in[0], in[1]
	large := func(seq uint64) *broker.Message {
		return &broker.Message{Kind: broker.KindDirect, To: recv.ID, Seq: seq, Payload: make([]byte, 8<<20)}
	}
	if n, err := pub.Outcome(t, large(1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	recv.Await(t, "the first message", func() bool { return len(recv.Got) == 1 })
	recv.proxy.Set(faultproxy.Swallow)
	told := make(chan fate, 1)
	pub.Publish(large(2), broker.CompletionFunc(func(n int, err error) { told <- fate{n, err} }))
	recv.cut(t)
	recv.heal(t)
	recv.Await(t, "the second message", func() bool { return len(recv.Got) == 2 })
	if got := <-told; got != (fate{1, nil}) {
		t.Errorf("outcome: %+v", got)
	}
	if st := statsOf(recv.Instance); st.Missed != 0 || st.Unresumed != 0 {
		t.Errorf("stats: %+v", st)
	}
}
