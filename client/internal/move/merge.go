package move

import "time"

// How long a message of the old connection waits for its copy on the new one without a FENCE. A longer wait would do more harm
// than a message out of order.
const (
	holdTime     = 3 * time.Second
	identifyHold = time.Second            // while no FENCE can be sent
	fullHold     = 200 * time.Millisecond // while the new side is full, so that its copy can't be read
)

// merge is what one move holds.
type merge struct {
	sides      [2]side
	dropsNew   copies        // expected on the new connection
	released   int64         // messages of the new connection up to this one can be handed out
	copied     int64         // messages of the old connection up to this one have no copy to come
	waits      int64         // the message of the old connection that waits for its copy
	waitsSince time.Duration // when its wait began
	fenced     bool          // all further messages of the old connection have a copy
	impatient  bool          // a message has waited too long; none waits until the new connection identifies or gets a FENCE
}

// Full reports whether a connection must not be read, because too many of its messages are held.
func (m *Machine) Full(side Side) bool { return m.phase != Single && m.sides[side].full() }

// NeedsKey reports whether messages to many need their Key. Computing it may be expensive.
func (m *Machine) NeedsKey() bool { return m.phase != Single || m.recording || !m.drops.empty() }

// Receive reports a message that arrived on a connection; without a move, on the old one.
func (m *Machine) Receive(side Side, msg Message) Verdict {
	drops := &m.drops
	if side == New {
		drops = &m.dropsNew
	}
	if msg.Key != 0 && drops.consume(msg.Key, m.now) {
		return Drop
	}
	if m.phase == Single {
		m.note(msg.Key)
		return Deliver
	}
	on := &m.sides[side]
	on.arrived++
	on.push(held{Message: msg, n: on.arrived, at: m.now})
	m.wantFences()
	return Hold
}

// note remembers a message to many that is handed out.
func (m *Machine) note(key uint64) {
	if m.recording && key != 0 {
		m.recent.add(key)
	}
}

// Next returns the next message to hand out. It returns false if there is none now. When all messages of a move with an ended
// connection are handed out, the phase is Single.
func (m *Machine) Next() (Message, bool) {
	if m.phase == Single {
		return Message{}, false
	}
	from, to := &m.sides[Old], &m.sides[New]
	for {
		if len(to.held) > 0 && to.held[0].n <= m.released {
			return m.nextOfNew(), true
		}
		if len(from.held) == 0 {
			break
		}
		switch h := &from.held[0]; {
		case h.fence:
			m.released, m.fenced = h.n, true
			from.removeAt(0)
		case h.mark, h.toOne():
			return from.removeAt(0), true
		default:
			return m.nextOfBoth(h)
		}
	}
	switch {
	case from.ended && len(to.held) > 0:
		return m.nextOfNew(), true
	case from.ended:
		m.drops = m.dropsNew.leftover(m.now + lateTime)
		m.end()
	case to.ended:
		return m.nextOfLost()
	}
	return Message{}, false
}

// Dropped returns the messages that Next has dropped since the last call, because copies of them were handed out.
func (m *Machine) Dropped() []Message {
	dropped := m.dropped
	m.dropped = nil
	return dropped
}

func (m *Machine) end() {
	m.merge = merge{}
	m.phase = Single
}

// nextOfNew returns the first message of the new connection. Nothing can precede it.
func (m *Machine) nextOfNew() Message {
	h := &m.sides[New].held[0]
	if h.Key != 0 && !m.sides[Old].ended {
		m.drops.add(h.Key, h.n) // its copy is still to arrive on the old one
	}
	m.note(h.Key)
	return m.sides[New].removeAt(0)
}

// nextOfBoth returns the first message of the old connection, h, or a message of the new one that precedes it; none if that is
// not known yet.
func (m *Machine) nextOfBoth(h *held) (Message, bool) {
	to := &m.sides[New]
	if at := to.copyOf(h.Key); at >= 0 {
		if i := to.aloneBefore(at, h.Sender); i >= 0 {
			return to.removeAt(i), true
		}
		m.dropped = append(m.dropped, to.removeAt(at))
	} else if h.n > m.copied {
		if m.awaitsCopy(h) {
			return Message{}, false
		}
		m.dropsNew.add(h.Key, h.n)
	}
	m.note(h.Key)
	return m.sides[Old].removeAt(0), true
}

// awaitsCopy reports whether the first message of the old connection must wait because its copy may still arrive.
func (m *Machine) awaitsCopy(h *held) bool {
	from, to := &m.sides[Old], &m.sides[New]
	most := holdTime
	switch {
	case m.impatient, to.ended, from.ended && !m.joined:
		return false
	case m.phase == Opening, m.plain, from.ended && !m.switched && !m.fenced:
		most = identifyHold // no FENCE can tell
	case to.full(): // neither the copy nor a FENCE can be read
		most = fullHold
	}
	if m.waits != h.n {
		m.waits, m.waitsSince = h.n, m.now
		m.wantFences()
	}
	m.impatient = m.now-m.waitsSince >= most
	return !m.impatient
}

// nextOfLost returns the messages that only the new connection got, after it ended before the old one.
func (m *Machine) nextOfLost() (Message, bool) {
	to := &m.sides[New]
	for len(to.held) > 0 {
		alone := to.held[0].toOne()
		if msg := to.removeAt(0); alone {
			return msg, true
		}
	}
	m.drops.until = m.now + lateTime
	m.end()
	return Message{}, false
}
