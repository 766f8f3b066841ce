package transport

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAddressConnections: an address has so many connections and no more, others are not concerned, and those that end make
// room.
func TestAddressConnections(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.AddressConnections = 3
	o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}
	e := newTape()
	e.open = func(c *Conn, _ *Request) *Rejection {
		if c.Excess() {
			c.Close(1013, "", nil)
		}
		return nil
	}
	s := startServer(t, o)
	addr := listen(t, s, e)
	var open []*client
	for range 3 {
		open = append(open, dialFrom(t, addr, "127.0.0.1"))
		e.expect(t, "open")
	}
	for range 2 {
		c := dialFrom(t, addr, "127.0.0.1")
		e.expect(t, "open")
		c.expectClose(1013)
		_ = c.Close()
		e.expect(t, "closed by us")
	}
	if n := s.Stats().Refusals["connection_limit_of_an_address"]; n != 2 {
		t.Errorf("%d refusals are counted", n)
	}
	for range 5 {
		c := dialFrom(t, addr, "127.0.1.7") // a proxy
		e.expect(t, "open")
		c.write(text("hello"))
		e.expect(t, "text hello")
	}
	dialFrom(t, addr, "127.0.0.2").write(text("other"))
	e.expect(t, "open", "text other")
	open[0].reset()
	e.expect(t, "closed by an error")
	eventually(t, s, func() bool { return s.Connections() <= 8 }) // two, five and one are there
	dialFrom(t, addr, "127.0.0.1").write(text("room"))
	e.expect(t, "open", "text room")
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := addressKey(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
}

// TestPeerAddress: what a listener for both versions of IP sees of IPv4 is unmapped, and what has no address is invalid.
func TestPeerAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}, {"[::]:0", "127.0.0.1"},
	} {
		lis, err := net.Listen("tcp", tt.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer lis.Close()
		port := lis.Addr().(*net.TCPAddr).AddrPort().Port()
		client, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(tt.dial), port).String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		served, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer served.Close()
		rc, err := served.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		want := client.LocalAddr().(*net.TCPAddr).AddrPort()
		if err := rc.Control(func(fd uintptr) {
			if got := peerAddress(int32(fd)); got != want {
				t.Errorf("listening on %s: got %v, want %v", tt.listen, got, want)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	if got := peerAddress(noSocket); got.IsValid() {
		t.Errorf("no socket has the address %v", got)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if got := peerAddress(int32(pair[0])); got.IsValid() {
		t.Errorf("a socket of the file system has the address %v", got)
	}
}
