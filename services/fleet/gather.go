package fleet

import (
	"log/slog"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// gatherAtMost is how long a new leader waits for the rosters of all instances. One that has not answered by then is cut off, and its bots
// have been told to stop: it is more than cutOffAfter.
const gatherAtMost = 3500 * time.Millisecond

// gathering is a leader that asks all instances for their bots.
type gathering struct {
	f       *fleet
	term    uint64
	until   time.Time
	rosters []*mail // one for each instance
	early   []*mail // words that came behind a roster
}

// gather begins the leadership of this instance.
func (f *fleet) gather(term uint64, now time.Time) {
	if f.over || term <= f.leaderTerm {
		return
	}
	f.endLead() // bots that work here by the word of the last leader go on
	f.leader, f.leaderTerm = "", term
	f.gathering = &gathering{f: f, term: term, until: now.Add(gatherAtMost)}
	f.s.link.pulseNow(now)
	f.gathering.tick(now)
}

// toLeader handles mail of another instance to the leader.
func (f *fleet) toLeader(m *mail, now time.Time) {
	switch {
	case m.Term != f.term():
	case f.lead != nil:
		f.lead.take(m, now)
	default:
		f.gathering.take(m, now)
	}
}

func (g *gathering) take(m *mail, now time.Time) {
	switch m.Kind {
	case mailRoster:
		g.rosters = slices.DeleteFunc(g.rosters, func(r *mail) bool { return r.From == m.From })
		g.early = slices.DeleteFunc(g.early, func(e *mail) bool { return e.From == m.From })
		g.rosters = append(g.rosters, m)
		g.tick(now)
	case mailWord:
		g.early = append(g.early, m)
	}
}

// isComplete reports whether all other instances have answered.
func (g *gathering) isComplete() bool {
	here := g.f.s.hub.Node().ID
	for _, n := range g.f.s.hub.Nodes() {
		if n.ID != here && !slices.ContainsFunc(g.rosters, func(m *mail) bool { return m.Node == n.ID.String() }) {
			return false
		}
	}
	return true
}

// tick ends the gathering when it is complete or has taken its time.
func (g *gathering) tick(now time.Time) {
	if !g.isComplete() && now.Before(g.until) {
		return
	}
	f := g.f
	found, memory, last := f.roster(), f.memory, f.memoryTerm
	for _, m := range g.rosters {
		found = append(found, m.Bots...)
		if m.Last > last {
			memory, last = m.Memory, m.Last
		}
	}
	l := &lead{f: f, term: g.term, sites: make(map[string]*site), at: make(map[lifecycle.ID]*site)}
	for _, m := range g.rosters {
		l.join(m)
	}
	var actions []lifecycle.Action
	l.state, actions = lifecycle.Adopt(f.settings.Config, memory, found, now)
	f.lead, f.gathering = l, nil
	f.s.count.leaderships.Add(1)
	l.log(slog.LevelInfo, "this instance leads the fleet", slog.Uint64("term", l.term), slog.Int("bots", len(found)), slog.Int("instances", len(l.sites)+1))
	l.do(actions)
	for _, m := range g.early {
		l.take(m, now)
	}
	if f.lead == l {
		f.flush()
	}
}
