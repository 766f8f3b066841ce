package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// targetKind is how the Redis server that carries the hub is found.
type targetKind uint8

const (
	targetServer   targetKind = iota // at the address given
	targetSentinel                   // Sentinels know the master
	targetCluster                    // the nodes know who has the slot
)

// target is a parsed URL.
type target struct {
	kind               targetKind
	network            string // "tcp" or "unix"
	addrs              []string
	username, password string
	db                 int
	tls                *tls.Config // nil: no TLS
	sharded            bool        // cluster: sharded pub/sub

	// Sentinel.
	master                             string
	sentinelUsername, sentinelPassword string
}

var errURL = errors.New("invalid Redis URL")

// parseTarget reads the forms that RedisOptions.URL documents. Its errors never hold the password.
func parseTarget(raw string, config *tls.Config) (*target, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, fmt.Errorf("%w: it should begin with redis://", errURL)
	}
	t := &target{network: "tcp"}
	port, secure := "6379", strings.HasPrefix(scheme, "rediss")
	switch scheme {
	case "redis", "rediss":
	case "redis+sentinel", "rediss+sentinel":
		t.kind, port = targetSentinel, "26379"
	case "redis+cluster", "rediss+cluster":
		t.kind, t.sharded = targetCluster, true
	case "unix":
		t.network = "unix"
	default:
		return nil, fmt.Errorf("%w: scheme %q", errURL, scheme)
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := t.parseUser(authority[:i]); err != nil {
			return nil, err
		}
		authority = authority[i+1:]
	}
	u, err := url.Parse("redis://host" + path)
	if err != nil {
		return nil, fmt.Errorf("%w: path or query: %w", errURL, errors.Unwrap(err))
	}
	if err := t.parseHosts(authority, u.Path, port); err != nil {
		return nil, err
	}
	return t, errors.Join(t.parsePath(u.Path), t.parseQuery(u.Query(), secure, config))
}

func (t *target) parseUser(userinfo string) error {
	name, password, _ := strings.Cut(userinfo, ":")
	var err1, err2 error
	t.username, err1 = url.PathUnescape(name)
	t.password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%w: user or password: a percent sign that is no escape", errURL)
	}
	return nil
}

func (t *target) parseHosts(authority, path, port string) error {
	if t.network == "unix" {
		if authority != "" || path == "" {
			return fmt.Errorf("%w: a socket has the form unix:///path", errURL)
		}
		t.addrs = []string{path}
		return nil
	}
	for host := range strings.SplitSeq(authority, ",") {
		addr, err := withPort(host, port)
		if err != nil {
			return err
		}
		t.addrs = append(t.addrs, addr)
	}
	if len(t.addrs) > 1 && t.kind == targetServer {
		return fmt.Errorf("%w: several hosts need redis+sentinel:// or redis+cluster://", errURL)
	}
	return nil
}

// withPort splits the host from its port and joins them with the default where there is none.
func withPort(hostport, port string) (string, error) {
	host := hostport
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		host, port = hostport[:i], hostport[i+1:]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%w: port of host %q", errURL, hostport)
	}
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

func (t *target) parsePath(path string) error {
	if t.network == "unix" {
		return nil
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if t.kind == targetSentinel {
		if len(parts) == 0 {
			return fmt.Errorf("%w: the name of the master is missing: redis+sentinel://host/NAME", errURL)
		}
		t.master, parts = parts[0], parts[1:]
	}
	switch {
	case len(parts) == 0:
		return nil
	case len(parts) > 1 || t.kind == targetCluster:
		return fmt.Errorf("%w: path %q", errURL, path)
	}
	return t.parseDB(parts[0])
}

func (t *target) parseDB(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return fmt.Errorf("%w: database %q is not a number", errURL, s)
	}
	t.db = int(n)
	return nil
}

func (t *target) parseQuery(q url.Values, secure bool, config *tls.Config) error {
	if secure {
		t.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		if config != nil {
			t.tls = config.Clone()
		}
	}
	for key := range q {
		value, err := q.Get(key), error(nil)
		switch {
		case key == "skip_verify" && secure:
			t.tls.InsecureSkipVerify, err = strconv.ParseBool(value)
		case key == "db" && t.network == "unix":
			err = t.parseDB(value)
		case key == "sharded" && t.kind == targetCluster:
			t.sharded, err = strconv.ParseBool(value)
		case key == "sentinel_username" && t.kind == targetSentinel:
			t.sentinelUsername = value
		case key == "sentinel_password" && t.kind == targetSentinel:
			t.sentinelPassword = value
		default:
			return fmt.Errorf("%w: parameter %q is not known here", errURL, key)
		}
		if err != nil {
			return fmt.Errorf("%w: parameter %q: %q", errURL, key, value)
		}
	}
	return nil
}

// resolve finds the server that carries the hub now. slot is any key or channel of the hub.
func (t *target) resolve(ctx context.Context, d *dialer, slot string) (addr string, err error) {
	switch t.kind {
	case targetSentinel:
		return t.eachAddr(ctx, func(ctx context.Context, addr string) (string, error) {
			return d.askSentinel(ctx, addr)
		})
	case targetCluster:
		return t.eachAddr(ctx, func(ctx context.Context, addr string) (string, error) {
			return d.askCluster(ctx, addr, slot)
		})
	}
	return t.addrs[0], nil
}

// eachAddr asks one address after the other until one answers.
func (t *target) eachAddr(ctx context.Context, ask func(context.Context, string) (string, error)) (string, error) {
	var errs []error
	for _, addr := range t.addrs {
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
