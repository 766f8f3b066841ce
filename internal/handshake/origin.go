package handshake

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"
)

// OriginPolicy says which pages may connect from a browser besides those of the hub's own host. It is immutable. A nil
// OriginPolicy allows none.
type OriginPolicy struct {
	all, null, file bool
	rules           []originRule
}

// originRule allows one origin, or those of all hosts below a domain.
type originRule struct {
	scheme, host string // lower case; with wildcard, host begins with a dot
	port         int    // or anyPort
	wildcard     bool
}

// ParseOrigins makes a policy of a list of
//
//	https://app.example.com[:port]  that origin
//	https://*.example.com[:port]    the hosts below example.com, at any depth; not example.com itself
//	http://localhost:*              that host on any port, where a port can be written
//	null                            the opaque origin, which sandboxed frames and local files have
//	file://                         local files, as Electron, Cordova and some libraries send them
//	*                               every origin
//
// Its error quotes the first entry that is none of these and says what to write instead; the caller adds which setting it is
// about.
func ParseOrigins(list []string) (*OriginPolicy, error) {
	p := &OriginPolicy{}
	for _, entry := range list {
		switch entry {
		case "*":
			p.all = true
			continue
		case "null":
			p.null = true
			continue
		case "file://":
			p.file = true
			continue
		}
		rule, hint := parseOriginRule(entry)
		if hint != "" {
			return nil, fmt.Errorf("%q: %s", entry, hint)
		}
		p.rules = append(p.rules, rule)
	}
	return p, nil
}

// parseOriginRule parses one entry; hint says what is wrong with it.
func parseOriginRule(entry string) (rule originRule, hint string) {
	scheme, authority, ok := strings.Cut(strings.ToLower(entry), "://")
	if !ok {
		return rule, "write scheme://host, such as https://app.example.com, or null, file:// or *"
	}
	if strings.ContainsAny(authority, "/?#") {
		return rule, "an origin ends with its host and port: leave out the slash and what follows it"
	}
	if scheme == "ws" || scheme == "wss" {
		return rule, "an origin is that of a page: write http or https"
	}
	authority, everyPort := strings.CutSuffix(authority, ":*")
	wildcard := strings.HasPrefix(authority, "*.")
	if wildcard {
		authority = authority[1:]
	}
	o, ok := parseOrigin([]byte(scheme + "://" + strings.TrimPrefix(authority, ".")))
	if !ok || everyPort && strings.LastIndexByte(authority, ':') > strings.LastIndexByte(authority, ']') || wildcard && (o.host[0] == '[' || strings.HasPrefix(authority, "..")) || !wildcard && authority[0] == '.' {
		return rule, "write scheme://host[:port] with a host name (in ASCII), an address, or a name behind *."
	}
	if everyPort {
		o.port = anyPort
	}
	rule = originRule{scheme: string(o.scheme), host: string(o.host), port: o.port, wildcard: wildcard}
	if wildcard {
		rule.host = "." + rule.host
	}
	return rule, ""
}

// allows reports whether a page of the origin may connect to host. A client that is no browser sends no Origin.
func (p *OriginPolicy) allows(header, host []byte) bool {
	if header == nil || p != nil && p.all {
		return true
	}
	switch string(header) {
	case "null":
		return p != nil && p.null
	case "file://":
		return p != nil && p.file
	}
	o, ok := parseOrigin(header)
	if !ok {
		return false
	}
	return o.isHost(host) || p != nil && slices.ContainsFunc(p.rules, o.matches)
}

// origin is a scheme, host and port of RFC 6454 §4. Its slices are views.
type origin struct {
	scheme, host []byte
	port         int // the scheme's own where none is given; noPort where it has none
}

// parseOrigin parses a serialized origin (RFC 6454 §6.2).
func parseOrigin(b []byte) (o origin, ok bool) {
	scheme, authority, ok := bytes.Cut(b, schemeEnd)
	if !ok || len(scheme) == 0 || !all(scheme, &schemeChars) {
		return o, false
	}
	o.scheme = scheme
	if o.host, o.port, ok = splitAuthority(authority); ok && o.port == noPort {
		o.port = defaultPort(scheme)
	}
	return o, ok
}

// isHost reports whether a page of o comes from the host that it connects to. The scheme of the connection is
// unknown (a proxy may have ended TLS), so a Host without a port stands for the default port of the origin's scheme.
func (o origin) isHost(hostport []byte) bool {
	host, port, ok := splitAuthority(hostport)
	if port == noPort {
		port = defaultPort(o.scheme)
	}
	return ok && port != noPort && port == o.port && defaultPort(o.scheme) != noPort && equalFold(o.host, host)
}

// matches reports whether rule allows o.
func (o origin) matches(rule originRule) bool {
	if rule.port != anyPort && o.port != rule.port || !equalFold(o.scheme, rule.scheme) {
		return false
	}
	if below := len(o.host) - len(rule.host); rule.wildcard {
		return below > 0 && o.host[0] != '.' && equalFold(o.host[below:], rule.host)
	}
	return equalFold(o.host, rule.host)
}

// What stands in the place of a port.
const (
	noPort  = -1
	anyPort = -2 // of a rule
)

// defaultPort returns the port of a URL that names none, or noPort.
func defaultPort(scheme []byte) int {
	switch {
	case equalFold(scheme, "http"), equalFold(scheme, "ws"):
		return 80
	case equalFold(scheme, "https"), equalFold(scheme, "wss"):
		return 443
	}
	return noPort
}

// splitAuthority splits "host[:port]" (RFC 3986 §3.2 without user information) and reports whether it is valid: a
// name of letters, digits, hyphens, dots and underscores, an IPv4 address, or an IPv6 address in brackets.
func splitAuthority(b []byte) (host []byte, port int, ok bool) {
	host, port = b, noPort
	if i := bytes.LastIndexByte(b, ':'); i > bytes.LastIndexByte(b, ']') {
		digits := b[i+1:]
		if host = b[:i]; len(digits) > 5 || !all(digits, &digitChars) {
			return nil, noPort, false
		}
		if len(digits) > 0 {
			port = 0
		}
		for _, c := range digits {
			port = port*10 + int(c-'0')
		}
	}
	return host, port, port <= 65535 && validHost(host)
}

func validHost(host []byte) bool {
	if len(host) == 0 || len(host) > 255 {
		return false
	}
	if host[0] != '[' {
		return all(host, &hostChars)
	}
	inner := bytes.TrimSuffix(host[1:], []byte("]"))
	if len(inner) != len(host)-2 || bytes.IndexByte(inner, '%') >= 0 || len(inner) == 0 {
		return false
	}
	ip, err := netip.ParseAddr(unsafe.String(&inner[0], len(inner))) // only an error, dropped here, keeps the string
	return err == nil && ip.Is6()
}
