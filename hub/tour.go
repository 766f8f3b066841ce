package hub

import "github.com/mastersocket/mastersocket/transport"

// tourSlots is how many slots of its table a loop looks at before it goes on with its other work: some tens of
// microseconds.
const tourSlots = 512

// tour visits the sessions of a loop in the order of their slots, some in each turn of the loop.
type tour struct {
	next   uint32 // the slot to go on with
	visits int    // sessions that count, in one turn at most
	// visit looks at a session. counts says that the session counts for visits; on is false where the tour ends.
	visit func(s *session) (counts, on bool)
	done  func() // called on the loop at the end, or by start where the loop has ended
}

// start begins the tour on the shard's loop. The caller may not touch it any more.
func (t *tour) start(sh *shard) {
	if !sh.loop.Post(t) {
		t.done()
	}
}

// Deliver implements transport.Mail.
func (t *tour) Deliver(l *transport.Loop) {
	slots, counted := l.Slots(), 0
	for end := t.next + tourSlots; t.next < slots && t.next < end && counted < t.visits; t.next++ {
		c := l.Conn(t.next)
		if c == nil {
			continue
		}
		s, ok := c.Session().(*session)
		if !ok {
			continue
		}
		counts, on := t.visit(s)
		if !on {
			t.done()
			return
		}
		if counts {
			counted++
		}
	}
	if t.next >= slots || !l.Post(t) {
		t.done()
	}
}

// Size implements transport.Mail.
func (t *tour) Size() int { return 0 }
