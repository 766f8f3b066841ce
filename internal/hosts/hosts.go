// Package hosts decides which Host headers a listener answers, as a defence against DNS rebinding.
//
// A page of another site can make a browser resolve a name of that site to an address of this machine, and then counts as
// of the same origin. The request still carries that name as its Host. An IP address or a name below localhost can't be
// rebound, so both are always answered.
//
// A Policy doesn't change once it is made; any number of goroutines may use it.
package hosts

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Policy is what one listener answers.
type Policy struct {
	open     bool                // any name
	names    map[string]struct{} // lower case
	suffixes []string            // ".example.com", for *.example.com
}

// NewPolicy returns the policy of a listener at addr. allowed holds names, *.name for all names below one, or * for any
// name; ports are not part of it. With an empty list a listener on a loopback address answers no other name than
// localhost, and every other listener answers any name.
func NewPolicy(addr net.Addr, allowed []string) (*Policy, error) {
	p := &Policy{names: make(map[string]struct{}, len(allowed))}
	if len(allowed) == 0 {
		p.open = !isLoopback(addr)
		return p, nil
	}
	for _, entry := range allowed {
		if err := Check(entry); err != nil {
			return nil, err
		}
		entry = strings.ToLower(strings.TrimSuffix(entry, "."))
		switch suffix, below := strings.CutPrefix(entry, "*"); {
		case below && suffix == "":
			p.open = true
		case below:
			p.suffixes = append(p.suffixes, suffix)
		default:
			p.names[entry] = struct{}{}
		}
	}
	return p, nil
}

// Check returns why an entry can't be in the list of allowed hosts; nil if it can.
func Check(entry string) error {
	name := strings.TrimSuffix(strings.TrimPrefix(entry, "*."), ".")
	if entry == "*" {
		return nil
	}
	if name == "" || len(name) > 253 {
		return fmt.Errorf("%q is not a host name", entry)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("%q is not a host name: want a name without scheme and port, such as hub.example.com or *.example.com", entry)
		}
	}
	return nil
}

// AllowsAll reports whether every request is answered.
func (p *Policy) AllowsAll() bool { return p.open }

// Allows reports whether a request with that Host header is answered. A request without one comes from no browser.
func (p *Policy) Allows(host string) bool {
	if p.open || host == "" {
		return true
	}
	name := withoutPort(host)
	if isAddress(name) {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if _, ok := p.names[name]; ok {
		return true
	}
	for _, suffix := range p.suffixes {
		if len(name) > len(suffix) && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// withoutPort returns the name or address of a Host header. What is no Host header comes back as it is.
func withoutPort(host string) string {
	if rest, ok := strings.CutPrefix(host, "["); ok {
		if address, _, ok := strings.Cut(rest, "]"); ok {
			return address
		}
		return host
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
