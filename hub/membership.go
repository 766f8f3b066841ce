package hub

import (
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

// A client that moves has two connections for a while. The one that it is about to leave goes on getting everything else,
// but is drawn for an ANY only if its group has no other member. Other instances are told of one member less, so that they
// don't draw a group's last member here, which may be gone when the message comes: it can be drawn again only if its sender
// has sent nothing since. And a sender whose messages go to the new connection, and then to the old one again, could see
// them overtake each other.

// departTime is how long a client may take to leave after its FENCE. One that is there for longer has stayed after all.
const departTime = 10 * time.Second

// enter adds the session to the group's members on its loop.
func (s *session) enter(g *group) place {
	m := g.local[s.shard.index]
	m.list = append(m.list, s)
	m.count.Add(1)
	if s.departing {
		m.departing.Add(1)
	} else {
		m.share.Add(int32(s.weight))
	}
	if s.weight != opcodes.DefaultWeight {
		m.uneven++
	}
	s.reportEntered(g)
	return place{g, uint32(len(m.list) - 1)}
}

// memberOf reports whether the client is in the group of that name.
func (s *session) memberOf(name string) bool {
	g := s.shard.hub.groups.named(name)
	return g != nil && s.placeOf(g) != nil
}

// exit takes the session out of the place, moving the last member there, and tells the other instances.
func (s *session) exit(p place) {
	m := p.group.local[s.shard.index]
	last := len(m.list) - 1
	moved := m.list[last]
	m.list[p.at] = moved
	m.list[last] = nil
	m.list = m.list[:last]
	if moved != s {
		moved.placeIn(p.group).at = p.at
	}
	if cap(m.list) > 64 && len(m.list) < cap(m.list)/4 {
		m.list = append(make([]*session, 0, len(m.list)*2), m.list...)
	}
	m.count.Add(-1)
	if s.departing {
		m.departing.Add(-1)
	} else {
		m.share.Add(-int32(s.weight))
	}
	if s.weight != opcodes.DefaultWeight {
		m.uneven--
	}
	if m.timeline != nil {
		s.abandon(p.group, m)
	}
	s.reportExited(p.group)
	s.shard.hub.groups.announce(p.group)
}

// enterAll makes the session a client, and a member of the groups, which expected it.
func (s *session) enterAll(groups []*group) {
	r := s.shard.hub.groups
	s.shard.removeStranger(s)
	if s.shard.hub.universal[s.kind] {
		s.everyone = s.enter(r.everyone)
	} else {
		s.everyone = s.enter(r.foreign)
	}
	if len(groups) > 0 {
		s.first = s.enter(groups[0])
	}
	if len(groups) > 1 {
		s.enterMore(groups[1:])
	}
	s.phase = phaseIdentified
	s.shard.count.types[s.kind].clients.Add(1)
	if s.features.Has(opcodes.FeatureDrain) {
		s.shard.count.movable.Add(1)
	}
	r.announce(s.everyone.group)
	for _, g := range groups {
		g.forget(s)
		r.announce(g)
	}
}

// enterMore makes the session a member of groups beyond the first.
func (s *session) enterMore(groups []*group) {
	old := s.more()
	more := append(make([]place, 0, len(old)+len(groups)), old...) // exactly as large as needed
	for _, g := range groups {
		more = append(more, s.enter(g))
	}
	slices.SortFunc(more, func(a, b place) int { return comparePlace(a, b.group) })
	if s.rest == nil {
		s.rest = new(rest)
	}
	s.rest.more = more
}

// enterGroups makes a client a member of further groups, which expected it.
func (s *session) enterGroups(groups []*group) {
	if len(groups) == 0 {
		return
	}
	s.enterMore(groups)
	for _, g := range groups {
		g.forget(s)
		s.shard.hub.groups.announce(g)
	}
}

// exitGroups takes the client out of those of the named groups that it is in, and returns the names of these.
func (s *session) exitGroups(names []string) (left []string) {
	for _, name := range names {
		g := s.shard.hub.groups.named(name)
		if g == nil || g == s.first.group {
			continue
		}
		more := s.more()
		i, ok := slices.BinarySearchFunc(more, g, comparePlace)
		if !ok {
			continue
		}
		left = append(left, name)
		s.leave(more[i])
		s.rest.more = slices.Delete(more, i, i+1)
	}
	if more := s.more(); len(left) > 0 && len(more) > 0 {
		s.rest.more = append(make([]place, 0, len(more)), more...)
	} else if s.rest != nil && len(more) == 0 {
		s.rest.more = nil
	}
	return left
}

// exitAll undoes enterAll.
func (s *session) exitAll() {
	s.exit(s.everyone)
	if s.first.group != nil {
		s.leave(s.first)
	}
	for _, p := range s.more() {
		s.leave(p)
	}
	s.shard.count.types[s.kind].clients.Add(-1)
	if s.features.Has(opcodes.FeatureDrain) {
		s.shard.count.movable.Add(-1)
	}
}

// leave takes the client out of a group that has a name.
func (s *session) leave(p place) {
	s.exit(p)
	s.shard.hub.groups.dismiss(p.group)
}

// depart notes that the client, which was told to move, has sent a FENCE over its new connection.
func (s *session) depart() {
	if !s.told {
		return
	}
	s.departedAt = s.shard.loop.Clock()
	if !s.departing {
		s.setDeparting(true)
	}
}

// stay undoes depart where the client has stayed for too long.
func (s *session) stay() {
	if s.departing && s.shard.loop.Since(s.departedAt) > departTime {
		s.setDeparting(false)
	}
}

// setDeparting notes that the client is, or is not, about to leave, and tells other instances.
func (s *session) setDeparting(departing bool) {
	s.departing = departing
	one := int32(1)
	if !departing {
		one = -1
	}
	s.eachPlace(func(p place) {
		m := p.group.local[s.shard.index]
		m.departing.Add(one)
		m.share.Add(-one * int32(s.weight))
		s.shard.hub.groups.announce(p.group)
	})
}

// setWeight changes the client's share of the ANYs of its groups, and tells other instances.
func (s *session) setWeight(weight int) {
	old := s.weight
	s.weight = uint8(weight)
	uneven := int32(0)
	if s.weight != opcodes.DefaultWeight {
		uneven++
	}
	if old != opcodes.DefaultWeight {
		uneven--
	}
	s.eachPlace(func(p place) {
		m := p.group.local[s.shard.index]
		m.uneven += uneven
		if !s.departing {
			m.share.Add(int32(s.weight) - int32(old))
			s.shard.hub.groups.announce(p.group)
		}
	})
}

// addStranger notes a connection that has yet to identify. A session is a stranger or in everyone, never both.
func (sh *shard) addStranger(s *session) {
	s.everyone = place{at: uint32(len(sh.strangers))}
	sh.strangers = append(sh.strangers, s)
	sh.count.strangers.Add(1)
}

// removeStranger undoes addStranger.
func (sh *shard) removeStranger(s *session) {
	last := len(sh.strangers) - 1
	moved := sh.strangers[last]
	sh.strangers[s.everyone.at] = moved
	moved.everyone.at = s.everyone.at
	sh.strangers[last] = nil
	sh.strangers = sh.strangers[:last]
	sh.count.strangers.Add(-1)
}
