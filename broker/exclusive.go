package broker

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// # Exclusive groups
//
// An exclusive group has at most one holder in the cluster. A client of an instance claims the group, waits in the order
// of the claims, and holds the group until it is released or the instance's lease ends. The instance may act for what it
// holds only while the Lease that came with the grant has time left.
//
// What happens when a part fails, and how long the group may be without a holder (L is the lease, 3 s by default):
//
//	what fails                   what follows
//	client, with a goodbye       the hub releases at once; the next one is granted in the same script
//	client, without one          the hub releases once the time that it told the client is over
//	instance dies or is paused   its lease in the broker ends after L; any other instance's next round (L/6) grants
//	paused instance comes back   its Lease has no time left; its next round finds another epoch: everything that it held is
//	                             lost, and claimed again behind those who wait
//	instance's path is cut       as when it dies, and the instance itself reports the loss after L by its own clock
//	a request is lost            the claim is sent again on the next connection
//	an answer is lost            on the next connection the instance reads what it holds, and waits for, from the broker
//	notice of a grant is lost    the instance's next round reads the grant
//	Redis restarts, fails over   its run_id differs: all claims are void, nothing is granted for L, by which time every Lease
//	                             that was extended by the former server is over; then claims are granted in the order in
//	                             which they came again
//	Redis loses its data         the same: there is no run_id
//	Redis is away                every Lease ends; nothing is granted
//	instance closes              what it holds is released, except what was told to a client that may still act: that ends
//	                             with the lease
//
// It rests on three assumptions: clocks run equally fast within 10 %, the broker's clock is not set forward, and the
// former server of a failover takes no writes once the new one does. Where one fails two clients may hold a group; the
// terms tell them apart.

// The bounds of exclusive groups that every Broker keeps.
const (
	MaxWaiters = 10_000 // claims that wait for one group
)

// Lease is the time for which an instance may act for what it holds. Each instance has one at a time; one that ended
// never has time left again.
type Lease struct {
	until    atomic.Int64 // CLOCK_BOOTTIME in nanoseconds; zero: it ended
	constant time.Duration
}

// NewConstantLease returns a Lease that has that time left until it is ended: for a Broker that can't be cut off.
func NewConstantLease(left time.Duration) *Lease {
	l := &Lease{constant: left}
	l.until.Store(1)
	return l
}

// Left returns for how long the instance may act, zero if it may not. Any goroutine may call it. It doesn't allocate.
func (l *Lease) Left() time.Duration {
	until := l.until.Load()
	switch {
	case until <= 0:
		return 0
	case l.constant > 0:
		return l.constant
	}
	return max(time.Duration(until-BootTime()), 0)
}

// Extend moves the end to until, as of BootTime, if that is later. A Lease that was ended stays so.
func (l *Lease) Extend(until int64) {
	for {
		old := l.until.Load()
		if old < 0 || old >= until || l.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// End takes all time from the Lease.
func (l *Lease) End() { l.until.Store(ended) }

// ended is until of a Lease that ended.
const ended = -1

// BootTime returns CLOCK_BOOTTIME in nanoseconds. It goes on while the process is stopped or the machine sleeps.
func BootTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("broker: CLOCK_BOOTTIME: " + err.Error()) // Linux has had it since 2.6.39
	}
	return t.Nano()
}

// Claimant hears what becomes of a claim. Its methods are called by goroutines of the Broker or within Claim, one at a
// time for each claim. They must neither block nor call the Broker.
type Claimant interface {
	// Waiting is called once when the claim has its place.
	Waiting()
	// Granted is called when the client holds the group, for as long as lease has time left and neither Lost nor Release
	// is called. Every message of another instance that was published before the grant has been delivered by then. term
	// is higher than that of each holder before.
	Granted(term uint64, lease *Lease)
	// Lost is called when what was granted is void. The client waits again, as the last.
	Lost()
	// Refused is the last call: ErrUnavailable, ErrTooManyWaiters or ErrClosed.
	Refused(err error)
}
