package admin

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
)

func TestRebalance(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, func(_ int, o *hub.Options, _ *Options) { o.Drain.Timeout = time.Minute })
	for range 5 {
		c.connect(0, "g", obj{"features": []string{"drain"}})
	}
	c.connect(1, "g", nil)
	r := c.call(1, "POST", "/v1/rebalance", `{"over":"30s","at_most":1}`)
	var got hub.Rebalance
	if err := json.Unmarshal(r.body, &got); err != nil || r.status != 202 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if got.Share != 3 || got.Told != 1 || got.OverSeconds != 30 || len(got.Missing) != 0 || len(got.Nodes) != 2 {
		t.Errorf("got %+v", got)
	}
	if n := got.Nodes[0]; n.Name != "node-0" || n.Clients != 5 || n.Told != 1 || n.Draining || n.ID != c.hubs[0].Node().ID.String() {
		t.Errorf("got %+v", n)
	}
	if r = c.call(0, "POST", "/v1/rebalance", ""); r.status != 409 || !strings.Contains(string(r.body), "a rebalance is going on: node-0") {
		t.Errorf("a second one: %d %s", r.status, r.body)
	}
	_, metrics := get(t, "GET", c.urls[0]+"/metrics")
	for _, line := range []string{
		`mastersocket_drain_notices_total{reason="rebalance"} 1`, `mastersocket_drain_notices_total{reason="restart"} 0`,
		`mastersocket_drain_notices_total{reason="expiry"} 0`, `mastersocket_fences_total 0`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	log := c.log.String()
	for _, line := range []string{
		"operation=rebalance path=/v1/rebalance token=root", "result=done status=202 told=1 share=3", "result=refused status=409",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %q", line)
		}
	}
	if r = c.call(1, "POST", "/v1/drain", `{"over":"0s"}`); r.status != 202 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if r = c.call(1, "POST", "/v1/rebalance", ""); r.status != 409 {
		t.Errorf("while draining: %d %s", r.status, r.body)
	}
}

// TestRebalanceMissing has an instance that does not answer: it is named, and its clients are not counted.
func TestRebalanceMissing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, func(i int, o *hub.Options, a *Options) {
		a.GatherTimeout = 500 * time.Millisecond
		if i == 0 {
			o.Broker = alone{o.Broker}
		}
	})
	c.connect(0, "g", nil)
	c.connect(0, "g", nil)
	var got hub.Rebalance
	r := c.call(0, "POST", "/v1/rebalance", "")
	if err := json.Unmarshal(r.body, &got); err != nil || r.status != 202 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if got.Share != 2 || got.Told != 0 || len(got.Nodes) != 1 || !slices.Equal(got.Missing, []string{"node-1"}) {
		t.Errorf("got %+v", got)
	}
}

// alone is a broker whose other instances do not answer.
type alone struct{ broker.Broker }

func (a alone) Gather(ctx context.Context, _ []broker.NodeID, _ []byte, _ func(broker.NodeID, []byte)) (missing []broker.NodeID, err error) {
	<-ctx.Done()
	for _, n := range a.Nodes() {
		missing = append(missing, n.ID)
	}
	return missing, nil
}
