package transport

import (
	"golang.org/x/sys/unix"
)

// localRef is a loop's hold of one Buffer: however many of its connections queue the buffer, the loop has one
// reference to it, and counts its own holders without atomic operations.
type localRef struct {
	buf     *Buffer
	holders int
	seq     uint64 // unlike the pointer, never used twice
}

// txState is the unsent backlog of a connection.
type txState struct {
	frames   []*localRef
	head     int    // the first unsent one
	offset   int    // how much of it is sent
	bytes    int    // unsent in all
	progress uint32 // loop clock when bytes last left, or the queue was empty
}

// maxIdleFrames bounds the slice that an unused txState keeps.
const maxIdleFrames = 1024

// enqueue adds b to the backlog, whatever its size.
func (c *Conn) enqueue(b *Buffer) {
	l := c.loop
	r := l.hold
	if r == nil || r.buf != b {
		r = l.newRef(b)
	}
	r.holders++
	t := c.tx
	if t == nil {
		t = l.newTx()
		c.tx = t
	}
	n := len(b.frame(c.protocol))
	if len(t.frames) == cap(t.frames) && t.head > len(t.frames)/2 {
		t.compact()
	}
	t.frames = append(t.frames, r)
	t.bytes += n
	l.queued += n
	l.pending++
	if c.flags&(flagDirty|flagWantWrite) == 0 {
		c.markDirty()
	}
}

// compact forgets the frames that were sent: a queue that moves on without ever being empty must not grow by them.
func (t *txState) compact() {
	t.frames = t.frames[:copy(t.frames, t.frames[t.head:])]
	t.head = 0
}

// minFrameBytes is what a frame counts for at least in the limit of the backlog: the shortest have two bytes and cost far
// more than that to keep.
const minFrameBytes = 64

// fits reports whether a frame of n bytes may join the backlog.
func (t *txState) fits(n, limit int) bool {
	return t.bytes == 0 || t.bytes+n <= limit && (len(t.frames)-t.head+1)*minFrameBytes <= limit
}

// relieve reports whether a frame of n bytes may be queued. If not at once, it writes what the socket takes; if that doesn't
// help, the connection is marked as a slow consumer. It is called while a session fans out: it must not destroy anything.
func (c *Conn) relieve(n int) bool {
	t, limit := c.tx, c.loop.srv.opts.SendQueueBytes
	if t.fits(n, limit) {
		return true
	}
	why := flagBroken
	if c.write() {
		if t.fits(n, limit) {
			return true
		}
		why = flagOverflow
	}
	c.flags |= why
	c.markDirty()
	return false
}

// write sends as much of the backlog as the socket takes. It returns false if the connection is broken.
func (c *Conn) write() bool {
	l, t := c.loop, c.tx
	if c.flags&flagTLS != 0 {
		return l.writeSecure(c)
	}
	for t.head < len(t.frames) {
		p := l.gather(c, t)
		n, err := unix.Write(int(c.fd), p)
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
		traffic := l.trafficOf(c)
		traffic.BytesOut += uint64(n)
		traffic.MessagesOut += uint64(t.head - head)
		t.progress = l.now
		if n < len(p) {
			return true
		}
	}
	return true
}

// gather returns the next bytes to write. A single frame is written from where it lies, and so is each message on TCP,
// where every message leaves in a write of its own. Several frames are copied together: for messages of the usual size
// a copy costs less than an iovec each, and connections that were sent the same messages, as the members of a group
// are, share one copy.
func (l *Loop) gather(c *Conn, t *txState) []byte {
	first := t.frames[t.head].buf.frame(c.protocol)[t.offset:]
	rest := t.frames[t.head+1:]
	if len(rest) == 0 || c.protocol == protocolTCP || len(first) >= gatherBytes {
		return first
	}
	g := &l.gathered
	if t.offset == 0 && g.holds(t.frames[t.head:]) {
		return g.mem
	}
	g.mem = append(g.mem[:0], first...)
	g.seqs = append(g.seqs[:0], t.frames[t.head].seq)
	g.whole = t.offset == 0
	for _, r := range rest {
		f := r.buf.frame(c.protocol)
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
func (g *gathered) holds(frames []*localRef) bool {
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

// advance removes n sent bytes from the backlog.
func (t *txState) advance(c *Conn, n int) {
	l := c.loop
	t.bytes -= n
	l.queued -= n
	for n > 0 {
		r := t.frames[t.head]
		left := len(r.buf.frame(c.protocol)) - t.offset
		if n < left {
			t.offset += n
			return
		}
		n -= left
		t.offset = 0
		t.head++
		l.drop(r)
	}
}

// truncate drops the backlog but for a frame that is partly sent, and for the answer to the opening handshake.
func (t *txState) truncate(c *Conn) {
	l, begun := c.loop, c.committed(t)
	keep := t.head + begun
	if begun == 0 && keep < len(t.frames) && t.frames[keep].buf.raw() {
		keep++
	}
	for _, r := range t.frames[keep:] {
		n := len(r.buf.frame(c.protocol))
		t.bytes -= n
		l.queued -= n
		l.drop(r)
	}
	t.frames = t.frames[:keep]
}

// newRef makes the loop's hold of b.
func (l *Loop) newRef(b *Buffer) *localRef {
	b.Retain()
	var r *localRef
	if n := len(l.freeRefs); n > 0 {
		r = l.freeRefs[n-1]
		l.freeRefs = l.freeRefs[:n-1]
	} else {
		r = new(localRef)
	}
	l.refSeq++
	*r = localRef{buf: b, seq: l.refSeq}
	l.hold = r
	return r
}

// drop gives back one connection's hold of r.
func (l *Loop) drop(r *localRef) {
	if r.holders--; r.holders > 0 {
		return
	}
	if l.hold == r {
		l.hold = nil
	}
	r.buf.Release()
	r.buf = nil
	if len(l.freeRefs) < maxFree {
		l.freeRefs = append(l.freeRefs, r)
	}
}

func (l *Loop) newTx() *txState {
	if n := len(l.freeTx); n > 0 {
		t := l.freeTx[n-1]
		l.freeTx = l.freeTx[:n-1]
		l.idleTx = min(l.idleTx, n-1)
		t.progress = l.now
		return t
	}
	return &txState{progress: l.now}
}

// releaseTx takes the write queue from a connection, dropping what is unsent.
func (l *Loop) releaseTx(c *Conn) {
	t := c.tx
	if t == nil {
		return
	}
	c.tx = nil
	for _, r := range t.frames[t.head:] {
		l.drop(r)
	}
	l.queued -= t.bytes
	frames := t.frames[:0]
	if keep := maxIdleFrames; cap(frames) > keep || len(l.freeTx) >= maxFree && cap(frames) > maxShare {
		frames = nil
	}
	*t = txState{frames: frames}
	l.freeTx = append(l.freeTx, t)
}

// trimPools gives up half of what nobody needed since it was called last. A fan-out needs a txState for each receiver at
// once, so that their number can't be bounded by less than that of the connections.
func (l *Loop) trimPools() {
	keep := len(l.freeTx) - min(l.idleTx, len(l.freeTx))/2
	clear(l.freeTx[keep:])
	l.freeTx = l.freeTx[:keep]
	l.idleTx = keep
}

// flush writes every connection that has something unsent, once, and does what was put off until now.
func (l *Loop) flush() {
	l.sendMail()                        // first, so that the other loops work on it meanwhile
	for i := 0; i < len(l.dirty); i++ { // grows while sessions react
		c := l.dirty[i]
		if c.flags&flagDirty == 0 { // the slot was freed, and perhaps taken again, since
			continue
		}
		c.flags &^= flagDirty
		l.flushConn(c)
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
	l.pending = 0
}

func (l *Loop) flushConn(c *Conn) {
	if c.flags&flagBroken != 0 || (c.tx != nil || c.flags&flagTLS != 0) && !c.write() {
		l.destroy(c, EndError)
		return
	}
	if c.flags&flagOverflow != 0 && c.state == stateOpen {
		// Even if all has left meanwhile: a message was refused, and the client can't know.
		l.violation(c, SlowConsumer)
		return // it is closing, and in the list again
	}
	if c.tx != nil && c.tx.head == len(c.tx.frames) {
		l.releaseTx(c)
	}
	if c.tx == nil && !l.unsent(c) {
		l.allSent(c)
		return
	}
	l.setEvents(c, c.flags|flagWantWrite)
}

// allSent moves a connection on whose queue has run empty.
func (l *Loop) allSent(c *Conn) {
	switch {
	case c.state == stateClosing && c.flags&flagTLS != 0 && !l.sayGoodbye(c):
		l.setEvents(c, c.flags|flagWantWrite)
	case c.state == stateClosing && c.flags&flagPeerDone != 0:
		l.destroy(c, EndPeer)
	case c.state == stateClosing:
		// The client may still be sending: closing now would reset the connection, and the reset could overtake the
		// last frames. So tell it that nothing more comes and wait for its end.
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
		c.state = stateLinger
		c.since = l.now
		l.setEvents(c, c.flags&^(flagWantWrite|flagNoRead))
	default:
		l.setEvents(c, c.flags&^flagWantWrite)
	}
}

// setEvents changes what the loop waits for on the connection to what flags say.
func (l *Loop) setEvents(c *Conn, flags uint16) {
	const mask = flagNoRead | flagWantWrite
	if (c.flags^flags)&mask == 0 {
		return
	}
	c.flags = c.flags&^mask | flags&mask
	l.control(unix.EPOLL_CTL_MOD, c)
}
