package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// maxURLBytes bounds a ws_url.
const maxURLBytes = 4096

// webSocketSchemes maps the accepted schemes to those of WebSocket.
var webSocketSchemes = map[string]string{"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}

// parseURL parses the URL of a WebSocket. The error does not contain the URL, which may hold a secret.
func parseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("there is no URL")
	}
	if len(s) > maxURLBytes {
		return nil, fmt.Errorf("the URL has %d bytes, want at most %d", len(s), maxURLBytes)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	scheme, ok := webSocketSchemes[strings.ToLower(u.Scheme)]
	switch {
	case !ok:
		return nil, fmt.Errorf("scheme %.20q: want ws, wss, http or https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.User != nil:
		return nil, errors.New("the URL has a user or password")
	}
	u.Scheme, u.Fragment, u.RawFragment = scheme, "", ""
	return u, nil
}

// guard decides which hosts and addresses may be dialed.
type guard struct {
	global   string          // the Global server's host name
	names    map[string]bool // further allowed hosts: HOST and HOST:PORT
	prefixes []netip.Prefix  // allowed addresses, of any class
	resolve  func(ctx context.Context, host string) ([]netip.Addr, error)
	// globalAddr is the remote address of the last Global connection.
	globalAddr atomic.Pointer[netip.Addr]
}

func newGuard(global *url.URL, o *Options) (*guard, error) {
	g := &guard{global: canonicalHost(global.Hostname()), names: make(map[string]bool), resolve: o.Resolve}
	for _, s := range o.AllowHosts {
		if err := g.allow(s); err != nil {
			return nil, fmt.Errorf("allowed host %.100q: %w", s, err)
		}
	}
	return g, nil
}

func (g *guard) allow(s string) error {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		g.prefixes = append(g.prefixes, prefix.Masked())
		return nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		addr = addr.Unmap()
		g.prefixes = append(g.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
		g.names[addr.String()] = true
		return nil
	}
	host, port := s, ""
	if h, p, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return errAllowed
		}
		host, port = h, p
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		g.prefixes = append(g.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
	} else if host == "" || strings.ContainsAny(host, "/:@?#*[] ") {
		return errAllowed
	}
	if host = canonicalHost(host); port != "" {
		host = net.JoinHostPort(host, port)
	}
	g.names[host] = true
	return nil
}

// errAllowed is the error for a malformed entry of Options.AllowHosts.
var errAllowed = errors.New("want HOST, HOST:PORT, an address or a prefix such as 10.0.0.0/8")

// canonicalHost returns a form that is equal for equal hosts.
func canonicalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// errAddress is the error for a host or address that must not be dialed.
var errAddress = errors.New("not allowed")

// check reports whether an address of a host may be dialed.
func (g *guard) check(host, port string, addr netip.Addr) error {
	addr = addr.Unmap()
	if addr.Zone() != "" || classOf(addr) == classNever {
		return fmt.Errorf("%s can't be the address of a server: %w", addr, errAddress)
	}
	own := g.globalAddr.Load()
	if own != nil && *own == addr {
		return nil // the Global server itself, by any name
	}
	host = canonicalHost(host)
	listed := slices.ContainsFunc(g.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	named := host == g.global || g.names[host] || g.names[net.JoinHostPort(host, port)] || listed && host == addr.String()
	if !named {
		return fmt.Errorf("the host %.100q is not that of the Global server: %w", host, errAddress)
	}
	if listed {
		return nil
	}
	if class := classOf(addr); class != classPublic && (own == nil || class != classOf(*own)) {
		return fmt.Errorf("%.100q resolves to %s, a %s address, which that of the Global server is not: %w", host, addr, class, errAddress)
	}
	return nil
}

// dial resolves the host once and connects to the first allowed address that answers.
func (g *guard) dial(ctx context.Context, network, hostport string, turn turnFunc) (net.Conn, error) {
	return g.dialChecked(ctx, network, hostport, turn, g.check)
}

// dialGlobal connects to the operator's server and stores its address.
func (g *guard) dialGlobal(ctx context.Context, network, hostport string, turn turnFunc) (net.Conn, error) {
	conn, err := g.dialChecked(ctx, network, hostport, turn, func(string, string, netip.Addr) error { return nil })
	if err != nil {
		return nil, err
	}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		addr := remote.AddrPort().Addr().Unmap().WithZone("")
		g.globalAddr.Store(&addr)
	}
	return conn, nil
}

// maxDialed bounds the addresses of one host that are tried.
const maxDialed = 4

func (g *guard) dialChecked(
	ctx context.Context, network, hostport string, turn turnFunc, check func(host, port string, addr netip.Addr) error,
) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	addrs, err := g.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs[:min(len(addrs), maxDialed)] {
		if err := check(host, port, addr); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := turn(ctx); err != nil {
			return nil, err
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (g *guard) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	addrs, err := g.resolve(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("the host %.100q has no address", host)
	}
	return addrs, err
}

func systemResolve(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}
