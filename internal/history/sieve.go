package history

// sieve holds the state of one receiver with all senders while that receiver is checked. It is reused for each
// receiver, so memory grows only with the number of messages: one bit each.
type sieve struct {
	*checker
	seen  []uint64 // by message number: the receiver got it
	top   []int32  // by sender: the highest message number that the receiver got; -1 for none
	many  []int32  // like top, for GLOBAL and GROUP
	newer []int32  // like top, for DIRECT to a further id of the receiver

	during map[*membership]map[int32]int32 // the receiver's, see tops
}

func newSieve(c *checker) *sieve {
	each := func() []int32 { return make([]int32, len(c.peers)) }
	return &sieve{checker: c, seen: make([]uint64, (c.report.Messages+63)/64), top: each(), many: each(), newer: each()}
}

func (s *sieve) has(number int) bool { return s.seen[number/64]&(1<<(number%64)) != 0 }
func (s *sieve) set(number int)      { s.seen[number/64] |= 1 << (number % 64) }

// receiver checks the arrivals of the peer at position r, and those that are missing.
func (s *sieve) receiver(r int32) {
	p := s.peers[r]
	clear(s.seen)
	for i := range s.top {
		s.top[i], s.many[i], s.newer[i] = -1, -1, -1
	}
	for i, a := range p.arrivals {
		s.arrived(r, p, a, i)
	}
	s.during = s.tops(p)
	if p.life.Identified == 0 {
		return
	}
	s.post.each(r, p, func(number int) { s.absent(r, p, number) })
}

// arrived checks one arrival, at is its index.
func (s *sieve) arrived(r int32, p *peer, a arrival, at int) {
	from, ok := s.byIndex[a.sender]
	if !ok || a.n < 0 || int(a.n) >= len(s.peers[from].sends) {
		s.report.add(Corrupted, "%v got message %d-%d, which was never sent", p, a.sender, a.n)
		return
	}
	sender := s.peers[from]
	number := sender.first + int(a.n)
	m := &sender.sends[a.n]
	if a.at < m.at {
		s.report.add(Corrupted, "%v got %v before it was sent", p, letter{sender, a.n})
	}
	switch {
	case s.has(number):
		s.report.add(Duplicated, "%v got %v again", p, letter{sender, a.n})
		return
	case a.n < s.top[from] && p.movedAbout(a.at) && (m.single() && a.n > s.many[from] || p.perhapsNew(m) && a.n > s.newer[from]):
		s.report.Crossed++
	case a.n < s.top[from]:
		s.report.add(Reordered, "%v got %v after %v%v%v", p, letter{sender, a.n}, letter{sender, s.top[from]},
			around{p, "receiver", a.at}, around{sender, "sender", m.at})
	}
	s.set(number)
	s.top[from] = max(s.top[from], a.n)
	if !m.single() {
		s.many[from] = max(s.many[from], a.n)
	} else if p.surelyNew(m) {
		s.newer[from] = max(s.newer[from], a.n)
	}
	s.checkRoute(r, p, from, number, m, a, at)
}

// checkRoute checks that the message was for the receiver.
func (s *sieve) checkRoute(r int32, p *peer, from int32, number int, m *send, a arrival, at int) {
	sender, to := s.peers[from], s.refs[number]
	switch {
	case !s.addressed(to, from, r):
		s.report.add(Misrouted, "%v, which is not addressed, got %v", p, letter{sender, a.n})
	case a.at >= p.life.Identified && p.life.Identified != 0 && !s.present(p, m): // otherwise it already counts as leaked
		s.report.add(Misrouted, "%v, which identified after it was settled, got %v", p, letter{sender, a.n})
	case !p.mayGet(to, at, a.at):
		s.report.add(Outside, "%v got %v to %v", p, letter{sender, a.n}, m.to)
	case m.policy(), m.denied(), m.outcome == refused && m.code != "OUTCOME_UNKNOWN" && !s.opts.Fault:
		s.report.add(Misrouted, "%v got %v", p, letter{sender, a.n})
	}
	if to.target != Any {
		return
	}
	if first := s.anyBy[number]; first != 0 {
		s.report.add(Misrouted, "%v got %v, which %v got too", p, letter{sender, a.n}, s.peers[first-1])
		return
	}
	s.anyBy[number] = r + 1
}

// absent checks a message that did not arrive at the receiver. checkSent covers ANY.
func (s *sieve) absent(r int32, p *peer, number int) {
	from := s.post.origin[number]
	sender, top := s.peers[from], s.top[from]
	n := int32(number - sender.first)
	if !s.addressed(s.refs[number], from, r) || !s.certainly(p, s.refs[number], from, n, sender.sends[n].at) {
		return
	}
	known := sender.maxN
	if s.opts.Fault {
		known = top // a crashed instance may have read the message and delivered it to others only
	}
	m := &sender.sends[n]
	if m.at < p.life.Identified || !s.vouched(sender, n, known) || !s.stillThere(p, m, n < top) {
		return
	}
	switch {
	case s.has(number):
	case p.outdated(m):
		s.report.Outdated++
		return
	case s.excused(p, from, n):
		s.report.Missed++
		return
	default:
		s.missing(number, m, "%v did not get %v (of that sender it got %v%v)", p, letter{sender, n}, gap{s, sender, n}, former{p, m})
	}
	s.report.Required++
}

// stillThere reports whether p was connected long enough to get m. overtaken: it got a later message of the same
// sender.
func (c *checker) stillThere(p *peer, m *send, overtaken bool) bool {
	switch {
	case p.life.Departure == Stayed || overtaken:
		return true
	case p.life.Departure == Left:
		return m.outcome == accepted && m.settled+c.flight < p.life.Leaving
	}
	return false
}
