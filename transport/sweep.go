package transport

import (
	"time"

	"github.com/gobwas/ws"
)

// sweepParts is how many times in a sweep interval a loop looks at a part of its connections, so that a sweep over many
// does not make its turn long.
const sweepParts = 8

// sweep looks at the next part of the connections for deadlines that passed.
func (l *Loop) sweep() {
	step := uint32(max(l.srv.opts.SweepInterval/sweepParts/time.Millisecond, 1))
	l.nextSweep = l.now + step
	slots := l.Slots()
	part := slots/sweepParts + 1
	for i := uint32(0); i < part && slots > 0; i++ {
		if l.cursor >= slots {
			l.cursor = 0
			l.trimPools()
			break
		}
		l.check(l.conn(l.cursor))
		l.cursor++
	}
	l.makeRoom()
}

// check ends a connection that is past a deadline.
func (l *Loop) check(c *Conn) {
	o := &l.srv.opts
	switch c.state {
	case stateHandshake:
		if l.since(c.since) > o.HandshakeTimeout {
			l.lateHandshake(c)
		}
	case stateClosing, stateLinger:
		if l.since(c.since) > o.CloseTimeout {
			l.destroy(c, EndLocal)
		}
	case stateOpen:
		l.checkOpen(c)
	}
}

func (l *Loop) checkOpen(c *Conn) {
	o := &l.srv.opts
	if t := c.tx; t != nil && l.since(t.progress) > o.WriteTimeout {
		l.violation(c, SlowConsumer)
		return
	}
	if c.flags&(flagPaused|flagStalled) != 0 {
		c.lastRead = l.now
		if c.rx != nil {
			c.rx.since = l.now
		}
	} else if c.rx != nil && c.rx.busy && l.since(c.rx.since) > o.MessageTimeout {
		if c.protocol == protocolTCP {
			l.violation(c, Unfinished)
		} else {
			l.fail(c, ws.StatusPolicyViolation, causeUnfinished)
		}
		return
	}
	c.session.Sweep(c)
}
