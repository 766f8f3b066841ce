//go:build linux

package clustertest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestRedisCluster runs a Redis Cluster of three masters. One of them has all of the hub's channels.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes, addrs := startRedisCluster(t)
	c := startCluster(t, 3, clusterOptions{redis: nodes[0], url: func(int) string { return "redis+cluster://" + addrs }})
	exchange(t, c, "redis+cluster://, three masters, sharded pub/sub")
	used := 0
	for _, n := range nodes {
		if strings.Contains(n.Do("PUBSUB", "SHARDCHANNELS"), "{ms}:") {
			used++
		}
		if n.Calls("publish") > 0 {
			t.Error("PUBLISH was used in place of SPUBLISH: it goes to every node")
		}
	}
	if used != 1 {
		t.Errorf("%d of the Redis nodes carry channels, want 1", used)
	}
	figure.Printf(t, "redis+cluster://: %d of %d Redis nodes carries all channels of the hub", used, len(nodes))
}

// startRedisCluster runs three masters that share the slots. It returns their addresses, joined by commas.
func startRedisCluster(t *testing.T) (nodes []*redistest.Server, addrs string) {
	t.Helper()
	const slots = 16384
	var all []string
	for i := range 3 {
		bus := strconv.Itoa(freeport.Take(t))
		n := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000")
		nodes, all = append(nodes, n), append(all, n.Addr())
		n.Do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		n.Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/3), fmt.Sprint((i+1)*slots/3-1))
		host, port, err := net.SplitHostPort(n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			nodes[0].Do("CLUSTER", "MEET", host, port, bus)
		}
	}
	for _, n := range nodes {
		eventually.True(t, "the Redis Cluster", func() bool {
			info := n.Do("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return nodes, strings.Join(all, ",")
}
