package redis

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// fate is what a Completion was told.
type fate struct {
	instances int
	err       error
}

// cutOff makes two instances, of which the second has lost its connection to Redis behind a proxy, and has the first
// publish one message of each kind to it.
func cutOff(t *testing.T, change func(*Options)) (a, b *brokertest.Instance, p *faultproxy.Proxy, fates []chan fate) {
	t.Helper()
	s := redistest.Start(t)
	p = faultproxy.Start(t, s.Addr())
	o := quick(s.URL())
	change(&o)
	a = brokertest.Join(t, newTestRedis(t, o))
	o.URL = "redis://" + p.Addr()
	b = brokertest.Join(t, newTestRedis(t, o))
	b.SubscribeWait(t, "g")
	b.SetMembers("g", 1)
	eventually.True(t, "b's member", func() bool { node, ok := a.Draw([]byte("g"), 0, 0); return ok && node == b.ID })
	if n, err := a.Outcome(t, &broker.Message{Kind: broker.KindDirect, To: b.ID, Seq: 100}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	b.Await(t, "the first message", func() bool { return len(b.Got) == 1 })
	p.Set(faultproxy.Refuse)
	eventually.True(t, "Redis to notice", func() bool { return s.Do("PUBSUB", "CHANNELS", "*node:"+nodeHex(b.ID)) == "" })
	for seq, kind := range []broker.Kind{broker.KindGlobal, broker.KindGroup, broker.KindDirect, broker.KindAny, broker.KindReturned} {
		told := make(chan fate, 2)
		fates = append(fates, told)
		m := &broker.Message{Kind: kind, Seq: uint64(seq), Group: []byte("g"), Payload: []byte("payload")}
		if kind >= broker.KindDirect {
			m.To = b.ID
		}
		a.Publish(m, broker.CompletionFunc(func(n int, err error) { told <- fate{n, err} }))
	}
	return a, b, p, fates
}

func expectFates(t *testing.T, fates []chan fate, want fate) {
	t.Helper()
	for i, told := range fates {
		select {
		case got := <-told:
			if got.instances != want.instances || !errors.Is(got.err, want.err) {
				t.Errorf("message %d: %+v, want %+v", i, got, want)
			}
		case <-time.After(brokertest.Patience):
			t.Errorf("message %d: its outcome is not told", i)
		}
	}
}

// TestUnheard: a message whose receiver has lost its connection to Redis is not refused. It arrives later.
func TestUnheard(t *testing.T) {
	t.Parallel()
	a, b, p, fates := cutOff(t, func(o *Options) { o.LeaseTTL, o.ProbeInterval = time.Minute, 2*time.Second })
	eventually.True(t, "b to be avoided", func() bool { node, ok := a.Draw([]byte("g"), 1, 1); return ok && node == a.ID })
	if node, ok := a.Draw([]byte("g"), 0, 1); !ok || node != b.ID {
		t.Errorf("no other has a member: drew %v, %v", node, ok)
	}
	for i, told := range fates {
		select {
		case got := <-told:
			t.Errorf("message %d: %+v before anybody can know", i, got)
		default:
		}
	}
	p.Set(faultproxy.None)
	expectFates(t, fates, fate{1, nil})
	b.Await(t, "the messages", func() bool { return len(b.Got) == 1+len(fates) })
	var got []uint64
	for _, d := range b.Deliveries() {
		got = append(got, d.Seq)
	}
	if d := cmp.Diff([]uint64{100, 0, 1, 2, 3, 4}, got); d != "" {
		t.Error(d)
	}
}

// TestUnheardIsFinal: once the receiver's lease has ended, its messages are refused, and it does not get them when it
// comes back after all. Nothing is counted as missed.
func TestUnheardIsFinal(t *testing.T) {
	t.Parallel()
	a, b, p, fates := cutOff(t, func(o *Options) { o.LeaseTTL = time.Second })
	expectFates(t, fates, fate{0, nil})
	p.Set(faultproxy.None)
	eventually.True(t, "each other", func() bool { return len(a.Nodes()) == 2 && len(b.Nodes()) == 2 })
	if n, err := a.Outcome(t, &broker.Message{Kind: broker.KindDirect, To: b.ID, Seq: 101}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	b.Await(t, "the message after them", func() bool { return len(b.Got) > 0 && b.Got[len(b.Got)-1].Seq == 101 })
	if got := b.Deliveries(); len(got) != 2 {
		t.Errorf("what was refused arrives: %v", got)
	}
	if st := statsOf(b); st.Missed != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestUnheardIsBounded: the wait for a live instance that doesn't come back ends.
func TestUnheardIsBounded(t *testing.T) {
	t.Parallel()
	_, _, _, fates := cutOff(t, func(o *Options) { o.LeaseTTL, o.BufferAge = time.Minute, time.Second })
	expectFates(t, fates, fate{0, broker.ErrUnknown})
}

// TestStrangersCount: subscribers that are no instances receive nothing, as far as a sender is told, whatever Redis
// counts.
func TestStrangersCount(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr()})
	defer client.Close()
	for range 3 {
		monitor := client.PSubscribe(t.Context(), o.Prefix+"*")
		defer monitor.Close()
		if _, err := monitor.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	outcome := func(in *brokertest.Instance, m *broker.Message, want int) {
		t.Helper()
		if n, err := in.Outcome(t, m); n != want || err != nil {
			t.Errorf("kind %d: %d instances, %v, want %d", m.Kind, n, err, want)
		}
	}
	a := brokertest.Join(t, newTestRedis(t, o))
	outcome(a, &broker.Message{Kind: broker.KindGlobal}, 0)
	b := brokertest.Join(t, newTestRedis(t, o))
	b.SubscribeWait(t, "subscribed") // without a member
	b.SetMembers("g", 1)
	b.SubscribeWait(t, "g")
	for range 3 {
		outcome(a, &broker.Message{Kind: broker.KindGlobal}, 1)
		outcome(a, &broker.Message{Kind: broker.KindGroup, Group: []byte("g")}, 1)
		outcome(a, &broker.Message{Kind: broker.KindGroup, Group: []byte("nobody")}, 0)
		outcome(a, &broker.Message{Kind: broker.KindDirect, To: b.ID}, 1)
		outcome(a, &broker.Message{Kind: broker.KindDirect, To: b.ID ^ 1<<30}, 0)
		outcome(b, &broker.Message{Kind: broker.KindGroup, Group: []byte("g")}, 0)
	}
	b.SetMembers("g", 0)
	b.Unsubscribe("g")
	eventually.True(t, "a to know that", func() bool { _, ok := a.Draw([]byte("g"), 0, 0); return !ok })
	outcome(a, &broker.Message{Kind: broker.KindGroup, Group: []byte("g")}, 0)
}

// TestCountsOutdated asks for all counts when news of them may have been missed. Until they come, any instance may have
// members: a message that finds none is not given up.
func TestCountsOutdated(t *testing.T) {
	t.Parallel()
	asked := 0
	w := weights.New()
	p := newPeers(w, func() int64 { return 1 }, time.Hour, func(broker.NodeID) { asked++ })
	value, err := encodeLease(9, lease{Name: "b", Counts: 3})
	if err != nil {
		t.Fatal(err)
	}
	counts := func(version uint64, members int) {
		b := binary.BigEndian.AppendUint64(nil, version)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 0), 1)
		if err := p.takeCounts(2, 9, appendCount(b, "g", members)); err != nil {
			t.Fatal(err)
		}
	}
	r := &Broker{peers: p, weights: w, self: broker.Node{ID: 1}}
	buf, err := appendFrame(nil, &frame{Message: broker.Message{Kind: broker.KindGroup, Group: []byte("g")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{kind: broker.KindGroup, buf: append(buf, "\r\n"...)}
	want := func(when string, expected bool, requests int) {
		t.Helper()
		if x := r.expected(e.kind, e.to, e.group(), e.sent); x.none() == expected || asked != requests {
			t.Errorf("%s: expected %v, asked %d times, want %v and %d", when, !expected, asked, expected, requests)
		}
	}
	want("no instance is there", false, 0)
	take := func(read func(broker.NodeID, []byte) (bool, error)) {
		if _, err := read(2, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	take(p.seen)
	want("a new instance", true, 1)
	take(p.seen)
	want("it was asked just now", true, 1)
	p.returned(2)
	want("it could not hear that yet", true, 2)
	counts(3, 0)
	want("it has no members", false, 2)
	take(p.heard)
	want("that is known", false, 2)
	p.outdated()
	want("that may have changed", true, 3)
	counts(3, 0)
	want("it has not", false, 3)
	p.outdated()
	counts(4, 7)
	want("it has", true, 4)
	p.part(2, 9)
	want("it is gone", false, 4)
}
