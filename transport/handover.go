package transport

import (
	"golang.org/x/sys/unix"
)

// A request may belong to another loop than the one that its connection came to. It is handed over with all that was read
// of it, before anything is answered.

// handedOver is what goes with a connection that is handed over to another loop.
type handedOver struct {
	read    []byte      // its client's bytes, from the beginning of a request
	unsent  *Buffer     // answers to earlier requests; nil for none
	secure  *secureConn // nil without TLS
	traffic Traffic
	flags   uint16
	age     uint32 // milliseconds in its state
}

// release gives back what goes nowhere, as the other loop has ended.
func (h *handedOver) release() {
	if h.unsent != nil {
		h.unsent.Release()
	}
	if h.secure != nil {
		h.secure.dropLeft()
	}
}

// leaving is a connection that is about to be handed over.
type leaving struct {
	conn Ref
	to   *Loop
}

// handOver has a connection, whose request begins p, go to another loop when this one has handled what it read.
func (l *Loop) handOver(c *Conn, to *Loop, p []byte) {
	l.stash(c, p)
	if c.state != stateHandshake { // there was no memory
		return
	}
	c.Pause()
	l.unread.leaving = append(l.unread.leaving, leaving{c.Ref(), to})
}

// depart hands the connection over.
func (l *Loop) depart(c *Conn, to *Loop) {
	const kept = flagKept | flagTrusted
	h := &handedOver{read: l.takeBuf(c), traffic: *l.table.trafficOf(c), flags: c.flags & kept, age: l.clock.now - c.since}
	if t := c.tx; t != nil {
		h.unsent = t.copyUnsent(c)
		l.dropBacklog(c)
	}
	if h.secure = l.secureOf(c); h.secure != nil {
		l.setSecure(c, nil)
	}
	lis, _ := c.session.(*listener)
	a := accepted{fd: c.fd, excess: c.flags&flagExcess != 0, lis: lis, handed: h}
	_ = unix.EpollCtl(l.poll.fd, unix.EPOLL_CTL_DEL, int(c.fd), nil)
	l.dropPartial(c)
	l.conns.Add(-1)
	l.table.release(c)
	to.conns.Add(1)
	if !to.postAccepted(a) {
		to.closeAccepted(a)
	}
}

// copyUnsent returns what has not left of a connection's backlog as one buffer.
func (t *backlog) copyUnsent(c *Conn) *Buffer {
	b := AllocBuffer(t.bytes)
	p, offset := b.Room(), t.offset
	for _, r := range t.frames[t.head:] {
		p = append(p, r.buf.wire(c.protocol)[offset:]...)
		offset = 0
	}
	b.sealRaw(p)
	return b
}

// arrive goes on with a connection that another loop handed over.
func (l *Loop) arrive(c *Conn, h *handedOver) {
	c.flags |= h.flags
	c.since -= h.age
	*l.table.trafficOf(c) = h.traffic
	if h.secure != nil {
		h.secure.loop = l
		l.setSecure(c, h.secure)
	}
	if h.unsent != nil {
		c.enqueue(h.unsent)
		h.unsent.Release()
	}
	if h.secure != nil {
		c.markDirty() // records may wait
	}
	l.feed(c, h.read)
}

// move makes the moves that were asked for since the last turn got here.
func (l *Loop) move() {
	u := &l.unread
	for _, m := range u.leaving {
		if c := m.conn.live(); c != nil && c.state == stateHandshake {
			l.depart(c, m.to)
		}
	}
	u.leaving = u.leaving[:0]
	for _, m := range u.takeovers {
		from, to := m.from.Conn(), m.to.Conn()
		switch {
		case from == nil:
		case to == nil || !to.Detached():
			from.Close(1001, "", nil)
			l.notifyClosed(from, EndLocal)
		default:
			l.takeOver(from, to)
		}
	}
	u.takeovers = u.takeovers[:0]
	u.requests, u.spareRequests = u.spareRequests[:0], u.requests
	for _, r := range u.spareRequests {
		if c := r.live(); c != nil && c.state == stateHandshake && c.rx != nil && len(c.rx.buf) > 0 && c.flags&flagPaused == 0 {
			l.feed(c, l.takeBuf(c))
		}
	}
}

// moving reports whether there are moves to make.
func (u *unread) moving() bool { return len(u.leaving)+len(u.takeovers)+len(u.requests) > 0 }
