package transport

import (
	"golang.org/x/sys/unix"
)

// outbound is what a loop keeps of what leaves.
type outbound struct {
	dirty   []*Conn // connections that the next flush looks at
	pending int     // frames queued since the last flush; a standing backlog must not count, it would end all gathering
	queued  int     // unsent bytes of all connections
	kept    int     // memory of what is unsent, which several connections share
	date    []byte  // of answers by HTTP, made in the second dated
	dated   int64   // Unix time

	gathered     gathered
	relieved     []Ref  // connections whose backlogs have become short
	held         *hold  // of the buffer that was queued last
	holdSeq      uint64 // how many holds there were
	freeHolds    []*hold
	freeBacklogs []*backlog
	idleBacklogs int // the fewest that freeBacklogs held since the pools were trimmed
}

// flush writes every connection that has something unsent, once, and does what was put off until now.
func (l *Loop) flush() {
	l.SendMail() // first, so that the other loops work on it meanwhile
	l.flushDirty()
	if l.boundQueues() {
		l.flushDirty()
	}
	l.out.pending = 0
}

func (l *Loop) flushDirty() {
	for i := 0; i < len(l.out.dirty); i++ { // grows while sessions react
		c := l.out.dirty[i]
		if c.flags&flagDirty == 0 { // the slot was freed, and perhaps taken again, since
			continue
		}
		c.flags &^= flagDirty
		l.flushConn(c)
	}
	clear(l.out.dirty)
	l.out.dirty = l.out.dirty[:0]
	if len(l.out.relieved) > 0 {
		l.tellRelieved()
	}
}

func (l *Loop) flushConn(c *Conn) {
	if c.flags&flagBroken != 0 || (c.tx != nil || c.flags&flagTLS != 0) && !c.writeBacklog() {
		l.destroy(c, EndError)
		return
	}
	if c.flags&flagOverflow != 0 && c.state == stateOpen {
		// Even if all has left meanwhile: a message was refused, and the client can't know.
		l.report(c, SlowConsumer)
		return // it is closing, and in the list again
	}
	if c.tx != nil && c.tx.head == len(c.tx.frames) {
		l.dropBacklog(c)
	}
	if c.tx == nil && !l.unsent(c) {
		l.allSent(c)
		return
	}
	if c.flags&flagResting != 0 { // the end of its rest brings it back
		c.setEvents(c.flags &^ flagWantWrite)
		return
	}
	c.setEvents(c.flags | flagWantWrite)
}

// writeBacklog sends as much of the backlog as the socket takes. It returns false if the connection is broken.
func (c *Conn) writeBacklog() bool {
	l, t := c.loop, c.tx
	if c.Detached() {
		l.table.detachedOf(c).carrier.Queued(c)
		return true
	}
	if c.flags&flagTLS != 0 {
		return l.writeSecure(c)
	}
	for t.head < len(t.frames) && c.flags&flagResting == 0 {
		p := l.gather(c, t)
		n, err := send(c.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return true
		case err != nil:
			return false
		}
		l.stats.bytesOut += uint64(n)
		l.stats.writes++
		head := t.head
		t.advance(c, n)
		traffic := l.table.trafficOf(c)
		traffic.BytesOut += uint64(n)
		traffic.MessagesOut += uint64(t.head - head)
		t.progress = l.clock.now
		if n < len(p) {
			return true
		}
		if c.protocol == protocolPacedTCP {
			l.beginRest(c)
		}
	}
	return true
}

// gather returns the next bytes to write. A single frame is written from where it lies. On TCP each message leaves in a
// write of its own, too. Several frames are copied together: for messages of the usual size a copy costs less than an
// iovec each, and connections that were sent the same messages, as the members of a group are, share one copy.
func (l *Loop) gather(c *Conn, t *backlog) []byte {
	first := t.frames[t.head].buf.wire(c.protocol)[t.offset:]
	rest := t.frames[t.head+1:]
	if len(rest) == 0 || c.protocol != protocolWebSocket || len(first) >= gatherBytes {
		return first
	}
	g := &l.out.gathered
	if t.offset == 0 && g.holds(t.frames[t.head:]) {
		return g.mem
	}
	g.mem = append(g.mem[:0], first...)
	g.seqs = append(g.seqs[:0], t.frames[t.head].seq)
	g.whole = t.offset == 0
	for _, r := range rest {
		f := r.buf.wire(c.protocol)
		if len(g.mem)+len(f) > gatherBytes {
			g.whole = false
			break
		}
		g.mem = append(g.mem, f...)
		g.seqs = append(g.seqs, r.seq)
	}
	return g.mem
}

// gatherBytes bounds what one write call is given.
const gatherBytes = 256 << 10

// gathered is the last run of frames that was copied together.
type gathered struct {
	mem   []byte
	seqs  []uint64
	whole bool // mem is the frames of seqs, from their beginnings, and was its connection's entire backlog
}

// holds reports whether mem is exactly the bytes of frames.
func (g *gathered) holds(frames []*hold) bool {
	if !g.whole || len(frames) != len(g.seqs) {
		return false
	}
	for i, r := range frames {
		if r.seq != g.seqs[i] {
			return false
		}
	}
	return true
}
