package history

import (
	"slices"
	"time"
)

// A session may outlast its connections: it then records a client that continues over another connection with another
// id. The client either moves without interruption (Moving, Moved) or is away meanwhile (Away, Back).

// naming is a further id of a session.
type naming struct {
	ID string `json:"id"`
	At int64  `json:"at"` // before the client began to open the connection
	// Known is when the client went on under the id. Attempts that failed before may lie between.
	Known int64 `json:"known,omitempty"`
}

// absence is a period in which a session certainly had no connection.
type absence struct {
	From int64 `json:"from"`
	To   int64 `json:"to,omitempty"` // 0: it did not come back
}

// Moving must be called before the client opens another connection. Calls before the first Identified, or after another
// Moving without a Moved, have no effect.
func (s *Session) Moving() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Identified != 0 && s.moving == 0 {
		s.moving = s.h.now()
	}
}

// Moved records that the client continues under another id without having been away: messages to it must arrive once
// and in order, over either connection. Only a DIRECT message to a former id may be refused with NO_RECEIVER, from the
// call of Moving on.
func (s *Session) Moved(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rename(id)
}

// Away records that the client's connection was lost. From Options.InFlight before that until Back, messages to it and
// from it may be lost.
func (s *Session) Away() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := len(s.life.Absences); k == 0 || s.life.Absences[k-1].To != 0 {
		s.life.Absences = append(s.life.Absences, absence{From: s.h.now()})
	}
}

// Back records that the client is connected again, under another id.
func (s *Session) Back(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := len(s.life.Absences); k > 0 && s.life.Absences[k-1].To == 0 {
		s.life.Absences[k-1].To = s.h.now()
	}
	s.rename(id)
}

func (s *Session) rename(id string) {
	n := naming{ID: id, At: s.moving, Known: s.h.now()}
	if n.At == 0 {
		n.At = n.Known
	}
	s.moving = 0
	s.life.Names = append(s.life.Names, n)
}

// ids returns all ids of the session, in order.
func (s *Session) ids() []string {
	if s.life.ID == "" {
		return nil
	}
	all := []string{s.life.ID}
	for _, n := range s.life.Names {
		all = append(all, n.ID)
	}
	return all
}

// hadID reports whether the session had the id.
func (s *Session) hadID(id string) bool {
	return s.life.ID == id || slices.ContainsFunc(s.life.Names, func(n naming) bool { return n.ID == id })
}

// moveTime bounds the time in which a client has two connections, after it has begun to open the one and after it went on
// under its id.
const moveTime = 10 * time.Second

// movedAbout reports whether p may have had two connections at that time.
func (p *peer) movedAbout(at int64) bool {
	return slices.ContainsFunc(p.life.Names, func(n naming) bool { return at >= n.At && at < max(n.At, n.Known)+int64(moveTime) })
}

// perhapsNew reports whether the new one of p's two connections alone may have got m. It waits there while the old one brings
// what the sender sent later to p's groups.
func (p *peer) perhapsNew(m *send) bool { return m.to.Target == Any || p.surelyNew(m) }

// surelyNew reports whether m is a DIRECT to a further id of p.
func (p *peer) surelyNew(m *send) bool {
	return m.to.Target == Direct && slices.ContainsFunc(p.life.Names, func(n naming) bool { return n.ID == m.to.Name })
}

// single reports whether the message is for one receiver.
func (m *send) single() bool { return m.to.Target == Direct || m.to.Target == Any }

// outdated reports whether m, a DIRECT to p, was rightly refused with NO_RECEIVER: p was leaving that id.
func (p *peer) outdated(m *send) bool {
	if m.to.Target != Direct || !m.denied() {
		return false
	}
	next := p.nameAfter(m.to.Name)
	return next < len(p.life.Names) && m.settled >= p.life.Names[next].At
}

// nameAfter returns the index of the name after p's last use of the id.
func (p *peer) nameAfter(id string) (next int) {
	for i, n := range p.life.Names {
		if n.ID == id {
			next = i + 1
		}
	}
	return next
}

// awayAt returns p's absence at the time of m, sent to it or by it; nil: none.
func (c *checker) awayAt(p *peer, m *send) *absence {
	for i := range p.life.Absences {
		if a := &p.life.Absences[i]; m.at >= a.From-c.flight && (a.To == 0 || m.at < a.To) {
			return a
		}
	}
	return nil
}

// excused reports whether p may have missed message n of the sender at position from because it was away. A later
// message of that sender that arrived before the absence excludes that.
func (s *sieve) excused(p *peer, from, n int32) bool {
	sender := s.peers[from]
	a := s.awayAt(p, &sender.sends[n])
	if a == nil {
		return false
	}
	return !slices.ContainsFunc(p.arrivals, func(got arrival) bool {
		return got.at < a.From && got.n > n && int(got.sender) == sender.index
	})
}
