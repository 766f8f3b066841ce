package history

import "slices"

// checkSent checks a sender's messages against all receivers together: an ANY message must have had a receiver, and a
// message without receivers must have been refused.
func (c *checker) checkSent(from int32) {
	sender := c.peers[from]
	for i := range sender.sends {
		n, number := int32(i), sender.first+i
		to := c.refs[number]
		if to.target == Any {
			c.checkAny(from, n, number)
		}
		// GLOBAL without a receiver is not checked: it would need a hub with one client with NoEcho.
		if to.target != Global && c.unanswered(sender, i) && !c.candidate(to, from, &sender.sends[i]) {
			c.report.add(Unreported, "%v had no possible receiver", letter{sender, n})
		}
	}
}

// unanswered reports whether the sender should have got an ERROR if there was no receiver, and did not.
func (c *checker) unanswered(sender *peer, n int) bool {
	o := sender.sends[n].outcome
	return sender.life.Reports && sender.life.Departure == Stayed && (o == pending || o == accepted)
}

// candidate reports whether a client may have got m.
func (c *checker) candidate(to ref, from int32, m *send) bool {
	return slices.ContainsFunc(c.post.positions(to), func(i int32) bool {
		return c.addressed(to, from, i) && c.present(c.peers[i], m)
	})
}

// checkAny checks that an ANY message with a certain candidate had a receiver. It excuses a message that may have been
// drawn for a client about to leave.
func (c *checker) checkAny(from, n int32, number int) {
	sender := c.peers[from]
	m, to := &sender.sends[n], c.refs[number]
	if c.anyBy[number] != 0 {
		c.report.Required++
		return
	}
	top := sender.maxN
	if c.opts.Fault {
		top = -1
	}
	if !c.vouched(sender, n, top) {
		return
	}
	certain := false
	for _, i := range c.post.positions(to) {
		p := c.peers[i]
		if !c.addressed(to, from, i) || !c.present(p, m) {
			continue
		}
		if p.life.Departure != Stayed || c.awayAt(p, m) != nil || to.at >= 0 && !p.steady[to.at] {
			return
		}
		// A sender with NoEcho may or may not be drawn for its own message, so it alone proves nothing.
		if p.life.Identified != 0 && p.life.Identified <= m.at && (i != from || !p.life.NoEcho) {
			certain = true
		}
	}
	if certain {
		c.report.Required++
		c.missing(number, m, "%v did not arrive", letter{sender, n})
	}
}

// missing records a missing delivery. For silent losses CountedDrops covers at most one per message.
func (c *checker) missing(number int, m *send, format string, args ...any) {
	switch {
	case !c.opts.Fault:
		c.report.add(Lost, format, args...)
	case m.outcome == refused:
		c.report.Reported++
	default:
		c.silent[number] = true
		c.report.add(Lost, format, args...)
	}
}

// settleSilent removes the silent losses from the violations if the hub counted at least as many drops.
func (c *checker) settleSilent() {
	if !c.opts.Fault || len(c.silent) == 0 || len(c.silent) > c.opts.CountedDrops {
		return
	}
	c.report.Counted = len(c.silent)
	c.report.Counts[Lost] = 0
	c.report.Examples = slices.DeleteFunc(c.report.Examples, func(v Violation) bool { return v.Kind == Lost })
}
