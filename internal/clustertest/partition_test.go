//go:build linux

package clustertest

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestSilentPartition discards the replies of Redis to one of three instances, whose own requests still arrive.
func TestSilentPartition(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	proxy := faultproxy.Start(t, redis.Addr())
	c := startCluster(t, 3, clusterOptions{redis: redis, url: func(i int) string {
		if i == 1 {
			return "redis://" + proxy.Addr()
		}
		return redis.URL()
	}})
	l := startLoad(t, c.urls(), loadOptions{})
	for range size(1, 3) {
		l.runFor(time.Second)
		proxy.Set(faultproxy.SwallowReplies)
		begin := time.Now()
		red := awaitNotReady(t, c.hubs[1])
		l.runFor(figure.Choose(4*time.Second, 10*time.Second) - time.Since(begin))
		if ready, text := readiness(c.hubs[0]); !ready {
			t.Errorf("an unaffected instance is not ready: %s", text)
		}
		_, why := readiness(c.hubs[1])
		proxy.Set(faultproxy.None)
		begin = time.Now()
		l.awaitDelivery()
		delivery := time.Since(begin)
		awaitReady(t, c.hubs[1])
		green := time.Since(begin)
		figure.Printf(t, "replies swallowed: readiness red after %v (%q); delivery back %v and readiness green %v after healing",
			figure.MS(red), why, figure.MS(delivery), figure.MS(green))
		if red > figure.Bound(3*time.Second) {
			t.Errorf("readiness turned red after %v, want 3s at most", red)
		}
		if max(delivery, green) > figure.Bound(5*time.Second) {
			t.Errorf("back %v and %v after healing, want 5s at most", delivery, green)
		}
		c.awaitNodes(figure.Bound(5*time.Second), 3)
	}
	r := l.finish(c)
	figure.Printf(t, "replies swallowed for longer than a lease: senders on the other instances were refused %v, rightly", r.Refused)
	wantHonest(t, r)
}

// TestRollingPartition cuts each of four instances off in turn, for longer than a lease lasts and without a pause in
// between, as maintenance of a network does. An instance that comes back finds the next one away.
func TestRollingPartition(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var proxies []*faultproxy.Proxy
	for range 4 {
		proxies = append(proxies, faultproxy.Start(t, redis.Addr()))
	}
	c := startCluster(t, 4, clusterOptions{redis: redis, url: func(i int) string { return "redis://" + proxies[i].Addr() }})
	l := startLoad(t, c.urls(), loadOptions{senders: 8, receivers: 8})
	l.runFor(time.Second)
	for i, p := range proxies {
		p.Set(faultproxy.Stall)
		awaitNotReady(t, c.hubs[i])
		l.runFor(3 * time.Second)
		p.Set(faultproxy.None)
	}
	awaitReady(t, c.hubs...)
	c.awaitNodes(patience, 4)
	l.awaitDelivery()
	r := l.finish(c)
	figure.Printf(t, "four instances cut off in turn, 5 s each: refused %v", r.Refused)
	if r.Counted > 0 || len(r.Disconnects) > 0 || r.CutOff > 0 {
		t.Errorf("want no acknowledged message lost and no client disconnected: %v", r)
	}
}
