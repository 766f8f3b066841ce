package brokertest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// Conform tests what every Broker must do. newCluster prepares one cluster and returns what makes its brokers.
func Conform(t *testing.T, newCluster func(testing.TB) func(testing.TB) broker.Broker) {
	for name, test := range map[string]func(*testing.T, func(testing.TB) broker.Broker){
		"alone": conformAlone, "kinds": conformKinds, "order": conformOrder, "subscribe": conformSubscribe,
		"resubscribe": conformResubscribe, "counts": conformCounts, "draw": conformDraw, "gather": conformGather,
		"close": conformClose, "retire": conformRetire, "start": conformStart,
		"exclusive": conformExclusive, "exclusive close": conformExclusiveClose, "exclusive order": conformExclusiveOrder,
		"exclusive storm": conformExclusiveStorm, "exclusive full": conformExclusiveFull,
		"standings": conformStandings, "gone": conformGone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newCluster(t))
		})
	}
}

func conformAlone(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 1, newBroker)[0]
	in.SubscribeWait(t, "g")
	in.SetMembers("g", 2)
	for _, m := range []*broker.Message{
		{Kind: broker.KindGlobal}, {Kind: broker.KindGroup, Group: []byte("g")}, {Kind: broker.KindDirect, To: in.ID + 1},
		{Kind: broker.KindAny, To: in.ID + 1},
	} {
		if n, err := in.Outcome(t, m); n != 0 || err != nil {
			t.Errorf("kind %d: %d instances, %v; want none", m.Kind, n, err)
		}
	}
	if got := in.Deliveries(); len(got) > 0 {
		t.Errorf("an instance got its own messages: %v", got)
	}
	if node, ok := in.Draw([]byte("g"), 2, 7); !ok || node != in.ID {
		t.Errorf("drew %d, %v", node, ok)
	}
	if _, ok := in.Draw([]byte("empty"), 0, 7); ok {
		t.Error("drew an instance of an empty group")
	}
	missing, err := in.Gather(t.Context(), nil, []byte("?"), func(broker.NodeID, []byte) { t.Error("an answer") })
	if err != nil || len(missing) > 0 {
		t.Errorf("gather: %v, %v", missing, err)
	}
	if s := in.State(); !s.Available || s.Since.IsZero() || s.Err != "" {
		t.Errorf("state: %+v", s)
	}
}

func conformKinds(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	a, b, c := in[0], in[1], in[2]
	b.JoinGroup(t, "g")
	a.JoinGroup(t, "g")
	b.SetMembers("watched", broker.Watched)
	b.SubscribeWait(t, "watched")
	sender, receiver := uuid.New(), uuid.New()
	for i, m := range []struct {
		m    broker.Message
		want int
	}{
		{broker.Message{Kind: broker.KindGlobal, Flags: 0x10}, 2},
		{broker.Message{Kind: broker.KindGroup, Group: []byte("g")}, 1},
		{broker.Message{Kind: broker.KindGroup, Group: []byte("empty")}, 0},
		{broker.Message{Kind: broker.KindGroup, Group: []byte("watched")}, 1},
		{broker.Message{Kind: broker.KindDirect, To: b.ID, Receiver: receiver}, 1},
		{broker.Message{Kind: broker.KindDirect, To: a.ID ^ b.ID ^ 1<<31}, 0},
		{broker.Message{Kind: broker.KindAny, To: b.ID, Group: []byte("g")}, 1},
		{broker.Message{Kind: broker.KindReturned, To: b.ID, Group: []byte("g"), Flags: 0x80}, 1},
		{broker.Message{Kind: broker.KindDirect, To: c.ID, Payload: make([]byte, 1<<20)}, 1},
		{broker.Message{Kind: broker.KindPresence, To: c.ID, Group: []byte("g")}, 1},
		{broker.Message{Kind: broker.KindTracking, To: c.ID, Payload: []byte("p"), Extra: []byte("\x00extra")}, 1},
		{broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Extra: make([]byte, broker.MaxExtra)}, 1},
	} {
		msg := m.m
		msg.Sender, msg.Seq = sender, uint64(i)
		if n, err := a.Outcome(t, &msg); n != m.want || err != nil {
			t.Errorf("message %d: %d instances, %v; want %d", i, n, err, m.want)
		}
	}
	d := func(kind broker.Kind, flags broker.Flags, seq uint64, group string) Delivery {
		return Delivery{kind, flags, a.ID, sender, seq, group, "", ""}
	}
	big := Delivery{broker.KindDirect, 0, a.ID, sender, 8, "", string(make([]byte, 1<<20)), ""}
	b.Await(t, "the last message at b", func() bool { return len(b.Got) >= 7 })
	c.Await(t, "the last message at c", func() bool { return len(c.Got) >= 4 })
	wantB := []Delivery{
		d(broker.KindGlobal, 0x10, 0, ""), d(broker.KindGroup, 0, 1, "g"), d(broker.KindGroup, 0, 3, "watched"),
		d(broker.KindDirect, 0, 4, ""), d(broker.KindAny, 0, 6, "g"), d(broker.KindReturned, 0x80, 7, "g"),
		{broker.KindGroup, 0, a.ID, sender, 11, "g", "", string(make([]byte, broker.MaxExtra))},
	}
	if diff := gocmp.Diff(wantB, b.Deliveries()); diff != "" {
		t.Errorf("b: %s", diff)
	}
	wantC := []Delivery{d(broker.KindGlobal, 0x10, 0, ""), big, d(broker.KindPresence, 0, 9, "g"), {broker.KindTracking, 0, a.ID, sender, 10, "", "p", "\x00extra"}}
	if diff := gocmp.Diff(wantC, c.Deliveries()); diff != "" {
		t.Errorf("c: %s", diff)
	}
	if got := a.Deliveries(); len(got) > 0 {
		t.Errorf("a got its own messages: %v", got)
	}
}

// conformOrder sends mixed kinds from several goroutines on each of three instances, and checks what each receiver
// got: everything, once, in each sender's order.
func conformOrder(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	const senders, messages = 4, 1000
	in := Cluster(t, 3, newBroker)
	for _, n := range in {
		n.SubscribeWait(t, "g")
	}
	var sending sync.WaitGroup
	for i, n := range in {
		for range senders {
			sender := uuid.New()
			sending.Go(func() {
				for seq := range uint64(messages) {
					n.Publish(Mixed(sender, seq, in[(i+1)%3].ID), nil)
				}
			})
		}
	}
	sending.Wait()
	for i, n := range in {
		// Two of three messages go to both others, the third only to the next: so n gets it from the one before.
		want := senders * (2*messages - messages/3)
		n.Await(t, "all messages", func() bool { return len(n.Got) >= want })
		last := make(map[uuid.UUID]uint64)
		for _, d := range n.Deliveries() {
			if d.From == n.ID {
				t.Fatalf("instance %d got a message of its own", i)
			}
			if prev, ok := last[d.Sender]; ok && d.Seq <= prev {
				t.Fatalf("instance %d got %d of %v after %d", i, d.Seq, d.Sender, prev)
			}
			last[d.Sender] = d.Seq
		}
		if got := len(n.Deliveries()); got != want {
			t.Errorf("instance %d got %d messages, want %d", i, got, want)
		}
	}
}

func conformStart(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	a := in[0]
	if err := newBroker(t).Start(t.Context(), broker.Node{ID: a.ID}, NewRecorder()); !errors.Is(err, broker.ErrNodeIDTaken) {
		t.Errorf("the same id again: %v, want ErrNodeIDTaken", err)
	}
	if err := newBroker(t).Start(t.Context(), broker.Node{}, NewRecorder()); err == nil {
		t.Error("a zero id was accepted")
	}
	if err := a.Start(t.Context(), broker.Node{ID: 1}, NewRecorder()); err == nil {
		t.Error("a second Start was accepted")
	}
	node := func(in *Instance) broker.Node {
		return broker.Node{ID: in.ID, Name: fmt.Sprintf("node-%d", in.ID), Version: "1.2.3", LastKind: broker.LastKind}
	}
	want := []broker.Node{node(a), node(in[1])}
	slices.SortFunc(want, func(a, b broker.Node) int { return cmp.Compare(a.ID, b.ID) })
	got := a.Nodes()
	for i := range got {
		if since := time.Since(got[i].Started); since < 0 || since > time.Hour {
			t.Errorf("started %v", got[i].Started)
		}
		got[i].Started = time.Time{}
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
