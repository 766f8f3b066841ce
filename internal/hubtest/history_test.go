//go:build linux

package hubtest

import (
	"context"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/history"
)

// scale returns n, or a fraction of it if the run would take too long.
func scale(n int) int {
	switch {
	case raceEnabled || RaceBinary():
		return n / 50
	case testing.Short():
		return n / 20
	}
	return n
}

// runWorkload runs w and checks its history.
func runWorkload(t *testing.T, w Workload) (*history.History, *history.Report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	begin := time.Now()
	h, err := w.Run(ctx)
	took := time.Since(begin)
	if err != nil {
		t.Errorf("the run was not completed: %v", err)
	}
	r := h.Check(history.Options{})
	t.Logf("seed %d, %v: %v", w.Seed, took.Round(time.Millisecond), r)
	if err := r.Err(); err != nil {
		t.Error("the protocol's guarantees do not hold")
	}
	if r.Late > 0 {
		t.Errorf("a single instance answered %d messages twice", r.Late)
	}
	return h, r
}

// TestHistory checks the protocol's guarantees: 20 senders, 12 receivers, 10,000 messages of each sender in a random
// mix of GLOBAL, GROUP, DIRECT and ANY, and none lost, duplicated, reordered or misrouted.
func TestHistory(t *testing.T) {
	s := Start(t, Options{})
	_, r := runWorkload(t, Workload{URLs: []string{s.URL()}, Senders: 20, Receivers: 12, Messages: scale(200_000), Seed: 1})
	if r.Refused["NO_RECEIVER"] == 0 || len(r.Refused) != 1 || len(r.Disconnects) != 0 || r.CutOff != 0 || r.Late != 0 {
		t.Errorf("want NO_RECEIVER for messages without a receiver, and nothing else: %v", r)
	}
	m := s.Metrics()
	if got := m.Sum("mastersocket_messages_received_total"); int(got) != r.Messages {
		t.Errorf("the hub counted %v messages of %d", got, r.Messages)
	}
	if got := m.Sum("mastersocket_deliveries_total"); int(got) != r.Arrivals {
		t.Errorf("the hub counted %v deliveries of %d", got, r.Arrivals)
	}
	if got := m.Sum("mastersocket_drops_total", `reason="no_receiver"`); int(got) != r.Refused["NO_RECEIVER"] {
		t.Errorf("the hub counted %v messages without a receiver of %d", got, r.Refused["NO_RECEIVER"])
	}
}

// TestHistoryOneLoop puts all clients on one loop, TestHistory on one for each core.
func TestHistoryOneLoop(t *testing.T) {
	s := Start(t, Options{Flags: []string{"--loops", "1"}})
	runWorkload(t, Workload{URLs: []string{s.URL()}, Senders: 20, Receivers: 12, Messages: scale(40_000), Seed: 2})
}

// TestHistoryManyLoops has clients on more loops than there are cores, with large payloads.
func TestHistoryManyLoops(t *testing.T) {
	s := Start(t, Options{Flags: []string{"--loops", "7"}})
	runWorkload(t, Workload{
		URLs: []string{s.URL()}, Senders: 20, Receivers: 12, Messages: scale(20_000), Seed: 3, Pad: 4000, Copies: 2000,
	})
}

// TestHistoryChurn sends while clients come and go.
func TestHistoryChurn(t *testing.T) {
	s := Start(t, Options{})
	runWorkload(t, Workload{
		URLs: []string{s.URL()}, Senders: 10, Receivers: 6, Messages: scale(60_000), Seed: 4, Churn: 8, Rate: 10_000,
	})
}

// TestHistoryOfGroupsThatChange sends while clients join and leave groups.
func TestHistoryOfGroupsThatChange(t *testing.T) {
	s := Start(t, Options{Flags: []string{"--loops", "3"}})
	_, r := runWorkload(t, Workload{
		URLs: []string{s.URL()}, Senders: 10, Receivers: 6, Messages: scale(60_000), Seed: 5, Shifters: 20, Rate: 10_000,
	})
	if r.Memberships < 20 {
		t.Errorf("%d memberships", r.Memberships)
	}
}

// TestAnyUniform draws receivers often enough to detect a bias of a few percent.
func TestAnyUniform(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	h := history.New(0)
	var all []*Client
	for i := range 11 {
		groups := []string{"workers"}
		if i == 10 {
			groups = []string{"boss"}
		}
		c, err := Connect(ctx, s.URL(), ClientOptions{Name: "c", Groups: groups, Reports: true, History: h})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Retire()
		all = append(all, c)
	}
	boss := all[10]
	for range 20_000 {
		for _, group := range []string{"workers", ""} {
			if _, err := boss.Send(ctx, history.To{Target: history.Any, Name: group}, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := boss.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Check(history.Options{}).Err(); err != nil {
		t.Error(err)
	}
	for _, group := range []string{"workers", ""} {
		counts := h.AnyCounts(group)
		stat, p := history.ChiSquare(counts)
		t.Logf("ANY:%s %v: chi-square %.1f, p %.3g", group, counts, stat, p)
		if p < 1e-6 {
			t.Errorf("ANY:%s is not uniform: %v, p %.3g", group, counts, p)
		}
	}
}
