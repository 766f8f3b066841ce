package transport

import (
	"net/netip"
	"testing"
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
