// Package redisurl reads the URLs that say where Redis is. It is pure: the checker of a configuration and the broker
// that connects share it, so that both accept the same URLs.
//
//	redis://[user[:password]@]host[:6379][/database]
//	rediss://…                                                      the same over TLS
//	unix://[user[:password]@]/path/to/socket[?db=database]
//	redis+sentinel://[user[:password]@]host[:26379][,host…]/master[/database]
//	    [?sentinel_username=…&sentinel_password=…]                  the hosts are Sentinels
//	redis+cluster://[user[:password]@]host[:6379][,host…]           the hosts are nodes of a Redis Cluster
//
// and rediss+sentinel, rediss+cluster over TLS, where skip_verify=true accepts any certificate. User and password are
// percent-encoded. sharded=false makes a cluster use pub/sub that is not sharded.
//
// Errors name the part of the URL that is wrong and quote nothing of it: an unencoded '@', '/' or '?' in a password
// makes parts of the password look like a host, a path or a parameter.
package redisurl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Kind is how the server that carries the hub is found.
type Kind uint8

// The kinds.
const (
	Server   Kind = iota // at the one address given
	Sentinel             // Sentinels at the addresses know the master
	Cluster              // nodes at the addresses know which of them has the slot
)

// URL is a parsed URL.
type URL struct {
	Kind               Kind
	Network            string   // "tcp" or "unix"
	Addrs              []string // host:port, or the path of the socket; at least one
	Username, Password string
	DB                 int
	TLS                bool
	SkipVerify         bool // TLS: accept any certificate
	Sharded            bool // Cluster: sharded pub/sub

	// Sentinel alone.
	Master                             string
	SentinelUsername, SentinelPassword string
}

// ErrInvalid is wrapped by every error of Parse.
var ErrInvalid = errors.New("invalid Redis URL")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// schemes maps each scheme to what it stands for.
var schemes = map[string]URL{
	"redis":           {Network: "tcp"},
	"rediss":          {Network: "tcp", TLS: true},
	"redis+sentinel":  {Network: "tcp", Kind: Sentinel},
	"rediss+sentinel": {Network: "tcp", Kind: Sentinel, TLS: true},
	"redis+cluster":   {Network: "tcp", Kind: Cluster, Sharded: true},
	"rediss+cluster":  {Network: "tcp", Kind: Cluster, Sharded: true, TLS: true},
	"unix":            {Network: "unix"},
}

// Parse reads raw. Its errors hold no part of raw.
func Parse(raw string) (URL, error) {
	scheme, rest, found := strings.Cut(raw, "://")
	u, known := schemes[scheme]
	if !found || !known {
		return URL{}, invalid("it should begin with redis://, rediss://, redis+sentinel://, rediss+sentinel://, " +
			"redis+cluster://, rediss+cluster:// or unix://")
	}
	authority, rest := cutBefore(rest, "/?")
	path, query := cutBefore(rest, "?")
	if strings.Contains(path, "@") && u.Network != "unix" {
		return URL{}, invalid("there is an '@' behind the host: in user and password, write '@' as %%40, '/' as %%2F and '?' as %%3F")
	}
	if err := errors.Join(u.parseAuthority(authority), u.parsePath(path), u.parseQuery(strings.TrimPrefix(query, "?"))); err != nil {
		return URL{}, err
	}
	return u, nil
}

// cutBefore splits s before the first byte that is one of chars.
func cutBefore(s, chars string) (before, from string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// parseAuthority reads user, password and hosts.
func (u *URL) parseAuthority(authority string) error {
	userinfo, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		userinfo, hosts = authority[:i], authority[i+1:]
	}
	name, password, _ := strings.Cut(userinfo, ":")
	var err1, err2 error
	u.Username, err1 = url.PathUnescape(name)
	u.Password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return invalid("user or password: a percent sign that begins no escape is written %%25")
	}
	if u.Network == "unix" {
		if hosts != "" {
			return invalid("a socket has the form unix:///path")
		}
		return nil
	}
	return u.parseHosts(hosts)
}

func (u *URL) parseHosts(hosts string) error {
	port := "6379"
	if u.Kind == Sentinel {
		port = "26379"
	}
	if hosts == "" {
		u.Addrs = []string{net.JoinHostPort("localhost", port)}
		return nil
	}
	for hostport := range strings.SplitSeq(hosts, ",") {
		addr, err := withPort(hostport, port)
		if err != nil {
			return err
		}
		u.Addrs = append(u.Addrs, addr)
	}
	if len(u.Addrs) > 1 && u.Kind == Server {
		return invalid("several hosts need redis+sentinel:// or redis+cluster://")
	}
	return nil
}

// withPort returns host:port, with the default port where hostport has none. A host that is left out is localhost.
func withPort(hostport, port string) (string, error) {
	host := hostport
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		host, port = hostport[:i], hostport[i+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '+' {
		return "", invalid("a port is not a number from 1 to 65535")
	}
	switch inner, closed := strings.CutSuffix(strings.TrimPrefix(host, "["), "]"); {
	case strings.HasPrefix(host, "["):
		if addr, err := netip.ParseAddr(inner); !closed || err != nil || !addr.Is6() {
			return "", invalid("a host in brackets is not an IPv6 address")
		}
		host = inner
	case host == "":
		if hostport == "" {
			return "", invalid("a host of the list is empty")
		}
		host = "localhost"
	case strings.ContainsFunc(host, notInHost):
		return "", invalid("a host holds a character that no host name has; IPv6 addresses are written in brackets")
	}
	return net.JoinHostPort(host, port), nil
}

// notInHost says whether c can't be part of a name that is resolved.
func notInHost(c rune) bool {
	return c <= ' ' || c == 0x7f || strings.ContainsRune(`:[]%#"\<>^{}|`+"`", c)
}

func (u *URL) parsePath(path string) error {
	if strings.Contains(path, "#") {
		return invalid("a '#' is written %%23")
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return invalid("path: a percent sign that begins no escape is written %%25")
	}
	if u.Network == "unix" {
		if path == "" || path == "/" {
			return invalid("a socket has the form unix:///path")
		}
		u.Addrs = []string{path}
		return nil
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if u.Kind == Sentinel {
		if len(parts) == 0 {
			return invalid("the name of the master is missing: redis+sentinel://host/NAME")
		}
		u.Master, parts = parts[0], parts[1:]
	}
	switch {
	case len(parts) == 0:
		return nil
	case u.Kind == Cluster:
		return invalid("a cluster has no path, as it has only one database")
	case len(parts) > 1:
		return invalid("the path has too many parts")
	}
	return u.parseDB(parts[0])
}

func (u *URL) parseDB(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || s[0] == '+' {
		return invalid("the database is not a number")
	}
	u.DB = int(n)
	return nil
}

func (u *URL) parseQuery(query string) error {
	if strings.Contains(query, "#") {
		return invalid("a '#' is written %%23")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return invalid("the parameters behind '?' are malformed")
	}
	for key, values := range q {
		if len(values) > 1 {
			return invalid("a parameter is given twice")
		}
		if err := u.parseParameter(key, values[0]); err != nil {
			return err
		}
	}
	return nil
}

func (u *URL) parseParameter(key, value string) (err error) {
	switch {
	case key == "skip_verify" && u.TLS:
		u.SkipVerify, err = strconv.ParseBool(value)
	case key == "db" && u.Network == "unix":
		return u.parseDB(value)
	case key == "sharded" && u.Kind == Cluster:
		u.Sharded, err = strconv.ParseBool(value)
	case key == "sentinel_username" && u.Kind == Sentinel:
		u.SentinelUsername = value
	case key == "sentinel_password" && u.Kind == Sentinel:
		u.SentinelPassword = value
	default:
		return invalid("a parameter behind '?' is not known here: this scheme takes %s", u.parameters())
	}
	if err != nil {
		return invalid("parameter %s is neither true nor false", key)
	}
	return nil
}

// parameters names the parameters that u's scheme takes.
func (u *URL) parameters() string {
	var names []string
	if u.TLS {
		names = append(names, "skip_verify")
	}
	switch {
	case u.Network == "unix":
		names = append(names, "db")
	case u.Kind == Cluster:
		names = append(names, "sharded")
	case u.Kind == Sentinel:
		names = append(names, "sentinel_username", "sentinel_password")
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// String describes u for logs, without its credentials. It is no URL that Parse is bound to take.
func (u URL) String() string {
	s := strings.Join(u.Addrs, ",")
	if u.Kind == Sentinel {
		s += "/" + u.Master
	}
	if u.DB != 0 {
		s += fmt.Sprintf(" database %d", u.DB)
	}
	return s
}
