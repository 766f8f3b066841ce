package echo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/services/echo/client"
	"github.com/mastersocket/mastersocket/services/echo/wire"
)

// Every connection is drawn with the same probability, on any instance and loop, the sender included.
func TestDrawsAreUniform(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	nodes := []*node{start(t, bus.Broker(), DefaultLimits(), 2), start(t, bus.Broker(), DefaultLimits(), 3)}
	var all []*talker
	for i := range 20 {
		all = append(all, nodes[min(i%4, 1)].dial()) // a quarter of them on the first
	}
	const draws = 4_000
	counts := make([]int, len(all))
	var done sync.WaitGroup
	answered := make(chan bool, draws)
	for i, c := range all {
		done.Go(func() {
			for {
				_, b, err := c.conn.Read(c.ctx)
				if err != nil {
					return
				}
				if text, ok := strings.CutPrefix(string(b), "message "); ok {
					counts[i]++
					c.send("ok " + text)
				} else {
					answered <- true
				}
			}
		})
	}
	for i := range draws {
		all[i/400%2].send(fmt.Sprint("message ", i)) // of two senders, one on each instance
		<-answered
	}
	for _, c := range all {
		_ = c.conn.CloseNow()
	}
	done.Wait()
	if stat, p := history.ChiSquare(counts); p < 1e-6 {
		t.Errorf("counts %v: chi-square %.1f, p %.2g", counts, stat, p)
	}
	for _, n := range nodes {
		n.awaitZero()
	}
}

// Three instances over Redis: every client gets its ok though others leave meanwhile, and no state remains.
func TestInstancesOverRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var nodes []*node
	for range 3 {
		b, err := redis.New(redis.Options{URL: server.URL(), Prefix: "echo"})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, start(t, b, DefaultLimits(), 2))
	}
	for _, n := range nodes {
		if err := eventually.Within(patience, func() bool { return len(n.hub.Nodes()) == len(nodes) && n.hub.Stats().Broker.Available }); err != nil {
			t.Fatal("the instances don't see each other")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			cut := i%10 == 0
			text := texts[i%len(texts)]
			if len(text) < 1000 {
				text = fmt.Sprint(text, i)
			}
			_, err := client.Send(ctx, client.Options{
				URL: "ws://" + nodes[i%len(nodes)].addr + wire.Path, Text: text, Timeout: patience,
				Delay: func() time.Duration { return rand.N(20 * time.Millisecond) },
				On: func(e client.Event) bool {
					if !cut || e != client.Given && e != client.Sent {
						return false
					}
					cut = false
					return true
				},
			})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		n.awaitZero()
	}
}

// Messages given to a client of another instance are passed on when it leaves.
func TestPassedOnAcrossInstances(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	here, there := start(t, bus.Broker(), DefaultLimits(), 1), start(t, bus.Broker(), DefaultLimits(), 1)
	sender, other := here.dial(), there.dial()
	for i := 0; there.metric("given") == 0; i++ {
		text := fmt.Sprint(i)
		sender.send("message " + text)
		here.awaitMetric("messages_total", i+1)
		if err := eventually.Within(patience, func() bool { return here.metric("given")+there.metric("given") == 1 }); err != nil {
			t.Fatal("no client was given the message")
		}
		if here.metric("given") == 1 {
			sender.want("message " + text)
			sender.send("ok " + text)
			sender.want("ok " + text)
			here.awaitMetric("given", 0)
		}
	}
	other.leave()
	if got := sender.read(); !strings.HasPrefix(got, "message ") {
		t.Errorf("got %q, want the message that the other had", got)
	}
	here.awaitMetric("passed_on_total", 1)
	there.awaitMetric("returned_total", 1)
	there.awaitZero()
}

func TestDrain(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	var all []*talker
	for i := range 50 {
		c := n.dial()
		c.send(fmt.Sprint("message ", i))
		all = append(all, c)
	}
	n.awaitMetric("given", 50)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- n.hub.Drain(ctx, 50*time.Millisecond) }()
	for _, c := range all {
		c.wantClosed(1001, "SERVER_RESTART")
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	n.awaitZero()
}
