package transport

import (
	"time"

	"github.com/gobwas/ws"
)

// sweepParts is how many times in a sweep interval a loop looks at a part of its connections, so that a sweep over many
// does not make its turn long.
const sweepParts = 8

// sweeper is how far a loop's sweep over its connections has come.
type sweeper struct {
	cursor uint32 // the slot to look at next
	next   uint32 // loop clock when the next part is due
}

// sweep looks at the next part of the connections for deadlines that passed.
func (l *Loop) sweep() {
	step := uint32(max(l.srv.opts.SweepInterval/sweepParts/time.Millisecond, 1))
	l.sweeper.next = l.clock.now + step
	slots := l.Slots()
	part := slots/sweepParts + 1
	for i := uint32(0); i < part && slots > 0; i++ {
		if l.sweeper.cursor >= slots {
			l.sweeper.cursor = 0
			l.trimPools()
			break
		}
		l.check(l.table.at(l.sweeper.cursor))
		l.sweeper.cursor++
	}
	l.makeRoom()
	l.resumeAccepting()
	l.poll.heat.measure()
}

// check ends a connection that is past a deadline.
func (l *Loop) check(c *Conn) {
	o := &l.srv.opts
	switch c.state {
	case stateHandshake, stateRequest:
		l.checkRequest(c)
	case stateClosing, stateLinger:
		if l.clock.since(c.since) > o.CloseTimeout+c.restsAhead() {
			l.giveUp(c)
		}
	case stateAwaitClose:
		if l.clock.since(c.since) > o.CloseFrameTimeout {
			c.stopSeeking()
			l.endSending(c)
		}
	case stateOpen:
		l.checkOpen(c)
	}
}

// checkRequest looks at the deadlines of a connection that has not sent a request, or not read the answer.
func (l *Loop) checkRequest(c *Conn) {
	o := &l.srv.opts
	waits := l.clock.since(c.since)
	switch {
	case c.tx != nil && l.clock.since(c.tx.progress) > o.WriteTimeout:
		l.destroy(c, EndLocal)
	case c.state == stateRequest:
		c.session.Sweep(c)
	case c.flags&flagKept != 0 && c.rx == nil && waits <= keepAlive && !l.srv.stopped.Load():
	case c.flags&flagKept != 0 && c.rx == nil:
		l.destroy(c, EndLocal)
	case waits > o.HandshakeTimeout:
		l.dropLateHandshake(c)
	}
}

func (l *Loop) checkOpen(c *Conn) {
	o := &l.srv.opts
	if t := c.tx; t != nil && l.clock.since(t.progress) > o.WriteTimeout {
		l.report(c, SlowConsumer)
		return
	}
	if c.flags&(flagPaused|flagStalled) != 0 {
		c.lastRead = l.clock.now
		if c.rx != nil {
			c.rx.since = l.clock.now
		}
	} else if c.rx != nil && c.rx.busy && l.clock.since(c.rx.since) > o.MessageTimeout {
		if c.protocol == protocolWebSocket {
			l.failConn(c, ws.StatusPolicyViolation, causeUnfinished)
			c.stopSeeking() // what it sends next continues that message
		} else {
			l.report(c, Unfinished)
		}
		return
	}
	c.session.Sweep(c)
}
