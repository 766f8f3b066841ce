// Package attempts slows down the guessing of tokens. A [Limiter] counts failed attempts to authenticate by address, and
// says which address has failed too often to be answered now.
//
// An address may fail 100 times at once, and 10 times a second from then on. An address from which a client
// authenticated in the last 10 minutes may fail 10 times as often: behind a proxy or a NAT many clients have one
// address, and a stranger there, or a service with an old token, must not keep the others out.
//
// Its memory is bounded, however many addresses there are: the oldest are forgotten.
package attempts

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// The budget of an address, in failed attempts.
const (
	burst      = 100
	perSecond  = 10
	trustedFor = 10 * time.Minute
	trusted    = 10 // times as much for an address that has authenticated
)

// noted is how long a success counts as the last one: a caller by HTTP authenticates with each call.
const noted = time.Second

// maxAddresses bounds each of the two generations of addresses. An entry has about 100 bytes.
const maxAddresses = 8192

// Limiter counts failed attempts. Its methods may be called from any goroutine.
type Limiter struct {
	now     func() time.Time
	failed  atomic.Uint64
	refused atomic.Uint64

	mu        sync.Mutex
	young     map[netip.Addr]account
	old       map[netip.Addr]account // forgotten when young is full
	maxOfEach int
}

// account is what is known of one address.
type account struct {
	debt    float64   // failed attempts that time has not made good for
	at      time.Time // of debt
	success time.Time // the last; zero for none
}

// New returns a Limiter without any failure.
func New() *Limiter {
	return &Limiter{now: time.Now, young: make(map[netip.Addr]account), maxOfEach: maxAddresses}
}

// Allow reports whether an attempt from the address is to be looked at. One from an unknown address (the zero one) is. If not, its token must not be compared, so that
// its sender learns nothing; the sender is told to try again later.
func (l *Limiter) Allow(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	a, ok := l.find(network(from))
	if !ok || !from.IsValid() || a.owes(now) < burst*a.times(now) {
		return true
	}
	l.refused.Add(1)
	return false
}

// Failed notes that an attempt from the address failed.
func (l *Limiter) Failed(from netip.Addr) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.now(), network(from)
	a, _ := l.find(key)
	a.debt, a.at = a.owes(now)+1, now
	l.put(key, a)
}

// Succeeded notes that an attempt from the address succeeded.
func (l *Limiter) Succeeded(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.now(), network(from)
	a, ok := l.find(key)
	if ok && a.debt == 0 && now.Sub(a.success) < noted {
		return
	}
	a.debt, a.at, a.success = a.owes(now), now, now
	l.put(key, a)
}

// Count notes that an attempt from the address succeeded or failed.
func (l *Limiter) Count(from netip.Addr, succeeded bool) {
	if succeeded {
		l.Succeeded(from)
	} else {
		l.Failed(from)
	}
}

// Stats are counts since the start.
type Stats struct {
	Failed  uint64 // attempts that failed
	Refused uint64 // attempts that were not looked at
}

// Stats returns the counts.
func (l *Limiter) Stats() Stats { return Stats{Failed: l.failed.Load(), Refused: l.refused.Load()} }

// times is how many times the usual budget an address has.
func (a *account) times(now time.Time) float64 {
	if !a.success.IsZero() && now.Sub(a.success) < trustedFor {
		return trusted
	}
	return 1
}

// owes returns the debt now.
func (a *account) owes(now time.Time) float64 {
	return max(a.debt-now.Sub(a.at).Seconds()*perSecond*a.times(now), 0)
}

// find returns the account of an address. mu must be held.
func (l *Limiter) find(key netip.Addr) (account, bool) {
	a, ok := l.young[key]
	if !ok {
		a, ok = l.old[key]
	}
	return a, ok
}

// put stores the account of an address. mu must be held.
func (l *Limiter) put(key netip.Addr, a account) {
	if _, ok := l.young[key]; !ok && len(l.young) >= l.maxOfEach {
		l.old, l.young = l.young, make(map[netip.Addr]account)
	}
	l.young[key] = a
}

// network returns what counts as one address: an IPv4 address, or the 64 bits of an IPv6 network, whose other bits its
// user chooses.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
