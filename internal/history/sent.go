package history

import "slices"

// checkSent checks what only all receivers together can show of the messages of one sender: that an ANY message had its
// receiver, and that a message for nobody was answered so.
func (c *checker) checkSent(from int32) {
	sender := c.peers[from]
	for i := range sender.sends {
		n, number := int32(i), sender.first+i
		to := c.refs[number]
		if to.target == Any {
			c.checkAny(from, n, number)
		}
		// GLOBAL without a receiver is left out: it takes a hub with one client, without echo.
		if to.target != Global && c.unanswered(sender, i) && !c.candidate(to, from, &sender.sends[i]) {
			c.report.add(Unreported, "nobody could get %v", letter{sender, n})
		}
	}
}

// unanswered tells whether the sender was owed an ERROR, if nobody was there, and did not get it.
func (c *checker) unanswered(sender *peer, n int) bool {
	o := sender.sends[n].outcome
	return sender.life.Reports && sender.life.Departure == Stayed && (o == pending || o == accepted)
}

// candidate tells whether there is anybody who may have got m.
func (c *checker) candidate(to ref, from int32, m *send) bool {
	return slices.ContainsFunc(c.post.receivers(to), func(i int32) bool {
		return c.addressed(to, from, i) && c.present(c.peers[i], m)
	})
}

// checkAny checks that an ANY message, for which somebody was certainly there, had a receiver. It is forgiven where it
// may have been drawn for a client that was about to go.
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
	for _, i := range c.post.receivers(to) {
		p := c.peers[i]
		if !c.addressed(to, from, i) || !c.present(p, m) {
			continue
		}
		if p.life.Departure != Stayed || c.awayAt(p, m) != nil {
			return
		}
		// A sender without echo may or may not be drawn for its own message: it alone proves nothing.
		if p.life.Identified != 0 && p.life.Identified <= m.at && (i != from || !p.life.NoEcho) {
			certain = true
		}
	}
	if certain {
		c.report.Required++
		c.missing(number, m, "nobody got %v", letter{sender, n})
	}
}

// missing files a delivery that should have been. At most one is counted a message with covers for the silent ones.
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

// settleSilent takes the silent losses off the list of violations where the hub counted at least as many messages.
func (c *checker) settleSilent() {
	if !c.opts.Fault || len(c.silent) == 0 || len(c.silent) > c.opts.CountedDrops {
		return
	}
	c.report.Counted = len(c.silent)
	c.report.Counts[Lost] = 0
	c.report.Examples = slices.DeleteFunc(c.report.Examples, func(v Violation) bool { return v.Kind == Lost })
}
