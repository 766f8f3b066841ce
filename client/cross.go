package client

import (
	"fmt"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

const (
	// crossTick is how often a move checks its timeouts.
	crossTick = 10 * time.Millisecond
	// longGap is the time between two ticks that shows that this process was paused.
	longGap = time.Second
	// fenceTimeout is how long a move waits for a FENCE before it continues without.
	fenceTimeout = 10 * time.Second
	// clearTimeout is the same for the FENCE that shows that nothing is on its way to the old connection.
	clearTimeout = time.Second
	// answerTime is how long answers are awaited on an old connection without a deadline.
	answerTime = 30 * time.Second
	// hurryTime is how long a stage may still take after the old connection should have been left. As long as that connection
	// lives, waiting avoids a loss.
	hurryTime = 200 * time.Millisecond
	// settleTime is how long the old connection stays at least: for clients that still address its id, and until other
	// instances no longer draw it for an ANY.
	settleTime = 500 * time.Millisecond
)

// stage is the progress of a move.
type stage uint8

const (
	joining   stage = iota // waits until everything that the new connection is too late for has arrived on the old one
	switching              // sends are paused until everything sent on the old connection is published
	lingering              // the new connection sends; the old one stays for the answers that are due on it
	clearing               // waits until everything on its way to the old connection has arrived
	leaving                // DISCONNECT is sent; the old connection is read to its end
)

// crossing is the part of a move with both connections open.
type crossing struct {
	*mover
	next   *session
	stage  stage
	began  time.Time     // when the new connection had identified
	since  time.Time     // when the stage began; pauses of this process do not count
	seen   time.Time     // the last iteration of cross
	plain  bool          // the new instance does not support FENCE
	waited time.Duration // how long sends were paused
}

// cross changes over to the new connection and returns it. It returns the old one and false if the new one has ended and the
// old one can go on.
func (m *mover) cross(next *session) (*session, bool) {
	x := &crossing{mover: m, next: next, began: time.Now(), plain: !next.identity.has(opcodes.FeatureDrain.String())}
	x.enter(joining)
	m.c.stream.addOwnID(m.old.identity.ID) // again: failed attempts may have displaced it
	m.c.stream.addOwnID(next.identity.ID)
	if !x.plain {
		m.c.stream.newIdentified()
	}
	next.start()
	tick := time.NewTicker(crossTick)
	defer tick.Stop()
	for {
		select {
		case <-m.old.done:
			x.arrive()
			return next, true
		case <-next.done:
			return x.goBack()
		case <-m.c.closing.Done():
			x.closeBoth()
			return next, true
		case <-m.old.drain:
		case <-m.c.stream.news:
		case <-tick.C:
			m.c.stream.tick()
		}
		x.skipPause()
		x.step()
	}
}

// skipPause takes a pause of this process, such as SIGSTOP, out of the time that the stage has lasted: what arrived in the
// meantime is still unread.
func (x *crossing) skipPause() {
	now := time.Now()
	if gap := now.Sub(x.seen); gap > longGap && !x.seen.IsZero() {
		x.since = x.since.Add(gap)
	}
	x.seen = now
}

func (x *crossing) enter(s stage) { x.stage, x.since = s, time.Now() }

// step enters the next stage if its condition is met.
func (x *crossing) step() {
	joined, switched, cleared := x.c.stream.progress()
	here := time.Since(x.since)
	hurry := x.leaveBy().Before(time.Now())
	switch x.stage {
	case joining:
		if joined || x.late("old", here, hurry) {
			x.old.command(stopSending)
			x.enter(switching)
		}
	case switching:
		switch {
		case !x.old.hasStopped(): // its writer is blocked in a write
			if x.overdue(here, hurry) {
				x.old.end(fmt.Errorf("write: still blocked %v after the command to stop sending", here.Round(time.Millisecond)))
			}
		case switched || x.late("new", here, hurry):
			x.changeOver(here)
		}
	case lingering:
		if x.c.pending.count(x.old) == 0 && here >= settleTime || hurry {
			x.c.stream.requestClear()
			x.enter(clearing)
		}
	case clearing:
		if cleared || here >= clearTimeout || hurry {
			x.old.command(leave)
			x.enter(leaving)
		}
	case leaving:
		if here >= goodbyeTimeout && x.old.link.silence() >= goodbyeTimeout && x.old.stalled.Load() == 0 {
			x.old.end(fmt.Errorf("%w for %v after DISCONNECT", ErrSilent, goodbyeTimeout))
		}
	}
}

// leaveBy returns when the old connection must be left. It is earlier if the new one must be left soon, too.
func (x *crossing) leaveBy() time.Time {
	by := x.notice().leaveBy()
	if by.IsZero() {
		by = x.began.Add(answerTime)
	}
	if n := x.next.notice.Load(); n != nil && !n.deadline.IsZero() {
		if half := n.arrived.Add(n.leaveBy().Sub(n.arrived) / 2); half.Before(by) {
			by = half
		}
	}
	return by
}

// late reports whether to stop waiting for the FENCE to one of the connections.
func (x *crossing) late(to string, here time.Duration, hurry bool) bool {
	switch {
	case x.plain:
		x.c.opts.Logger.Warn("mastersocket: moving without a guarantee against loss: the new instance does not support FENCE",
			"on", to, "node", x.next.identity.Node)
	case x.overdue(here, hurry):
		x.c.opts.Logger.Warn("mastersocket: moving without a guarantee against loss: no FENCE arrived in time",
			"on", to, "within", here)
	default:
		return false
	}
	return true
}

// overdue reports whether a stage has lasted too long.
func (x *crossing) overdue(here time.Duration, hurry bool) bool {
	return here >= fenceTimeout || hurry && here >= hurryTime
}

// changeOver makes the new session send.
func (x *crossing) changeOver(here time.Duration) {
	x.waited = here
	x.use(x.next)
	x.enter(lingering)
	x.c.connectHook(x.next)
}

// use makes a session send.
func (x *crossing) use(s *session) {
	x.c.identity.Store(&s.identity)
	s.command(startSending)
}

// arrive completes a move whose old connection has ended.
func (x *crossing) arrive() {
	c := x.c
	joined, _, _ := c.stream.progress()
	switch {
	case x.stage >= lingering:
		c.stream.sessionEnded(x.old)
	case joined:
		c.stream.sessionEnded(x.old)
		x.use(x.next)
		c.connectHook(x.next)
	default:
		err := x.lost()
		c.opts.Logger.Warn("mastersocket: the old connection ended too early in a move; messages may be lost", "error", err)
		x.use(x.next)
		c.stream.sessionEnded(x.old, c.lostAndFound(err, x.next)...)
	}
	x.moved(x.next, x.waited)
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
func (x *crossing) goBack() (*session, bool) {
	x.c.opts.Logger.Warn("mastersocket: the new connection was lost in a move", "error", x.next.endErr)
	if x.stage == leaving {
		x.finishOld()
		x.c.stream.sessionEnded(x.old) // before the new one, so that all its messages are handed out
		x.c.stream.sessionEnded(x.next)
		return x.next, true
	}
	x.c.stream.sessionEnded(x.next)
	if x.stage >= switching {
		x.use(x.old)
	}
	if x.stage >= lingering {
		x.c.connectHook(x.old)
	}
	return x.old, false
}

// finishOld waits until the old session is read to its end. The wait is bounded, because handlers may block reading while they
// wait for a connection.
func (x *crossing) finishOld() {
	timer := time.NewTimer(goodbyeTimeout)
	defer timer.Stop()
	select {
	case <-x.old.done:
	case <-timer.C:
		x.old.end(fmt.Errorf("%w for %v after DISCONNECT", ErrSilent, goodbyeTimeout))
		<-x.old.done
	}
}

// closeBoth ends both sessions. The one that may send writes the queue.
func (x *crossing) closeBoth() {
	sender, other := x.old, x.next
	switch {
	case x.stage == switching:
		x.old.command(startSending)
	case x.stage > switching:
		sender, other = x.next, x.old
	}
	sender.command(closeDown)
	other.command(closeDown)
	<-sender.done
	if x.stage == leaving {
		other.end(ErrClosed) // it has sent DISCONNECT
	}
	<-other.done
}
