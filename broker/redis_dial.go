package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dialer makes connections to Redis. go-redis does the handshake (TLS, HELLO, AUTH, SELECT) and single commands; the
// publisher's and the subscriber's connections are then used bare, because go-redis's pipelines wait for each batch
// and its PubSub reconnects by itself and allocates for every message.
type dialer struct {
	target  *target
	timeout time.Duration // for dialling, and again for the handshake
	name    string        // what CLIENT LIST shows
}

// redisConn is one connection, shaken hands.
type redisConn struct {
	net.Conn
	client *redis.Client
}

// Close closes the connection, whoever uses it.
func (c *redisConn) Close() error {
	err := c.Conn.Close()
	_ = c.client.Close() // it has nothing left but the closed connection
	return err
}

// dial connects to addr; role is shown behind the name.
func (d *dialer) dial(ctx context.Context, addr, role string) (*redisConn, error) {
	return d.dialAs(ctx, addr, role, d.target.username, d.target.password, d.target.db)
}

func (d *dialer) dialAs(ctx context.Context, addr, role, user, password string, db int) (*redisConn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*d.timeout)
	defer cancel()
	opt := &redis.Options{
		Network: d.target.network, Addr: addr, Username: user, Password: password, DB: db,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: d.timeout, ReadTimeout: d.timeout, WriteTimeout: d.timeout, ContextTimeoutEnabled: true,
		PoolSize: 1, PipelinePoolSize: -1, ConnMaxIdleTime: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if d.target.tls != nil {
		opt.TLSConfig = d.target.tls.Clone()
		if host, _, err := net.SplitHostPort(addr); err == nil && opt.TLSConfig.ServerName == "" {
			opt.TLSConfig.ServerName = host
		}
	}
	conn, err := redis.NewDialer(opt)(ctx, opt.Network, opt.Addr)
	if errors.Is(err, context.DeadlineExceeded) && opt.TLSConfig != nil {
		return nil, fmt.Errorf("TLS handshake with %s: no answer, as from a Redis without TLS (redis:// in place of rediss://): %w", addr, err)
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	opt.TLSConfig = nil // conn has it already
	opt.Dialer = onceDialer(conn)
	c := &redisConn{Conn: conn, client: redis.NewClient(opt)}
	if err := c.client.Ping(ctx).Err(); err != nil {
		c.Close()
		return nil, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	_ = c.client.Do(ctx, "CLIENT", "SETNAME", d.name+"-"+role).Err() // a user may lack the permission
	if err := conn.SetDeadline(time.Time{}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// onceDialer hands out conn. A client that would connect again gets it closed, and so fails: an error instead would
// set go-redis's pool dialling in the background.
func onceDialer(conn net.Conn) func(context.Context, string, string) (net.Conn, error) {
	var used atomic.Bool
	return func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) {
			conn.Close()
		}
		return conn, nil
	}
}

// askSentinel asks the Sentinel at addr for the master.
func (d *dialer) askSentinel(ctx context.Context, addr string) (string, error) {
	t := d.target
	c, err := d.dialAs(ctx, addr, "sentinel", t.sentinelUsername, t.sentinelPassword, 0)
	if err != nil {
		return "", err
	}
	defer c.Close()
	found, err := c.client.Do(ctx, "SENTINEL", "get-master-addr-by-name", t.master).StringSlice()
	if errors.Is(err, redis.Nil) || err == nil && len(found) != 2 {
		return "", fmt.Errorf("no master named %q", t.master)
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
	return "", fmt.Errorf("nobody has slot %d", n)
}

// checkMaster refuses a replica: publishing there would reach nobody at the master.
func (c *redisConn) checkMaster(ctx context.Context) error {
	role, err := c.client.Do(ctx, "ROLE").Slice()
	if err != nil {
		if isNoPermission(err) {
			return nil // can't be told
		}
		return fmt.Errorf("role: %w", err)
	}
	if len(role) > 0 && role[0] != "master" {
		return fmt.Errorf("the server is a %v, not the master", role[0])
	}
	return nil
}

func isNoPermission(err error) bool { return strings.HasPrefix(err.Error(), "NOPERM") }

// isHopeless says whether err shows a configuration that can't work: credentials that the server refuses.
func isHopeless(err error) bool {
	for _, sign := range []string{"WRONGPASS", "NOAUTH", "NOPERM", "invalid username-password", "without any password configured"} {
		if err != nil && strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}
