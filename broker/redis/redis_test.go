package redis

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestDirectCost counts what Redis has to do for a DIRECT message, whatever the number of instances.
func TestDirectCost(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{2, 8} {
		s := redistest.Start(t)
		in := redisCluster(t, nodes, Options{URL: s.URL(), ProbeInterval: time.Hour, LeaseTTL: time.Hour})
		settle(t, in)
		s.ResetCalls()
		for seq := range uint64(10) {
			if n, err := in[0].Outcome(t, &broker.Message{Kind: broker.KindDirect, To: in[1].ID, Seq: seq}); n != 1 || err != nil {
				t.Fatalf("%d instances, %v", n, err)
			}
		}
		if calls := s.Calls("publish"); calls != 10 {
			t.Errorf("%d instances: %d PUBLISH for 10 messages", nodes, calls)
		}
		in[1].Await(t, "the messages", func() bool { return len(in[1].Got) == 10 })
	}
}

// settle waits until the instances have told each other everything.
func settle(t *testing.T, in []*brokertest.Instance) {
	t.Helper()
	for _, n := range in {
		r := n.Broker.(*Broker)
		eventually.True(t, "the counts of all", func() bool { synced, _ := r.peers.synced(); return synced && !r.pub.pending() })
	}
}

// TestKnownGroupCost: a further member of a group costs Redis nothing before it is confirmed.
func TestKnownGroupCost(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 2, Options{URL: s.URL(), ProbeInterval: time.Hour, LeaseTTL: time.Hour})[0]
	in.SetMembers("g", 1)
	in.SubscribeWait(t, "g")
	settle(t, []*brokertest.Instance{in})
	s.ResetCalls()
	for i := range 100 {
		in.SetMembers("g", i+2)
		confirmed := false
		in.Subscribe("g", func(err error) { confirmed = err == nil })
		if !confirmed {
			t.Fatal("not confirmed at once")
		}
	}
	if n := s.Calls("subscribe") + s.Calls("publish"); n != 0 {
		t.Errorf("%d commands", n)
	}
}

// TestFirstMemberIsKnown: when a group's first member is confirmed, Redis has passed the news to every instance.
func TestFirstMemberIsKnown(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 2, Options{URL: s.URL(), ProbeInterval: time.Hour, LeaseTTL: time.Hour})
	for i := range 50 {
		group := string(rune('a' + i))
		in[0].SetMembers(group, 1)
		in[0].SubscribeWait(t, group)
		// What arrives at the other after the news finds it applied: deliveries are in order with it.
		if n, err := in[0].Outcome(t, &broker.Message{Kind: broker.KindDirect, To: in[1].ID}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		in[1].Await(t, "the message", func() bool { return len(in[1].Got) == i+1 })
		if node, ok := in[1].Draw([]byte(group), 0, 0); !ok || node != in[0].ID {
			t.Fatalf("group %d: drew %d, %v", i, node, ok)
		}
	}
}

// TestFirstMemberIsKnownAgain: the same holds where a group's last member has just left, so that its channel is still
// subscribed to.
func TestFirstMemberIsKnownAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 2, Options{
		URL: s.URL(), ProbeInterval: time.Hour, LeaseTTL: time.Hour, UnsubscribeDelay: time.Hour,
	})[0]
	counts := in.Broker.(*Broker).counts
	for i := range uint64(20) {
		in.SetMembers("g", broker.Expected)
		in.SubscribeWait(t, "g")
		if told := counts.told.Load(); told < 2*i+1 {
			t.Fatalf("round %d: confirmed when others were told of %d of %d changes", i, told, 2*i+1)
		}
		in.Unsubscribe("g")
		in.SetMembers("g", 0)
		eventually.True(t, "others to be told of that", func() bool { return counts.told.Load() == 2*i+2 })
	}
}

// TestForeignBytes puts on the channels what doesn't belong there.
func TestForeignBytes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	o.ProbeInterval = time.Second
	in := redisCluster(t, 2, o)
	a := in[0]
	other := frame{Message: broker.Message{Kind: broker.KindGlobal, From: 77, Group: []byte{}}, run: 5, pubSeq: 1, chanSeq: 1}
	change := func(do func(f *frame)) string {
		f := other
		do(&f)
		return string(mustAppend(t, nil, &f))
	}
	major := []byte(change(func(*frame) {}))
	major[2] = 9 << 4
	cut := change(func(f *frame) { f.Payload = []byte("longer") })
	global, node := o.Prefix+":global", o.Prefix+":node:"+nodeHex(a.ID)
	for _, payload := range []string{
		"", "hello", `{"op":0}`, string(major), cut[:len(cut)-1],
		change(func(f *frame) { f.Kind = 200 }), change(func(f *frame) { f.Kind = kindDelta; f.Payload = []byte("x") }),
		change(func(f *frame) { f.Kind = kindHello; f.Payload = []byte("nonsense") }),
		change(func(f *frame) { f.Kind = kindBye }),
		strings.Repeat("x", resp.MaxBulk+1),
	} {
		s.Do("PUBLISH", global, payload)
	}
	for _, kind := range []broker.Kind{kindSync, kindCounts, kindResume, kindResent, kindResumed, kindQuery, kindAnswer, kindProbe} {
		s.Do("PUBLISH", node, change(func(f *frame) { f.Kind, f.To, f.Payload = kind, a.ID, []byte("short") }))
	}
	s.Do("PUBLISH", node, change(func(f *frame) { f.Kind, f.To = broker.KindDirect, a.ID+1 }))
	s.Do("PUBLISH", node, change(func(f *frame) { f.Kind, f.From, f.To = broker.KindDirect, a.ID, a.ID }))
	in[1].Publish(&broker.Message{Kind: broker.KindGlobal, Seq: 42}, nil)
	a.Await(t, "the message after them", func() bool { return len(a.Got) == 1 && a.Got[0].Seq == 42 })
	st := statsOf(a)
	if st.Foreign != 6 || st.OtherVersion != 2 || st.Corrupt != 8 || st.Reconnects != 0 {
		t.Errorf("foreign %d, other version %d, corrupt %d, reconnects %d", st.Foreign, st.OtherVersion, st.Corrupt, st.Reconnects)
	}
}

// TestLossIsCounted leaves publishers no memory of what they sent, and cuts subscribers off: what doesn't arrive is
// exactly what is counted as missed.
func TestLossIsCounted(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := faultproxy.Start(t, s.Addr())
	o := quick(s.URL())
	o.RecentBytes = 1
	a := redisCluster(t, 1, o)[0]
	o.URL = "redis://" + p.Addr()
	b := brokertest.Join(t, newTestRedis(t, o))
	b.JoinGroup(t, "g")
	eventually.True(t, "each other", func() bool { return len(a.Nodes()) == 2 && len(b.Nodes()) == 2 })
	count := uint64(0)
	round := func() {
		for range 3 {
			if _, err := a.Outcome(t, brokertest.Mixed(uuid.Nil, count, b.ID)); err != nil && !errors.Is(err, broker.ErrUnknown) {
				t.Fatal(err)
			}
			count++
		}
	}
	round()
	b.Await(t, "the first messages", func() bool { return len(b.Got) == 3 })
	for range 20 {
		p.Cut()
		for range 50 {
			round()
		}
	}
	eventually.True(t, "the last message on each channel", func() bool {
		round()
		got := b.Deliveries()
		n := len(got)
		return n > 3 && got[n-3].Seq == count-3 && got[n-1].Seq == count-1
	})
	if st := statsOf(b); st.Missed+uint64(len(b.Deliveries())) != count {
		t.Errorf("%d sent, %d delivered, stats %+v", count, len(b.Deliveries()), st)
	}
	got := b.Deliveries()
	for i := range got {
		if i > 0 && got[i].Seq <= got[i-1].Seq {
			t.Fatalf("%d after %d", got[i].Seq, got[i-1].Seq)
		}
	}
	t.Logf("%d sent, %d delivered, %d missed", count, len(got), statsOf(b).Missed)
	if statsOf(b).Missed == 0 {
		t.Error("nothing was lost: the test shows nothing")
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "p@ss word")
	start := func(url string) error {
		b := newTestRedis(t, Options{URL: url})
		defer b.Close(t.Context())
		return b.Start(t.Context(), broker.Node{ID: 1}, brokertest.NewRecorder())
	}
	if err := start("redis://:p%40ss%20word@" + s.Addr() + "/3"); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"redis://:secret@" + s.Addr(), s.URL()} {
		err := start(url)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestDatabases: two hubs in two databases of one Redis don't hear each other.
func TestDatabases(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a := brokertest.Join(t, newTestRedis(t, Options{URL: s.URL() + "/0"}))
	b := brokertest.Join(t, newTestRedis(t, Options{URL: s.URL() + "/1"}))
	if n, err := a.Outcome(t, &broker.Message{Kind: broker.KindGlobal}); n != 0 || err != nil {
		t.Errorf("%d instances, %v", n, err)
	}
	if len(a.Nodes()) != 1 || len(b.Nodes()) != 1 {
		t.Errorf("nodes: %v, %v", a.Nodes(), b.Nodes())
	}
}

func TestAnswerTooLarge(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 2, Options{URL: s.URL(), AnswerBytes: 1000})
	in[1].OnQuery = func(q []byte) []byte { return make([]byte, 1000+len(q)) }
	missing, err := in[0].Gather(t.Context(), nil, []byte("x"), func(broker.NodeID, []byte) { t.Error("an answer") })
	if err != nil || !slices.Equal(missing, []broker.NodeID{in[1].ID}) {
		t.Errorf("missing %v, %v", missing, err)
	}
	got := 0
	missing, err = in[0].Gather(t.Context(), nil, nil, func(_ broker.NodeID, a []byte) { got = len(a) })
	if err != nil || len(missing) != 0 || got != 1000 {
		t.Errorf("%d bytes, missing %v, %v", got, missing, err)
	}
	if _, err := in[0].Gather(t.Context(), nil, make([]byte, answerChunk+1), nil); err == nil {
		t.Error("an oversized query was accepted")
	}
	if st := statsOf(in[0]); st.GatherMissing != 1 {
		t.Errorf("stats: %+v", st)
	}
}

func TestPublishRefusesLongGroup(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 1, Options{URL: s.URL()})[0]
	if _, err := in.Outcome(t, &broker.Message{Kind: broker.KindGroup, Group: bytes.Repeat([]byte("g"), 256)}); !errors.Is(err, errGroupName) {
		t.Error(err)
	}
}

// TestPublishAllocations: a message costs no garbage on its way to Redis, nor on its way from there to the Handler.
func TestPublishAllocations(t *testing.T) {
	s := redistest.Start(t)
	in := redisCluster(t, 2, Options{URL: s.URL(), ProbeInterval: time.Hour, LeaseTTL: time.Hour})
	b := make(chan int, 1)
	in[0].SubscribeWait(t, "g")
	m := &broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Payload: make([]byte, 250)}
	last := broker.CompletionFunc(func(n int, _ error) { b <- n })
	const batch = 1000
	round := func() {
		for range batch - 1 {
			in[0].Publish(m, nil)
		}
		in[0].Publish(m, last)
		<-b
	}
	for range 30 { // until the recent messages take all the memory that they may
		round()
	}
	n := testing.AllocsPerRun(20, round)
	t.Logf("%v allocations for %d messages", n, batch)
	if n > batch/50 {
		t.Errorf("%v allocations for %d messages", n, batch)
	}
}

// TestSameName: two instances of one name are no error, but a warning tells operators.
func TestSameName(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), brokertest.Patience)
	defer cancel()
	logs := make([]syncBuffer, 3)
	for i, name := range []string{"a", "b", "a"} {
		b, err := New(Options{URL: s.URL(), Logger: slog.New(slog.NewTextHandler(&logs[i], nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(ctx, broker.Node{ID: broker.NodeID(i + 1), Name: name}, brokertest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
		defer b.Close(ctx)
	}
	for i, warns := range []bool{true, false, true} {
		eventually.True(t, "the others to be known", func() bool { return strings.Count(logs[i].String(), "an instance is there") == 2 })
		eventually.True(t, "a warning where it belongs", func() bool { return strings.Contains(logs[i].String(), "level=WARN") == warns })
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
