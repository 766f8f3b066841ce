package redis

import (
	"context"
	"errors"
	"fmt"
	"net"

	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// resolve finds the server that carries the hub now. slot is any key or channel of the hub.
func (d *dialer) resolve(ctx context.Context, slot string) (addr string, err error) {
	switch d.url.Kind {
	case redisurl.Sentinel:
		return d.eachAddr(ctx, func(ctx context.Context, addr string) (string, error) {
			return d.askSentinel(ctx, addr)
		})
	case redisurl.Cluster:
		return d.eachAddr(ctx, func(ctx context.Context, addr string) (string, error) {
			return d.askCluster(ctx, addr, slot)
		})
	}
	return d.url.Addrs[0], nil
}

// eachAddr asks one address after the other until one answers.
func (d *dialer) eachAddr(ctx context.Context, ask func(context.Context, string) (string, error)) (string, error) {
	var errs []error
	for _, addr := range d.url.Addrs {
		found, err := ask(ctx, addr)
		if err == nil {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return "", errors.Join(errs...)
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
	//lint:ignore SA1019 CLUSTER SHARDS, which replaces it, is unknown to Redis before 7, which sharded=false is for.
	ranges, err := c.client.ClusterSlots(ctx).Result()
	if err != nil {
		return "", err
	}
	for _, r := range ranges {
		if int(n) < r.Start || int(n) > r.End || len(r.Nodes) == 0 {
			continue
		}
		host, port, err := net.SplitHostPort(r.Nodes[0].Addr)
		if err != nil {
			return "", fmt.Errorf("address of a node: %w", err)
		}
		if host == "" { // the node that was asked
			host, _, _ = net.SplitHostPort(addr)
		}
		return net.JoinHostPort(host, port), nil
	}
	return "", fmt.Errorf("no node has slot %d", n)
}
