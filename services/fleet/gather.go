package fleet

import (
	"log/slog"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// Times of a new leader that asks for the rosters of all instances.
const (
	askAgainAfter = 700 * time.Millisecond // an instance that has not answered by then may be gone
	gatherAtMost  = 8 * time.Second        // then an instance that lives and says nothing is left out
)

// gathering is a leader that asks all instances for their bots. It waits for each until it has answered, or its lease has ended.
type gathering struct {
	f       *fleet
	term    uint64
	began   time.Time
	rosters []*mail               // one for each instance
	early   []*mail               // words that came behind a roster
	claims  map[string]leadership // to the groups of instances that have not answered, by their nodes
	gone    map[string]bool       // nodes whose lease has ended
}

// gather begins the leadership of this instance.
func (f *fleet) gather(term uint64, now time.Time) {
	if f.over || term <= f.leaderTerm {
		return
	}
	f.endLead() // bots that work here by the word of the last leader go on
	f.leader, f.leaderTerm = "", term
	f.gathering = &gathering{f: f, term: term, began: now, claims: make(map[string]leadership), gone: make(map[string]bool)}
	f.s.link.pulse(now)
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

// isComplete reports whether all other instances have answered or are gone. It looks after those that have not answered.
func (g *gathering) isComplete(now time.Time) bool {
	complete := true
	for _, node := range g.f.s.link.others() {
		if g.gone[node] || slices.ContainsFunc(g.rosters, func(m *mail) bool { return m.Node == node }) {
			continue
		}
		complete = false
		if g.claims[node] == nil && now.Sub(g.began) > askAgainAfter {
			g.claims[node] = g.f.s.first.Hold(aliveGroup(node), func(uint64) { g.noteGone(node) }, func() {})
		}
	}
	return complete
}

// noteGone notes that the instance's lease has ended, or that it does not serve fleets.
func (g *gathering) noteGone(node string) {
	g.gone[node] = true
	if g.f.gathering == g {
		g.tick(time.Now())
	}
}

// end gives up what the gathering has claimed.
func (g *gathering) end() {
	for _, c := range g.claims {
		c.Release()
	}
	g.claims = nil
}

// tick ends the gathering when it is complete or has taken its time.
func (g *gathering) tick(now time.Time) {
	switch {
	case g.isComplete(now):
	case now.Sub(g.began) < gatherAtMost:
		return
	default:
		g.f.s.first.Log().LogAttrs(noContext, slog.LevelWarn, "an instance does not say which bots it has: the fleet goes on without", slog.String("fleet", g.f.name))
	}
	g.end()
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
