package fleet

import (
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// site is another instance, as the leader of a fleet sees it: the bots there.
type site struct {
	name   string // its inbox
	node   string
	doubt  leadership // the claim to its group, while it is silent; nil otherwise
	bots   map[lifecycle.ID]bool
	orders uint64         // the number of the last order to it
	open   *orderOnItsWay // nil for none: the leader gives one order at a time
}

// orderOnItsWay is an order that a site has not confirmed yet.
type orderOnItsWay struct {
	mail mail
	sent time.Time
	done func()
}

// join notes the bots of a roster.
func (l *lead) join(m *mail) *site {
	s := l.sites[m.From]
	if s == nil {
		s = &site{name: m.From, node: m.Node, bots: make(map[lifecycle.ID]bool)}
		l.sites[m.From] = s
	}
	for _, k := range m.Bots {
		s.bots[k.ID], l.at[k.ID] = true, s
	}
	return s
}

// take handles the mail of a site.
func (l *lead) take(m *mail, now time.Time) {
	s := l.sites[m.From]
	switch {
	case m.Kind == mailRoster:
		l.takeRoster(m, now)
	case s == nil: // it was given up, and does not know yet
		l.f.s.link.post(m.From, &mail{Kind: mailResync, Fleet: l.f.name, Term: l.term}, nil)
	case m.Kind == mailWord && m.Word != nil:
		l.takeWord(s, m, now)
	case m.Kind == mailDone && s.open != nil && s.open.mail.N == m.N:
		done := s.open.done
		s.open = nil
		done()
	}
}

func (l *lead) takeWord(s *site, m *mail, now time.Time) {
	w := m.Word
	switch {
	case w.Kind == wordLeft:
		delete(s.bots, w.ID)
		defer delete(l.at, w.ID)
	case w.Kind == wordHealthCheck && w.Report == nil:
		return
	default:
		s.bots[w.ID], l.at[w.ID] = true, s
	}
	if m.N == 0 {
		l.hear(*w, nil, now)
		return
	}
	n, from := m.N, m.From
	l.hear(*w, func(code, message string) {
		l.f.s.link.post(from, &mail{Kind: mailAnswer, Fleet: l.f.name, Term: l.term, N: n, Code: code, Message: message}, nil)
	}, now)
}

// takeRoster compares the bots of an instance with what the leader knows of them.
func (l *lead) takeRoster(m *mail, now time.Time) {
	if s := l.sites[m.From]; s != nil {
		there := make(map[lifecycle.ID]bool, len(m.Bots))
		for _, k := range m.Bots {
			there[k.ID] = true
		}
		for id := range s.bots {
			if !there[id] {
				delete(s.bots, id)
				delete(l.at, id)
				l.do(l.state.Left(id, now))
			}
		}
	}
	l.join(m)
	l.do(l.state.Merge(m.Bots, now))
}

// order has a site's bot carry out an order, and calls done when it has, or the site is given up.
func (l *lead) order(s *site, id lifecycle.ID, o order, done func()) {
	s.orders++
	s.open = &orderOnItsWay{mail: mail{Kind: mailOrder, Fleet: l.f.name, Term: l.term, N: s.orders, To: id, Order: &o}, done: done}
	l.send(s, time.Now())
}

func (l *lead) send(s *site, now time.Time) {
	s.open.sent = now
	m := s.open.mail
	l.f.s.link.post(s.name, &m, nil)
}

// checkSites sends again what was not confirmed, and looks after instances that say nothing any more.
func (l *lead) checkSites(now time.Time) {
	for name, s := range l.sites {
		switch silent := l.f.s.link.isSilent(name, now); {
		case silent && s.doubt == nil:
			s.doubt = l.f.s.first.Hold(aliveGroup(s.node), func(uint64) {
				if l.sites[name] == s {
					l.giveUp(s, time.Now())
				}
			}, func() {})
		case !silent:
			s.trust()
		}
		if s.open != nil && now.Sub(s.open.sent) > resendAfter {
			l.send(s, now)
		}
	}
}

// trust gives up the claim to the site's group.
func (s *site) trust() {
	if s.doubt != nil {
		s.doubt.Release()
		s.doubt = nil
	}
}

// end ends what the leader has begun.
func (l *lead) end() {
	l.ended = true
	for _, s := range l.sites {
		s.trust()
	}
}

// giveUp takes the bots of an instance whose lease has ended for gone.
func (l *lead) giveUp(s *site, now time.Time) {
	s.trust()
	if len(s.bots) > 0 {
		l.log(slog.LevelWarn, "an instance with bots is silent: they count as gone", slog.Int("bots", len(s.bots)))
	}
	delete(l.sites, s.name)
	delete(l.f.s.link.peers, s.name)
	for id := range s.bots {
		delete(l.at, id)
	}
	open := s.open
	s.open = nil
	for id := range s.bots {
		l.do(l.state.Left(id, now))
	}
	if open != nil {
		open.done()
	}
}
