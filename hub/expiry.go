package hub

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

// maxExpiryNotice is how long before the end of its token or certificate a client is asked to connect again, with a newer
// one: at most a tenth of what was left at its IDENTIFY.
const maxExpiryNotice = time.Minute

// unixSeconds returns the time in seconds since 1970; 0 for the zero time, and the greatest number for what is beyond.
func unixSeconds(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 1), math.MaxUint32))
}

// checkExpiry disconnects a client whose token or certificate has ended. A client that asked for DRAIN is told before, each
// at a random moment: many tokens may end at the same time.
func (s *session) checkExpiry(now time.Time) {
	if s.expires == 0 {
		return
	}
	end := time.Unix(int64(s.expires), 0)
	left := end.Sub(now)
	if left <= 0 {
		s.disconnect(opcodes.Unauthorized)
		return
	}
	if notice := expiryNotice(end.Sub(time.Unix(int64(s.since), 0))); left <= notice && !s.warned {
		s.warned = true
		s.sendDrain(rand.N(notice/2+1), left, opcodes.DrainExpiry)
	}
}

// expiryNotice returns how long before the end a client is told, for a token that was good for life.
func expiryNotice(life time.Duration) time.Duration {
	return min(maxExpiryNotice, max(life, 0)/10)
}
