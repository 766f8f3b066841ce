package client

import (
	"fmt"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

const (
	// crossTick is how often a move is looked after where nothing happens.
	crossTick = 10 * time.Millisecond
	// fenceTimeout is how long a move waits for a FENCE before it goes on without.
	fenceTimeout = 10 * time.Second
	// clearTimeout is the same for the FENCE that says that nothing is on its way to the old connection.
	clearTimeout = time.Second
	// answerTime is how long answers are awaited on an old connection that the hub lets stand.
	answerTime = 30 * time.Second
	// hurryTime is how long a move waits for its connections even where the old one should have been left by now: while
	// that is still there, nothing is gained by missing what is about to come over it.
	hurryTime = 200 * time.Millisecond
	// settleTime is how long the old connection stays at least, for those who address it and don't know of
	// the new one, and until other instances have been told to draw it for no ANY any more.
	settleTime = 500 * time.Millisecond
)

// stage is how far a move has come.
type stage uint8

const (
	joining   stage = iota // until the old connection got everything that the new one is too late for
	switching              // nobody sends, until everything sent over the old connection is published
	lingering              // the new one sends; the old one stays for the answers that are due on it
	clearing               // until everything on its way to the old connection has arrived
	leaving                // DISCONNECT is said; the old connection is read to its end
)

// crossing is a move with both connections open.
type crossing struct {
	*mover
	next   *session
	stage  stage
	began  time.Time // when both connections were there
	since  time.Time // when the stage began
	plain  bool      // the new one's instance knows no FENCE
	joined bool
	waited time.Duration // for how long nobody sent
}

// cross goes over to the new connection. It returns the session to go on with, or false if the new one ended while the old
// one can go on.
func (m *mover) cross(next *session) (*session, bool) {
	x := &crossing{mover: m, next: next, began: time.Now(), plain: !next.identity.has(opcodes.FeatureDrain.String())}
	x.enter(joining)
	m.c.stream.identified(m.old.identity.ID) // again, as others may have been tried since
	m.c.stream.identified(next.identity.ID)
	if !x.plain {
		m.c.stream.identifiedNew()
	}
	next.start(false)
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
			x.close()
			return next, true
		case <-m.old.drain:
		case <-m.c.stream.news:
		case <-tick.C:
			m.c.stream.tick()
		}
		x.step()
	}
}

func (x *crossing) enter(s stage) { x.stage, x.since = s, time.Now() }

// step goes on to the next stage if it is time.
func (x *crossing) step() {
	joined, switched, cleared := x.c.stream.progress()
	x.joined = joined
	here := time.Since(x.since)
	hurry := x.leaveBy().Before(time.Now())
	switch x.stage {
	case joining:
		if joined || x.late("old", here, hurry) {
			x.old.tell(stopSending)
			x.enter(switching)
		}
	case switching:
		switch {
		case !x.old.hasStopped(): // its writer is in a write
			if x.overdue(here, hurry) {
				x.old.end(fmt.Errorf("write: not over %v after sending was to stop", here.Round(time.Millisecond)))
			}
		case switched || x.late("new", here, hurry):
			x.changeOver(here)
		}
	case lingering:
		if x.c.pending.due(x.old) == 0 && here >= settleTime || hurry {
			x.c.stream.clear()
			x.enter(clearing)
		}
	case clearing:
		if cleared || here >= clearTimeout || hurry {
			x.old.tell(leave)
			x.enter(leaving)
		}
	case leaving:
		if here >= goodbyeTimeout && x.old.link.silent() >= goodbyeTimeout && x.old.stalled.Load() == 0 {
			x.old.end(fmt.Errorf("%w for %v after DISCONNECT", ErrSilent, goodbyeTimeout))
		}
	}
}

// leaveBy returns when the old connection must be left. The new one may have to be left soon, too.
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

// late tells whether the FENCE to one of the connections is waited for no longer.
func (x *crossing) late(to string, here time.Duration, hurry bool) bool {
	switch {
	case x.plain:
		x.c.opts.Logger.Warn("mastersocket: moves without knowing whether everything has arrived: the new instance has no FENCE",
			"on", to, "node", x.next.identity.Node)
	case x.overdue(here, hurry):
		x.c.opts.Logger.Warn("mastersocket: moves without knowing whether everything has arrived: no FENCE came",
			"on", to, "within", here)
	default:
		return false
	}
	return true
}

// overdue tells whether a stage has lasted for long enough.
func (x *crossing) overdue(here time.Duration, hurry bool) bool {
	return here >= fenceTimeout || hurry && here >= hurryTime
}

// changeOver makes the new session the one that sends.
func (x *crossing) changeOver(here time.Duration) {
	x.waited = here
	x.use(x.next)
	x.enter(lingering)
	x.c.connectHook(x.next)
}

// use makes a session the one that sends.
func (x *crossing) use(s *session) {
	x.c.identity.Store(&s.identity)
	s.tell(startSending)
}

// arrive ends a move whose old connection has ended.
func (x *crossing) arrive() {
	c := x.c
	joined, _, _ := c.stream.progress()
	switch {
	case x.stage >= lingering:
		c.stream.ended(x.old)
	case joined:
		c.stream.ended(x.old)
		x.use(x.next)
		c.connectHook(x.next)
	default:
		err := x.lost()
		c.opts.Logger.Warn("mastersocket: the old connection ended too early: messages may be missing", "error", err)
		x.use(x.next)
		c.stream.ended(x.old, c.lostAndFound(err, x.next)...)
	}
	x.moved(x.next, x.waited)
}

// lostAndFound tells of a connection that was lost, and of the one that follows it.
func (c *Client) lostAndFound(lost error, next *session) (all []delivery) {
	if c.opts.OnDisconnect != nil {
		all = append(all, delivery{lost: lost})
	}
	if c.opts.OnConnect != nil {
		all = append(all, delivery{id: &next.identity})
	}
	return all
}

// goBack goes on with the old connection, as the new one has ended. If the old one was left already, so that both are
// gone, it returns the new one and true.
func (x *crossing) goBack() (*session, bool) {
	x.c.opts.Logger.Warn("mastersocket: the new connection was lost while moving", "error", x.next.endErr)
	if x.stage == leaving {
		x.finishOld()
		x.c.stream.ended(x.old) // before the new one, so that all that this got is handed out, too
		x.c.stream.ended(x.next)
		return x.next, true
	}
	x.c.stream.ended(x.next)
	if x.stage >= switching {
		x.use(x.old)
	}
	if x.stage >= lingering {
		x.c.connectHook(x.old)
	}
	return x.old, false
}

// finishOld waits until the old session is read to its end, or given up. Handlers may hold that up, and wait for a connection
// themselves, of which there is none.
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

// close ends both sessions. What is queued is written by the one that may.
func (x *crossing) close() {
	sender, other := x.old, x.next
	switch {
	case x.stage == switching:
		x.old.tell(startSending)
	case x.stage > switching:
		sender, other = x.next, x.old
	}
	sender.tell(closeDown)
	other.tell(closeDown)
	<-sender.done
	if x.stage == leaving {
		other.end(ErrClosed) // it said goodbye before
	}
	<-other.done
}
