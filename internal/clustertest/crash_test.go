//go:build linux

package clustertest

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestInstanceKilled kills one of three instances under load. Clients of the others are not disturbed, and the others'
// member counts are right within 5 s.
func TestInstanceKilled(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{})
	probe := startProbe(t, c, "only-on-c", 2)
	probe.expect(t, "")
	l.runFor(2 * time.Second)

	c.hubs[2].Kill()
	begin := time.Now()
	gone := probe.await(t, "NO_RECEIVER")
	c.awaitNodes(patience, 2)
	nodes := time.Since(begin)
	if took := max(gone, nodes); took > figure.Bound(5*time.Second) {
		t.Errorf("a killed instance is still counted after %v, want 5s at most", took)
	}
	// From now on no message is drawn for it, and all refusals are right.
	mark := history.Now()
	l.runFor(2 * time.Second)
	r := l.finish(c)
	figure.Printf(t, "instance killed: ANY and GROUP for its only group are refused after %v, mastersocket_nodes is 2 on both others after %v; "+
		"answers to senders on the others: %v", figure.MS(gone), figure.MS(nodes), r.Refused)
	if late := l.history.RefusedSince(mark); len(late) > 0 {
		t.Errorf("refused after the counts were right: %v", late)
	}
	for _, m := range l.members {
		if len(m.ended) > 0 && m.home != 2 {
			t.Errorf("a client of another instance was disturbed: %v", m.ended)
		}
	}
	if n := c.sum("mastersocket_broker_lost_nodes_total"); n != 2 {
		t.Errorf("mastersocket_broker_lost_nodes_total adds up to %d, want 2", n)
	}
}

// probe is a client of the first instance that sends to the only member of a group, on another instance.
type probe struct {
	sender, member *hubtest.Client
	group          string
}

// startProbe joins a member of group on the instance at, and a sender on the first instance.
func startProbe(t *testing.T, c *cluster, group string, at int) *probe {
	t.Helper()
	h := history.New(0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	connect := func(at int, o hubtest.ClientOptions) *hubtest.Client {
		o.History = h
		s, err := hubtest.Connect(ctx, c.urls()[at], o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Retire)
		return s
	}
	return &probe{
		member: connect(at, hubtest.ClientOptions{Name: "member", Groups: []string{group}}),
		sender: connect(0, hubtest.ClientOptions{Name: "probe", Groups: []string{"probes"}, Reports: true}), group: group,
	}
}

// ask sends an ANY and a GROUP message to the group, and a DIRECT to its member. It returns the codes of the errors, if
// any.
func (p *probe) ask(t *testing.T) (codes [3]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, to := range []history.To{
		{Target: history.Any, Name: p.group}, {Target: history.Group, Name: p.group}, {Target: history.Direct, Name: p.member.ID()},
	} {
		n, err := p.sender.Send(ctx, to, 0)
		if err == nil {
			err = p.sender.Settled(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		codes[i], _ = p.sender.Record().Answer(n)
	}
	return codes
}

func (p *probe) expect(t *testing.T, code string) {
	t.Helper()
	if got := p.ask(t); got != [3]string{code, code, code} {
		t.Errorf("ANY and GROUP for %s, and DIRECT: errors %q, want %q", p.group, got, code)
	}
}

// await asks until both answers are code, and returns the time that took.
func (p *probe) await(t *testing.T, code string) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := eventually.Within(patience, func() bool { return p.ask(t) == [3]string{code, code, code} }); err != nil {
		t.Fatalf("ANY and GROUP for %s, and DIRECT: %v", p.group, err)
	}
	return time.Since(begin)
}

// TestInstancePaused pauses one of three instances until the others consider it dead, and then continues it.
func TestInstancePaused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{noAnyone: true})
	probe := startProbe(t, c, "only-on-b", 1)
	probe.expect(t, "")
	l.runFor(time.Second)
	paused, others := c.hubs[1], []*hubtest.Server{c.hubs[0], c.hubs[2]}
	paused.Signal(syscall.SIGSTOP)
	begin := time.Now()
	for _, h := range others {
		if err := eventually.Within(patience, func() bool { return h.Metrics().Sum("mastersocket_nodes") == 2 }); err != nil {
			t.Errorf("a paused instance is still counted: %v", err)
		}
	}
	gone := time.Since(begin)
	for gone := gone; gone < 6*time.Second; gone = time.Since(begin) {
		probe.expect(t, "NO_RECEIVER") // though Redis counts its connections
		l.runFor(100 * time.Millisecond)
	}
	paused.Signal(syscall.SIGCONT)
	begin = time.Now()
	awaitReady(t, c.hubs...)
	c.awaitNodes(patience, 3)
	nodes := time.Since(begin)
	probe.await(t, "")
	l.awaitDelivery()
	figure.Printf(t, "instance paused for 6s: gone from the others after %v; counted again %v and delivery back %v after it continued",
		figure.MS(gone), figure.MS(nodes), figure.MS(time.Since(begin)))
	l.runFor(time.Second)
	r := l.finish(c)
	if r.Counted > 0 || len(r.Disconnects) > 0 || r.CutOff > 0 {
		t.Errorf("want nothing lost and no client disconnected: %v", r)
	}
}
