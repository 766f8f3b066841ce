package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/mastersocket/mastersocket/opcodes"
)

const (
	// recordTime is how long the Client records messages before it dials the new connection. The new instance may lag behind
	// the old one by this much without a duplicate.
	recordTime = 250 * time.Millisecond
	// minRecordTime is the minimum when there is hardly any time to move. It also paces reconnects to a hub that keeps
	// asking to move and disconnects.
	minRecordTime = 100 * time.Millisecond
	// sameTries is how often a client may reach its old instance in a rebalance before it stays there.
	sameTries = 3
	// moveTries is the most failures of a rebalance.
	moveTries = 10
)

// mover moves the Client to another connection after a DRAIN. It is owned by run.
type mover struct {
	c     *Client
	old   *session
	began time.Time // of the first attempt to connect
	wait  *backoff.ExponentialBackOff
	begun func() // lets the groups change again, see memberships.begin
	same  int    // connections to the old instance
	tries int    // failures
}

// move follows a DRAIN. It returns the session to continue with, which may be the old one.
func (c *Client) move(old *session) *session {
	m := &mover{c: c, old: old, wait: newBackoff(c.opts)}
	defer c.stream.stopRecording()
	if !m.awaitSlot() {
		return old
	}
	for m.began = time.Now(); ; {
		next, err := m.connect()
		if next != nil {
			if s, moved := m.cross(next); moved {
				return s
			}
			err = next.endErr
		}
		if !m.again(err) {
			return old
		}
	}
}

// notice returns the last DRAIN.
func (m *mover) notice() *notice { return m.old.notice.Load() }

// awaitSlot waits until it is time to connect. It returns false if the old session ended or the Client was closed.
func (m *mover) awaitSlot() bool {
	n := m.notice()
	m.c.opts.Logger.Info("mastersocket: asked to move", "reason", n.reason, "node", m.old.identity.Node,
		"in", n.due.Sub(n.arrived), "deadline_in", max(n.deadline.Sub(n.arrived), 0))
	if !m.awaitDue() {
		return false
	}
	// All clients add the same time to their slots, so that the slots stay apart.
	m.c.stream.startRecording()
	if !m.awaitPump() { // of the previous move
		return false
	}
	lead := recordTime
	if by := m.notice().leaveBy(); !by.IsZero() {
		lead = min(lead, max(time.Until(by)/4, minRecordTime))
	}
	for until := time.Now().Add(lead); time.Now().Before(until); {
		if !m.pause(time.Until(until)) {
			return false
		}
	}
	return true
}

// pause waits for d or until the next DRAIN. It returns false if the old session ended or the Client was closed.
func (m *mover) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.old.drain:
	case <-m.old.done:
		return false
	case <-m.c.closing.Done():
		return false
	}
	return true
}

// awaitDue waits for the slot of the last DRAIN. It returns false if the old session ended or the Client was closed.
func (m *mover) awaitDue() bool {
	for wait := time.Until(m.notice().due); wait > 0; wait = time.Until(m.notice().due) {
		if !m.pause(wait) {
			return false
		}
	}
	return true
}

// awaitPump waits until all messages of the last attempt are handed out. It returns false if the old session ended or the
// Client was closed.
func (m *mover) awaitPump() bool {
	select {
	case <-m.c.stream.quiet():
		return true
	case <-m.old.done:
	case <-m.c.closing.Done():
	}
	return false
}

// connect opens the new connection. If the old one ends in the meantime, the attempt serves as the reconnect.
func (m *mover) connect() (*session, error) {
	expires := ""
	if m.notice().reason == opcodes.DrainExpiry {
		expires = m.old.token
	}
	var err error
	if m.begun, err = m.c.groups.begin(m.c.closing); err != nil {
		return nil, err
	}
	var dialed *session
	s, err := m.c.open(m.c.closing, expires, func(s *session) {
		dialed, s.replaces = s, m.old.identity.ID
		m.c.stream.begin(m.old, s)
	})
	if err != nil {
		m.c.stream.ended(dialed)
		m.begun()
		return nil, err
	}
	if m.notice().optional() && sameInstance(s.identity.ID, m.old.identity.ID) {
		m.same++
		m.turnBack(s)
		m.begun()
		return nil, errSameNode
	}
	m.c.handOverInTime(m.old, s)
	return s, nil
}

// instanceDigits is how many digits of a client's id name its instance. The instance's name does not: several on one host
// have the same by default.
const instanceDigits = 8

// sameInstance reports whether two clients' ids are of one instance.
func sameInstance(a, b string) bool {
	return len(a) >= instanceDigits && len(b) >= instanceDigits && a[:instanceDigits] == b[:instanceDigits]
}

// turnBack leaves an unwanted new connection. It reads the connection to its end, because the hub may already have drawn it
// for an ANY.
func (m *mover) turnBack(next *session) {
	next.start()
	next.setMode(revoking)
	timer := time.NewTimer(goodbyeTimeout)
	defer timer.Stop()
	select {
	case <-next.done:
	case <-timer.C:
	case <-m.old.done:
	case <-m.c.closing.Done():
	}
	next.end(ErrClosed)
	<-next.done
	m.c.stream.ended(next)
}

var errSameNode = errors.New("the new connection leads to the same instance")

// again waits and reports whether to connect once more.
func (m *mover) again(err error) bool {
	n := m.notice()
	if !errors.Is(err, errSameNode) {
		m.tries++
	}
	if n.optional() && (m.same >= sameTries || m.tries >= moveTries) {
		m.c.opts.Logger.Info("mastersocket: stays where it is", "node", m.old.identity.Node, "error", err)
		return false
	}
	delay := m.wait.NextBackOff()
	if isCrowded(err) {
		delay += rand.N(crowdedWait)
	}
	if by := n.leaveBy(); !by.IsZero() {
		delay = min(delay, max(time.Until(by)/2, 100*time.Millisecond))
	}
	m.c.opts.Logger.Warn("mastersocket: could not move yet", "error", err, "next_attempt_in", delay)
	if !m.pause(delay) || !m.awaitPump() || m.notice() != n && !m.awaitDue() {
		return false
	}
	by := m.notice().leaveBy()
	return by.IsZero() || time.Now().Before(by)
}

// moved logs a successful move.
func (m *mover) moved(next *session) {
	m.c.opts.Logger.Info("mastersocket: moved", "reason", m.notice().reason,
		"id", next.identity.ID, "node", next.identity.Node, "old_id", m.old.identity.ID, "old_node", m.old.identity.Node,
		"took", time.Since(m.began), "sends_waited", m.c.stream.paused())
}

// lost returns why the old connection ended too early for a move without loss.
func (m *mover) lost() error { return fmt.Errorf("while moving to another instance: %w", m.old.endErr) }
