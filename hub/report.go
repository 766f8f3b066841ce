package hub

import (
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub/internal/roster"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is what loops report of the members of groups that are watched. A group that is not costs each of its members
// one look at a field of the loop's own.

// reports is where the loops report the members of a group to, from when its home asked for it until it asks for no more.
type reports struct {
	home *shard // on whose loop the reports arrive
	to   interface{ reported(r *report) }
}

// report is what a loop reports of a member. A loop's reports arrive in their order.
type report struct {
	reports *reports
	op      roster.Op
	listed  bool // no member: the loop has reported all that were there when it was asked
}

// Deliver implements transport.Mail.
func (r *report) Deliver(*transport.Loop) { r.reports.to.reported(r) }

// Size implements transport.Mail.
func (r *report) Size() int { return len(r.op.About) + len(r.op.Reason) + 64 }

// send sends a report to the group's home, behind the loop's earlier ones.
func (r *reports) send(sh *shard, m *report) {
	m.reports = r
	sh.loop.Forward(r.home.loop, m)
}

// listedMembers is how many members of a group a loop reports before it goes on with its other work.
const listedMembers = 64

// listing reports the members of a group that are on a loop, and has the loop report changes from now on.
type listing struct {
	shard   *shard
	group   *group
	reports *reports
	begun   bool
	left    int // the members before this place in the list are yet to be reported
}

// Deliver implements transport.Mail.
func (l *listing) Deliver(loop *transport.Loop) {
	m := l.group.local[l.shard.index]
	if !l.begun {
		l.begun, l.left, m.reports = true, len(m.list), l.reports
	}
	if m.reports != l.reports {
		return // it is asked for no more
	}
	// From the back: a member that leaves meanwhile gives its place to the last one, which was reported or is yet to be.
	l.left = min(l.left, len(m.list))
	for end := max(l.left-listedMembers, 0); l.left > end; l.left-- {
		m.list[l.left-1].reportEntered(l.group)
	}
	if l.left == 0 {
		l.reports.send(l.shard, &report{listed: true})
		return
	}
	loop.Post(l)
}

// Size implements transport.Mail.
func (*listing) Size() int { return 64 }

// silence ends what a listing began.
type silence struct {
	shard   *shard
	group   *group
	reports *reports
}

// Deliver implements transport.Mail.
func (s silence) Deliver(*transport.Loop) {
	if m := s.group.local[s.shard.index]; m.reports == s.reports {
		m.reports = nil
	}
}

// Size implements transport.Mail.
func (silence) Size() int { return 64 }

// moving is what is known of a client's move to or from another connection.
type moving struct {
	replaces  uuid.UUID // the client's id over the connection that it leaves; zero for none
	hidden    bool      // that connection has not vouched for it yet: watchers don't see it
	since     uint32    // hidden: loop clock
	successor uuid.UUID // its id over the connection that it goes to, to which it has sent a FENCE; zero for none
}

// hiddenTime is how long a client is not shown that says that it replaces another one which does not vouch for it. Sessions are
// swept once a second.
const hiddenTime = 3 * time.Second

// isHidden reports whether watchers don't see the client yet.
func (s *session) isHidden() bool {
	m := s.extra().moving
	return m != nil && m.hidden
}

// replace notes that the client says that it takes the place of another one.
func (s *session) replace(id uuid.UUID) {
	s.others().moving = &moving{replaces: id, hidden: true, since: s.shard.loop.Clock()}
}

// vouched is called when a FENCE from another client has arrived: where the client takes that one's place, its watchers see it
// there from now on.
func (s *session) vouched(by uuid.UUID) {
	if s.isHidden() && s.extra().moving.replaces == by {
		s.show()
	}
}

// checkHidden shows a client for which nothing vouches.
func (s *session) checkHidden() {
	if s.isHidden() && s.shard.loop.Since(s.extra().moving.since) >= hiddenTime {
		s.extra().moving.replaces = uuid.Nil
		s.show()
	}
}

// show makes the client one that watchers see.
func (s *session) show() {
	s.extra().moving.hidden = false
	s.reportAll()
}

// reportAll reports the client, as it is now, to the homes of its groups.
func (s *session) reportAll() {
	s.eachPlace(func(p place) { s.reportEntered(p.group) })
}

// goesTo notes that the client, which was told to move, has sent a FENCE to another one: that is what it moves to, unless it
// came from there.
func (s *session) goesTo(id uuid.UUID) {
	if m := s.extra().moving; !s.told || m != nil && m.replaces == id {
		return
	}
	o := s.others()
	if o.moving == nil {
		o.moving = new(moving)
	}
	o.moving.successor = id
}

// reportEntered reports the client as a member of g, or what is new of it.
func (s *session) reportEntered(g *group) {
	r := g.local[s.shard.index].reports
	if r == nil || s.isHidden() {
		return
	}
	m := roster.Member{ID: s.id, About: s.shown()}
	if moving := s.extra().moving; moving != nil {
		m.Replaces = moving.replaces
	}
	r.send(s.shard, &report{op: roster.Op{Member: m}})
}

// reportExited reports that the client is no member of g any more.
func (s *session) reportExited(g *group) {
	r := g.local[s.shard.index].reports
	if r == nil {
		return
	}
	op := roster.Op{Member: roster.Member{ID: s.id}, Left: true, Reason: s.shard.ending}
	if op.Reason == "" {
		op.Reason = roster.Unsubscribed
	}
	if moving := s.extra().moving; moving != nil {
		op.Successor = moving.successor
	}
	r.send(s.shard, &report{op: op})
}

// shown returns what watchers see of the client.
func (s *session) shown() []byte {
	m := opcodes.PresenceMember{
		ID: s.id, Node: s.shard.hub.node.Name, Since: time.Unix(int64(s.since), 0), Weight: int(s.weight),
	}
	size := 160 + len(m.Node)
	if a := s.about; a != nil {
		m.Name, m.Version, m.Meta = a.name, a.version, a.meta
		size += len(m.Name) + len(m.Version)
		for k, v := range m.Meta {
			size += len(k) + len(v) + 6
		}
	}
	return opcodes.AppendPresenceMember(make([]byte, 0, size), &m)
}
