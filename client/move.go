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
	// recordTime is for how long before a new connection is dialed messages are noted. Its instance may be so much behind
	// the old one without a message being seen twice.
	recordTime = 250 * time.Millisecond
	// minRecordTime is the least of it, where there is hardly any time to move. So a hub that goes on asking for that, and
	// disconnects, is not asked again without a pause.
	minRecordTime = 100 * time.Millisecond
	// sameTries is how often a client that was told to rebalance lands on its old instance before it stays there.
	sameTries = 3
	// moveTries bounds the failures of a move that nothing but an uneven load asks for.
	moveTries = 10
)

// mover moves the Client from one connection to another, as the hub asked for with a DRAIN. It belongs to run.
type mover struct {
	c     *Client
	old   *session
	began time.Time // the first attempt to connect
	wait  *backoff.ExponentialBackOff
	same  int // connections to the old instance
	tries int // failures
}

// move follows a DRAIN, and returns the session to go on with, which may be the old one.
func (c *Client) move(old *session) *session {
	m := &mover{c: c, old: old, wait: newBackoff(c.opts)}
	defer c.stream.record(false)
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

// notice is the hub's last word about the move.
func (m *mover) notice() *notice { return m.old.notice.Load() }

// awaitSlot waits until it is time to connect. It returns false if the old session ended, or the Client was closed.
func (m *mover) awaitSlot() bool {
	n := m.notice()
	m.c.opts.Logger.Info("mastersocket: asked to move", "reason", n.reason, "node", m.old.identity.Node,
		"in", n.due.Sub(n.arrived), "deadline_in", max(n.deadline.Sub(n.arrived), 0))
	if !m.awaitDue() {
		return false
	}
	// All wait for so much more than their slots, so that these stay as far apart as the hub made them.
	m.c.stream.record(true)
	if !m.awaitPump() { // of the move before
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

// pause waits, less long if another DRAIN comes. It returns false if the old session ended, or the Client was closed.
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

// awaitDue waits for the slot that the hub gave last. It returns false if the old session ended, or the Client was closed.
func (m *mover) awaitDue() bool {
	for wait := time.Until(m.notice().due); wait > 0; wait = time.Until(m.notice().due) {
		if !m.pause(wait) {
			return false
		}
	}
	return true
}

// awaitPump waits until all messages of the last attempt are handed out. It returns false if the old session ended, or the
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

// connect opens the new connection. If the old one ends meanwhile, the attempt counts as the one to connect again.
func (m *mover) connect() (*session, error) {
	expires := ""
	if m.notice().reason == opcodes.DrainExpiry {
		expires = m.old.token
	}
	var dialed *session
	s, err := m.c.open(m.c.closing, expires, func(s *session) {
		dialed = s
		m.c.stream.begin(m.old, s)
	})
	if err != nil {
		m.c.stream.ended(dialed)
		return nil, err
	}
	if m.notice().optional() && s.identity.Node == m.old.identity.Node {
		m.same++
		m.turnBack(s)
		return nil, errSameNode
	}
	return s, nil
}

// turnBack leaves a new connection that is of no use. The hub may have drawn it for an ANY already, so that it is read to its
// end.
func (m *mover) turnBack(next *session) {
	next.start(false)
	next.tell(leave)
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

// again tells, after a wait, whether to connect once more.
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
	by := m.notice().leaveBy() // of the last DRAIN
	return by.IsZero() || time.Now().Before(by)
}

// moved logs that a move has ended well.
func (m *mover) moved(next *session, waited time.Duration) {
	m.c.opts.Logger.Info("mastersocket: moved", "reason", m.notice().reason,
		"id", next.identity.ID, "node", next.identity.Node, "old_id", m.old.identity.ID, "old_node", m.old.identity.Node,
		"took", time.Since(m.began), "sends_waited", waited)
}

// lost is why the old connection ended before the move was far enough to miss nothing.
func (m *mover) lost() error { return fmt.Errorf("while moving to another instance: %w", m.old.endErr) }
