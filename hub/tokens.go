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
		t := &tour{visits: reviewedAtOnce, visit: reviewed, done: func() {}}
		t.start(sh)
	}
}

const (
	reviewedAtOnce = 16 // clients of many groups that a loop looks at before it goes on with its other work
	manyGroups     = 32 // more than so many are many
)

// reviewed gives a client its new rights. Clients that identify later have them already.
func reviewed(s *session) (counts, on bool) {
	many := len(s.more()) > manyGroups
	if s.phase == phaseJoining || s.phase == phaseIdentified {
		s.review()
	}
	return many, true
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
		return s.mayStayIn(g, s.first) && !slices.ContainsFunc(s.more(), func(p place) bool { return !s.mayStayIn(g, p) })
	}
	return s.about.right == "" || g.MayJoin(s.about.right)
}

// mayStayIn reports whether the client may be in a group with the rights of g. One that it holds is not asked about here.
func (s *session) mayStayIn(g *auth.Grant, p place) bool {
	return p.group == nil || g.MayJoin(p.group.name) || s.holdingOf(p.group.name) != nil
}
