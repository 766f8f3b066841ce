package hub

import (
	"slices"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
)

// TokensChanged makes every client have the rights that its token has now in Options.Tokens. A client whose token is
// not in force any more, or may not be in all of the client's groups (one of a service type: may not have Identity.Right),
// is disconnected as UNAUTHORIZED. It returns at once; the loops look at some clients in each turn.
func (h *Hub) TokensChanged() {
	for _, sh := range h.shards {
		t := &tour{visits: tourSlots, visit: reviewed, done: func() {}}
		t.start(sh)
	}
}

// reviewed gives a client its new rights. Clients that identify later have them already.
func reviewed(s *session) (counts, on bool) {
	if s.phase == phaseJoining || s.phase == phaseIdentified {
		s.review()
	}
	return false, true
}

// review gives the client the rights that its token has now.
func (s *session) review() {
	if s.grant == nil {
		return // it showed no token
	}
	grant, ok := s.shard.hub.tokens.Current(s.grant)
	switch {
	case ok && grant == s.grant:
		return
	case s.phase == phaseJoining: // let it ask again, with the new rights
		s.disconnect(opcodes.TryAgainLater)
		return
	case !ok || !s.mayStay(grant):
		s.disconnect(opcodes.Unauthorized)
		return
	}
	s.grant = grant
	h := s.shard.hub
	s.limit = h.holders.change(s.limit, grant, h.opts.Transport.MaxMessageBytes)
}

// mayStay reports whether the client may be what it is with the rights of g.
func (s *session) mayStay(g *auth.Grant) bool {
	for _, w := range s.watches() {
		if !g.MayWatch(w.group) {
			return false
		}
	}
	for _, h := range s.holdings() {
		if !g.MayHold(h.claim.group) {
			return false
		}
	}
	if s.kind == 0 || s.about.native {
		plain := slices.DeleteFunc(s.groupNames(), func(name string) bool { return s.holdingOf(name) != nil })
		return mayJoinAll(g, plain)
	}
	return s.about.right == "" || g.MayJoin(s.about.right)
}
