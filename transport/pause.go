package transport

import (
	"github.com/mastersocket/mastersocket/transport/internal/jsonstream"
)

// unread is the connections of a loop from which nothing is read for now.
type unread struct {
	stalled []Ref // wait for the gate
	resumed []Ref // go on later in this turn
	spare   []Ref // empty, to be exchanged for one of the others

	leaving       []leaving  // go to other loops: see handover.go
	takeovers     []takeover // give their sockets away: see detached.go
	requests      []Ref      // were sent a request before they had the answer to the one before
	spareRequests []Ref      // empty, to be exchanged for requests
}

// Pause stops the calls of Session.Message after the one in progress, if any, until Resume. What arrived already is
// kept, and nothing more is read. Time in which a connection is paused does not count as idle.
func (c *Conn) Pause() { c.flags |= flagPaused }

// Resume undoes Pause. Messages that wait are handled later in the same turn of the loop.
func (c *Conn) Resume() {
	if c.flags&flagPaused == 0 {
		return
	}
	c.flags &^= flagPaused
	c.loop.unread.resumed = append(c.loop.unread.resumed, c.Ref())
}

// stash keeps what arrived while the connection is paused, and stops reading from it.
func (l *Loop) stash(c *Conn, p []byte) {
	rx := l.partialOf(c)
	before := cap(rx.buf)
	rx.buf = append(rx.buf, p...)
	c.setEvents(c.flags | flagNoRead)
	l.afford(c, cap(rx.buf)-before)
}

// unstash handles what was kept and reads again. What was kept begins where a frame or a value begins.
func (l *Loop) unstash(c *Conn) {
	if d := l.table.detachedOf(c); d != nil {
		d.carrier.Resumed(c)
		return
	}
	c.setEvents(c.flags &^ flagNoRead)
	c.lastRead = l.clock.now
	if c.rx == nil {
		return
	}
	c.rx.split = jsonstream.Splitter{}
	c.rx.need = 0
	c.rx.busy = c.rx.op != 0 // what is kept may begin with the end of a message and end with the beginning of another
	l.feed(c, l.takeBuf(c))
}

// stall stops reading from a connection until the gate opens.
func (l *Loop) stall(c *Conn) {
	if c.flags&flagStalled != 0 {
		return
	}
	c.flags |= flagStalled
	c.setEvents(c.flags | flagNoRead)
	l.unread.stalled = append(l.unread.stalled, c.Ref())
}

// readOn goes on with the connections that yielded or whose sessions asked for it and, if the gate is open, with those
// that waited for the gate. Handling them may stall or resume others; those are left for the next turn.
func (l *Loop) readOn() {
	if l.unread.moving() {
		l.move()
	}
	if len(l.unread.stalled) > 0 && !l.srv.gate.Closed() {
		l.unread.spare, l.unread.stalled = l.unread.stalled, l.unread.spare[:0]
		for _, r := range l.unread.spare {
			if c := r.Conn(); c != nil {
				c.flags &^= flagStalled
				if c.flags&flagPaused == 0 {
					l.unstash(c)
				}
			}
		}
	}
	if len(l.unread.resumed) > 0 {
		l.unread.spare, l.unread.resumed = l.unread.resumed, l.unread.spare[:0]
		for _, r := range l.unread.spare {
			if c := r.Conn(); c != nil && c.flags&(flagPaused|flagStalled) == 0 {
				l.unstash(c)
			}
		}
	}
}
