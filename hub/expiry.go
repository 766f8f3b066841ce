package hub

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

// maxExpiryNotice is how long before the end of what a client identified with it is asked to connect anew, so that it
// shows something newer. Of what it had left when it identified it is a tenth at most.
const maxExpiryNotice = time.Minute

// unixSeconds returns the time in seconds since 1970; 0 for the zero time, and the greatest number for what is beyond.
func unixSeconds(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 1), math.MaxUint32))
}

// checkExpiry disconnects a client whose token, or certificate, has ended. One that asked for it is told in time, each in
// a moment of its own: many tokens may end at the same time.
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

// expiryNotice is how long before the end of something that is good for so long a client hears of it.
func expiryNotice(life time.Duration) time.Duration {
	return min(maxExpiryNotice, max(life, 0)/10)
}
