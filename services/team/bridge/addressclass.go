package bridge

import "net/netip"

// class is the kind of network that an address belongs to. Servers of one class may name each other's addresses.
type class string

const (
	classPublic    class = "public"
	classPrivate   class = "private"
	classLoopback  class = "loopback"
	classLinkLocal class = "link-local"
	classSpecial   class = "special-purpose" // usable in some networks, never reachable from the internet
	classNever     class = "reserved"        // never the address of a server
)

// embeddedIn is the class of an IPv6 address that a translator or tunnel turns into an IPv4 address of class c. It differs
// from c: the loopback address of a translator, for instance, is not that of this machine.
func embeddedIn(c class) class {
	switch c {
	case classPublic, classNever:
		return c
	}
	return "translated " + c
}

// ranges are the address blocks that are not public, and the public blocks within them, which come first: the first match
// counts. Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), and the
// deprecated blocks of RFC 3879 (site-local), RFC 4291 section 2.5.5 (IPv4-compatible) and RFC 7526 (6to4 anycast). Embedded
// IPv4 addresses are classified by [embedded].
var ranges = parseRanges(map[class][]string{
	classPublic: {
		"192.0.0.9/32", "192.0.0.10/32", // anycast of PCP (RFC 7723) and TURN (RFC 8155)
		"2001:1::1/128", "2001:1::2/128", "2001:1::3/128", // likewise, and DNS-SD (RFC 9665)
		"2001:3::/32", "2001:4:112::/48", "2001:20::/28", "2001:30::/28", // AMT, AS112, ORCHIDv2, drones
	},
	classNever: {
		"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32",
		"::/128", "ff00::/8", "100::/64", "100:0:0:1::/64", // unspecified, multicast, discard, dummy
	},
	classLoopback:  {"127.0.0.0/8", "::1/128"},
	classLinkLocal: {"169.254.0.0/16", "fe80::/10"},
	classPrivate: {
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", // the last is shared by carriers (RFC 6598)
		"fc00::/7", "fec0::/10",
	},
	classSpecial: {
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b:1::/48",             // NAT64 within a network (RFC 8215): the place of the IPv4 address is unknown
		"2001::/23",                  // protocol assignments, with Teredo, whose IPv4 address its server chooses, and benchmarks
		"2001:db8::/32", "3fff::/20", // documentation
		"5f00::/16", // segment routing (RFC 9602)
	},
}, classPublic, classNever, classLoopback, classLinkLocal, classPrivate, classSpecial)

type addressRange struct {
	prefix netip.Prefix
	class  class
}

// parseRanges returns the ranges in the order of their classes.
func parseRanges(texts map[class][]string, order ...class) (all []addressRange) {
	for _, c := range order {
		for _, text := range texts[c] {
			all = append(all, addressRange{netip.MustParsePrefix(text), c})
		}
	}
	return all
}

// globalUnicast is the part of the IPv6 address space from which public addresses are assigned (RFC 4291).
var globalUnicast = netip.MustParsePrefix("2000::/3")

// embeddings are the prefixes of IPv6 addresses with an IPv4 address in them, and its offset in bytes.
var embeddings = []struct {
	prefix netip.Prefix
	offset int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible (RFC 4291)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated (RFC 2765)
}

// embedded returns the IPv4 address in an IPv6 address, if it has one by its prefix or by its interface identifier, that of
// ISATAP (RFC 5214).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if addr.Is4() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	for _, e := range embeddings {
		if e.prefix.Contains(addr) {
			return netip.AddrFrom4([4]byte(b[e.offset : e.offset+4])), true
		}
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}

// classOf returns the class of an address.
func classOf(addr netip.Addr) class {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return classNever
	}
	for _, r := range ranges {
		if r.prefix.Contains(addr) {
			return r.class
		}
	}
	if v4, ok := embedded(addr); ok {
		return embeddedIn(classOf(v4))
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return classSpecial
	}
	return classPublic
}
