package hub

import (
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// shard is a loop's share of the hub. It belongs to the loop's goroutine.
type shard struct {
	hub    *Hub
	loop   *transport.Loop
	index  int
	count  *counters
	scan   opcodes.Envelope // of the message that is being handled
	random *rand.Rand

	agent    session           // sends what no client sends
	services []LoopService     // the service types' shares of the loop
	composed opcodes.Envelope  // where a message made here goes
	outgoing broker.Message    // the message that is being published
	losses   broker.Completion // counts what could not be published

	// The message that is being delivered to service types, and what they asked for meanwhile.
	delivering bool
	spreading  bool              // it has yet to leave for other loops and instances
	settling   bool              // what they asked for is being done
	parsed     *transport.Buffer // what delivered was read from; nil for nothing
	delivered  opcodes.Envelope
	deferred   []func()

	publishing map[uuid.UUID]*publishing // what somebody waits to hear of, by its sender

	strangers []*session // not identified
	holding   []*joining // those who are about to join for whom ANYs are held
	heldBytes int        // of these ANYs
	goodbyes  []goodbye  // clients that are disconnected in their slots, in the order of these
}

// place is where a session stands in a list, so that it can leave in constant time.
type place struct {
	group *group
	at    uint32
}

// enter adds the session to the group's members on its loop.
func (s *session) enter(g *group) place {
	m := g.local[s.shard.index]
	m.list = append(m.list, s)
	g.counts[s.shard.index].Add(1)
	return place{g, uint32(len(m.list) - 1)}
}

// exit takes the session out of the place, moving the last member there.
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
	p.group.counts[s.shard.index].Add(-1)
}

// placeIn returns the session's place in a group that it is a member of.
func (s *session) placeIn(g *group) *place {
	switch g {
	case s.everyone.group:
		return &s.everyone
	case s.first.group:
		return &s.first
	}
	for i := range *s.more {
		if p := &(*s.more)[i]; p.group == g {
			return p
		}
	}
	panic("hub: session is not in the group")
}

// addStranger notes a connection that has yet to identify. A session is a stranger or in everyone, never both.
func (sh *shard) addStranger(s *session) {
	s.everyone = place{at: uint32(len(sh.strangers))}
	sh.strangers = append(sh.strangers, s)
	sh.count.strangers.Add(1)
}

func (sh *shard) removeStranger(s *session) {
	last := len(sh.strangers) - 1
	moved := sh.strangers[last]
	sh.strangers[s.everyone.at] = moved
	moved.everyone.at = s.everyone.at
	sh.strangers[last] = nil
	sh.strangers = sh.strangers[:last]
	sh.count.strangers.Add(-1)
}
