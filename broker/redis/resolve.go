package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// answer is what one address of the URL said about where the hub's server is.
type answer struct {
	from  int // the index of the address
	found string
	err   error
}

// answerGrace is how long later answers are waited for once there is one, where no majority agrees. An address that does
// not answer costs no more than that.
const answerGrace = 200 * time.Millisecond

// resolve finds the servers that may carry the hub now, the likeliest first. slot is any key or channel of the hub.
func (d *dialer) resolve(ctx context.Context, slot string) (addrs []string, err error) {
	switch d.url.Kind {
	case redisurl.Sentinel:
		return d.askAll(ctx, d.askSentinel)
	case redisurl.Cluster:
		return d.askAll(ctx, func(ctx context.Context, addr string) (string, error) { return d.askCluster(ctx, addr, slot) })
	}
	return d.url.Addrs[:1], nil
}

// askAll asks all addresses at once, and returns what they found, what most of them say first: one may be out of date, or
// hang.
func (d *dialer) askAll(ctx context.Context, ask func(context.Context, string) (string, error)) ([]string, error) {
	asked, cancel := context.WithCancel(ctx)
	answers := make(chan answer)
	for i, addr := range d.url.Addrs {
		go func() {
			found, err := ask(asked, addr)
			answers <- answer{i, found, err}
		}()
	}
	var got []answer
	var grace <-chan time.Time
	waiting := len(d.url.Addrs)
	for waiting > 0 && !hasMajority(got, len(d.url.Addrs)) {
		select {
		case a := <-answers:
			waiting--
			if got = append(got, a); a.err == nil && grace == nil {
				grace = time.After(answerGrace)
			}
			continue
		case <-grace:
		}
		break
	}
	cancel()
	for ; waiting > 0; waiting-- {
		<-answers
	}
	return byVotes(got, d.url.Addrs)
}

// hasMajority reports whether more than half of n addresses found the same server.
func hasMajority(got []answer, n int) bool {
	votes := make(map[string]int)
	for _, a := range got {
		if a.err == nil {
			if votes[a.found]++; 2*votes[a.found] > n {
				return true
			}
		}
	}
	return false
}

// byVotes returns the servers that were found, those with most votes first, else in the order of the addresses.
func byVotes(got []answer, asked []string) ([]string, error) {
	slices.SortFunc(got, func(a, b answer) int { return a.from - b.from })
	var found []string
	var errs []error
	votes := make(map[string]int)
	for _, a := range got {
		if a.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", asked[a.from], a.err))
			continue
		}
		if votes[a.found]++; votes[a.found] == 1 {
			found = append(found, a.found)
		}
	}
	if len(found) == 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortStableFunc(found, func(a, b string) int { return votes[b] - votes[a] })
	return found, nil
}

// askSentinel asks the Sentinel at addr for the master.
func (d *dialer) askSentinel(ctx context.Context, addr string) (string, error) {
	l := d.login()
	c, err := d.dialAs(ctx, addr, "sentinel", credentials{l.SentinelUsername, l.SentinelPassword, tlsConfig(d.url, l.TLS)}, 0)
	if err != nil {
		return "", err
	}
	defer c.Close()
	found, err := c.client.Do(ctx, "SENTINEL", "get-master-addr-by-name", d.url.Master).StringSlice()
	if errors.Is(err, goredis.Nil) || err == nil && len(found) != 2 {
		return "", fmt.Errorf("no master named %q", d.url.Master)
	}
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(found[0], found[1]), nil
}

// askCluster asks the node at addr for the master of slot.
func (d *dialer) askCluster(ctx context.Context, addr, slot string) (string, error) {
	c, err := d.dial(ctx, addr, "cluster")
	if err != nil {
		return "", err
	}
	defer c.Close()
	n, err := c.client.ClusterKeySlot(ctx, slot).Result()
	if err != nil {
		return "", err
	}
	// CLUSTER SHARDS, which replaces this command, is unknown to Redis before 7, which sharded=false is for.
	ranges, err := c.client.Do(ctx, "CLUSTER", "SLOTS").Slice()
	if err != nil {
		return "", err
	}
	for _, r := range ranges {
		node, ok := masterOf(r, n)
		if !ok {
			continue
		}
		host, _ := node[0].(string)
		port, _ := node[1].(int64)
		if host == "" || host == "?" { // cluster-preferred-endpoint-type unknown-endpoint: the host that was asked
			host, _, _ = net.SplitHostPort(addr)
		}
		return net.JoinHostPort(host, strconv.FormatInt(port, 10)), nil
	}
	return "", fmt.Errorf("no node has slot %d", n)
}

// masterOf returns the master of a range of slots, as CLUSTER SLOTS describes it, if the range has the slot: its host,
// nil where that is unknown, and its port.
func masterOf(r any, slot int64) (node []any, ok bool) {
	fields, _ := r.([]any)
	if len(fields) < 3 {
		return nil, false
	}
	first, _ := fields[0].(int64)
	last, _ := fields[1].(int64)
	node, _ = fields[2].([]any)
	return node, first <= slot && slot <= last && len(node) >= 2
}
