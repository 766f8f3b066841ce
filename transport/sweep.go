package transport

import (
	"time"

	"github.com/gobwas/ws"
)

// A loop looks at its connections in so many parts in a sweep interval, of sweepSlots slots or more: a sweep over many
// shall not make a turn long, and an idle loop shall seldom wake up. The loop's clock needs two looks in an interval.
const (
	leastSweepParts = 2
	mostSweepParts  = 8
	sweepSlots      = 1024
)

// sweeper is how far a loop's sweep over its connections has come.
type sweeper struct {
	cursor uint32 // the slot to look at next
	next   uint32 // loop clock when the next part is due
}

// sweep looks at the next part of the connections for deadlines that passed.
func (l *Loop) sweep() {
	slots, parts := l.Slots(), l.sweepParts()
	l.sweeper.next = l.clock.now + l.sweepStep(parts)
	part := slots/parts + 1
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

// sweepParts returns in how many parts the loop looks at its connections.
func (l *Loop) sweepParts() uint32 {
	if l.accepting.paused || l.tls.awaiting > 0 { // they wait for a sweep
		return mostSweepParts
	}
	return min(max(l.Slots()/sweepSlots, leastSweepParts), mostSweepParts)
}

// sweepStep returns the time from one of so many parts to the next, in milliseconds.
func (l *Loop) sweepStep(parts uint32) uint32 {
	return max(uint32(l.srv.opts.SweepInterval/time.Millisecond)/parts, 1)
}

// sweepSoon has the loop sweep soon: something has begun to wait for it.
func (l *Loop) sweepSoon() {
	if soon := l.clock.now + l.sweepStep(mostSweepParts); int32(l.sweeper.next-soon) > 0 {
		l.sweeper.next = soon
	}
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
