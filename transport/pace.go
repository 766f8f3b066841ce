package transport

import (
	"time"
)

// A paced connection is one of the TCP listener whose client may parse what it reads at once as one message: the
// original client does, and drops what it can't parse. So
//
//   - each message leaves in a write of its own, and Options.TCPGap passes before the next. Meanwhile the connection
//     rests: what is queued waits, within the bounds of any backlog;
//   - no message is longer than maxChunk, beyond which that client disconnects. A longer one is sent in the Session's
//     shorter form, or not at all.
//
// Every connection of the TCP listener begins paced; Conn.Unpace is for clients that split the stream themselves.

// maxChunk is the most bytes that the original client reads at once.
const maxChunk = 32 << 10

// Shortener is a Session whose messages have a shorter form, for clients that read only so much at once.
type Shortener interface {
	// AppendShort appends the shorter form of a message that is being sent, or nothing if there is none.
	AppendShort(dst, payload []byte) []byte
}

// pacer is the paced connections of a loop that rest, in the order in which their rest ends.
type pacer struct {
	gap     time.Duration
	resting []rest
	head    int // the first of resting whose rest is not over
}

// rest is a connection that must not be written to yet.
type rest struct {
	ref   Ref
	until time.Duration // on the server's clock
}

// Unpace ends the pacing of the connection: its client finds the messages in whatever it reads.
func (c *Conn) Unpace() {
	if c.protocol == protocolPacedTCP {
		c.protocol = protocolTCP
		c.flags &^= flagResting
		c.markDirty()
	}
}

// sendPaced is Conn.Send for a paced connection.
func (c *Conn) sendPaced(b *Buffer) bool {
	if len(b.wire(c.protocol)) > maxChunk {
		if b = c.shortened(b); b == nil {
			c.loop.srv.countUnsent(causeChunk, c.RemoteAddr())
			return false
		}
		defer b.Release()
	}
	if c.tx != nil && !c.relieve(len(b.wire(c.protocol))) {
		return false
	}
	c.enqueue(b)
	return true
}

// shortened returns the shorter form of a message, without a line feed; nil if there is none that fits.
func (c *Conn) shortened(b *Buffer) *Buffer {
	s, ok := c.session.(Shortener)
	if !ok {
		return nil
	}
	short := AllocBuffer(len(b.Payload()))
	p := s.AppendShort(short.Room(), b.Payload())
	if len(p) == 0 || len(p) > maxChunk {
		short.Release()
		return nil
	}
	short.sealRaw(p)
	return short
}

// beginRest makes a paced connection rest, since a message has just left.
func (l *Loop) beginRest(c *Conn) {
	c.flags |= flagResting
	l.pacer.resting = append(l.pacer.resting, rest{c.Ref(), l.srv.Clock() + l.pacer.gap})
}

// endRests lets the connections go on whose rest is over at time t of the server's clock.
func (l *Loop) endRests(t time.Duration) {
	p := &l.pacer
	for ; p.head < len(p.resting) && p.resting[p.head].until <= t; p.head++ {
		if c := p.resting[p.head].ref.live(); c != nil && c.flags&flagResting != 0 {
			c.flags &^= flagResting
			if c.tx != nil {
				c.markDirty()
			}
		}
	}
	if 2*p.head >= len(p.resting) { // else the moves would cost more than the room
		p.resting = p.resting[:copy(p.resting, p.resting[p.head:])]
		p.head = 0
	}
}

// untilRestEnds returns how many milliseconds, rounded up, the first rest takes from time t of the server's clock on;
// atMost if that is less, or no connection rests.
func (p *pacer) untilRestEnds(t time.Duration, atMost int) int {
	if p.head == len(p.resting) {
		return atMost
	}
	left := p.resting[p.head].until - t
	return min(max(int((left+time.Millisecond-1)/time.Millisecond), 0), atMost)
}

// restsAhead returns how long the rests between the messages of a connection's backlog take.
func (c *Conn) restsAhead() time.Duration {
	if c.protocol != protocolPacedTCP || c.tx == nil {
		return 0
	}
	return time.Duration(len(c.tx.frames)-c.tx.head) * c.loop.pacer.gap
}
