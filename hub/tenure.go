package hub

import "github.com/mastersocket/mastersocket/broker"

// tenure is a client's holding of a group from a grant until its end. It does not change.
type tenure struct {
	session *session
	term    uint64
	lease   *broker.Lease
}

// term returns what a message to the group carries from where it passes first: the term of the tenure that may get it; 0
// where there is none on this instance.
func (g *group) term() uint64 {
	if g == nil {
		return 0
	}
	if t := g.tenure.Load(); t != nil && t.lease.Left() > 0 {
		return t.term
	}
	return 0
}

// barred returns the holder of the group if a message with that term is not for it; nil if there is none.
func (g *group) barred(term uint64) *session {
	if t := g.tenure.Load(); t != nil && (t.term != term || t.lease.Left() <= 0) {
		return t.session
	}
	return nil
}
