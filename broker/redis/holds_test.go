package redis

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestExclusiveAcrossCuts has claims come and go while connections to Redis break, so that requests, answers and notices
// are lost. No two may act at a time, and all get their turn.
func TestExclusiveAcrossCuts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var proxies []*faultproxy.Proxy
	in := brokertest.Cluster(t, 3, func(t testing.TB) broker.Broker {
		p := faultproxy.Start(t, server.Addr())
		proxies = append(proxies, p)
		return newTestRedis(t, Options{URL: "redis://" + p.Addr(), LeaseTTL: 1500 * time.Millisecond, ProbeInterval: 500 * time.Millisecond})
	})
	var mu sync.Mutex
	claims := make(map[*brokertest.Claim]bool) // that are not given up
	terms := make(map[string]uint64)
	// turn has one client hold a group once.
	turn := func(random *rand.Rand) {
		mu.Lock()
		c := in[random.IntN(3)].ClaimGroup(fmt.Sprintf("g%d", random.IntN(2)))
		claims[c] = true
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			delete(claims, c)
			c.GiveUp()
		}()
		if random.IntN(5) == 0 {
			return
		}
		eventually.True(t, "a turn", func() bool { _, ok := c.Holds(); return ok || c.Err() != nil })
		mu.Lock()
		defer mu.Unlock()
		term, ok := c.Holds()
		if !ok {
			return // lost since, or refused while there was no connection
		}
		if term <= terms[c.Group] {
			t.Errorf("term %d of %s after %d", term, c.Group, terms[c.Group])
		}
		terms[c.Group] = term
		for other := range claims {
			if _, acts := other.Holds(); acts && other != c && other.Group == c.Group {
				if _, still := c.Holds(); still {
					t.Errorf("two hold %s: %v and %v", c.Group, other.Events(), c.Events())
				}
			}
		}
	}
	deadline := time.Now().Add(6 * time.Second)
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 11))
			for time.Now().Before(deadline) {
				turn(random)
			}
		})
	}
	random := rand.New(rand.NewPCG(99, 11))
	for time.Now().Before(deadline) {
		p := proxies[random.IntN(len(proxies))]
		switch random.IntN(4) {
		case 0:
			p.Set(faultproxy.SwallowReplies)
			time.Sleep(300 * time.Millisecond) // the length of the fault
			p.Set(faultproxy.None)
		case 1:
			p.Set(faultproxy.Stall)
			time.Sleep(400 * time.Millisecond) // the length of the fault
			p.Set(faultproxy.None)
		default:
			p.Cut()
		}
		time.Sleep(200 * time.Millisecond) // between two faults
	}
	running.Wait()
	t.Logf("the last terms: %v", terms)
	if len(terms) < 2 {
		t.Error("a group was never held")
	}
	eventually.True(t, "nothing to be left in Redis", func() bool {
		return server.Do("HLEN", "ms:hold:records") == "0" && server.Do("SCARD", "ms:hold:vacant") == "0"
	})
}
