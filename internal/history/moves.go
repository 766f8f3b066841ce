package history

import (
	"slices"
	"time"
)

// A session may outlast its connections: then it is the record of a client that goes on over another connection, under
// another id. Either it moves, and must not notice (Moving, Moved), or it is away meanwhile (Away, Back).

// naming is an id that a session went on under.
type naming struct {
	ID string `json:"id"`
	At int64  `json:"at"` // before the client did anything to get it
}

// absence is a time in which a session had no connection, as far as is certain.
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

// Moved records that the client goes on under another id, without having been away: what is sent to it must arrive, once
// and in order, over whichever connection. Only a DIRECT message to one of its former ids may be refused, as one for
// which there is no receiver, since Moving was called.
func (s *Session) Moved(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rename(id)
}

// Away records that the client's connection was lost. Until Back, and as long before as Options.InFlight says, it may
// miss what is sent to it, and what it sent may be lost.
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
	at := s.moving
	if at == 0 {
		at = s.h.now()
	}
	s.moving = 0
	s.life.Names = append(s.life.Names, naming{id, at})
}

// ids are all that the session had, in order.
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

// given tells whether the session had the id.
func (s *Session) given(id string) bool {
	return s.life.ID == id || slices.ContainsFunc(s.life.Names, func(n naming) bool { return n.ID == id })
}

// moveTime is how long a client may have two connections.
const moveTime = 10 * time.Second

// movedAbout tells whether p may have had two connections at that time.
func (p *peer) movedAbout(at int64) bool {
	return slices.ContainsFunc(p.life.Names, func(n naming) bool { return at >= n.At && at < n.At+int64(moveTime) })
}

// single tells whether the message is for one receiver.
func (m *send) single() bool { return m.to.Target == Direct || m.to.Target == Any }

// outdated tells whether m, for p alone, was rightly refused for want of a receiver: p was leaving that id.
func (p *peer) outdated(m *send) bool {
	if m.to.Target != Direct || !m.denied() {
		return false
	}
	next := p.nameAfter(m.to.Name)
	return next < len(p.life.Names) && m.settled >= p.life.Names[next].At
}

// nameAfter returns the place of the name that followed the id, the last time that p had it.
func (p *peer) nameAfter(id string) (next int) {
	for i, n := range p.life.Names {
		if n.ID == id {
			next = i + 1
		}
	}
	return next
}

// awayAt returns the absence of p that m, sent to it or by it, fell into; nil for none.
func (c *checker) awayAt(p *peer, m *send) *absence {
	for i := range p.life.Absences {
		if a := &p.life.Absences[i]; m.at >= a.From-c.flight && (a.To == 0 || m.at < a.To) {
			return a
		}
	}
	return nil
}

// excused tells whether p, which did not get message n of the sender at from, may have missed it as it was away. Not so
// if it got a later message of that sender before it was.
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
