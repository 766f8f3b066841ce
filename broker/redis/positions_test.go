package redis

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
)

// TestLossIsCountedInSilence cuts an instance off for longer than publishers keep messages. None is published
// afterwards: exactly the acknowledged ones are counted as missed, and those that were refused are not.
func TestLossIsCountedInSilence(t *testing.T) {
	t.Parallel()
	o := quick("")
	o.LeaseTTL, o.BufferAge = time.Second, time.Second
	in := proxiedCluster(t, 2, o)
	pub, recv := in[0], in[1]
	var a acked
	a.publish(pub, recv)
	recv.Await(t, "the first messages", func() bool { return len(recv.Got) == 2 })
	recv.proxy.Set(faultproxy.Stall)
	for range 50 {
		a.publish(pub, recv)
	}
	want := len(a.acknowledged(t)) - 2
	recv.cut(t)
	awaitKnown(t, pub, recv, false)
	for range 50 {
		a.publish(pub, recv)
	}
	if n := len(a.acknowledged(t)) - 2; n != want || want == 0 {
		t.Fatalf("%d messages were acknowledged, then %d", want, n-want)
	}
	p := pub.Broker.(*Broker).pub
	eventually.True(t, "the messages to be too old for a resend", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.now()-p.recent.At(p.recent.Len()-1).queued > int64(o.BufferAge)
	})
	recv.heal(t)
	eventually.True(t, "the loss to be counted", func() bool { return statsOf(recv.Instance).Missed > 0 })
	awaitKnown(t, recv, pub, true)
	if st := statsOf(recv.Instance); st.Missed != uint64(want) {
		t.Errorf("%d are lost, stats: %+v", want, st)
	}
}

// TestSilentChannelIsCompared loses the last message of a channel although no connection breaks.
func TestSilentChannelIsCompared(t *testing.T) {
	t.Parallel()
	o := quick("")
	in := proxiedCluster(t, 2, o)
	pub, recv := in[0], in[1]
	for _, m := range []*broker.Message{
		{Kind: broker.KindGlobal}, {Kind: broker.KindDirect, To: recv.ID}, {Kind: broker.KindGroup, Group: []byte("g")},
	} {
		if n, err := pub.Outcome(t, m); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	recv.Await(t, "the messages", func() bool { return len(recv.Got) == 3 })
	b := recv.Broker.(*Broker)
	b.recv.mu.Lock()
	for _, sub := range []*subscription{b.subs.global, b.subs.own, b.subs.groups["g"]} {
		for o := range sub.seen {
			sub.seen[o] = 0 // as if it had not come
		}
	}
	b.recv.mu.Unlock()
	eventually.True(t, "the loss to be counted", func() bool { return statsOf(recv.Instance).Missed == 3 })
}

// TestCompare tells positions to an instance that was subscribed for 100 s.
func TestCompare(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	for name, c := range map[string]struct {
		seen              uint64 // zero: none
		seq               uint64
		firstAge, lastAge int64
		want              uint64
	}{
		"all came":                         {7, 7, 50 * second, 10 * second, 0},
		"the count began again":            {7, 2, 50 * second, 10 * second, 0},
		"the last are missing":             {7, 9, 50 * second, 10 * second, 2},
		"all are missing":                  {0, 9, 50 * second, 10 * second, 9},
		"some, how many is not known":      {0, 9, 200 * second, 10 * second, 1},
		"it subscribed behind the last":    {0, 9, 200 * second, 150 * second, 0},
		"it may have subscribed behind it": {0, 9, 200 * second, 100*second - 1, 0},
	} {
		m := newModel(nil)
		m.subs.own.since = 1
		clock := 100 * second
		m.recv.now = func() int64 { return clock }
		o := m.recv.newOrigin(originKey{1, 9})
		m.subs.own.startSeen(0)
		if c.seen > 0 {
			m.subs.own.seen[o] = c.seen
		}
		ch := &channelSeq{kind: broker.KindDirect, sent: c.seq, firstAt: clock - c.firstAge, lastAt: clock - c.lastAge}
		for range 2 {
			if err := m.recv.positions(o.key, ch.append(nil, clock)); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.recv.stats.missed.Load(); got != c.want {
			t.Errorf("%s: %d missed, want %d", name, got, c.want)
		}
	}
}

func FuzzPositions(f *testing.F) {
	all := (&channelSeq{kind: broker.KindGlobal, sent: 1}).append(nil, 5)
	all = (&channelSeq{kind: broker.KindDirect, sent: 300, firstAt: 1, lastAt: 2}).append(all, 1000)
	all = (&channelSeq{kind: broker.KindGroup, group: "workers", sent: 1 << 40}).append(all, 1<<50)
	f.Add(all)
	f.Add([]byte{2, 3, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		var first []position
		err := eachPosition(b, func(p position) {
			p.group = bytes.Clone(p.group)
			first = append(first, p)
			ch := channelSeq{kind: p.kind, group: string(p.group), sent: p.seq, firstAt: -p.firstAge, lastAt: -p.lastAge}
			again = ch.append(again, 0)
		})
		if err != nil {
			return
		}
		var second []position
		if err := eachPosition(again, func(p position) { p.group = bytes.Clone(p.group); second = append(second, p) }); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first, second, cmp.AllowUnexported(position{})); d != "" {
			t.Error(d)
		}
	})
}

// TestForgottenPublisher: a publisher that was forgotten, and is heard again, has no losses to be counted.
func TestForgottenPublisher(t *testing.T) {
	t.Parallel()
	m := newModel(nil)
	m.subs.own.since = 1
	clock := 100 * int64(time.Second)
	m.recv.now = func() int64 { return clock }
	key := originKey{1, 9}
	m.recv.forget(m.recv.newOrigin(key))
	ch := &channelSeq{kind: broker.KindDirect, sent: 7, firstAt: clock - 50, lastAt: clock - 10}
	if err := m.recv.positions(key, ch.append(nil, clock)); err != nil {
		t.Fatal(err)
	}
	if n := m.recv.stats.missed.Load(); n != 0 {
		t.Errorf("%d missed", n)
	}
}
