package transport

import (
	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/transport/internal/frame"
	"github.com/mastersocket/mastersocket/transport/internal/jsonstream"
)

// partial is what has arrived of something incomplete: a request head, a frame, a fragmented message, a JSON value.
type partial struct {
	buf   []byte              // the incomplete head, frame or value from its beginning
	need  int                 // frames: how many bytes buf must have before it can be looked at again
	msg   []byte              // the unmasked fragments of an incomplete message
	seen  int                 // frames: how many bytes of the payload in buf are unmasked and checked
	text  frame.Text          // of the text message that is under way, up to seen
	op    ws.OpCode           // the message's opcode; 0 while none is under way
	frags int                 // its number of fragments
	split jsonstream.Splitter // TCP: where in the value buf ends
	since uint32              // loop clock when the message began
	busy  bool                // since is set
	seek  frame.Seeker        // closing: for the client's close frame
}

// inbound is what a loop keeps of what arrives.
type inbound struct {
	buf       []byte     // one read
	request   Request    // the opening handshake that is being read
	served    Request    // the request that is being served
	free      []*partial // for later
	untrusted int        // bytes buffered for connections that are not trusted
	cursor    uint32     // the slot that was looked at last for a connection that gives way
}

// maxIdlePartial bounds the memory that an unused partial keeps.
const maxIdlePartial = 4096

// partialOf returns the connection's partial, taking one from the loop's pool if it has none.
func (l *Loop) partialOf(c *Conn) *partial {
	if c.rx == nil {
		if n := len(l.in.free); n > 0 {
			c.rx = l.in.free[n-1]
			l.in.free = l.in.free[:n-1]
		} else {
			c.rx = new(partial)
		}
		l.charge(c, cap(c.rx.buf)+cap(c.rx.msg))
	}
	return c.rx
}

// grow appends p to the incomplete head, frame or value. It returns false if there is no memory for it, in which case
// the connection is closing.
func (l *Loop) grow(c *Conn, p []byte) bool {
	rx := l.partialOf(c)
	before := cap(rx.buf)
	rx.buf = append(rx.buf, p...)
	return l.noteGrowth(c, rx, cap(rx.buf)-before)
}

// growMessage appends p to the message whose fragments are being collected.
func (l *Loop) growMessage(c *Conn, p []byte) bool {
	rx := l.partialOf(c)
	before := cap(rx.msg)
	rx.msg = append(rx.msg, p...)
	return l.noteGrowth(c, rx, cap(rx.msg)-before)
}

func (l *Loop) noteGrowth(c *Conn, rx *partial, n int) bool {
	if !rx.busy {
		rx.busy = true
		rx.since = l.clock.now
	}
	return l.afford(c, n)
}

// charge notes that the buffers of a connection grew by n bytes.
func (l *Loop) charge(c *Conn, n int) {
	if c.flags&flagTrusted == 0 {
		l.in.untrusted += n
	}
}

// takeBuf takes what was kept from a connection; the caller owns it.
func (l *Loop) takeBuf(c *Conn) []byte {
	p := c.rx.buf
	c.rx.buf = nil
	l.charge(c, -cap(p))
	return p
}

// tidyPartial gives back the partial of a connection that has nothing incomplete.
func (l *Loop) tidyPartial(c *Conn) {
	if rx := c.rx; len(rx.buf) == 0 && rx.op == 0 {
		l.dropPartial(c)
	}
}

// dropPartial takes the partial from a connection, with all that is in it.
func (l *Loop) dropPartial(c *Conn) {
	rx := c.rx
	if rx == nil {
		return
	}
	c.rx = nil
	l.charge(c, -cap(rx.buf)-cap(rx.msg))
	*rx = partial{buf: reuse(rx.buf), msg: reuse(rx.msg)}
	if len(l.in.free) < maxFree {
		l.in.free = append(l.in.free, rx)
	}
}

// reuse returns the empty slice of a buffer that is small enough to be kept.
func reuse(p []byte) []byte {
	if cap(p) > maxIdlePartial {
		return nil
	}
	return p[:0]
}
