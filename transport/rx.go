package transport

// This file keeps what arrived incomplete, and accounts for its memory.

// needRx returns the connection's rxState, taking one from the loop's pool if it has none.
func (l *Loop) needRx(c *Conn) *rxState {
	if c.rx == nil {
		if n := len(l.freeRx); n > 0 {
			c.rx = l.freeRx[n-1]
			l.freeRx = l.freeRx[:n-1]
		} else {
			c.rx = new(rxState)
		}
		l.account(c, cap(c.rx.buf)+cap(c.rx.msg))
	}
	return c.rx
}

// account notes that the buffers of a connection grew by n bytes.
func (l *Loop) account(c *Conn, n int) {
	if c.flags&flagTrusted == 0 {
		l.untrusted += n
	}
}

// grow appends p to the incomplete head, frame or value. It returns false if there is no memory for it, in which case
// the connection is closing.
func (l *Loop) grow(c *Conn, p []byte) bool {
	rx := l.needRx(c)
	before := cap(rx.buf)
	rx.buf = append(rx.buf, p...)
	return l.grown(c, rx, cap(rx.buf)-before)
}

// growMsg appends p to the message whose fragments are being collected.
func (l *Loop) growMsg(c *Conn, p []byte) bool {
	rx := l.needRx(c)
	before := cap(rx.msg)
	rx.msg = append(rx.msg, p...)
	return l.grown(c, rx, cap(rx.msg)-before)
}

func (l *Loop) grown(c *Conn, rx *rxState, n int) bool {
	if !rx.busy {
		rx.busy = true
		rx.since = l.now
	}
	return l.afford(c, n)
}

// afford accounts for n bytes that were added to the buffers of a connection. It returns false if that was too much, in
// which case the connection is closing.
func (l *Loop) afford(c *Conn, n int) bool {
	l.account(c, n)
	if c.flags&flagTrusted == 0 && l.untrusted > l.srv.opts.UntrustedBytes/len(l.srv.loops) {
		l.violation(c, NoMemory)
		return false
	}
	return true
}

// stash keeps what arrived while the connection is paused, and stops reading from it.
func (l *Loop) stash(c *Conn, p []byte) {
	rx := l.needRx(c)
	before := cap(rx.buf)
	rx.buf = append(rx.buf, p...)
	l.setEvents(c, c.flags|flagNoRead)
	l.afford(c, cap(rx.buf)-before)
}

// unstash handles what was kept and reads again. What was kept begins where a frame or a value begins.
func (l *Loop) unstash(c *Conn) {
	l.setEvents(c, c.flags&^flagNoRead)
	c.lastRead = l.now
	if c.rx == nil {
		return
	}
	c.rx.split = jsonSplitter{}
	c.rx.need = 0
	c.rx.busy = c.rx.op != 0 // what is kept may begin with the end of a message and end with the beginning of another
	l.feed(c, l.takeBuf(c))
}

// takeBuf takes what was kept from a connection; the caller owns it.
func (l *Loop) takeBuf(c *Conn) []byte {
	p := c.rx.buf
	c.rx.buf = nil
	l.account(c, -cap(p))
	return p
}

// tidyRx gives back the rxState of a connection that has nothing incomplete.
func (l *Loop) tidyRx(c *Conn) {
	if rx := c.rx; len(rx.buf) == 0 && rx.op == 0 {
		l.dropRx(c)
	}
}

// dropRx takes the rxState from a connection, with all that is in it.
func (l *Loop) dropRx(c *Conn) {
	rx := c.rx
	if rx == nil {
		return
	}
	c.rx = nil
	l.account(c, -cap(rx.buf)-cap(rx.msg))
	*rx = rxState{buf: reuse(rx.buf), msg: reuse(rx.msg)}
	if len(l.freeRx) < maxFree {
		l.freeRx = append(l.freeRx, rx)
	}
}

// reuse returns the empty slice of a buffer that is small enough to be kept.
func reuse(p []byte) []byte {
	if cap(p) > maxIdleRx {
		return nil
	}
	return p[:0]
}

// stall stops reading from a connection until the gate opens.
func (l *Loop) stall(c *Conn) {
	if c.flags&flagStalled != 0 {
		return
	}
	c.flags |= flagStalled
	l.setEvents(c, c.flags|flagNoRead)
	l.stalled = append(l.stalled, c.Ref())
}

// resume goes on with the connections that yielded or whose sessions asked for it and, if the gate is open, with those
// that waited for the gate. Handling them may stall or resume others; those are left for the next turn.
func (l *Loop) resume() {
	if len(l.stalled) > 0 && !l.srv.gate.Closed() {
		l.spare, l.stalled = l.stalled, l.spare[:0]
		for _, r := range l.spare {
			if c := r.Conn(); c != nil {
				c.flags &^= flagStalled
				if c.flags&flagPaused == 0 {
					l.unstash(c)
				}
			}
		}
	}
	if len(l.resumed) > 0 {
		l.spare, l.resumed = l.resumed, l.spare[:0]
		for _, r := range l.spare {
			if c := r.Conn(); c != nil && c.flags&(flagPaused|flagStalled) == 0 {
				l.unstash(c)
			}
		}
	}
}
