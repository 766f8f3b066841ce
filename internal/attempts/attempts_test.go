package attempts

import (
	"net/netip"
	"sync"
	"testing"
	"time"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func newLimiter() (*Limiter, *clock) {
	l, c := New(), &clock{time.Unix(1e9, 0)}
	l.now = func() time.Time { return c.at }
	return l, c
}

func (c *clock) later(d time.Duration) { c.at = c.at.Add(d) }

// guess fails as often as the Limiter allows, at most n times.
func guess(l *Limiter, from netip.Addr, n int) (allowed int) {
	for range n {
		if l.Allow(from) {
			l.Failed(from)
			allowed++
		}
	}
	return allowed
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

func TestGuessing(t *testing.T) {
	t.Parallel()
	l, c := newLimiter()
	if n := guess(l, here, 11000); n != burst {
		t.Errorf("%d of 11000 attempts at once, want %d", n, burst)
	}
	if !l.Allow(there) {
		t.Error("another address may not try")
	}
	c.later(time.Second)
	if n := guess(l, here, 11000); n != perSecond {
		t.Errorf("%d attempts a second later, want %d", n, perSecond)
	}
	c.later(time.Hour)
	if n := guess(l, here, 11000); n != burst {
		t.Errorf("%d attempts an hour later, want %d", n, burst)
	}
	if s := l.Stats(); s.Failed != 2*burst+perSecond || s.Refused != 3*11000-s.Failed {
		t.Errorf("stats %+v", s)
	}
}

// TestSharedAddress: where a client has authenticated, those behind the same address are not kept out.
func TestSharedAddress(t *testing.T) {
	t.Parallel()
	l, c := newLimiter()
	l.Succeeded(here)
	if n := guess(l, here, 500); n != 500 {
		t.Errorf("%d of 500 attempts", n)
	}
	if n := guess(l, here, 11000); n != burst*trusted-500 {
		t.Errorf("%d attempts more, want %d", n, burst*trusted-500)
	}
	c.later(trustedFor)
	c.later(time.Hour)
	if n := guess(l, here, 11000); n != burst {
		t.Errorf("%d attempts when that is long ago, want %d", n, burst)
	}
	l.Succeeded(here)
	if !l.Allow(here) {
		t.Error("a success gives no room")
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		l, _ := newLimiter()
		guess(l, netip.MustParseAddr(c.a), burst)
		if l.Allow(netip.MustParseAddr(c.b)) == c.same {
			t.Errorf("%s and %s: one address is %v, want %v", c.a, c.b, !c.same, c.same)
		}
	}
}

// TestMemoryIsBounded: the oldest addresses are forgotten.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter()
	l.maxOfEach = 10
	guess(l, here, burst)
	address := netip.MustParseAddr("198.51.100.0")
	for range 9 {
		address = address.Next()
		l.Failed(address)
	}
	if l.Allow(here) {
		t.Error("an address is forgotten while there is room")
	}
	for range 1000 {
		address = address.Next()
		l.Failed(address)
	}
	if n := len(l.young) + len(l.old); n > 20 {
		t.Errorf("%d addresses are kept", n)
	}
	if !l.Allow(here) {
		t.Error("the oldest address is not forgotten")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	l := New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			guess(l, here, 500)
			l.Succeeded(there)
		})
	}
	wg.Wait()
	if s := l.Stats(); s.Failed+s.Refused != 4000 {
		t.Errorf("stats %+v", s)
	}
}
