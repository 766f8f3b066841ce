package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// dialer makes connections to Redis. go-redis does the handshake (TLS, HELLO, AUTH, SELECT) and single commands; the
// publisher's and the subscriber's connections are then used bare, because go-redis's pipelines wait for each batch
// and its PubSub reconnects by itself and allocates for every message.
type dialer struct {
	url     redisurl.URL
	login   func() Login
	timeout time.Duration // for dialling, and again for the handshake
	name    string        // what CLIENT LIST shows
}

// tlsConfig returns what connections to u begin with, nil for no TLS. base may be nil.
func tlsConfig(u redisurl.URL, base *tls.Config) *tls.Config {
	if !u.TLS {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	c.InsecureSkipVerify = c.InsecureSkipVerify || u.SkipVerify
	return c
}

// connection is one connection, shaken hands.
type connection struct {
	net.Conn
	client *goredis.Client
}

// Close closes the connection under its users.
func (c *connection) Close() error {
	err := c.Conn.Close()
	_ = c.client.Close() // it has nothing left but the closed connection
	return err
}

// dial connects to addr; role is shown behind the name.
func (d *dialer) dial(ctx context.Context, addr, role string) (*connection, error) {
	l := d.login()
	return d.dialAs(ctx, addr, role, credentials{l.Username, l.Password, tlsConfig(d.url, l.TLS)}, d.url.DB)
}

// credentials are those of one connection.
type credentials struct {
	user, password string
	tls            *tls.Config // nil: no TLS
}

func (d *dialer) dialAs(ctx context.Context, addr, role string, as credentials, db int) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*d.timeout)
	defer cancel()
	opt := &goredis.Options{
		Network: d.url.Network, Addr: addr, Username: as.user, Password: as.password, DB: db,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: d.timeout, ReadTimeout: d.timeout, WriteTimeout: d.timeout, ContextTimeoutEnabled: true,
		PoolSize: 1, PipelinePoolSize: -1, ConnMaxIdleTime: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if as.tls != nil {
		opt.TLSConfig = as.tls
		if host, _, err := net.SplitHostPort(addr); err == nil && opt.TLSConfig.ServerName == "" {
			opt.TLSConfig.ServerName = host
		}
	}
	conn, err := goredis.NewDialer(opt)(ctx, opt.Network, opt.Addr)
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
	c := &connection{Conn: conn, client: goredis.NewClient(opt)}
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

// checkMaster refuses a replica: messages published there reach no subscriber of the master.
func (c *connection) checkMaster(ctx context.Context) error {
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

// runID returns what tells the server's process from others.
func (c *connection) runID(ctx context.Context) (string, error) {
	info, err := c.client.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("server's run_id: %w", asServerError(err))
	}
	_, id, ok := strings.Cut(info, "run_id:")
	if !ok {
		return "", errNoRunID
	}
	id, _, _ = strings.Cut(id, "\r")
	return id, nil
}

// serverError returns the server's refusal that err is.
func serverError(err error) (resp.ServerError, bool) {
	var e resp.ServerError
	ok := errors.As(err, &e)
	return e, ok
}

// asServerError returns a refusal as package resp has it, where go-redis read it.
func asServerError(err error) error {
	var e goredis.Error
	var n net.Error
	if errors.As(err, &e) && !errors.As(err, &n) && !errors.Is(err, context.Canceled) {
		return resp.ServerError(e.Error())
	}
	return err
}
