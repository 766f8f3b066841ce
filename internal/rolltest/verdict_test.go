//go:build linux

package rolltest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// wantUnnoticed expects that no client noticed anything: no message lost, duplicated, reordered or refused, except
// those to a former id; no connection lost, no question without an answer, no error.
func (r *result) wantUnnoticed(t *testing.T) {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Error("the protocol's guarantees do not hold")
	}
	refused := sumOf(r.Report.Refused)
	if refused > r.Outdated {
		t.Errorf("%d messages refused (%v), but for a former id only %d", refused, r.Report.Refused, r.Outdated)
	}
	if r.Absences > 0 || len(r.Losses) > 0 {
		t.Errorf("%d times a client was without a connection: %v", r.Absences, r.Losses)
	}
	if len(r.Failures) > 0 || len(r.Strays) > 0 || r.Unmade > 0 || r.Asked != r.Answers+r.counts.Refused {
		t.Errorf("failures %v, strays %v; %d questions, %d answers, %d refused, %d answers not sent",
			r.Failures, r.Strays, r.Asked, r.Answers, r.counts.Refused, r.Unmade)
	}
}

// figures prints the figures of every load.
func (r *result) figures(t *testing.T) {
	t.Helper()
	figure.Printf(t, "%d messages in %v (%.0f a second), %d deliveries: %d lost, %d duplicated, %d reordered, %d misrouted; "+
		"%d refused, of them %d for an id that its client had left; %d crossed; %d questions, %d answered",
		r.Messages, figure.MS(r.took), float64(r.Messages)/r.took.Seconds(), r.Arrivals, r.Counts[history.Lost],
		r.Counts[history.Duplicated], r.Counts[history.Reordered], r.Counts[history.Misrouted],
		sumOf(r.Report.Refused), r.Outdated, r.Crossed, r.Asked, r.Answers)
	figure.Printf(t, "the clients' processes used %.0f %% of a processor", 100*r.spent.Seconds()/r.took.Seconds())
}

// usage is the servers' use of CPU and memory.
type usage struct {
	at       int64
	cpu      []time.Duration // of each hub
	rss      []int64         // likewise, in bytes
	balancer time.Duration
	redis    float64 // seconds
}

func (r *rig) usage() usage {
	r.t.Helper()
	u := usage{at: history.Now()}
	for _, h := range r.hubs {
		u.cpu, u.rss = append(u.cpu, h.CPU()), append(u.rss, h.RSS())
	}
	var err error
	if u.balancer, err = hubtest.ProcessCPU(r.balance.runs[0].cmd.Process.Pid); err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(r.redis.Do("INFO", "cpu")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key == "used_cpu_user" || key == "used_cpu_sys" {
			seconds, _ := strconv.ParseFloat(value, 64) // only for output
			u.redis += seconds
		}
	}
	return u
}

// figures prints the use since an earlier reading.
func (u usage) figures(t *testing.T, before usage) {
	t.Helper()
	span := time.Duration(u.at - before.at).Seconds()
	for i := range u.cpu {
		figure.Printf(t, "hub %d, steady: %.1f %% of a processor, %.1f MiB resident", i+1,
			100*(u.cpu[i]-before.cpu[i]).Seconds()/span, float64(u.rss[i])/(1<<20))
	}
	figure.Printf(t, "steady: haproxy %.1f %% of a processor, Redis %.1f %%", 100*(u.balancer-before.balancer).Seconds()/span,
		100*(u.redis-before.redis)/span)
}
