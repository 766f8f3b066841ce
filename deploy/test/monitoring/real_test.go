//go:build linux

package monitoring_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// patience bounds waits for a process that normally take milliseconds.
const patience = 60 * time.Second

// cluster is a set of real hubs that are scraped once a minute by the test's clock.
type cluster struct {
	t      *testing.T
	hubs   []*hubtest.Server
	memory *memory
	engine *promql.Engine
	rules  []rule
	now    time.Duration
}

func newCluster(t *testing.T, hubs ...*hubtest.Server) *cluster {
	t.Helper()
	c := &cluster{t: t, hubs: hubs, memory: newMemory(), engine: newEngine(t), rules: alerts(t), now: -time.Minute}
	c.pass(time.Minute)
	return c
}

// pass advances the clock by d, with a scrape each minute.
func (c *cluster) pass(d time.Duration) {
	c.t.Helper()
	for end := c.now + d; c.now < end; {
		c.now += time.Minute
		for i, s := range c.hubs {
			if s != nil {
				c.memory.scrape(c.t, s, fmt.Sprint("hub-", i), c.now)
			} else {
				c.memory.miss(fmt.Sprint("hub-", i), c.now)
			}
		}
	}
}

// until waits for a state of the hubs' metrics.
func (c *cluster) until(what string, cond func() bool) {
	c.t.Helper()
	if err := eventually.Within(patience, cond); err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

// expect checks that exactly these alerts fire now.
func (c *cluster) expect(want ...string) {
	c.t.Helper()
	var got []string
	for _, r := range c.rules {
		if v := c.memory.firing(c.t, c.engine, r, c.now); len(v) > 0 {
			got = append(got, r.Alert)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		c.t.Errorf("these fire: %v, want %v", got, want)
	}
}

// Faults of real hubs make their alerts fire, and no others. Without faults none fires.
func TestAlertsOfARealCluster(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var hubs []*hubtest.Server
	for i := range 3 {
		hubs = append(hubs, hubtest.Start(t, hubtest.Options{Name: fmt.Sprint("hub-", i), Redis: redis.URL(), Flags: fullFlags(t)}))
	}
	for _, s := range hubs {
		if err := eventually.Within(patience, func() bool {
			m := s.Metrics()
			return m.Sum("mastersocket_nodes") == 3 && m.Sum("mastersocket_identity_keys") > 0
		}); err != nil {
			t.Fatal(err)
		}
	}
	c := newCluster(t, hubs...)
	c.alive(10 * time.Minute)
	c.expect()

	redis.Kill()
	c.until("Redis is away", func() bool { return c.sum("mastersocket_broker_available") == 0 })
	c.alive(2 * time.Minute)
	c.expect("MastersocketBrokerUnavailable")
	redis.Restart()
	c.until("Redis is back", func() bool { return c.sum("mastersocket_broker_available") == 3 && c.sum("mastersocket_nodes") == 9 })
	c.alive(20 * time.Minute)
	c.expect()

	hubs[2].Kill()
	hubs[2] = nil
	c.until("an instance is lost", func() bool { return c.sum("mastersocket_broker_lost_nodes_total") >= 2 })
	c.alive(4 * time.Minute)
	c.expect("MastersocketInstanceLost", "MastersocketInstanceDown")
}

// alive lets time pass with turning loops: the test's clock is faster than the loops, which turn a few times a second.
func (c *cluster) alive(d time.Duration) {
	c.t.Helper()
	for end := c.now + d; c.now < end; {
		before := c.turns()
		c.until("a turn of every loop", func() bool {
			for loop, n := range c.turns() {
				if n <= before[loop] {
					return false
				}
			}
			return true
		})
		c.pass(min(4*time.Minute, end-c.now))
	}
}

// turns returns the turns of every loop of every hub.
func (c *cluster) turns() map[string]float64 {
	c.t.Helper()
	turns := map[string]float64{}
	for i, s := range c.hubs {
		if s == nil {
			continue
		}
		for series, n := range s.Metrics() {
			if strings.HasPrefix(series, "mastersocket_loop_turn_seconds_count{") {
				turns[fmt.Sprint(i, series)] = n
			}
		}
	}
	return turns
}

// sum adds up a metric of all hubs.
func (c *cluster) sum(metric string, labels ...string) float64 {
	c.t.Helper()
	sum := 0.0
	for _, s := range c.hubs {
		if s != nil {
			sum += s.Metrics().Sum(metric, labels...)
		}
	}
	return sum
}

const tokensYAML = `tokens:
  - {name: all, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, groups: ["*"], send: ["*"]} # test
`

// Mistakes of clients and operators on a real hub make the alerts about them fire.
func TestAlertsOfARealHub(t *testing.T) {
	t.Parallel()
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(tokens, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tokensYAML)
	const refused, limit = 30, 40 // refused connections may still be open while they close
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: []string{"--max-connections", strconv.Itoa(limit), "--tokens-file", tokens}})
	c := newCluster(t, s)
	connect := func(token string) (*client.Client, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return client.Connect(ctx, client.Options{URL: s.URL(), Token: token, Group: "g", FailFast: true})
	}
	for range refused {
		if _, err := connect("wrong"); err == nil {
			t.Fatal("a wrong token is let in")
		}
	}
	c.alive(2 * time.Minute)
	c.expect("MastersocketTokensRefused")

	c.alive(20 * time.Minute)
	c.expect()
	write(tokensYAML + "  - {name: bad, sha256: none}\n")
	s.Signal(syscall.SIGHUP)
	c.until("a reload fails", func() bool { return c.sum("mastersocket_reload_failing") == 1 })
	c.alive(2 * time.Minute)
	c.expect("MastersocketReloadFailed")
	write(tokensYAML)
	s.Signal(syscall.SIGHUP)
	c.until("a reload succeeds", func() bool { return c.sum("mastersocket_reload_failing") == 0 })

	var there []*client.Client
	for range limit {
		cl, err := connect("test")
		if err != nil {
			t.Fatal(err)
		}
		there = append(there, cl)
	}
	if _, err := connect("test"); err == nil {
		t.Fatal("a client too many is let in")
	}
	c.alive(2 * time.Minute)
	c.expect("MastersocketConnectionsRefused")
	c.alive(4 * time.Minute)
	c.expect("MastersocketConnectionsNearLimit")
	for _, cl := range there {
		_ = cl.Close(context.WithoutCancel(t.Context()))
	}
}
