package hub

import "time"

// A client that moves has two connections for a while. The one that it is about to leave goes on getting everything; but
// other instances are told of one member less in its groups, so that they draw the new connection for an ANY, and not a
// group's last member here, who may be gone when the message comes. Such a message can be drawn again only if its sender
// has sent nothing since.

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
		s.eachGroup(func(g *group) { g.departing.Add(1) })
	}
}

// stay undoes depart where the client has stayed for too long.
func (s *session) stay() {
	if s.departing && s.shard.loop.Since(s.departedAt) > departTime {
		s.departing = false
		s.eachGroup(func(g *group) { g.departing.Add(-1) })
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

// offered returns how many members of the group other instances may count on.
func (g *group) offered() int { return max(g.total()-int(g.departing.Load()), 0) }
