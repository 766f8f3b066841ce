//go:build linux

package clustertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestBrokerAway tests the default while Redis is away: not ready, clients of known groups are served, those of unknown
// groups get TRY_AGAIN_LATER, and local delivery continues.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, clusterOptions{})
	h := history.New(0)
	here := connectTo(t, c, 0, hubtest.ClientOptions{Name: "here", Groups: []string{"known"}, Reports: true, History: h})
	there := connectTo(t, c, 1, hubtest.ClientOptions{Name: "there", Groups: []string{"known"}, History: h})
	c.redis.Kill()
	awaitNotReady(t, c.hubs...)
	if _, text := readiness(c.hubs[0]); !strings.HasPrefix(text, "broker unavailable since ") {
		t.Errorf("readiness: %q", text)
	}

	more := connectTo(t, c, 0, hubtest.ClientOptions{Name: "more", Groups: []string{"known"}, History: h})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := here.Send(ctx, history.To{Target: history.Group, Name: "known"}, 0)
	if err == nil {
		err = more.WaitArrival(ctx, here.Record().Index(), n)
	}
	if err != nil {
		t.Errorf("delivery on the instance itself: %v", err)
	}
	begin := time.Now()
	_, err = hubtest.Connect(ctx, c.hubs[0].URL(), hubtest.ClientOptions{Name: "new", Groups: []string{"unknown"}, History: h})
	if err == nil || !strings.Contains(err.Error(), "TRY_AGAIN_LATER") {
		t.Errorf("a client of an unknown group: %v, want TRY_AGAIN_LATER", err)
	}
	figure.Printf(t, "Redis away: a client of an unknown group got TRY_AGAIN_LATER after %v", figure.MS(time.Since(begin)))

	c.redis.Restart()
	awaitReady(t, c.hubs...)
	if err := there.WaitArrival(ctx, here.Record().Index(), n); err != nil {
		t.Errorf("what was sent meanwhile: %v", err)
	}
	if err := here.Settled(ctx); err != nil {
		t.Error(err)
	}
	if r := h.Check(history.Options{Fault: true}); r.Err() != nil || len(r.Refused) > 0 {
		t.Error(r)
	}
}

// TestReadyWithoutBroker tests --ready-without-broker: always ready; new clients identify and reach each other on their
// instance, and the others when Redis is back.
func TestReadyWithoutBroker(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, clusterOptions{flags: []string{"--ready-without-broker"}})
	c.redis.Kill()
	for _, s := range c.hubs {
		err := eventually.Within(patience, func() bool { return s.Metrics().Sum("mastersocket_broker_available") == 0 })
		if err != nil {
			t.Fatal(err)
		}
		if ready, text := readiness(s); !ready {
			t.Errorf("not ready: %s", text)
		}
	}
	h := history.New(0)
	o := hubtest.ClientOptions{Groups: []string{"new"}, Reports: true, History: h}
	clients := make([]*hubtest.Client, 4)
	begin := time.Now()
	for i := range clients {
		o.Name = "client"
		clients[i] = connectTo(t, c, i%2, o)
	}
	figure.Printf(t, "--ready-without-broker, Redis away: four clients of a new group identified in %v", figure.MS(time.Since(begin)))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sent := make([]int, len(clients))
	for i, s := range clients {
		var err error
		if sent[i], err = s.Send(ctx, history.To{Target: history.Group, Name: "new"}, 0); err != nil {
			t.Fatal(err)
		}
		if err := clients[(i+2)%4].WaitArrival(ctx, s.Record().Index(), sent[i]); err != nil {
			t.Errorf("delivery on the instance itself: %v", err)
		}
	}
	<-time.After(6 * time.Second) // longer than the broker's subscription timeout
	c.redis.Restart()
	begin = time.Now()
	for _, s := range c.hubs {
		err := eventually.Within(patience, func() bool { return s.Metrics().Sum("mastersocket_broker_available") == 1 })
		if err != nil {
			t.Fatal(err)
		}
	}
	var waiting errgroup.Group
	for _, s := range clients {
		n, err := s.Send(ctx, history.To{Target: history.Group, Name: "new"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range clients {
			waiting.Go(func() error { return to.WaitArrival(ctx, s.Record().Index(), n) })
		}
	}
	if err := waiting.Wait(); err != nil {
		t.Errorf("delivery to the other instance, after it is back: %v", err)
	}
	figure.Printf(t, "--ready-without-broker: those clients reach the other instance %v after Redis was started", figure.MS(time.Since(begin)))
	for _, s := range clients {
		if err := s.Settled(ctx); err != nil {
			t.Error(err)
		}
	}
	r := h.Check(history.Options{Fault: true})
	t.Log(r)
	if r.Counts[history.Duplicated]+r.Counts[history.Reordered]+r.Counts[history.Misrouted] > 0 {
		t.Error("the protocol's guarantees do not hold")
	}
}

// TestBufferBound sends more than the bounded buffer holds while Redis is away: the messages that fit arrive in order,
// and the rest is refused with BROKER_UNAVAILABLE.
func TestBufferBound(t *testing.T) {
	t.Parallel()
	// The buffered messages arrive in one burst: with a small send queue the receiver would be a SLOW_CONSUMER.
	c := startCluster(t, 2, clusterOptions{flags: []string{"--send-queue-bytes", "32MiB"}})
	h := history.New(0)
	from := connectTo(t, c, 0, hubtest.ClientOptions{
		Name: "from", Groups: []string{"senders"}, NoEcho: true, Reports: true, Window: 1 << 11, History: h,
	})
	to := connectTo(t, c, 1, hubtest.ClientOptions{Name: "to", Groups: []string{"receivers"}, History: h})
	c.redis.Kill()
	awaitNotReady(t, c.hubs...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	const messages, pad = 800, 30_000
	for range messages {
		if _, err := from.Send(ctx, history.To{Target: history.Group, Name: "receivers"}, pad); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	waiting := c.hubs[0].Metrics()
	c.redis.Restart()
	awaitReady(t, c.hubs...)
	n, err := from.Send(ctx, history.To{Target: history.Direct, Name: to.ID()}, 0)
	if err == nil {
		err = to.WaitArrival(ctx, from.Record().Index(), n)
	}
	if err == nil {
		err = from.Settled(ctx)
	}
	if err != nil {
		t.Error(err)
	}
	r := h.Check(history.Options{Fault: true})
	m := c.hubs[0].Metrics()
	refused := int(m.Sum("mastersocket_broker_refused_total", `cause="buffer_full"`))
	dropped := int(m.Sum("mastersocket_drops_total", `reason="broker_unavailable"`))
	figure.Printf(t, "Redis away, %d messages of %d bytes: %.1f MiB waited, %d arrived in order later, %d were refused with BROKER_UNAVAILABLE",
		messages, pad, waiting.Sum("mastersocket_broker_buffer_bytes")/(1<<20), r.Arrivals-1, r.Refused["BROKER_UNAVAILABLE"])
	if r.Err() != nil || r.Refused["BROKER_UNAVAILABLE"] == 0 || r.Reported != r.Refused["BROKER_UNAVAILABLE"] ||
		refused != r.Reported || dropped != r.Reported || r.Arrivals+r.Reported != messages+1 {
		t.Errorf("%d refused by the broker, %d counted as dropped: %v", refused, dropped, r)
	}
}
