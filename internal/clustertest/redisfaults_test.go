//go:build linux

package clustertest

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
)

// TestRedisKilled kills Redis and starts it again, empty.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{})
	l.runFor(time.Second)
	for range size(2, 5) {
		c.redis.Kill()
		red := awaitNotReady(t, c.hubs...)
		l.runFor(2 * time.Second)
		c.redis.Restart()
		begin := time.Now()
		green := awaitReady(t, c.hubs...)
		l.awaitDelivery()
		figure.Printf(t, "Redis killed: readiness red on all three after %v; green %v and delivery back %v after it was started empty",
			figure.MS(red), figure.MS(green), figure.MS(time.Since(begin)))
		c.awaitNodes(figure.Bound(5*time.Second), 3)
		l.runFor(time.Second)
	}
	wantAll(t, l.finish(c))
}

// TestRedisPaused stops Redis with SIGSTOP: connections stay open and silent.
func TestRedisPaused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{})
	l.runFor(time.Second)
	pause := figure.Choose(4*time.Second, 10*time.Second)
	c.redis.Pause()
	begin := time.Now()
	red := awaitNotReady(t, c.hubs...)
	if red > figure.Bound(3*time.Second) {
		t.Errorf("readiness turned red after %v", red)
	}
	l.runFor(pause - time.Since(begin))
	c.redis.Resume()
	begin = time.Now()
	green := awaitReady(t, c.hubs...)
	l.awaitDelivery()
	figure.Printf(t, "Redis paused for %v: readiness red on all three after %v; green %v and delivery back %v after it continued",
		pause, figure.MS(red), figure.MS(green), figure.MS(time.Since(begin)))
	l.runFor(time.Second)
	wantAll(t, l.finish(c))
}

// TestSubscribersKilled cuts all subscriber connections again and again.
func TestSubscribersKilled(t *testing.T) { clientsKilled(t, "pubsub") }

// TestPublishersKilled cuts all other connections again and again: those that publish and those that keep the leases.
func TestPublishersKilled(t *testing.T) { clientsKilled(t, "normal") }

func clientsKilled(t *testing.T, kind string) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{})
	l.runFor(time.Second)
	kills := size(15, 60)
	for range kills {
		c.redis.Do("CLIENT", "KILL", "TYPE", kind)
		l.runFor(200 * time.Millisecond)
	}
	back := l.awaitDelivery()
	figure.Printf(t, "CLIENT KILL TYPE %s, %d times in %v: delivery back %v after the last; %d reconnects, %d messages had again, "+
		"%d duplicates ignored", kind, kills, time.Duration(kills)*200*time.Millisecond, figure.MS(back),
		c.sum("mastersocket_broker_reconnects_total"), c.sum("mastersocket_broker_recovered_total"),
		c.sum("mastersocket_broker_duplicates_total"))
	if c.sum("mastersocket_broker_lost_nodes_total") > 0 {
		// An instance was cut off each time before it renewed its lease, until the lease expired.
		wantHonest(t, l.finish(c))
		return
	}
	wantAll(t, l.finish(c))
}
