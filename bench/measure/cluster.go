//go:build linux

package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/mastersocket/mastersocket/bench/load"
	"github.com/mastersocket/mastersocket/bench/servers"
)

// Cluster is the measure of several instances that a Redis makes one hub.
const Cluster = "cluster"

// Further metrics of Cluster.
const (
	RedisCPU    = "redis_us"       // CPU time of Redis for each message that was published, in microseconds
	BarePublish = "publish_us"     // CPU time of Redis for a bare PUBLISH to as many subscribers, 8 in flight
	LonePublish = "publish_one_us" // the same, one after the other
)

// clusterClients are the subscribers of a cluster, spread evenly over its instances.
const clusterClients = 1000

// A ClusterPlan says what is measured of clusters.
type ClusterPlan struct {
	Build    servers.Mastersocket
	Sizes    []int // instances; 0 is one without Redis
	Rounds   int
	Times    Times
	Progress io.Writer
}

// ClusterSizes are those of the table.
var ClusterSizes = []int{0, 1, 2, 4}

// ClusterName is what a cluster of n instances is called.
func ClusterName(n int) string {
	switch n {
	case 0:
		return "1 instance, no Redis"
	case 1:
		return "1 instance and Redis"
	}
	return fmt.Sprintf("%d instances and Redis", n)
}

// Execute runs the plan; the sizes take turns. It stops early when ctx ends.
func (p ClusterPlan) Execute(ctx context.Context) []Run {
	var runs []Run
	for round := range p.Rounds {
		for _, n := range p.Sizes {
			if ctx.Err() != nil {
				return runs
			}
			name := ClusterName(n)
			fmt.Fprintf(p.Progress, "round %d of %d, cluster: %s\n", round+1, p.Rounds, name)
			r := Run{Server: name, Measure: Cluster, Round: round}
			values, err := p.measure(n)
			if err != nil {
				r.Error = err.Error()
				fmt.Fprintf(p.Progress, "FAILED: %s: %s\n", name, err)
			} else {
				r.Values = values
			}
			runs = append(runs, r)
		}
	}
	return runs
}

// cluster is one that runs.
type cluster struct {
	redis     *servers.Process // nil without
	instances []*servers.Process
	// redisCPU has what redis had used each time that the clock was read.
	redisCPU []time.Duration
}

func (p ClusterPlan) start(n int) (*cluster, error) {
	c := &cluster{}
	build := func(int) servers.Mastersocket { return p.Build }
	if n > 0 {
		redis, err := servers.StartRedis()
		if err != nil {
			return nil, err
		}
		c.redis = redis
		build = func(i int) servers.Mastersocket { return p.Build.WithRedis(redis, i) }
	}
	for i := range max(n, 1) {
		instance, err := servers.Start(build(i), 0)
		if err != nil {
			c.stop()
			return nil, err
		}
		c.instances = append(c.instances, instance)
	}
	return c, nil
}

func (c *cluster) stop() {
	for _, i := range c.instances {
		i.Stop()
	}
	if c.redis != nil {
		c.redis.Stop()
	}
}

// clock is a load.CPUClock for all instances together, and takes note of Redis.
func (c *cluster) clock() (time.Duration, error) {
	var sum time.Duration
	for _, i := range c.instances {
		t, err := i.CPU()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	if c.redis != nil {
		t, err := c.redis.CPU()
		if err != nil {
			return 0, err
		}
		c.redisCPU = append(c.redisCPU, t)
	}
	return sum, nil
}

func (p ClusterPlan) measure(n int) (map[string]float64, error) {
	c, err := p.start(n)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	var at []netip.AddrPort
	for _, i := range c.instances {
		at = append(at, i.Site.Listen)
	}
	loop, err := load.New(p.Build.Dialect(load.Usual), at...)
	if err != nil {
		return nil, err
	}
	defer loop.Close()
	err = errors.Join(
		loop.Connect(1, 1, load.Publisher, connectTimeout),
		loop.Connect(clusterClients, parallel, load.Subscriber, connectTimeout),
		loop.Serve(p.Times.Settle),
	)
	if err != nil {
		return nil, err
	}
	r, err := loop.Saturate(8, p.Times.Saturated, c.clock)
	if err != nil {
		return nil, err
	}
	values := rates(r)
	if len(c.redisCPU) == 2 {
		values[RedisCPU] = (c.redisCPU[1] - c.redisCPU[0]).Seconds() * 1e6 / float64(r.Sent)
	}
	h := load.NewHistogram()
	if _, err := loop.Pace(fixedPerSecond, p.Times.Latency, c.clock, h); err != nil {
		return nil, err
	}
	if n > 0 {
		if values[BarePublish], err = barePublish(n, 8); err != nil {
			return nil, err
		}
		if values[LonePublish], err = barePublish(n, 1); err != nil {
			return nil, err
		}
	}
	values[P50], values[P99] = float64(h.ValueAtQuantile(50))/1e6, float64(h.ValueAtQuantile(99))/1e6
	return values, nil
}
