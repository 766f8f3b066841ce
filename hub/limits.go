package hub

import (
	"golang.org/x/time/rate"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
)

// A client sends FENCEs as its move needs them, whatever it may send beside. Where its messages are limited they have a limit
// of their own, a second and at once.
const fenceRate = 64

// limits are those on what comes over one connection.
type limits struct{ messages, fences *rate.Limiter }

// newLimits returns what the grant allows a connection, or nil if it sets no limit.
func newLimits(g *auth.Grant) *limits {
	if g == nil || g.Rate <= 0 {
		return nil
	}
	return &limits{rate.NewLimiter(rate.Limit(g.Rate), max(g.Burst, 1)), rate.NewLimiter(fenceRate, fenceRate)}
}

// allows counts a message of the client, which it disconnects if that is one too many.
func (s *session) allows(op opcodes.Op) bool {
	if s.limit == nil {
		return true
	}
	limit := s.limit.messages
	if op == opcodes.Fence {
		limit = s.limit.fences
	}
	if limit.Allow() {
		return true
	}
	s.disconnect(opcodes.RateLimited)
	return false
}
