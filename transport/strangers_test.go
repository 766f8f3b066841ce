package transport

import (
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// dialFrom connects from an address of the loopback interface and shakes hands.
func dialFrom(t *testing.T, addr net.Addr, ip string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	nc, err := d.DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	return c
}

// arrived waits until the loop has read what was written to a connection.
func arrived(t *testing.T, r Ref, n uint64) {
	t.Helper()
	for done := false; !done; {
		onLoop(t, r.Loop(), func() {
			c := r.Conn()
			done = c == nil || c.Traffic().BytesIn >= n
		})
	}
}

// TestStrangersGiveWay: strangers that keep all the memory for strangers with parts of large messages don't keep out clients
// whose first message arrives in two reads.
func TestStrangersGiveWay(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 1
	o.UntrustedBytes = 1 << 20
	e := newTape()
	addr := listen(t, startServer(t, o), e)
	part := clientFrame(false, ws.OpText, strings.Repeat("x", 30_000))
	closed := 0
	next := func() note {
		for {
			switch n := e.next(t); n.what {
			case "no memory":
				closed++
			case "closed by us", "closed by the peer":
			default:
				return n
			}
		}
	}
	for range 60 {
		c := connect(t, addr)
		r := next().ref
		c.write(part)
		arrived(t, r, uint64(len(part)))
	}
	for i := range 18 {
		c := connect(t, addr)
		r := next().ref
		whole := text(numbered(i, 200))
		c.write(whole[:100])
		arrived(t, r, uint64(len(upgradeRequest(""))+100))
		c.write(whole[100:])
		if n := next(); n.what != "text "+numbered(i, 200) {
			t.Fatalf("client %d: %.50q", i, n.what)
		}
	}
	if closed == 0 {
		t.Error("no stranger had to give way")
	}
}

// TestStrangersShareByAddress: of those that keep as much, an address with many gives way before one with few, however old.
func TestStrangersShareByAddress(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 1
	o.UntrustedBytes = 40_000
	e := newTape()
	addr := listen(t, startServer(t, o), e)
	whole := text(numbered(0, 3000))
	honest := dialFrom(t, addr, "127.0.0.1")
	r := e.expect(t, "open")
	honest.write(whole[:2900])
	arrived(t, r, uint64(len(upgradeRequest(""))+2900))
	gaveWay := 0
	for range 50 {
		c := dialFrom(t, addr, "127.0.0.2")
		n := e.next(t)
		for ; n.what != "open"; n = e.next(t) {
			if n.what == "no memory" {
				gaveWay++
			}
			if n.ref == r {
				t.Fatalf("the old client was told %q", n.what)
			}
		}
		c.write(whole[:2900])
		arrived(t, n.ref, uint64(len(upgradeRequest(""))+2900))
	}
	honest.write(whole[2900:])
	for n := e.next(t); n.what != "text "+numbered(0, 3000); n = e.next(t) {
		switch {
		case n.what == "no memory" && n.ref != r:
			gaveWay++
		case n.what != "closed by us" && n.what != "closed by the peer":
			t.Fatalf("got %.50q", n.what)
		}
	}
	if gaveWay < 20 {
		t.Errorf("%d connections gave way", gaveWay)
	}
}
