package redis

import (
	"errors"
	"sync/atomic"
	"time"
)

// errLapsed ends a link: the other instances may have taken this one for dead meanwhile.
var errLapsed = errors.New("this instance could not say in time that it is alive, as if it had been paused")

// holding is the time until which the other instances take this one for alive: for ttl after it said so last.
//
// Once that time is over they may have told senders that no instance has their messages, while those wait in this
// instance's connection. So an instance that was paused delivers nothing that waited there. It makes new connections
// and asks for what it missed, of which its publishers leave out what they refused.
//
// The time counts from before the news was sent, and it is extended only by an answer that came before it was over. So
// it ends here no later than the other instances' patience.
type holding struct {
	ttl   int64
	until atomic.Int64 // nanoseconds, as of Broker.now
}

func newHolding(ttl time.Duration) *holding { return &holding{ttl: int64(ttl)} }

// begin starts the time with a new link. sent is when the link's first news was sent.
func (h *holding) begin(sent int64) { h.until.Store(sent + h.ttl) }

// extend takes the answer to news that was sent at the time sent. It returns false where the time was over before.
func (h *holding) extend(sent, now int64) bool {
	for {
		until := h.until.Load()
		if now > until {
			return false
		}
		if until >= sent+h.ttl || h.until.CompareAndSwap(until, sent+h.ttl) {
			return true
		}
	}
}

// lapsed says whether the time is over.
func (h *holding) lapsed(now int64) bool { return now > h.until.Load() }
