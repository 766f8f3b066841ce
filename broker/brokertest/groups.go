package brokertest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// conformSubscribe checks that nothing published after the confirmation is missed, while others publish all the time.
func conformSubscribe(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	a, b := in[0], in[1]
	for i := range 50 {
		group := []byte{'g', byte('a' + i%5)}
		first := uint64(i * 10)
		a.Publish(&broker.Message{Kind: broker.KindGroup, Group: group, Seq: first}, nil) // it may arrive or not
		b.JoinGroup(t, string(group))
		if n, err := a.Outcome(t, &broker.Message{Kind: broker.KindGroup, Group: group, Seq: first + 1}); n != 1 || err != nil {
			t.Fatalf("round %d: %d instances, %v", i, n, err)
		}
		b.Await(t, "the message after the confirmation", func() bool {
			return slices.ContainsFunc(b.Got, func(d Delivery) bool { return d.Seq == first+1 })
		})
		b.LeaveGroup(string(group))
	}
	calls := 0
	for range 3 {
		b.Subscribe("again", func(err error) {
			if err != nil {
				t.Error(err)
			}
			calls++
		})
		b.SubscribeWait(t, "again")
	}
	if calls != 3 {
		t.Errorf("%d confirmations of 3 subscriptions", calls)
	}
}

// conformResubscribe subscribes again while the channel is being given up.
func conformResubscribe(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	a, b := in[0], in[1]
	for i := range uint64(200) {
		b.JoinGroup(t, "g")
		if n, err := a.Outcome(t, &broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Seq: i}); n != 1 || err != nil {
			t.Fatalf("round %d: %d instances, %v", i, n, err)
		}
		b.Await(t, "the message", func() bool { return len(b.Got) > 0 && b.Got[len(b.Got)-1].Seq == i })
		b.LeaveGroup("g")
		a.Publish(&broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Seq: 1 << 40}, nil)
	}
	if i := slices.IndexFunc(b.Deliveries(), func(d Delivery) bool { return d.Seq == 1<<40 }); i > 0 {
		t.Logf("a message that was under way when the group was left came at %d", i)
	}
	b.LeaveGroup("g")
	b.Unsubscribe("never subscribed")
	eventually.True(t, "no instance to take the message", func() bool {
		n, err := a.Outcome(t, &broker.Message{Kind: broker.KindGroup, Group: []byte("g")})
		return n == 0 && err == nil
	})
}

func conformCounts(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	a, b, c := in[0], in[1], in[2]
	drawn := func(from *Instance, group string) (broker.NodeID, bool) { return from.Draw([]byte(group), 0, 1) }
	a.SetMembers("g", broker.Expected)
	a.SubscribeWait(t, "g")
	for _, n := range []*Instance{b, c} {
		eventually.True(t, "an instance that expects a member", func() bool { id, ok := drawn(n, "g"); return ok && id == a.ID })
	}
	b.SetMembers("g", 1)
	eventually.True(t, "the instance that has one, before the one that expects one", func() bool { id, ok := drawn(c, "g"); return ok && id == b.ID })
	b.SetMembers("g", 0)
	eventually.True(t, "the instance that expects one, again", func() bool { id, ok := drawn(c, "g"); return ok && id == a.ID })
	a.SetMembers("g", 1)
	for _, n := range []*Instance{b, c} {
		eventually.True(t, "the first member", func() bool { id, ok := drawn(n, "g"); return ok && id == a.ID })
	}
	a.SetMembers("g", 0)
	b.SetMembers("g", 3)
	b.SetMembers("", 5)
	eventually.True(t, "the member to move", func() bool {
		id, ok := drawn(c, "g")
		all, ok2 := drawn(c, "")
		return ok && id == b.ID && ok2 && all == b.ID
	})
	for i := range 2000 {
		b.SetMembers("many-"+strings.Repeat("x", i%50)+string(rune('a'+i%26)), i%7)
	}
	b.SetMembers("last", 1)
	late := Join(t, newBroker(t))
	for _, n := range []*Instance{a, c, late} {
		eventually.True(t, "all counts", func() bool { id, ok := drawn(n, "last"); return ok && id == b.ID })
		eventually.True(t, "the clients", func() bool {
			i := slices.IndexFunc(n.Nodes(), func(m broker.Node) bool { return m.ID == b.ID })
			return i >= 0 && n.Nodes()[i].Clients == 5
		})
	}
	b.SetMembers("", 0)
	b.SetMembers("g", 0)
	for _, n := range []*Instance{a, c, late} {
		eventually.True(t, "no members", func() bool { _, ok := drawn(n, "g"); _, ok2 := drawn(n, ""); return !ok && !ok2 })
	}
}

// conformDraw compares many draws with the members that each instance has.
func conformDraw(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	for _, counts := range [][]int{{1, 2, 5}, {7, 0, 1}, {0, 0, 4}} {
		for i, n := range counts {
			in[i].SetMembers("g", n)
		}
		for i, n := range in {
			eventually.True(t, "the counts", func() bool { return shares(n, counts[i], in, counts) })
		}
	}
	if _, ok := in[0].Draw([]byte("g"), -1, 0); !ok {
		t.Error("the others were not drawn")
	}
}

// shares says whether the draws of n, with own members itself, are distributed as counts.
func shares(n *Instance, own int, in []*Instance, counts []int) bool {
	const draws = 8000
	total, got := 0, make(map[broker.NodeID]int)
	for _, k := range counts {
		total += k
	}
	for i := range uint64(draws) {
		id, ok := n.Draw([]byte("g"), own, i*2654435761)
		if !ok {
			return false
		}
		got[id]++
	}
	for i, k := range counts {
		if want := draws * k / total; math.Abs(float64(got[in[i].ID]-want)) > draws/100 {
			return false
		}
	}
	return true
}

func conformGather(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 4, newBroker)
	hang := make(chan struct{})
	defer close(hang)
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	in[1].OnQuery = func(q []byte) []byte { return append([]byte("one:"), q...) }
	in[2].OnQuery = func([]byte) []byte { return big }
	in[3].OnQuery = func(q []byte) []byte {
		if string(q) == "hang" {
			<-hang
		}
		return nil
	}
	// gather gives up when enough have answered.
	gather := func(query string, enough int) (map[broker.NodeID]string, []broker.NodeID) {
		ctx, cancel := context.WithTimeout(t.Context(), Patience)
		defer cancel()
		answers := make(map[broker.NodeID]string)
		missing, err := in[0].Gather(ctx, nil, []byte(query), func(from broker.NodeID, answer []byte) {
			if _, twice := answers[from]; twice {
				t.Errorf("two answers of %d", from)
			}
			if answers[from] = string(answer); len(answers) == enough {
				cancel()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return answers, missing
	}
	answers, missing := gather("q", 99)
	if len(missing) != 0 || len(answers) != 3 || answers[in[1].ID] != "one:q" || answers[in[2].ID] != string(big) || answers[in[3].ID] != "" {
		t.Errorf("%d answers, missing %v", len(answers), missing)
	}
	var got []broker.NodeID
	among := []broker.NodeID{in[1].ID, in[0].ID, in[0].ID ^ in[1].ID ^ 1<<31}
	missing, err := in[0].Gather(t.Context(), among, []byte("q"), func(from broker.NodeID, _ []byte) { got = append(got, from) })
	if err != nil || !slices.Equal(got, among[:1]) || !slices.Equal(missing, among[2:]) {
		t.Errorf("among %v: answers of %v, missing %v, %v", among, got, missing, err)
	}
	answers, missing = gather("hang", 2)
	if !slices.Equal(missing, []broker.NodeID{in[3].ID}) || len(answers) != 2 {
		t.Errorf("%d answers, missing %v, want %v", len(answers), missing, in[3].ID)
	}
}

func conformClose(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	a, b, c := in[0], in[1], in[2]
	b.SubscribeWait(t, "g")
	b.SetMembers("g", 1)
	for seq := range uint64(100) {
		b.Publish(&broker.Message{Kind: broker.KindGlobal, Seq: seq}, nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(ctx); err != nil {
		t.Errorf("second Close: %v", err)
	}
	for _, n := range []*Instance{a, c} {
		n.Await(t, "what was published before Close", func() bool { return len(n.Got) == 100 })
		eventually.True(t, "the instance to be gone", func() bool {
			_, ok := n.Draw([]byte("g"), 0, 0)
			return len(n.Nodes()) == 2 && !ok
		})
	}
	if n, err := a.Outcome(t, &broker.Message{Kind: broker.KindDirect, To: b.ID}); n != 0 || err != nil {
		t.Errorf("to a closed instance: %d, %v", n, err)
	}
	if _, err := b.Outcome(t, &broker.Message{Kind: broker.KindGlobal}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("publish after Close: %v", err)
	}
	b.Subscribe("h", func(err error) {
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("subscribe after Close: %v", err)
		}
	})
	b.Unsubscribe("g")
	b.SetMembers("g", 4)
	if _, err := b.Gather(ctx, nil, nil, nil); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("gather after Close: %v", err)
	}
}

// conformRetire has an instance retire and close while others address it: each message has come to it by the time that it
// has retired, or its publisher is told that no instance received it.
func conformRetire(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	retiring := in[1]
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var taken, refused atomic.Int64
	var publishing sync.WaitGroup
	for _, from := range []*Instance{in[0], in[2]} {
		publishing.Go(func() {
			for seq := uint64(0); refused.Load() < 10 && ctx.Err() == nil; seq++ {
				n, err := from.Outcome(t, &broker.Message{Kind: broker.KindDirect, To: retiring.ID, Seq: seq})
				switch {
				case err != nil:
					t.Errorf("publish: %v", err)
					return
				case n == 0:
					refused.Add(1)
				default:
					taken.Add(1)
				}
			}
		})
	}
	retiring.Await(t, "some messages", func() bool { return len(retiring.Got) > 10 })
	if err := retiring.Retire(ctx); err != nil {
		t.Fatal(err)
	}
	got := len(retiring.Deliveries())
	if n, err := retiring.Outcome(t, &broker.Message{Kind: broker.KindDirect, To: in[0].ID}); n != 1 || err != nil {
		t.Errorf("publish after Retire: %d, %v", n, err)
	}
	if err := retiring.Close(ctx); err != nil {
		t.Error(err)
	}
	publishing.Wait()
	if n := len(retiring.Deliveries()); n != got || int64(n) != taken.Load() {
		t.Errorf("%d messages had come when it had retired, %d in the end, %d were published", got, n, taken.Load())
	}
	if err := retiring.Retire(ctx); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("retire after Close: %v", err)
	}
}
