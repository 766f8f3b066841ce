//go:build linux

package clustertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// connectTo connects a client to instance at.
func connectTo(t *testing.T, c *cluster, at int, o hubtest.ClientOptions) *hubtest.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := hubtest.Connect(ctx, c.hubs[at].URL(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Retire)
	return s
}

// TestDirectCost counts the work of Redis and the instances for DIRECT messages between two instances, in clusters of
// two and of eight: one PUBLISH each, received by one instance.
func TestDirectCost(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 8} {
		t.Run(fmt.Sprintf("%d instances", n), func(t *testing.T) {
			t.Parallel()
			messages := size(2000, 10_000)
			c := startCluster(t, n, clusterOptions{})
			h := history.New(0)
			remote := connectTo(t, c, 1, hubtest.ClientOptions{Name: "to", Groups: []string{"g"}, History: h})
			from := connectTo(t, c, 0, hubtest.ClientOptions{Name: "from", Groups: []string{"f"}, Reports: true, History: h})
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			to := remote
			send := func() {
				last := 0
				for range messages {
					var err error
					if last, err = from.Send(ctx, history.To{Target: history.Direct, Name: to.ID()}, 0); err != nil {
						t.Fatal(err)
					}
				}
				if err := to.WaitArrival(ctx, from.Record().Index(), last); err != nil {
					t.Fatal(err)
				}
			}
			send() // warms up, and lets the member counts spread

			before, begin := received(c), time.Now()
			calls := c.redis.Calls("publish")
			send()
			window := max(time.Since(begin), 2*time.Second)
			<-time.After(window - time.Since(begin))
			busy := c.redis.Calls("publish") - calls
			after := received(c)
			calls = c.redis.Calls("publish")
			<-time.After(window)
			idle := c.redis.Calls("publish") - calls

			per := float64(busy-idle) / float64(messages)
			seen := 0
			for i := range after {
				if after[i] > before[i] {
					seen++
				}
			}
			figure.Printf(t, "%d instances: %d DIRECT messages cost %d PUBLISH beyond the %d of an idle time as long: %.3f each; "+
				"%d instance received them, %d messages", n, messages, busy-idle, idle, per, seen, after[1]-before[1])
			calls = c.redis.Calls("publish")
			neighbour := connectTo(t, c, 0, hubtest.ClientOptions{Name: "neighbour", Groups: []string{"f"}, History: h})
			to = neighbour
			begin = time.Now()
			send()
			<-time.After(window - time.Since(begin))
			local := c.redis.Calls("publish") - calls
			figure.Printf(t, "%d instances: %d DIRECT messages within one instance: %d PUBLISH, those of an idle time included", n, messages, local)
			if local > idle+n+10 {
				t.Errorf("%d PUBLISH for messages within one instance, %d in an idle time as long", local, idle)
			}
			if off := figure.Choose(0.1, 0.01); per < 1-off || per > 1+off {
				t.Errorf("%.3f PUBLISH for each message, want 1", per)
			}
			if seen != 1 || after[1]-before[1] != messages {
				t.Errorf("received by the instances: %v before, %v after", before, after)
			}
			if subscribers := c.redis.Do("PUBSUB", "NUMSUB", fmt.Sprintf("ms:node:%.8s", remote.ID())); subscribers[len(subscribers)-1] != '1' {
				t.Errorf("subscribers of the instance's channel: %q", subscribers)
			}
		})
	}
}

// received returns the number of messages that each instance got from others.
func received(c *cluster) (n []int) {
	for _, h := range c.hubs {
		n = append(n, int(h.Metrics().Sum("mastersocket_broker_received_total")))
	}
	return n
}

// TestKnownGroupCost counts the cost of an IDENTIFY into a group with a member on the instance: it does not wait for
// Redis.
func TestKnownGroupCost(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, clusterOptions{})
	h := history.New(0)
	o := hubtest.ClientOptions{Name: "member", Groups: []string{"known"}, History: h}
	connectTo(t, c, 0, o)
	connectTo(t, c, 1, o)

	idle, _ := c.commands(func() { <-time.After(2 * time.Second) })
	clients := size(200, 1000)
	begin := time.Now()
	busy, subscribes := c.commands(func() {
		for range clients {
			connectTo(t, c, 0, o)
		}
		<-time.After(2*time.Second - time.Since(begin))
	})
	took := time.Since(begin)
	figure.Printf(t, "%d IDENTIFY into a group that the instance knows, in %v: %d SUBSCRIBE; %d commands in all, %d in 2s without",
		clients, figure.MS(took), subscribes, busy, idle)
	if subscribes != 0 {
		t.Errorf("%d SUBSCRIBE, want none", subscribes)
	}
	// Member counts are published at most 20 times a second, whatever their number.
	if most := idle + int(took.Seconds()*20) + 20; busy > most {
		t.Errorf("%d commands, want %d at most", busy, most)
	}

	// While Redis hangs for less than its timeout, clients are still answered.
	c.redis.Pause()
	begin = time.Now()
	var worst time.Duration
	for range 50 {
		one := time.Now()
		connectTo(t, c, 0, o)
		worst = max(worst, time.Since(one))
	}
	took = time.Since(begin)
	ready, _ := readiness(c.hubs[0])
	c.redis.Resume()
	figure.Printf(t, "Redis paused: 50 clients connected and identified in %v, the slowest in %v", figure.MS(took), figure.MS(worst))
	if took > figure.Bound(1500*time.Millisecond) || !ready {
		t.Errorf("clients were connected in %v, ready: %v", took, ready)
	}
	unknown := o
	unknown.Groups = []string{"unknown"}
	c.redis.Pause()
	begin = time.Now()
	resume := time.AfterFunc(time.Second, func() { c.redis.Resume() })
	defer resume.Stop()
	connectTo(t, c, 0, unknown)
	took = time.Since(begin)
	figure.Printf(t, "Redis paused for 1s: the first member of a group was answered after %v", figure.MS(took))
	if took < 900*time.Millisecond {
		t.Errorf("the first member of a group was answered after %v, before Redis can have confirmed", took)
	}
}

// commands counts the commands that Redis ran during do, without those for counting, and the SUBSCRIBEs among them.
func (c *cluster) commands(do func()) (all, subscribes int) {
	c.t.Helper()
	c.redis.ResetCalls()
	do()
	for _, name := range []string{"publish", "subscribe", "unsubscribe", "eval", "evalsha", "mget", "ping"} {
		all += c.redis.Calls(name)
	}
	return all, c.redis.Calls("subscribe")
}
