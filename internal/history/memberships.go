package history

import "slices"

// A session may join and leave groups beside those of its IDENTIFY. The hub's answers are the boundary: a message to the group
// that was sent after the answer to SUBSCRIBE must arrive, and none may arrive before that answer or behind the one to
// UNSUBSCRIBE. An ANY may arrive as soon as the session has asked.

// membership is one period in which a session was in such a group.
type membership struct {
	Group   string `json:"group"`
	Asked   int64  `json:"asked"`             // before SUBSCRIBE was written
	Joined  int64  `json:"joined,omitempty"`  // after its answer was read; 0: it was refused, or there was none
	First   int    `json:"first,omitempty"`   // how many arrivals there were by then
	Leaving int64  `json:"leaving,omitempty"` // before UNSUBSCRIBE was written
	Left    int64  `json:"left,omitempty"`    // after its answer, or that of the refused SUBSCRIBE, was read
	Last    int    `json:"last,omitempty"`    // how many arrivals there were by then
}

// Subscribing must be called before a SUBSCRIBE to the group is written. The session must not be in the group.
func (s *Session) Subscribing(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.Memberships = append(s.life.Memberships, membership{Group: group, Asked: s.h.now()})
}

// Subscribed must be called by the reader when it has read the answer to a SUBSCRIBE, before it reads on.
func (s *Session) Subscribed(group string) {
	s.inGroup(group, func(m *membership) { m.Joined, m.First = s.h.now(), len(s.arrivals) })
}

// NotSubscribed must be called in place of Subscribed when the hub refused.
func (s *Session) NotSubscribed(group string) {
	s.inGroup(group, func(m *membership) { m.Left, m.Last = s.h.now(), len(s.arrivals) })
}

// Unsubscribing must be called before an UNSUBSCRIBE is written.
func (s *Session) Unsubscribing(group string) {
	s.inGroup(group, func(m *membership) { m.Leaving = s.h.now() })
}

// Unsubscribed must be called by the reader when it has read the answer to an UNSUBSCRIBE, before it reads on.
func (s *Session) Unsubscribed(group string) {
	s.inGroup(group, func(m *membership) { m.Left, m.Last = s.h.now(), len(s.arrivals) })
}

// inGroup calls f for the last membership in the group.
func (s *Session) inGroup(group string, f func(*membership)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.life.Memberships) - 1; i >= 0; i-- {
		if m := &s.life.Memberships[i]; m.Group == group {
			f(m)
			return
		}
	}
	s.oddities.add("an answer about the group %.50q, for which it did not ask", group)
}

// covers reports whether the arrival of that index came while the session was in the group.
func (m *membership) covers(arrival int) bool {
	return m.Joined != 0 && arrival >= m.First && (m.Left == 0 || arrival < m.Last)
}

// coversAny is covers for an ANY.
func (m *membership) coversAny(arrival int, at int64) bool {
	return at >= m.Asked && (m.Left == 0 || arrival < m.Last)
}

// mayGet reports whether the arrival of a message to a group came while p was in it.
func (p *peer) mayGet(to ref, arrival int, at int64) bool {
	if to.at < 0 || to.target != Group && to.target != Any || p.steady[to.at] {
		return true
	}
	return slices.ContainsFunc(p.spells[to.at], func(m *membership) bool {
		if to.target == Any {
			return m.coversAny(arrival, at)
		}
		return m.covers(arrival)
	})
}

// tops returns, for each membership of p, the highest message number of each sender that arrived during it.
func (s *sieve) tops(p *peer) map[*membership]map[int32]int32 {
	tops := make(map[*membership]map[int32]int32)
	for _, spells := range p.spells {
		for _, m := range spells {
			top := make(map[int32]int32)
			end := len(p.arrivals)
			if m.Left != 0 {
				end = m.Last
			}
			for _, a := range p.arrivals[min(m.First, end):end] {
				if from, ok := s.byIndex[a.sender]; ok {
					top[from] = max(top[from], a.n+1)
				}
			}
			tops[m] = top
		}
	}
	return tops
}

// certainly reports whether p was in the group of a message when it came: it was sent after the answer to SUBSCRIBE, and a
// later one of the same sender arrived before that to UNSUBSCRIBE, or p did not leave.
func (s *sieve) certainly(p *peer, to ref, from, n int32, at int64) bool {
	if to.target != Group || to.at < 0 || p.steady[to.at] {
		return true
	}
	return slices.ContainsFunc(p.spells[to.at], func(m *membership) bool {
		return m.Joined != 0 && at >= m.Joined && (m.Leaving == 0 && m.Left == 0 || s.during[m][from] > n+1)
	})
}
