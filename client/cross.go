package client

import (
	"fmt"
	"time"

	"github.com/mastersocket/mastersocket/client/internal/move"
)

const (
	// moveTick is how often a move checks its timeouts.
	moveTick = 10 * time.Millisecond
	// answerTime is how long answers are awaited on an old connection without a deadline.
	answerTime = 30 * time.Second
)

// cross changes over to the new connection and returns it. It returns the old one and false if the new one has ended and the
// old one can go on.
func (m *mover) cross(next *session) (*session, bool) {
	c, began := m.c, time.Now()
	defer m.begun()
	c.stream.addOwnID(m.old.identity.ID) // again: failed attempts may have displaced it
	c.stream.addOwnID(next.identity.ID)
	c.stream.newIdentified()
	next.start()
	tick := time.NewTicker(moveTick)
	defer tick.Stop()
	for {
		select {
		case <-m.old.done:
			m.arrive(next)
			return next, true
		case <-next.done:
			return m.goBack(next)
		case <-c.closing.Done():
			m.closeBoth(next)
			return next, true
		case <-m.old.drain:
		case <-tick.C:
		}
		if c.stream.phase() >= move.Lingering { // the new connection sends
			m.begun()
		}
		c.stream.observe(move.Conditions{
			Due:    c.stream.phase() == move.Lingering && c.pending.count(m.old)+c.duties.count(m.old) > 0,
			Hurry:  m.leaveBy(next, began).Before(time.Now()),
			Silent: m.old.link.silence() >= move.LeaveTimeout && m.old.stalled.Load() == 0,
		})
	}
}

// leaveBy returns when the old connection must be left. It is earlier if the new one must be left soon, too.
func (m *mover) leaveBy(next *session, began time.Time) time.Time {
	by := m.notice().leaveBy()
	if by.IsZero() {
		by = began.Add(answerTime)
	}
	if n := next.notice.Load(); n != nil && !n.deadline.IsZero() {
		if half := n.arrived.Add(n.leaveBy().Sub(n.arrived) / 2); half.Before(by) {
			by = half
		}
	}
	return by
}

// arrive completes a move whose old connection has ended.
func (m *mover) arrive(next *session) {
	err := m.lost()
	if m.c.stream.ended(m.old, m.c.lostAndFound(err, next)...) {
		m.c.opts.Logger.Warn("mastersocket: the old connection ended too early in a move; messages may be lost", "error", err)
	}
	m.moved(next)
}

// lostAndFound returns the announcements of a lost connection and of the next one.
func (c *Client) lostAndFound(lost error, next *session) (all []delivery) {
	if c.opts.OnDisconnect != nil {
		all = append(all, delivery{lost: lost})
	}
	if c.opts.OnConnect != nil {
		all = append(all, delivery{id: &next.identity})
	}
	return all
}

// goBack handles the end of the new connection. It returns the old one to continue with. If the old one has already been left,
// both are gone, and it returns the new one and true.
func (m *mover) goBack(next *session) (*session, bool) {
	m.c.opts.Logger.Warn("mastersocket: the new connection was lost in a move", "error", next.endErr)
	if m.c.stream.newEnded() {
		return m.old, false
	}
	m.finishOld()
	m.c.stream.ended(m.old) // before the new one, so that all its messages are handed out
	m.c.stream.ended(next)
	return next, true
}

// finishOld waits until the old session is read to its end. The wait is bounded, because handlers may block reading while they
// wait for a connection.
func (m *mover) finishOld() {
	timer := time.NewTimer(goodbyeTimeout)
	defer timer.Stop()
	select {
	case <-m.old.done:
	case <-timer.C:
		m.old.end(fmt.Errorf("%w for %v after DISCONNECT", ErrSilent, goodbyeTimeout))
		<-m.old.done
	}
}

// closeBoth ends both sessions. The one that may send writes the queue.
func (m *mover) closeBoth(next *session) {
	phase := m.c.stream.freeze()
	sender, other := m.old, next
	if phase >= move.Lingering {
		sender, other = next, m.old
	}
	sender.setMode(finishing)
	other.setMode(closing)
	<-sender.done
	if phase == move.Leaving {
		other.end(ErrClosed) // it has sent DISCONNECT
	}
	<-other.done
}
