//go:build linux

package rolltest

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// faultLoad is the load of tests about faults during a restart.
func faultLoad() loadOptions {
	return loadOptions{clients: figure.Choose(150, 1500), processes: 1, rate: figure.Choose(150.0, 500.0), globalRate: 0.5}
}

// TestKilledInstance kills an instance: its clients may miss messages on their way, and nothing else.
func TestKilledInstance(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, 0)
	l := startLoad(r, faultLoad())
	pass(2 * time.Second)
	lost := r.connections(0)
	begin := time.Now()
	r.hubs[0].Kill()
	r.awaitConnections(l.clients)
	back := figure.MS(time.Since(begin))
	r.awaitNodes(2)
	pass(time.Second)
	drops := r.drops()
	res := l.finish(history.Options{Fault: true, CountedDrops: drops, InFlight: 2 * time.Second})
	res.figures(t)
	figure.Printf(t, "an instance with %d clients killed: all connected again after %v; %d deliveries missed by disconnected clients, "+
		"%d reported to the sender, %d messages counted by the instances", lost, back, res.Missed, res.Reported, res.Counted)
	if err := res.Err(); err != nil {
		t.Error("more messages are lost than were on their way")
	}
	// An answer may have been on its way, too.
	if res.Absences != lost || sumOf(res.Failures, "outcome unknown", "answer", "no answer") > 0 {
		t.Errorf("%d clients were away, want %d; failures %v, want only what is unknown and answers", res.Absences, lost, res.Failures)
	}
}

// TestRedisRestartInRoll restarts Redis while an instance leaves service: for a moment no instance is ready or accepts
// connections. Clients stay connected until they can move.
func TestRedisRestartInRoll(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, 0, "--drain-rate", "50")
	l := startLoad(r, faultLoad())
	pass(time.Second)
	begin := history.Now()
	r.hubs[0].Signal(syscall.SIGTERM)
	r.awaitDraining(0)
	r.redis.Restart()
	r.finishRestart(0)
	figure.Printf(t, "an instance restarted, and Redis meanwhile: %v", since(begin, history.Now()))
	pass(time.Second)
	drops := r.drops()
	res := l.finish(history.Options{Fault: true, CountedDrops: drops})
	res.figures(t)
	if err := res.Err(); err != nil {
		t.Error("the protocol's guarantees do not hold")
	}
	if res.Absences > 0 {
		t.Errorf("%d clients lost their connection: %v", res.Absences, res.Losses)
	}
}

// TestBalancerReloadInRoll reloads haproxy while an instance leaves service: clients don't notice.
func TestBalancerReloadInRoll(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, 0, "--drain-rate", "50")
	l := startLoad(r, faultLoad())
	pass(time.Second)
	r.hubs[0].Signal(syscall.SIGTERM)
	r.awaitDraining(0)
	r.balance.reload()
	r.finishRestart(0)
	pass(time.Second)
	res := l.finish(history.Options{})
	res.figures(t)
	res.wantUnnoticed(t)
}

// TestRebalance adds an instance and makes the others move their surplus to it: all have the same share, and clients
// don't notice.
func TestRebalance(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3, 1, "--drain-rate", "50")
	l := startLoad(r, faultLoad())
	pass(time.Second)
	r.addHub()
	r.awaitNodes(4)
	r.balance.await(3, "UP")
	begin := history.Now()
	r.post(0, "/v1/rebalance")
	share := l.clients / 4
	err := eventually.Within(patience, func() bool {
		all := r.spread()
		return slices.Min(all) >= share*8/10 && slices.Max(all) <= share*12/10+1
	})
	if err != nil {
		t.Errorf("clients of the instances: %v, want about %d each: %v", r.spread(), share, err)
	}
	figure.Printf(t, "a fourth instance for %d clients: %v after %v", l.clients, r.spread(), since(begin, history.Now()))
	pass(time.Second)
	res := l.finish(history.Options{})
	res.figures(t)
	res.wantUnnoticed(t)
}

// awaitDraining waits until hub i is leaving service.
func (r *rig) awaitDraining(i int) {
	r.t.Helper()
	if err := eventually.Within(patience, func() bool { return r.hubs[i].Metrics().Sum("mastersocket_draining") == 1 }); err != nil {
		r.t.Fatalf("hub %d does not drain: %v", i+1, err)
	}
}

// finishRestart waits until hub i, which is leaving service, has ended, and starts it again.
func (r *rig) finishRestart(i int) {
	r.t.Helper()
	if code, ok := r.hubs[i].Wait(patience); !ok || code != 0 {
		r.t.Fatalf("hub %d ended: %v, exit code %d; want 0", i+1, ok, code)
	}
	r.hubs[i] = r.start(i)
	r.awaitNodes(len(r.hubs))
	r.balance.await(i, "UP")
}

// awaitConnections waits until the hubs that run have n connections.
func (r *rig) awaitConnections(n int) {
	r.t.Helper()
	err := eventually.Within(patience, func() bool {
		sum := 0
		for _, k := range r.spread() {
			sum += k
		}
		return sum == n
	})
	if err != nil {
		r.t.Fatalf("connections: %v, want %d in all: %v", r.spread(), n, err)
	}
}

// drops returns the messages that the running hubs counted as lost, for any cause but a target without receivers.
func (r *rig) drops() int {
	r.t.Helper()
	sum := 0.0
	for _, h := range r.hubs {
		if !h.Alive() {
			continue
		}
		m := h.Metrics()
		for _, reason := range []string{"receiver_gone", "broker_unavailable", "outcome_unknown", "closing"} {
			sum += m.Sum("mastersocket_drops_total", `reason="`+reason+`"`)
		}
		sum += m.Sum("mastersocket_broker_missed_total")
	}
	return int(sum)
}

// post sends an empty request to the API of hub i, which must succeed.
func (r *rig) post(i int, path string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.hubs[i].AdminURL(path), strings.NewReader(""))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+hubtest.Token)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // only for output
	if resp.StatusCode >= 300 {
		r.t.Fatalf("POST %s: %s: %s", path, resp.Status, body)
	}
	r.t.Logf("POST %s: %s", path, body)
}
