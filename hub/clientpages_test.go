package hub

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
)

// TestPagesAskFewInstances lists the clients of 50 instances, with 100 each, in pages of 500: a page asks only the
// instances whose clients are on it, and one client only the instance that it is on.
func TestPagesAskFewInstances(t *testing.T) {
	t.Parallel()
	const instances, each, limit = 50, 100, 500
	bus := memory.NewBus()
	h, _ := startHub(t, bus.Broker(), nil)
	var asked atomic.Int32
	var all []Client
	for range instances {
		node := clientid.NewNode()
		var here []Client
		for i := range uint32(each) {
			here = append(here, Client{ID: clientid.New(clientid.Location{Node: node, Slot: i}), Name: "svc"})
		}
		all = append(all, here...)
		r := brokertest.NewRecorder()
		r.OnQuery = func(encoded []byte) []byte {
			asked.Add(1)
			var q clientsAsked
			if err := json.Unmarshal(encoded, &q); err != nil {
				t.Error(err)
			}
			behind := slices.DeleteFunc(slices.Clone(here), func(c Client) bool { return !positionOf(&c.ID).behind(q.After) })
			if q.Limit == 0 { // one client
				behind = here[:1]
			}
			answer, err := json.Marshal(clientsFound{Clients: behind[:min(max(q.Limit, 1), len(behind))]})
			if err != nil {
				t.Error(err)
			}
			return answer
		}
		b := bus.Broker()
		if err := b.Start(t.Context(), broker.Node{ID: node}, r); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(inspectCtx(t)) })
		b.SetMembers("", each)
	}
	slices.SortFunc(all, func(a, b Client) int { return positionOf(&a.ID).compare(positionOf(&b.ID)) })
	for _, f := range []Filter{{}, {Name: "svc"}} {
		var got []Client
		pages := int32(0)
		asked.Store(0)
		for cursor := ""; pages == 0 || cursor != ""; pages++ {
			page, err := h.Clients(inspectCtx(t), f, cursor, limit)
			if err != nil || len(page.Missing) > 0 {
				t.Fatal(err, page.Missing)
			}
			got, cursor = append(got, page.Clients...), page.Next
		}
		if !slices.EqualFunc(got, all, func(a, b Client) bool { return a.ID == b.ID }) {
			t.Errorf("%+v: %d clients, want %d", f, len(got), len(all))
		}
		if n := asked.Load(); n > 14*pages {
			t.Errorf("%+v: %d questions for %d pages", f, n, pages)
		}
	}
	asked.Store(0)
	if _, err := h.Client(inspectCtx(t), all[0].ID); err != nil || asked.Load() != 1 {
		t.Errorf("one client: %d questions, %v", asked.Load(), err)
	}
}
