package transport

// hold is a loop's hold of one Buffer: however many of its connections queue the buffer, the loop has one
// reference to it, and counts its own holders without atomic operations.
type hold struct {
	buf     *Buffer
	holders int
	seq     uint64 // unlike the pointer, never used twice
}

// backlog is the unsent backlog of a connection.
type backlog struct {
	frames   []*hold
	head     int    // the first unsent one
	offset   int    // how much of it is sent
	bytes    int    // unsent in all
	relief   int    // the load below which the session is told, once; 0 for none
	progress uint32 // loop clock when bytes last left, or the queue was empty
}

// maxIdleFrames bounds the slice that an unused backlog keeps.
const maxIdleFrames = 1024

// enqueue adds b to the backlog, whatever its size.
func (c *Conn) enqueue(b *Buffer) {
	l := c.loop
	r := l.out.held
	if r == nil || r.buf != b {
		r = l.newHold(b)
	}
	r.holders++
	t := c.tx
	if t == nil {
		t = l.newBacklog()
		c.tx = t
	}
	n := len(b.wire(c.protocol))
	if len(t.frames) == cap(t.frames) && t.head > len(t.frames)/2 {
		t.compact()
	}
	t.frames = append(t.frames, r)
	t.bytes += n
	l.out.queued += n
	l.out.pending++
	if c.flags&(flagDirty|flagWantWrite) == 0 {
		c.markDirty()
	}
}

// compact forgets the frames that were sent: a queue that moves on without ever being empty must not grow by them.
func (t *backlog) compact() {
	t.frames = t.frames[:copy(t.frames, t.frames[t.head:])]
	t.head = 0
}

// minFrameBytes is what a frame counts for at least in the limit of the backlog: the shortest have two bytes and cost far
// more than that to keep.
const minFrameBytes = 64

// fits reports whether a frame of n bytes may join the backlog.
func (t *backlog) fits(n, limit int) bool {
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
	if c.writeBacklog() {
		if t.fits(n, limit) {
			return true
		}
		why = flagOverflow
	}
	c.flags |= why
	c.markDirty()
	return false
}

// advance removes n sent bytes from the backlog.
func (t *backlog) advance(c *Conn, n int) {
	l := c.loop
	t.bytes -= n
	l.out.queued -= n
	for n > 0 {
		r := t.frames[t.head]
		left := len(r.buf.wire(c.protocol)) - t.offset
		if n < left {
			t.offset += n
			break
		}
		n -= left
		t.offset = 0
		t.head++
		l.dropHold(r)
	}
	if t.relief > 0 {
		t.relieved(c)
	}
}

// truncate drops the backlog but for a frame that is partly sent, and for the answer to the opening handshake.
func (t *backlog) truncate(c *Conn) {
	l, begun := c.loop, c.begunFrames(t)
	keep := t.head + begun
	if begun == 0 && keep < len(t.frames) && t.frames[keep].buf.raw() {
		keep++
	}
	for _, r := range t.frames[keep:] {
		n := len(r.buf.wire(c.protocol))
		t.bytes -= n
		l.out.queued -= n
		l.dropHold(r)
	}
	t.frames = t.frames[:keep]
}

// newHold makes the loop's hold of b.
func (l *Loop) newHold(b *Buffer) *hold {
	b.Retain()
	var r *hold
	if n := len(l.out.freeHolds); n > 0 {
		r = l.out.freeHolds[n-1]
		l.out.freeHolds = l.out.freeHolds[:n-1]
	} else {
		r = new(hold)
	}
	l.out.holdSeq++
	l.out.kept += len(b.mem) + holdBytes
	*r = hold{buf: b, seq: l.out.holdSeq}
	l.out.held = r
	return r
}

// dropHold gives back one connection's hold of r.
func (l *Loop) dropHold(r *hold) {
	if r.holders--; r.holders > 0 {
		return
	}
	if l.out.held == r {
		l.out.held = nil
	}
	l.out.kept -= len(r.buf.mem) + holdBytes
	r.buf.Release()
	r.buf = nil
	if len(l.out.freeHolds) < maxFree {
		l.out.freeHolds = append(l.out.freeHolds, r)
	}
}

func (l *Loop) newBacklog() *backlog {
	if n := len(l.out.freeBacklogs); n > 0 {
		t := l.out.freeBacklogs[n-1]
		l.out.freeBacklogs = l.out.freeBacklogs[:n-1]
		l.out.idleBacklogs = min(l.out.idleBacklogs, n-1)
		t.progress = l.clock.now
		return t
	}
	return &backlog{progress: l.clock.now}
}

// dropBacklog takes the write queue from a connection, dropping what is unsent.
func (l *Loop) dropBacklog(c *Conn) {
	t := c.tx
	if t == nil {
		return
	}
	c.tx = nil
	if t.relief > 0 {
		l.out.relieved = append(l.out.relieved, c.Ref())
	}
	for _, r := range t.frames[t.head:] {
		l.dropHold(r)
	}
	l.out.queued -= t.bytes
	frames := t.frames[:0]
	if keep := maxIdleFrames; cap(frames) > keep || len(l.out.freeBacklogs) >= maxFree && cap(frames) > maxShare {
		frames = nil
	}
	*t = backlog{frames: frames}
	l.out.freeBacklogs = append(l.out.freeBacklogs, t)
}

// trimPools gives up half of what was not needed since the last call. A fan-out needs a backlog for each receiver at
// once, so that their number can't be bounded by less than that of the connections.
func (l *Loop) trimPools() {
	keep := len(l.out.freeBacklogs) - min(l.out.idleBacklogs, len(l.out.freeBacklogs))/2
	clear(l.out.freeBacklogs[keep:])
	l.out.freeBacklogs = l.out.freeBacklogs[:keep]
	l.out.idleBacklogs = keep
}
