package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// patience bounds every wait of a test; only a failing test takes so long.
const patience = 30 * time.Second

// delivery is a message as a recorder keeps it.
type delivery struct {
	kind   Kind
	flags  Flags
	from   NodeID
	sender uuid.UUID
	seq    uint64
	group  string
	data   string
}

// recorder is a Handler that keeps what it gets.
type recorder struct {
	answer func(query []byte) []byte

	mu       sync.Mutex
	got      []delivery
	states   []State
	pressure []bool
	change   chan struct{} // closed and replaced with each event
}

func newRecorder() *recorder { return &recorder{change: make(chan struct{})} }

func (r *recorder) event(record func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record()
	close(r.change)
	r.change = make(chan struct{})
}

func (r *recorder) Deliver(m *Message) {
	d := delivery{m.Kind, m.Flags, m.From, m.Sender, m.Seq, string(m.Group), string(m.Payload)}
	r.event(func() { r.got = append(r.got, d) })
}
func (r *recorder) Pressure(on bool)     { r.event(func() { r.pressure = append(r.pressure, on) }) }
func (r *recorder) StateChanged(s State) { r.event(func() { r.states = append(r.states, s) }) }
func (r *recorder) Answer(query []byte) []byte {
	if r.answer == nil {
		return nil
	}
	return r.answer(query)
}

// await waits until cond, which is called with r.mu held, is true.
func (r *recorder) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !r.within(patience, cond) {
		t.Fatalf("waited in vain for %s", what)
	}
}

// within is await for those who want to know.
func (r *recorder) within(d time.Duration, cond func() bool) bool {
	timeout := time.After(d)
	for {
		r.mu.Lock()
		ok, change := cond(), r.change
		r.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-change:
		case <-timeout:
			return false
		}
	}
}

func (r *recorder) deliveries() []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// instance is one member of a cluster under test.
type instance struct {
	Broker
	*recorder
	id NodeID
}

// clusterOf starts n instances that know each other.
func clusterOf(t testing.TB, n int, newBroker func(testing.TB) Broker) []*instance {
	t.Helper()
	nodes := make([]*instance, n)
	for i := range nodes {
		nodes[i] = join(t, newBroker(t))
	}
	for _, in := range nodes {
		eventually.True(t, "the instances to know each other", func() bool { return len(in.Nodes()) == n })
	}
	return nodes
}

// join starts b under an id of its own and closes it with the test.
func join(t testing.TB, b Broker) *instance {
	t.Helper()
	in := &instance{Broker: b, recorder: newRecorder(), id: NodeID(rand.Uint32() | 1)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Start(ctx, Node{ID: in.id, Name: fmt.Sprintf("node-%d", in.id), Version: "1.2.3"}, in.recorder); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
	})
	return in
}

// publish publishes m and returns its outcome.
func (in *instance) publish(t testing.TB, m *Message) (int, error) {
	t.Helper()
	type result struct {
		n   int
		err error
	}
	results := make(chan result, 2)
	in.Publish(m, doneFunc(func(n int, err error) { results <- result{n, err} }))
	select {
	case r := <-results:
		return r.n, r.err
	case <-time.After(patience):
		t.Fatal("no outcome of a published message")
		return 0, nil
	}
}

// subscribe waits for the confirmation.
func (in *instance) subscribe(t testing.TB, group string) {
	t.Helper()
	confirmed := make(chan error, 2)
	in.Subscribe(group, func(err error) { confirmed <- err })
	select {
	case err := <-confirmed:
		if err != nil {
			t.Fatalf("subscribe %s: %v", group, err)
		}
	case <-time.After(patience):
		t.Fatalf("subscribe %s: no confirmation", group)
	}
}

func TestConformanceMemory(t *testing.T) {
	t.Parallel()
	conform(t, func(testing.TB) func(testing.TB) Broker {
		bus := NewMemory()
		return func(testing.TB) Broker { return bus.Broker() }
	})
}

func TestConformanceRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	conform(t, func(t testing.TB) func(testing.TB) Broker {
		prefix := uuid.NewString()
		return func(t testing.TB) Broker { return newTestRedis(t, RedisOptions{URL: server.URL(), Prefix: prefix}) }
	})
}

func newTestRedis(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	b, err := NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// conform is what every Broker must do. newCluster makes what makes the brokers of one cluster.
func conform(t *testing.T, newCluster func(testing.TB) func(testing.TB) Broker) {
	for name, test := range map[string]func(*testing.T, func(testing.TB) Broker){
		"alone": conformAlone, "kinds": conformKinds, "order": conformOrder, "subscribe": conformSubscribe,
		"resubscribe": conformResubscribe, "counts": conformCounts, "draw": conformDraw, "gather": conformGather,
		"close": conformClose, "retire": conformRetire, "start": conformStart,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newCluster(t))
		})
	}
}

func conformAlone(t *testing.T, newBroker func(testing.TB) Broker) {
	in := clusterOf(t, 1, newBroker)[0]
	in.subscribe(t, "g")
	in.SetMembers("g", 2)
	for _, m := range []*Message{
		{Kind: KindGlobal}, {Kind: KindGroup, Group: []byte("g")}, {Kind: KindDirect, To: in.id + 1},
		{Kind: KindAny, To: in.id + 1},
	} {
		if n, err := in.publish(t, m); n != 0 || err != nil {
			t.Errorf("kind %d: %d instances, %v; want none", m.Kind, n, err)
		}
	}
	if got := in.deliveries(); len(got) > 0 {
		t.Errorf("an instance got its own messages: %v", got)
	}
	if node, ok := in.Draw([]byte("g"), 2, 7); !ok || node != in.id {
		t.Errorf("drew %d, %v", node, ok)
	}
	if _, ok := in.Draw([]byte("nobody"), 0, 7); ok {
		t.Error("drew an instance of an empty group")
	}
	missing, err := in.Gather(t.Context(), []byte("?"), func(NodeID, []byte) { t.Error("an answer") })
	if err != nil || len(missing) > 0 {
		t.Errorf("gather: %v, %v", missing, err)
	}
	if s := in.State(); !s.Available || s.Since.IsZero() || s.Err != "" {
		t.Errorf("state: %+v", s)
	}
}

func conformKinds(t *testing.T, newBroker func(testing.TB) Broker) {
	in := clusterOf(t, 3, newBroker)
	a, b, c := in[0], in[1], in[2]
	b.subscribe(t, "g")
	a.subscribe(t, "g")
	sender, receiver := uuid.New(), uuid.New()
	for i, m := range []struct {
		m    Message
		want int
	}{
		{Message{Kind: KindGlobal, Flags: FlagNoEcho}, 2},
		{Message{Kind: KindGroup, Group: []byte("g")}, 1},
		{Message{Kind: KindGroup, Group: []byte("empty")}, 0},
		{Message{Kind: KindDirect, To: b.id, Receiver: receiver}, 1},
		{Message{Kind: KindDirect, To: a.id ^ b.id ^ 1<<31}, 0},
		{Message{Kind: KindAny, To: b.id, Group: []byte("g")}, 1},
		{Message{Kind: KindReturned, To: b.id, Group: []byte("g"), Flags: 0x80}, 1},
		{Message{Kind: KindDirect, To: c.id, Payload: make([]byte, 1<<20)}, 1},
	} {
		msg := m.m
		msg.Sender, msg.Seq = sender, uint64(i)
		if n, err := a.publish(t, &msg); n != m.want || err != nil {
			t.Errorf("message %d: %d instances, %v; want %d", i, n, err, m.want)
		}
	}
	d := func(kind Kind, flags Flags, seq uint64, group string) delivery {
		return delivery{kind, flags, a.id, sender, seq, group, ""}
	}
	big := delivery{KindDirect, 0, a.id, sender, 7, "", string(make([]byte, 1<<20))}
	b.await(t, "the last message at b", func() bool { return len(b.got) >= 5 })
	c.await(t, "the last message at c", func() bool { return len(c.got) >= 2 })
	wantB := []delivery{
		d(KindGlobal, FlagNoEcho, 0, ""), d(KindGroup, 0, 1, "g"), d(KindDirect, 0, 3, ""), d(KindAny, 0, 5, "g"),
		d(KindReturned, 0x80, 6, "g"),
	}
	if diff := cmp.Diff(wantB, b.deliveries(), cmp.AllowUnexported(delivery{})); diff != "" {
		t.Errorf("b: %s", diff)
	}
	wantC := []delivery{d(KindGlobal, FlagNoEcho, 0, ""), big}
	if diff := cmp.Diff(wantC, c.deliveries(), cmp.AllowUnexported(delivery{})); diff != "" {
		t.Errorf("c: %s", diff)
	}
	if got := a.deliveries(); len(got) > 0 {
		t.Errorf("a got its own messages: %v", got)
	}
}

// conformOrder sends mixed kinds from several goroutines on each of three instances, and checks what each receiver
// got: everything, once, in each sender's order.
func conformOrder(t *testing.T, newBroker func(testing.TB) Broker) {
	const senders, messages = 4, 1000
	in := clusterOf(t, 3, newBroker)
	for _, n := range in {
		n.subscribe(t, "g")
	}
	var sending sync.WaitGroup
	for i, n := range in {
		for range senders {
			sender := uuid.New()
			sending.Go(func() {
				for seq := range uint64(messages) {
					n.Publish(mixed(sender, seq, in[(i+1)%3].id), nil)
				}
			})
		}
	}
	sending.Wait()
	for i, n := range in {
		// Two of three messages go to both others, the third only to the next: so n gets it from the one before.
		want := senders * (2*messages - messages/3)
		n.await(t, "all messages", func() bool { return len(n.got) >= want })
		last := make(map[uuid.UUID]uint64)
		for _, d := range n.deliveries() {
			if d.from == n.id {
				t.Fatalf("instance %d got a message of its own", i)
			}
			if prev, ok := last[d.sender]; ok && d.seq <= prev {
				t.Fatalf("instance %d got %d of %v after %d", i, d.seq, d.sender, prev)
			}
			last[d.sender] = d.seq
		}
		if got := len(n.deliveries()); got != want {
			t.Errorf("instance %d got %d messages, want %d", i, got, want)
		}
	}
}

// mixed makes the message seq of a sender: to all, to group g, and to one instance, in turn.
func mixed(sender uuid.UUID, seq uint64, to NodeID) *Message {
	m := &Message{Sender: sender, Seq: seq, Payload: []byte(`{"op":0,"event":"E"}`)}
	switch seq % 3 {
	case 0:
		m.Kind = KindGlobal
	case 1:
		m.Kind, m.Group = KindGroup, []byte("g")
	case 2:
		m.Kind, m.To = KindDirect, to
	}
	return m
}

func conformStart(t *testing.T, newBroker func(testing.TB) Broker) {
	in := clusterOf(t, 2, newBroker)
	a := in[0]
	if err := newBroker(t).Start(t.Context(), Node{ID: a.id}, newRecorder()); !errors.Is(err, ErrNodeIDTaken) {
		t.Errorf("the same id again: %v, want ErrNodeIDTaken", err)
	}
	if err := newBroker(t).Start(t.Context(), Node{}, newRecorder()); err == nil {
		t.Error("a zero id was accepted")
	}
	if err := a.Start(t.Context(), Node{ID: 1}, newRecorder()); err == nil {
		t.Error("a second Start was accepted")
	}
	want := []Node{{ID: a.id, Name: fmt.Sprintf("node-%d", a.id), Version: "1.2.3"}, {ID: in[1].id, Name: fmt.Sprintf("node-%d", in[1].id), Version: "1.2.3"}}
	sortNodes(want)
	got := a.Nodes()
	for i := range got {
		if since := time.Since(got[i].Started); since < 0 || since > time.Hour {
			t.Errorf("started %v", got[i].Started)
		}
		got[i].Started = time.Time{}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
