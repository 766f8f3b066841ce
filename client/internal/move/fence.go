package move

import (
	"slices"
	"time"
)

// The rate of a connection's FENCEs. The first ones are sent as soon as they are useful, because a move takes milliseconds; the
// following ones at a rate well below the hub's limit of 100 per second.
const (
	fenceBurst    = 8
	fenceInterval = 25 * time.Millisecond
	// fenceRenewal is the longest time between two FENCEs to the old connection. They tell the hub that the client is about
	// to leave that connection, so that other instances don't draw it for an ANY.
	fenceRenewal = 3 * time.Second
	// fencePatience is how long a FENCE may be on its way before another one is sent.
	fencePatience = time.Second
)

// fence is a FENCE on its way to the other connection.
type fence struct {
	id    string
	reach int64 // how many messages had arrived when it was sent
	at    time.Duration
	last  bool // no message follows it on this connection
	clear bool // it was sent in the phase Clearing
}

// fences tracks the FENCEs that one connection has sent in a move. They arrive in the order in which they were sent.
type fences struct {
	onWay []fence
	count int
	last  time.Duration // when the last one was sent
	next  time.Duration // not before this
}

func (f *fences) add(one fence) {
	f.last = one.at
	f.onWay = append(f.onWay, one)
	if f.count++; f.count > fenceBurst {
		f.next = one.at + fenceInterval
	}
}

// arrived returns the FENCE that has arrived. If an earlier one was lost, it returns the earlier one, whose reach is smaller
// and therefore safe.
func (f *fences) arrived() (fence, bool) {
	if len(f.onWay) == 0 {
		return fence{}, false
	}
	one := f.onWay[0]
	f.onWay = f.onWay[1:]
	return one, true
}

// refused removes the FENCE with the given id.
func (f *fences) refused(id string, now time.Duration) {
	f.onWay = slices.DeleteFunc(f.onWay, func(one fence) bool { return one.id == id })
	f.next = now + fenceInterval
}

// due reports whether another FENCE may be sent. Only one is on its way at a time, unless one is lost.
func (f *fences) due(now time.Duration) bool {
	if n := len(f.onWay); n > 0 && now-f.onWay[n-1].at < fencePatience {
		return false
	}
	return now >= f.next
}

// fencing reports whether the connections can exchange FENCEs.
func (m *Machine) fencing() bool { return m.phase >= Joining && m.phase <= Leaving && !m.plain }

// FenceSent reports that a connection is about to write a FENCE with the given id. It returns false if that is of no use; the
// FENCE must then not be written.
func (m *Machine) FenceSent(side Side, id string) bool {
	if !m.fencing() {
		return false
	}
	on := &m.sides[side]
	on.fences.add(fence{
		id: id, reach: on.arrived, at: m.now, last: side == Old && m.phase >= Switching, clear: side == New && m.phase == Clearing,
	})
	return true
}

// FenceArrived reports that a FENCE of the other connection has arrived on a connection.
func (m *Machine) FenceArrived(side Side) {
	if !m.fencing() {
		return
	}
	f, ok := m.sides[1-side].fences.arrived()
	switch {
	case !ok:
	case side == New:
		m.copied, m.impatient = f.reach, false
		m.dropsNew.forget(f.reach)
		if m.switched = m.switched || f.last; f.last && m.phase == Switching {
			m.changeOver()
		}
	default:
		m.joined = true
		m.drops.forget(f.reach)
		m.sides[Old].push(held{n: f.reach, fence: true})
		switch {
		case m.phase == Joining:
			m.stop()
		case m.phase == Clearing && f.clear:
			m.leave()
		}
	}
	m.advance()
}

// FenceRefused reports that the hub has refused a FENCE of a connection. It is sent again.
func (m *Machine) FenceRefused(side Side, id string) {
	m.sides[side].fences.refused(id, m.now)
	m.advance()
}

// wantFences asks for FENCEs if messages or the phase wait for them.
func (m *Machine) wantFences() {
	if !m.fencing() {
		return
	}
	from, to := &m.sides[Old], &m.sides[New]
	// The old connection sends FENCEs only behind its last message.
	waits := len(from.held) > 0 && from.held[0].n == m.waits && m.waits > m.copied
	if m.phase >= Switching && (waits || !m.switched) && from.fences.due(m.now) {
		m.act(SendFence, Old)
	}
	waits = to.alone > 0 || len(to.held) > 0 && m.now-to.held[0].at > fenceInterval || m.now-to.fences.last > fenceRenewal
	if (waits || !m.joined || m.phase == Clearing) && to.fences.due(m.now) {
		m.act(SendFence, New)
	}
}
