package history

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Options says how strictly a history is judged. The zero value is right for a run in which nothing was broken.
type Options struct {
	// Fault allows losses of which the hub told the sender, or which CountedDrops accounts for. Nothing else is allowed:
	// a message may never arrive twice, out of order or at the wrong place.
	Fault bool
	// CountedDrops is the number of messages that the hub's own counters say it dropped. Used with Fault.
	CountedDrops int
	// Grace is how long the hub may take to notice that a connection broke, and to finish with a message that it
	// acknowledged. 0 means two seconds.
	Grace time.Duration
	// InFlight is how long a message may be on its way to a receiver that reads: one acknowledged longer ago than that
	// must have arrived before the receiver left by itself. 0 means ten seconds.
	InFlight time.Duration
	// Examples is how many violations of each kind are described. 0 means ten.
	Examples int
}

// peer is a session prepared for checking.
type peer struct {
	*Session
	member []bool // by number of the group
	maxN   int32  // the last of its messages that anybody got or that was acknowledged; -1 for none
	first  int    // number of its first message among those of all
}

// ref is whom a message is for, resolved: the group's number or the receiver's position in checker.peers.
type ref struct {
	target Target
	at     int32 // -1: nobody (Group, Direct), or everybody (Any)
}

// checker holds what is known of the whole history; pair state of one receiver at a time is kept in its sieve.
type checker struct {
	opts    Options
	report  *Report
	peers   []*peer
	byIndex map[int32]int32
	byID    map[string]int32
	groups  map[string]int32
	refs    []ref   // of all messages, by peer.first + n
	anyBy   []int32 // 1 + position of the peer that got an ANY message first; 0: nobody
	post    post
	silent  map[int]bool
	grace   int64
	flight  int64
}

// Check judges the history. It must not be recorded to any more.
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
			if at, twice := c.byID[id]; twice && at != int32(i) { // a client may go back to a connection that it was leaving
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
}

// resolve turns names into positions, so that the loops over receivers × messages compare numbers only.
func (c *checker) resolve() {
	c.refs = make([]ref, 0, c.report.Messages)
	c.anyBy = make([]int32, c.report.Messages)
	for _, p := range c.peers {
		p.member = make([]bool, len(c.groups))
		for _, g := range p.life.Groups {
			p.member[c.groups[g]] = true
		}
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
		r.at = nobody
	}
	return r
}

// nobody stands for a group without members in the ref of an ANY message, where -1 stands for all clients.
const nobody = -2

// survey notes how far each sender's messages got at all.
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

// checkNotes takes over what was found while recording.
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
			if ok && !c.peers[s].given(id) {
				c.report.add(Corrupted, "%v got messages of %v (%s) stamped with the sender %.50q", p, c.peers[s], strings.Join(c.peers[s].ids(), ", "), id)
			}
		}
	}
}

// addressed tells whether p is among those that r names, whenever it was connected. Echo is respected: the sender is not
// among the receivers of its GLOBAL and GROUP messages if it asked for that.
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

// present tells whether p may have been among the hub's clients at some moment while m was on its way.
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

// policy tells whether m was refused for what it is or for who sent it, so that nobody may get it.
func (m *send) policy() bool {
	return m.outcome == refused && (m.code == "FORBIDDEN" || m.code == "RATE_LIMITED")
}

// denied tells whether the sender was told that nobody got m: then nobody may.
func (m *send) denied() bool {
	return m.outcome == refused && (m.code == "NO_RECEIVER" || m.code == "RECEIVER_GONE")
}

// vouched tells whether the hub answers for message n of s: it is certain to have read it. top is the last message of
// s that the judging party knows to have been read.
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
