package hub

import (
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file delivers the messages of groups with history. The broker hands them over in the order of their numbers, which
// is that of all members on all loops. Delivery obeys the number alone: a loop that has a number, or began behind it, passes
// over it. Members that recover get what they missed first: see catchup.go.

// course is how far this instance is in a group with history, as the broker handed it over.
type course struct {
	mu      sync.Mutex
	reached uint64
	known   bool
	waiting []arrival
}

// arrival is what waits until this instance has the messages up to an offset.
type arrival struct {
	offset uint64
	then   func()
}

// courseOf returns the group's course.
func (g *group) courseOf() *course {
	if c := g.course.Load(); c != nil {
		return c
	}
	g.course.CompareAndSwap(nil, new(course))
	return g.course.Load()
}

// await has then called once this instance has the messages up to the offset: at once where it has, or where the group has
// no members here, so that none of them waits for these messages.
func (c *course) await(offset uint64, members bool, then func()) {
	c.mu.Lock()
	if members && c.known && c.reached < offset {
		c.waiting = append(c.waiting, arrival{offset, then})
		c.mu.Unlock()
		return
	}
	if !c.known || c.reached < offset {
		c.known, c.reached = true, offset
	}
	c.mu.Unlock()
	then()
}

// moveTo notes how far this instance is. After a gap nothing that was waited for may come.
func (c *course) moveTo(offset uint64, gap bool) {
	c.mu.Lock()
	c.reached, c.known = offset, true
	var due []arrival
	if len(c.waiting) > 0 {
		var left []arrival
		for _, w := range c.waiting {
			if gap || w.offset <= offset {
				due = append(due, w)
			} else {
				left = append(left, w)
			}
		}
		c.waiting = left
	}
	c.mu.Unlock()
	for _, w := range due {
		w.then()
	}
}

// timeline is how far a loop is in a group with history. It belongs to the loop, and exists while members of the group, or
// clients that are about to join, are on it.
type timeline struct {
	at     broker.Position // of the last message or gap that the loop handled, or behind which its first member joined
	known  bool            // at is
	breaks uint32          // new epochs and gaps so far

	readers map[*session]*catchup // members that recover, or whose recovery was ahead of the loop
	behind  int                   // of these, those that recover

	// The last messages, while members recover: one whose page ends within them goes over to live with them.
	recent      []recentMessage
	recentBytes int
}

// recentMessage is a message that the loop has delivered.
type recentMessage struct {
	at     broker.Position
	sender uuid.UUID
	buf    *transport.Buffer // one reference
}

// Bounds of the recent messages, in bytes: of one group on a loop, and of all of them.
const (
	maxRecent    = 256 << 10
	maxAllRecent = 8 << 20
)

// remember keeps the message for members that recover.
func (t *timeline) remember(sh *shard, m recentMessage) {
	m.buf.Retain()
	t.recent = append(t.recent, m)
	n := len(m.buf.Payload())
	t.recentBytes += n
	sh.recentBytes += n
	drop := 0
	for drop < len(t.recent) && (t.recentBytes > maxRecent || sh.recentBytes > maxAllRecent) {
		n := len(t.recent[drop].buf.Payload())
		t.recentBytes -= n
		sh.recentBytes -= n
		t.recent[drop].buf.Release()
		t.recent[drop] = recentMessage{}
		drop++
	}
	t.recent = t.recent[drop:]
}

// forget drops the recent messages.
func (t *timeline) forget(sh *shard) {
	for _, m := range t.recent {
		m.buf.Release()
	}
	sh.recentBytes -= t.recentBytes
	t.recent, t.recentBytes = nil, 0
}

// timelineOf returns the loop's timeline of the group.
func (sh *shard) timelineOf(g *group) *timeline {
	m := g.local[sh.index]
	if m.timeline == nil {
		m.timeline = new(timeline)
	}
	return m.timeline
}

// numberedMail takes a message of a group with history, or a gap, to a loop.
type numberedMail struct {
	shard  *shard
	group  *group
	at     broker.Position
	gap    broker.GapReason // zero for a message
	buf    *transport.Buffer
	sender uuid.UUID
	term   uint64
}

var numberedPool = sync.Pool{New: func() any { return new(numberedMail) }}

// Size implements transport.Mail.
func (n *numberedMail) Size() int {
	if n.buf == nil {
		return 64
	}
	return len(n.buf.Payload())
}

// Deliver implements transport.Mail.
func (n *numberedMail) Deliver(*transport.Loop) {
	if n.gap != 0 {
		n.shard.breakOff(n)
	} else {
		n.shard.deliverNumbered(n)
	}
	n.recycle()
}

func (n *numberedMail) recycle() {
	if n.buf != nil {
		n.buf.Release()
	}
	*n = numberedMail{}
	numberedPool.Put(n)
}

// receiveNumbered hands a numbered message or, where b is nil, a gap to the loops that it concerns.
func (h *Hub) receiveNumbered(g *group, at broker.Position, gap broker.GapReason, b *transport.Buffer, sender uuid.UUID) {
	term := g.term()
	for i, sh := range h.shards {
		if _, ok := g.reaches(i); !ok && g.local[i].joining.Load() == 0 {
			continue
		}
		n := numberedPool.Get().(*numberedMail)
		*n = numberedMail{shard: sh, group: g, at: at, gap: gap, buf: b, sender: sender, term: term}
		if b != nil {
			b.Retain()
		}
		if !sh.loop.PostWait(n) {
			n.recycle()
		}
	}
	g.courseOf().moveTo(at.Offset, gap != 0)
}

// deliverNumbered queues the message for the group's members on the loop.
func (sh *shard) deliverNumbered(n *numberedMail) {
	t := sh.timelineOf(n.group)
	if t.known && n.at.Epoch == t.at.Epoch && n.at.Offset <= t.at.Offset {
		return
	}
	if t.known && n.at.Epoch != t.at.Epoch {
		t.breaks++
		sh.tellMembers(n.group, t, &opcodes.HistoryData{Position: opcodes.Position{Epoch: n.at.Epoch, Offset: n.at.Offset - 1}})
	}
	t.at, t.known = n.at, true
	var except *session
	if s := sh.client(&n.sender); s != nil && s.noEcho {
		except = s
	}
	if len(t.readers) == 0 {
		sh.deliver(n.group, n.term, &n.sender, except, n.buf, nil, nil)
		return
	}
	if t.behind > 0 {
		t.remember(sh, recentMessage{n.at, n.sender, n.buf})
	}
	barred := n.group.barred(n.term)
	for _, s := range n.group.local[sh.index].list {
		if s == except || s == barred || !t.reaches(s, n.at) {
			continue
		}
		sh.give(s, &n.sender, n.buf, nil)
	}
	sh.beginDelivery()
	sh.observed(n.group, n.buf)
	sh.endDelivery()
}

// reaches reports whether the member is to get the message as it comes: it does not recover, and is not ahead of it.
func (t *timeline) reaches(s *session, at broker.Position) bool {
	r := t.readers[s]
	switch {
	case r == nil:
		return true
	case !r.live, at.Offset <= r.pos.Offset && !r.passed:
		return false
	}
	delete(t.readers, s)
	return true
}

// breakOff notes a gap, and tells the members.
func (sh *shard) breakOff(n *numberedMail) {
	t := sh.timelineOf(n.group)
	if t.known && n.gap == broker.GapEpoch && n.at.Epoch == t.at.Epoch { // the loop began in this epoch
		return
	}
	t.breaks++
	t.forget(sh)
	t.at, t.known = n.at, true
	sh.count.history.gaps[n.gap-1].Add(1)
	sh.tellMembers(n.group, t, gapData(n.gap, n.at))
}

// gapData returns what a client is told of a gap.
func gapData(reason broker.GapReason, at broker.Position) *opcodes.HistoryData {
	d := &opcodes.HistoryData{Position: opcodes.Position(at), Gap: opcodes.GapReason(reason.String())}
	if reason == broker.GapTrimmed {
		d.First = at.Offset + 1
	}
	return d
}

// tellMembers tells all members that don't recover, and know HISTORY, of a gap or a new epoch.
func (sh *shard) tellMembers(g *group, t *timeline, d *opcodes.HistoryData) {
	d.Group = g.name
	var b *transport.Buffer
	for _, s := range g.local[sh.index].list {
		if !s.features.Has(opcodes.FeatureHistory) || s.kind != 0 {
			continue
		}
		if r := t.readers[s]; r != nil {
			if !r.live || d.Epoch == r.pos.Epoch && d.Offset <= r.pos.Offset { // it learns, or knows, of it by reading
				continue
			}
			r.passed = true
		}
		if b == nil {
			b = historyMessage(d)
		}
		s.conn.Send(b)
	}
	if b != nil {
		b.Release()
	}
}

// historyMessage returns a HISTORY. The caller owns the reference.
func historyMessage(d *opcodes.HistoryData) *transport.Buffer {
	b := transport.AllocBuffer(opcodes.HistorySize(d))
	b.Seal(opcodes.AppendHistory(b.Room(), d))
	return b
}

// sendHistory tells the client how far it is in a group.
func (s *session) sendHistory(d *opcodes.HistoryData) {
	b := historyMessage(d)
	s.conn.Send(b)
	b.Release()
}

// abandon ends the client's recovery of a group that it leaves, and the loop's timeline with its last member.
func (s *session) abandon(g *group, m *members) {
	t := m.timeline
	s.stopRecovering(t)
	if len(m.list) == 0 && m.joining.Load() == 0 {
		m.timeline = nil
	}
}
