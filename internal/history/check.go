package history

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Options says how strictly a history is judged. The zero value is right for a run without injected faults.
type Options struct {
	// Fault allows losses that the hub reported to the sender, or that CountedDrops accounts for. Duplicates,
	// reordering and misrouting are never allowed.
	Fault bool
	// CountedDrops is the number of messages that the hub's own counters say it dropped. Used with Fault.
	CountedDrops int
	// Grace bounds the time in which the hub notices a broken connection, and finishes an acknowledged message. 0 means
	// two seconds.
	Grace time.Duration
	// InFlight bounds the way of a message to a receiver that reads: a message acknowledged earlier than that before
	// the receiver left must have arrived. 0 means ten seconds.
	InFlight time.Duration
	// Examples bounds the violations of each kind that are described. 0 means ten.
	Examples int
}

// peer is a session prepared for checking.
type peer struct {
	*Session
	member []bool                  // indexed by group: it was in the group at some time
	steady []bool                  // indexed by group: it was in the group for the life of its connection
	spells map[int32][]*membership // by group: the times in which it was in one of the others
	maxN   int32                   // the last of its messages that was received or acknowledged; -1: none
	first  int                     // index of its first message among all messages
}

// ref is a message's target, resolved to the group's number or the receiver's position in checker.peers.
type ref struct {
	target Target
	at     int32 // -1: no receiver (Group, Direct), or all clients (Any)
}

// checker holds the state for the whole history. The state for pairs with one receiver is in its sieve.
type checker struct {
	opts    Options
	report  *Report
	peers   []*peer
	byIndex map[int32]int32
	byID    map[string]int32
	groups  map[string]int32
	refs    []ref   // of all messages, by peer.first + n
	anyBy   []int32 // 1 + position of the first receiver of an ANY message; 0: none
	post    post
	silent  map[int]bool
	grace   int64
	flight  int64
}

// Check judges the history. Recording must have ended.
func (h *History) Check(o Options) *Report {
	c := prepare(h.table, o)
	for _, p := range c.peers {
		c.checkNotes(p)
		c.survey(p)
	}
	s := newSieve(c)
	for i := range c.peers {
		s.receiver(int32(i))
	}
	for i := range c.peers {
		c.checkSent(int32(i))
	}
	c.settleSilent()
	slices.SortStableFunc(c.report.Examples, func(a, b Violation) int { return cmp.Compare(a.Kind, b.Kind) })
	return c.report
}

func prepare(table []*Session, o Options) *checker {
	c := &checker{
		opts:    o,
		byIndex: make(map[int32]int32, len(table)),
		byID:    make(map[string]int32, len(table)),
		groups:  make(map[string]int32),
		silent:  make(map[int]bool),
		grace:   int64(cmp.Or(o.Grace, 2*time.Second)),
		flight:  int64(cmp.Or(o.InFlight, 10*time.Second)),
	}
	c.report = &Report{
		Sessions:    len(table),
		Refused:     make(map[string]int),
		Disconnects: make(map[string]int),
		perKind:     cmp.Or(o.Examples, 10),
	}
	for i, s := range table {
		c.peers = append(c.peers, &peer{Session: s, maxN: -1, first: c.report.Messages})
		c.byIndex[int32(s.index)] = int32(i)
		for _, id := range s.ids() {
			if at, twice := c.byID[id]; twice && at != int32(i) { // a client may return to a connection that it was leaving
				c.report.add(Corrupted, "%v was given the id %s, which another session has", s, id)
			}
			c.byID[id] = int32(i)
		}
		c.report.Moves += len(s.life.Names)
		c.report.Absences += len(s.life.Absences)
		c.report.Messages += len(s.sends)
		c.report.Late += s.life.Late
		c.report.Arrivals += len(s.arrivals)
		c.internGroups(s)
	}
	c.resolve()
	c.sort()
	return c
}

func (c *checker) internGroups(s *Session) {
	intern := func(name string) {
		if _, ok := c.groups[name]; !ok {
			c.groups[name] = int32(len(c.groups))
		}
	}
	for _, g := range s.life.Groups {
		intern(g)
	}
	for i := range s.life.Memberships {
		intern(s.life.Memberships[i].Group)
	}
}

// resolve turns names into positions, so that the loops over receivers × messages compare only numbers.
func (c *checker) resolve() {
	c.refs = make([]ref, 0, c.report.Messages)
	c.anyBy = make([]int32, c.report.Messages)
	for _, p := range c.peers {
		p.member = make([]bool, len(c.groups))
		for _, g := range p.life.Groups {
			p.member[c.groups[g]] = true
		}
		p.steady = slices.Clone(p.member)
		p.spells = make(map[int32][]*membership)
		for i := range p.life.Memberships {
			m := &p.life.Memberships[i]
			at := c.groups[m.Group]
			p.member[at] = true
			p.spells[at] = append(p.spells[at], m)
		}
		c.report.Memberships += len(p.life.Memberships)
		for i := range p.sends {
			c.refs = append(c.refs, c.resolveOne(p.sends[i].to))
		}
	}
}

func (c *checker) resolveOne(to To) ref {
	r := ref{target: to.Target, at: -1}
	names := c.groups
	if to.Target == Direct {
		names = c.byID
	}
	if at, ok := names[to.Name]; ok {
		r.at = at
	} else if to.Target == Any && to.Name != "" {
		r.at = noMembers
	}
	return r
}

// noMembers marks a group without members in the ref of an ANY message, where -1 means all clients.
const noMembers = -2

// survey computes maxN of each sender.
func (c *checker) survey(p *peer) {
	for i := range p.sends {
		switch m := &p.sends[i]; m.outcome {
		case accepted:
			c.report.Accepted++
			p.maxN = max(p.maxN, int32(i))
		case refused:
			c.report.Refused[m.code]++
			p.maxN = max(p.maxN, int32(i))
		}
	}
	for _, a := range p.arrivals {
		if s, ok := c.byIndex[a.sender]; ok {
			c.peers[s].maxN = max(c.peers[s].maxN, a.n)
		}
	}
	switch p.life.Departure {
	case Dismissed:
		c.report.Disconnects[p.life.Reason]++
	case Cut:
		c.report.CutOff++
	}
}

// checkNotes adds the violations found while recording.
func (c *checker) checkNotes(p *peer) {
	take := func(k Kind, l notes) {
		for i := range l.Count {
			if i < len(l.Texts) {
				c.report.add(k, "%v got %s", p, l.Texts[i])
			} else {
				c.report.Counts[k]++
			}
		}
	}
	take(Leaked, p.leaks)
	take(Corrupted, p.oddities)
	for from, stamps := range p.stamps {
		s, ok := c.byIndex[from]
		for _, id := range stamps {
			if ok && !c.peers[s].hadID(id) {
				c.report.add(Corrupted, "%v got messages of %v (%s) stamped with the sender %.50q", p, c.peers[s], strings.Join(c.peers[s].ids(), ", "), id)
			}
		}
	}
}

// addressed reports whether r names p, regardless of when p was connected. A sender with NoEcho is not a receiver of
// its own GLOBAL and GROUP messages.
func (c *checker) addressed(r ref, sender, p int32) bool {
	switch r.target {
	case Global:
		return sender != p || !c.peers[p].life.NoEcho
	case Group:
		return r.at >= 0 && c.peers[p].member[r.at] && (sender != p || !c.peers[p].life.NoEcho)
	case Direct:
		return r.at == p
	default:
		return r.at == -1 || r.at >= 0 && c.peers[p].member[r.at]
	}
}

// present reports whether p may have been a client of the hub at some moment while m was on its way.
func (c *checker) present(p *peer, m *send) bool {
	switch {
	case p.life.Identifying == 0:
		return false
	case p.life.Ended != 0 && p.life.Ended+c.grace < m.at:
		return false
	case m.settled == 0 || c.opts.Fault:
		return true
	}
	return p.life.Identifying <= m.settled+c.grace
}

// policy reports whether m was refused for its content or its sender, so that it must have no receiver.
func (m *send) policy() bool {
	return m.outcome == refused && (m.code == "FORBIDDEN" || m.code == "RATE_LIMITED")
}

// denied reports whether the sender got an ERROR that excludes any delivery of m.
func (m *send) denied() bool {
	return m.outcome == refused && (m.code == "NO_RECEIVER" || m.code == "RECEIVER_GONE")
}

// vouched reports whether the hub certainly read message n of s. top is the last message of s known to have been read.
func (c *checker) vouched(s *peer, n, top int32) bool {
	m := &s.sends[n]
	switch {
	case m.outcome == unsent || m.policy():
		return false
	case m.outcome != accepted && c.awayAt(s, m) != nil:
		return false
	case s.life.Departure == Stayed || s.life.Departure == Left:
		return true
	}
	return n <= top || m.outcome == accepted
}
