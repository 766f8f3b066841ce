package broker

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
func cutOff(t *testing.T, change func(*RedisOptions)) (a, b *instance, p *faultproxy.Proxy, fates []chan fate) {
	t.Helper()
	s := redistest.Start(t)
	p = faultproxy.Start(t, s.Addr())
	o := quick(s.URL())
	change(&o)
	a = join(t, newTestRedis(t, o))
	o.URL = "redis://" + p.Addr()
	b = join(t, newTestRedis(t, o))
	b.subscribe(t, "g")
	b.SetMembers("g", 1)
	eventually.True(t, "b's member", func() bool { node, ok := a.Draw([]byte("g"), 0, 0); return ok && node == b.id })
	if n, err := a.publish(t, &Message{Kind: KindDirect, To: b.id, Seq: 100}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	b.await(t, "the first message", func() bool { return len(b.got) == 1 })
	p.Set(faultproxy.Refuse)
	eventually.True(t, "Redis to notice", func() bool { return s.Do("PUBSUB", "CHANNELS", "*node:"+nodeHex(b.id)) == "" })
	for seq, kind := range []Kind{KindGlobal, KindGroup, KindDirect, KindAny, KindReturned} {
		told := make(chan fate, 2)
		fates = append(fates, told)
		m := &Message{Kind: kind, Seq: uint64(seq), Group: []byte("g"), Payload: []byte("payload")}
		if kind >= KindDirect {
			m.To = b.id
		}
		a.Publish(m, doneFunc(func(n int, err error) { told <- fate{n, err} }))
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
		case <-time.After(patience):
			t.Errorf("message %d: nobody says what became of it", i)
		}
	}
}

// TestUnheard: what Redis passed to nobody, as its receiver's connection was broken, is not refused: it arrives later.
func TestUnheard(t *testing.T) {
	t.Parallel()
	a, b, p, fates := cutOff(t, func(o *RedisOptions) { o.LeaseTTL, o.ProbeInterval = time.Minute, 2*time.Second })
	eventually.True(t, "b to be avoided", func() bool { node, ok := a.Draw([]byte("g"), 1, 1); return ok && node == a.id })
	if node, ok := a.Draw([]byte("g"), 0, 1); !ok || node != b.id {
		t.Errorf("nobody else has a member: drew %v, %v", node, ok)
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
	b.await(t, "the messages", func() bool { return len(b.got) == 1+len(fates) })
	var got []uint64
	for _, d := range b.deliveries() {
		got = append(got, d.seq)
	}
	if d := cmp.Diff([]uint64{100, 0, 1, 2, 3, 4}, got); d != "" {
		t.Error(d)
	}
}

// TestUnheardIsFinal: once the receiver's lease has ended, its messages are refused, and it does not get them when it
// comes back after all. Nothing is counted as missed.
func TestUnheardIsFinal(t *testing.T) {
	t.Parallel()
	a, b, p, fates := cutOff(t, func(o *RedisOptions) { o.LeaseTTL = time.Second })
	expectFates(t, fates, fate{0, nil})
	p.Set(faultproxy.None)
	eventually.True(t, "each other", func() bool { return len(a.Nodes()) == 2 && len(b.Nodes()) == 2 })
	if n, err := a.publish(t, &Message{Kind: KindDirect, To: b.id, Seq: 101}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	b.await(t, "the message after them", func() bool { return len(b.got) > 0 && b.got[len(b.got)-1].seq == 101 })
	if got := b.deliveries(); len(got) != 2 {
		t.Errorf("what was refused arrives: %v", got)
	}
	if st := statsOf(b); st.Missed != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestUnheardIsBounded: nobody is left waiting for an instance that is there and doesn't come back.
func TestUnheardIsBounded(t *testing.T) {
	t.Parallel()
	_, _, _, fates := cutOff(t, func(o *RedisOptions) { o.LeaseTTL, o.BufferAge = time.Minute, time.Second })
	expectFates(t, fates, fate{0, ErrUnknown})
}

// TestCountsOutdated asks for all counts anew when news of them may have been missed. Until they come, anybody may have
// members: a message that finds nobody is not given up.
func TestCountsOutdated(t *testing.T) {
	t.Parallel()
	asked := 0
	w := newWeights()
	p := newPeers(w, func() int64 { return 1 }, time.Hour, func(NodeID) { asked++ })
	value, err := encodeLease(Node{ID: 2, Name: "b"}, 9, 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	counts := func(version uint64, members int) {
		b := binary.BigEndian.AppendUint64(nil, version)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 0), 1)
		if err := p.part(2, 9, appendCount(b, "g", members)); err != nil {
			t.Fatal(err)
		}
	}
	r := &Redis{peers: p, weights: w, self: Node{ID: 1}}
	buf, err := appendFrame(nil, &frame{Message: Message{Kind: KindGroup, Group: []byte("g")}})
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{kind: KindGroup, buf: append(buf, "\r\n"...)}
	want := func(when string, expected bool, requests int) {
		t.Helper()
		if r.expected(e) != expected || asked != requests {
			t.Errorf("%s: expected %v, asked %d times, want %v and %d", when, !expected, asked, expected, requests)
		}
	}
	want("nobody is there", false, 0)
	seen := func(hello bool) {
		if _, err := p.seen(2, []byte(value), hello); err != nil {
			t.Fatal(err)
		}
	}
	seen(false)
	want("a new instance", true, 1)
	seen(false)
	want("it was asked just now", true, 1)
	seen(true)
	want("it could not hear that yet", true, 2)
	counts(3, 0)
	want("it has no members", false, 2)
	seen(true)
	want("that is known", false, 2)
	p.outdated()
	want("that may have changed", true, 3)
	counts(3, 0)
	want("it has not", false, 3)
	p.outdated()
	counts(4, 7)
	want("it has", true, 4)
	p.remove(2, 0)
	want("it is gone", false, 4)
}
