package bridge

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// atOnce is a turn that never waits.
func atOnce(context.Context) error { return nil }

// names is a resolver with a fixed table.
func names(table map[string]string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, host string) ([]netip.Addr, error) {
		var addrs []netip.Addr
		for s := range strings.FieldsSeq(table[host]) {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		return addrs, nil
	}
}

func TestGuardChecks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		global, addr string // the Global server's host, and the remote address of its connection
		allow        string
		host, to     string // the host of a ws_url, and its address
		ok           bool
	}{
		{"rtm.example", "203.0.114.1", "", "rtm.example", "203.0.114.1", true},
		{"rtm.example", "203.0.114.1", "", "RTM.example.", "203.0.114.2", true},
		{"rtm.example", "203.0.114.1", "", "alias.example", "203.0.114.1", true}, // the server itself, by another name
		{"rtm.example", "203.0.114.1", "", "evil.example", "203.0.114.2", false},
		{"rtm.example", "203.0.114.1", "teams.example", "teams.example", "203.0.114.2", true},
		{"rtm.example", "203.0.114.1", "teams.example:80", "teams.example", "203.0.114.2", true},
		{"rtm.example", "203.0.114.1", "teams.example:81", "teams.example", "203.0.114.2", false},
		// The right name with a wrong address: DNS rebinding.
		{"rtm.example", "203.0.114.1", "", "rtm.example", "127.0.0.1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "::1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "10.0.0.1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "169.254.169.254", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "fe80::1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "fd00::1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "100.64.0.1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "::ffff:127.0.0.1", false},
		{"rtm.example", "203.0.114.1", "teams.example", "teams.example", "10.0.0.1", false},
		{"rtm.example", "203.0.114.1", "teams.example 10.0.0.0/8", "teams.example", "10.0.0.1", true},
		{"rtm.example", "203.0.114.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", true},
		{"rtm.example", "203.0.114.1", "10.0.0.0/8", "10.0.0.1", "10.0.0.1", true},
		{"rtm.example", "203.0.114.1", "10.0.0.0/8", "evil.example", "10.0.0.1", false},
		{"rtm.example", "203.0.114.1", "10.0.0.1:80", "10.0.0.1", "10.0.0.1", true},
		// A Global server on a private address has its teams there.
		{"rtm.local", "10.0.0.1", "", "rtm.local", "192.168.0.1", true},
		{"rtm.local", "10.0.0.1", "", "rtm.local", "127.0.0.1", false},
		{"localhost", "127.0.0.1", "", "localhost", "::1", true},
		{"localhost", "127.0.0.1", "", "127.0.0.1", "127.0.0.1", true},
		{"localhost", "127.0.0.1", "", "127.0.0.2", "127.0.0.2", false},
		{"localhost", "127.0.0.1", "", "localhost", "10.0.0.1", false},
		// Neither public nor of the class of the Global server, in IPv6 forms of IPv4 addresses and in special ranges.
		{"rtm.example", "203.0.114.1", "", "rtm.example", "64:ff9b::7f00:1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "64:ff9b::a00:1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "64:ff9b::cb00:7202", true},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "2002:a00:1::1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "::127.0.0.1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "fec0::1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "198.18.0.1", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "240.0.0.1", false},
		{"rtm.example", "203.0.114.1", "198.18.0.0/15", "rtm.example", "198.18.0.1", true},
		{"localhost", "127.0.0.1", "", "localhost", "64:ff9b::7f00:1", false},
		{"localhost", "127.0.0.1", "", "localhost", "::127.0.0.1", false},
		// Never.
		{"rtm.example", "203.0.114.1", "0.0.0.0/0", "rtm.example", "0.0.0.0", false},
		{"rtm.example", "203.0.114.1", "0.0.0.0/0", "rtm.example", "224.0.0.1", false},
		{"rtm.example", "203.0.114.1", "0.0.0.0/0", "rtm.example", "255.255.255.255", false},
		{"rtm.example", "203.0.114.1", "", "rtm.example", "::", false},
		{"rtm.example", "", "", "rtm.example", "10.0.0.1", false},
	} {
		o := Options{AllowHosts: strings.Fields(tc.allow)}
		g, err := newGuard(&url.URL{Scheme: "ws", Host: tc.global}, &o)
		if err != nil {
			t.Fatal(err)
		}
		if tc.addr != "" {
			addr := netip.MustParseAddr(tc.addr)
			g.globalAddr.Store(&addr)
		}
		err = g.check(tc.host, "80", netip.MustParseAddr(tc.to))
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, errAddress) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// The classes of the IANA special-purpose registries, at the first and last address of each block.
func TestClassOf(t *testing.T) {
	t.Parallel()
	for want, blocks := range map[class]string{
		classNever: `0.0.0.0/8 224.0.0.0/4 255.255.255.255/32 ::/128 ff00::/8 100::/64 100:0:0:1::/64 ::ffff:0.0.0.0/104
			::ffff:224.0.0.0/100 64:ff9b::/104 64:ff9b::e000:0/112 2002:e000::/20`,
		classLoopback:  `127.0.0.0/8 ::1/128 ::ffff:127.0.0.0/104`,
		classLinkLocal: `169.254.0.0/16 fe80::/10 ::ffff:169.254.0.0/112`,
		classPrivate:   `10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10 ::ffff:10.0.0.0/104`,
		classSpecial: `192.0.0.0/29 192.0.0.170/31 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/5
			255.255.255.254/32 64:ff9b:1::/48 2001::/32 2001:2::/48 2001:10::/28 2001:db8::/32 3fff::/20 5f00::/16
			200::/7 400::/6 4000::/3 e000::/4 1::/16`,
		"translated loopback": `64:ff9b::7f00:0/104 2002:7f00::/24 ::127.0.0.0/104 ::ffff:0:7f00:0/104
			2a00:1450::5efe:7f00:0/104 2a00:1450::200:5efe:7f00:0/104`,
		"translated private":         `64:ff9b::a00:0/104 64:ff9b::c0a8:0/112 2002:c0a8::/32 ::10.0.0.0/104 64:ff9b::6440:0/106`,
		"translated link-local":      `64:ff9b::a9fe:0/112 2002:a9fe::/32`,
		"translated special-purpose": `64:ff9b::c612:0/111 2002:f000::/21`,
		classPublic: `1.0.0.0/8 9.0.0.0/8 11.0.0.0/8 100.128.0.0/9 172.32.0.0/11 192.0.0.9/32 192.0.0.10/32 192.0.1.0/24 192.31.196.0/24
			192.52.193.0/24 192.175.48.0/24 198.20.0.0/14 203.0.114.0/23 223.0.0.0/8 ::ffff:8.0.0.0/104
			64:ff9b::808:0/112 2002:808::/32 2001:1::1/128 2001:3::/32 2001:4:112::/48 2001:20::/28 2001:30::/28 2001:200::/23
			2620:4f:8000::/48 2a00::/12 2000::/16 3ffe::/16`,
	} {
		for text := range strings.FieldsSeq(blocks) {
			prefix := netip.MustParsePrefix(text)
			if prefix != prefix.Masked() {
				t.Fatalf("%s has bits beyond its length", text)
			}
			last := prefix.Addr().AsSlice()
			for i := prefix.Bits(); i < 8*len(last); i++ {
				last[i/8] |= 0x80 >> (i % 8)
			}
			end, _ := netip.AddrFromSlice(last)
			for _, addr := range []netip.Addr{prefix.Addr(), end} {
				if got := classOf(addr); got != want {
					t.Errorf("%s of %s is %s, want %s", addr, text, got, want)
				}
			}
		}
	}
	if got := classOf(netip.Addr{}); got != classNever {
		t.Errorf("no address is %s", got)
	}
}

// A name is resolved once: the address that was checked is the one that is dialed.
func TestGuardDialsWhatItChecked(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	lookups := 0
	o := Options{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		if lookups++; lookups > 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("10.255.255.1"), netip.MustParseAddr("127.0.0.1")}, nil
	}}
	g, err := newGuard(&url.URL{Scheme: "ws", Host: "rtm.example"}, &o)
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	g.globalAddr.Store(&loopback)
	conn, err := g.dial(t.Context(), "tcp", "rtm.example:"+port, atOnce) // skips the private address
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if lookups != 1 || conn.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("%d look-ups, dialed %s", lookups, conn.RemoteAddr())
	}
	g.resolve = names(map[string]string{"rtm.example": "10.0.0.1 169.254.169.254"})
	if _, err := g.dial(t.Context(), "tcp", "rtm.example:"+port, atOnce); !errors.Is(err, errAddress) {
		t.Errorf("addresses that are not allowed: %v", err)
	}
	g.resolve = names(nil)
	if _, err := g.dial(t.Context(), "tcp", "rtm.example:"+port, atOnce); err == nil || errors.Is(err, errAddress) {
		t.Errorf("no address: %v", err)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://localhost:8080/connect/to/team": "ws://localhost:8080/connect/to/team",
		"HTTPS://a/?ticket=1#x":                 "wss://a/?ticket=1",
		"ws://[::1]:80/%20":                     "ws://[::1]:80/%20",
		"wss://a":                               "wss://a",
		"":                                      "", "a": "", "//a": "", "/x": "", "ftp://a": "", "javascript:alert(1)": "", "ws:a": "", "ws://": "",
		"ws://u@a/": "", "ws://u:p@a/": "", "ws://a b/": "", "http://[": "", "ws://a:99999999999/x\x7f": "",
		"ws://a/" + strings.Repeat("x", maxURLBytes): "",
	} {
		u, err := parseURL(in)
		switch {
		case want == "" && err == nil:
			t.Errorf("%.60q is accepted as %.60s", in, u)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: %v, %v; want %s", in, u, err, want)
		case err != nil && in != "" && len(in) > 6 && strings.Contains(err.Error(), in):
			t.Errorf("the error repeats the URL: %v", err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"http://localhost:8080/x", "ws://[::1]:1/", "wss://u:p@a?b#c", "ws://a%zz/", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURL(s)
		if err != nil {
			return
		}
		if u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q became %q", s, u)
		}
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{}, {Global: "ftp://a"}, {Global: "ws://u:p@a"}, {Global: "ws://a", To: "no target"}, {Global: "ws://a", To: "GROUP:{team}"},
		{Global: "ws://a", To: "GROUP:{team_id"}, {Global: "ws://a", To: "DIRECT:{team_id}"}, {Global: "ws://a", ConnectRate: -1},
		{Global: "ws://a", AllowHosts: []string{""}}, {Global: "ws://a", AllowHosts: []string{"http://b"}}, {Global: "ws://a", AllowHosts: []string{"b/c"}},
		{Global: "ws://a", PingInterval: -1}, {Global: "ws://a", Queue: -1}, {Global: "ws://a", MinBackoff: 2, MaxBackoff: 1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	for _, to := range []string{"", "GLOBAL", "GROUP:a", "ANY", "ANY:workers", "GROUP:team.{team_id}", "GROUP:{team_id}.{team_id}"} {
		if _, err := New(Options{Global: "https://a/global", To: to, AllowHosts: []string{"b", "b:1", "10.0.0.1", "[::1]:80", "fd00::/8"}}); err != nil {
			t.Errorf("To %q: %v", to, err)
		}
	}
}
