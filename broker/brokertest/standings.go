package brokertest

import (
	"cmp"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// conformStandings: an instance knows which others have members of a group, and how many.
func conformStandings(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	a, b, c := in[0], in[1], in[2]
	set := func(i *Instance, n int) {
		i.SetMembers("g", n)
		i.SubscribeWait(t, "g")
	}
	set(a, 5)
	set(b, 2)
	set(c, broker.Expected)
	eventuallyStanding := func(when string, want ...broker.Standing) {
		t.Helper()
		slices.SortFunc(want, func(a, b broker.Standing) int { return cmp.Compare(a.Node, b.Node) })
		var got []broker.Standing
		err := eventually.Within(Patience, func() bool {
			got = a.Standings([]byte("g"), got[:0])
			slices.SortFunc(got, func(a, b broker.Standing) int { return cmp.Compare(a.Node, b.Node) })
			return slices.Equal(got, want)
		})
		if err != nil {
			t.Errorf("%s: %s", when, gocmp.Diff(want, got))
		}
	}
	eventuallyStanding("members", broker.Standing{Node: b.ID, Members: 2}, broker.Standing{Node: c.ID, Members: broker.Expected})
	c.SetMembers("g", 0)
	b.SetMembers("g", 3)
	eventuallyStanding("changes", broker.Standing{Node: b.ID, Members: 3})
	if got := a.Standings([]byte("empty"), nil); len(got) > 0 {
		t.Errorf("an empty group: %v", got)
	}
	for _, k := range []broker.Kind{broker.KindGlobal, broker.LastKind} {
		if !a.Knows(b.ID, k) {
			t.Errorf("kind %d is not known to an instance of this release", k)
		}
	}
}

// conformGone: the others are told that an instance has left, behind what it published.
func conformGone(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	const n = 100
	for range n {
		in[1].Publish(&broker.Message{Kind: broker.KindGlobal}, nil)
	}
	if err := in[1].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, i := range []*Instance{in[0], in[2]} {
		i.Await(t, "the word that it is gone", func() bool { return len(i.Gone) > 0 })
		if got := len(i.Deliveries()); got != n || i.Gone[0] != in[1].ID || len(i.Gone) != 1 {
			t.Errorf("gone %v after %d messages, want %v after %d", i.Gone, got, in[1].ID, n)
		}
	}
}
