package hub

import (
	"slices"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// This file lets clients join groups with history: at a known position, and with what they missed behind another one.
//
// The position is the end of the history when the subscription stood. The answer waits until this instance has handed
// everything up to there to its loops: a member on another connection here, which is about to leave, gets that before the
// FENCE of the one that joins.

// joinHistory is a group with history that a change joins or recovers.
type joinHistory struct {
	change *change
	group  *group
	limits broker.Limits
	member bool              // the client is one already
	from   *opcodes.Recovery // nil for a client that misses nothing

	// Set before the change goes on.
	end   broker.Position
	first uint64 // that is kept
	known bool   // end is; it is not where the broker is away, and clients may identify all the same

	placed bool
	at     broker.Position // where the client joins; meaningless unless placed
}

// subscribed implements waiter: the group is subscribed, or can't be.
func (j *joinHistory) subscribed(err error) {
	h := j.change.session.shard.hub
	if err != nil {
		j.change.subscribed(err)
		return
	}
	h.broker.Extent(j.group.name, j.limits, func(e broker.Extent, err error) {
		if err != nil {
			j.change.subscribed(err)
			return
		}
		j.end, j.first, j.known = broker.Position{Epoch: e.Epoch, Offset: e.Last}, e.First, true
		j.group.courseOf().await(e.Last, j.group.total() > 0, func() { j.change.subscribed(nil) })
	})
}

// groupsWithHistory is the changePart of positions in groups with history. It stands behind that of the groups themselves.
type groupsWithHistory struct{}

func (groupsWithHistory) check(c *change) *ChangeError {
	s := c.session
	for i := range c.asked.Recover {
		name := c.asked.Recover[i].Group
		switch {
		case intent.CheckGroup(name) != nil || !s.mayRecover(name),
			!slices.Contains(c.asked.Groups, name) && (s.phase != phaseIdentified || !s.memberOf(name)):
			return &ChangeError{opcodes.CodeForbidden, name}
		}
	}
	return nil
}

// mayRecover tells whether the client's token lets it recover the group.
func (s *session) mayRecover(group string) bool { return s.grant != nil && s.grant.MayRecover(group) }

func (groupsWithHistory) acquire(c *change) {
	s := c.session
	h := s.shard.hub
	if h.chronicles.all.Load() == nil {
		return
	}
	for _, g := range c.groups {
		c.joinHistory(g, false)
	}
	if s.phase != phaseIdentified || !s.features.Has(opcodes.FeatureHistory) {
		return
	}
	for _, p := range s.namedPlaces(c) {
		c.joinHistory(p.group, true)
	}
}

// namedPlaces returns the places of the client in groups that the change names though it is in them.
func (s *session) namedPlaces(c *change) (all []place) {
	named := func(name string) bool {
		return slices.Contains(c.asked.Groups, name) ||
			slices.ContainsFunc(c.asked.Recover, func(r opcodes.Recovery) bool { return r.Group == name })
	}
	if s.first.group != nil && named(s.first.group.name) {
		all = append(all, s.first)
	}
	for _, p := range s.more() {
		if named(p.group.name) {
			all = append(all, p)
		}
	}
	return all
}

// joinHistory asks where the history of the group ends, if it has one.
func (c *change) joinHistory(g *group, member bool) {
	s := c.session
	h := s.shard.hub
	rule := h.chronicles.find([]byte(g.name))
	if rule == nil {
		return
	}
	j := &joinHistory{change: c, group: g, limits: rule.Limits, member: member}
	for i := range c.asked.Recover {
		if c.asked.Recover[i].Group == g.name {
			j.from = &c.asked.Recover[i]
		}
	}
	m := g.local[s.shard.index]
	if len(m.list) == 0 && m.joining.Load() == 0 {
		m.timeline = nil // the loop got no messages of the group
	}
	m.joining.Add(1)
	c.histories = append(c.histories, j)
	if h.isolated() {
		return
	}
	c.expect()
	g.await(j)
}

func (groupsWithHistory) release(c *change) {
	for _, j := range c.histories {
		j.group.local[c.session.shard.index].joining.Add(-1)
	}
	c.histories = nil
}

func (groupsWithHistory) leave(*change) {}

func (groupsWithHistory) answer(c *change, a *opcodes.Changed) {
	s := c.session
	for _, j := range c.histories {
		j.place()
	}
	if c.op == opcodes.Unsubscribe || !s.features.Has(opcodes.FeatureHistory) || s.kind != 0 {
		return
	}
	for _, j := range c.histories {
		if !j.placed || !s.mayRecover(j.group.name) { // without the right the position is of no use
			continue
		}
		joined := opcodes.Joined{Group: j.group.name, Position: opcodes.Position(j.at)}
		if j.from != nil {
			joined.Recovers = true
			if from := max(j.from.Offset, j.first-min(j.first, 1)); j.at.Offset > from {
				joined.Recovering = j.at.Offset - from
			}
		}
		a.Joined = append(a.Joined, joined)
	}
	if len(a.Joined) == 0 && len(c.asked.Recover) > 0 {
		a.Joined = []opcodes.Joined{}
	}
}

// place determines where the client joins: behind what its loop has delivered to the group's other members there, or where
// the history ends. That is unknown where the broker is away.
func (j *joinHistory) place() {
	if j.placed {
		return
	}
	s := j.change.session
	t := s.shard.timelineOf(j.group)
	others := len(j.group.local[s.shard.index].list)
	if s.placeOf(j.group) != nil {
		others--
	}
	switch {
	case t.known && (!j.known || others > 0 || t.at.Offset >= j.end.Offset):
		j.at, j.placed = t.at, true
	case j.known:
		j.at, j.placed = j.end, true
		t.at, t.known = j.end, true
	}
}

func (groupsWithHistory) enter(c *change) {
	s := c.session
	histories := c.histories
	c.histories = nil
	for _, j := range histories {
		j.place() // unless the answer did
		t := s.shard.timelineOf(j.group)
		j.group.local[s.shard.index].joining.Add(-1)
		if s.kind != 0 || !s.features.Has(opcodes.FeatureHistory) {
			continue
		}
		switch r := (&catchup{session: s, group: j.group}); {
		case j.from != nil:
			r.pos = broker.Position(j.from.Position)
			if r.told = r.pos.Epoch; r.told == "" {
				r.told = j.at.Epoch
			}
			if j.placed && r.pos == t.at { // it has everything
				s.sendHistory(&opcodes.HistoryData{Group: j.group.name, Position: opcodes.Position(r.pos), Live: true})
				continue
			}
			s.recover(r)
		case !j.placed && !j.member && s.mayRecover(j.group.name):
			r.measure = true
			s.recover(r)
		}
	}
}
