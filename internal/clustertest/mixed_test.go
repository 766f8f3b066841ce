//go:build linux

package clustertest

import (
	"context"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestMixedLoad is the guarantee of the protocol over three instances, as fast as they go: 20 senders and 12 receivers,
// and nothing lost, duplicated, reordered or misrouted.
func TestMixedLoad(t *testing.T) {
	c := startCluster(t, 3, clusterOptions{})
	w := hubtest.Workload{
		URLs: c.urls(), Senders: 20, Receivers: 12, Messages: size(40_000, 200_000), Seed: 1,
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	begin := time.Now()
	h, err := w.Run(ctx)
	took := time.Since(begin)
	if err != nil {
		t.Errorf("the run was not completed: %v", err)
	}
	r := h.Check(history.Options{})
	t.Logf("%v", r)
	if r.Err() != nil {
		t.Error("the protocol's guarantees do not hold")
	}
	if len(r.Disconnects) > 0 || r.CutOff > 0 || r.Refused["NO_RECEIVER"] == 0 || len(r.Refused) != 1 {
		t.Errorf("want NO_RECEIVER for what was sent to nobody, and nothing else: %v", r)
	}
	if n, text := c.losses(); n > 0 {
		t.Errorf("the instances counted losses:%s", text)
	}
	figure(t, "three instances, 20 senders, 12 receivers: %d messages, %d deliveries in %v: %d lost, %d duplicated, "+
		"%d reordered, %d misrouted", r.Messages, r.Arrivals, ms(took), r.Counts[history.Lost],
		r.Counts[history.Duplicated], r.Counts[history.Reordered], r.Counts[history.Misrouted])
}
