//go:build linux

package clustertest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestMixedLoad checks the protocol's guarantees over three instances at full speed: 20 senders and 12 receivers, and
// nothing lost, duplicated, reordered or misrouted.
func TestMixedLoad(t *testing.T) {
	c := startCluster(t, 3, clusterOptions{})
	w := hubtest.Workload{
		URLs: c.urls(), Senders: 20, Receivers: 12, Messages: size(40_000, 200_000), Seed: 1,
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	begin, busy := time.Now(), c.cpu()
	h, err := w.Run(ctx)
	took, redis, hubs := time.Since(begin), c.redisCPU(), c.cpu()-busy
	if err != nil {
		t.Errorf("the run was not completed: %v", err)
	}
	r := h.Check(history.Options{})
	t.Logf("%v", r)
	if r.Err() != nil {
		t.Error("the protocol's guarantees do not hold")
	}
	if len(r.Disconnects) > 0 || r.CutOff > 0 || r.Refused["NO_RECEIVER"] == 0 || len(r.Refused) != 1 {
		t.Errorf("want NO_RECEIVER for messages without a receiver, and nothing else: %v", r)
	}
	if n, text := c.losses(); n > 0 {
		t.Errorf("the instances counted losses:%s", text)
	}
	figure.Printf(t, "three instances, 20 senders, 12 receivers: %d messages, %d deliveries in %v: %d lost, %d duplicated, "+
		"%d reordered, %d misrouted", r.Messages, r.Arrivals, figure.MS(took), r.Counts[history.Lost],
		r.Counts[history.Duplicated], r.Counts[history.Reordered], r.Counts[history.Misrouted])
	figure.Printf(t, "processor time: Redis %v for each message sent, the three instances together %v for each delivery",
		(redis / time.Duration(r.Messages)).Round(10*time.Nanosecond), (hubs / time.Duration(r.Arrivals)).Round(10*time.Nanosecond))
}

// cpu returns the CPU time of the instances.
func (c *cluster) cpu() (sum time.Duration) {
	for _, h := range c.alive() {
		sum += h.CPU()
	}
	return sum
}

// redisCPU returns the CPU time of Redis, including its start.
func (c *cluster) redisCPU() (sum time.Duration) {
	for line := range strings.Lines(c.redis.Do("INFO", "cpu")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				c.t.Fatalf("%q: %v", line, err)
			}
			sum += time.Duration(seconds * float64(time.Second))
		}
	}
	return sum
}
