package hub

import (
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// A client that moves has two connections for a while. The one that it is about to leave goes on getting everything else,
// but is drawn for an ANY only where its group has nobody else. Other instances are told of one member less, so that they
// don't draw a group's last member here, who may be gone when the message comes: it can be drawn again only if its sender
// has sent nothing since. And a sender whose messages go to the new connection, and then to the old one again, could see
// them overtake each other.

// departTime is how long a client may take to leave after its FENCE. One that is there for longer has stayed after all.
const departTime = 10 * time.Second

// depart notes that the client, which was told to move, has sent a FENCE over its new connection.
func (s *session) depart() {
	if !s.told {
		return
	}
	s.departedAt = s.shard.loop.Clock()
	if !s.departing {
		s.departing = true
		s.eachGroup(func(g *group) { g.departing[s.shard.index].Add(1) })
	}
}

// stay undoes depart where the client has stayed for too long.
func (s *session) stay() {
	if s.departing && s.shard.loop.Since(s.departedAt) > departTime {
		s.departing = false
		s.eachGroup(func(g *group) { g.departing[s.shard.index].Add(-1) })
	}
}

// eachGroup calls change for each of the client's groups, that of all clients included, and tells other instances of it.
func (s *session) eachGroup(change func(*group)) {
	s.eachPlace(func(p place) {
		change(p.group)
		s.shard.hub.announce(p.group)
	})
}

// eachPlace calls f for the client's places in all of its groups.
func (s *session) eachPlace(f func(place)) {
	f(s.everyone)
	if s.first.group != nil {
		f(s.first)
	}
	if s.more != nil {
		for _, p := range *s.more {
			f(p)
		}
	}
}

// offered returns how many members of the group may be drawn.
func (g *group) offered() int {
	n := 0
	for i := range g.counts {
		n += g.offeredOn(i)
	}
	return n
}

// standing is what other instances are told of the group: how many members may be drawn, or that somebody is expected to
// join who may then. It needs mu.
func (g *group) standing() int {
	n := g.offered()
	switch {
	case n > 0:
		return n
	case len(g.expected) > 0:
		return broker.Expected
	}
	return g.empty()
}

// empty is what other instances are told of the group while it has no members. Observers need its messages even then.
func (g *group) empty() int {
	if g.observed {
		return broker.Watched
	}
	return 0
}

// offeredOn is offered for one loop.
func (g *group) offeredOn(loop int) int {
	return max(int(g.counts[loop].Load()-g.departing[loop].Load()), 0)
}
