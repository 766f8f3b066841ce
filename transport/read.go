package transport

import (
	"errors"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// rxState is what has arrived of something incomplete: a request head, a frame, a fragmented message, a JSON value.
type rxState struct {
	buf   []byte       // the incomplete head, frame or value from its beginning
	need  int          // frames: how many bytes buf must have before it can be looked at again
	msg   []byte       // the unmasked fragments of an incomplete message
	op    ws.OpCode    // the message's opcode; 0 while none is under way
	frags int          // its number of fragments
	split jsonSplitter // TCP: where in the value buf ends
	since uint32       // loop clock when the message began
	busy  bool         // since is set
}

// maxIdleRx bounds the memory that an unused rxState keeps.
const maxIdleRx = 4096

// readable reads once from a connection and handles what arrived.
func (l *Loop) readable(c *Conn) {
	if c.state == stateOpen {
		if c.flags&flagPaused != 0 {
			l.setEvents(c, c.flags|flagNoRead)
			return
		}
		if l.srv.gate.Closed() {
			l.stall(c)
			return
		}
	}
	n, err := unix.Read(int(c.fd), l.buf)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil:
		l.destroy(c, EndError)
	case n == 0:
		l.peerDone(c)
	default:
		l.stats.bytesIn += uint64(n)
		l.trafficOf(c).BytesIn += uint64(n)
		if c.state == stateClosing || c.state == stateLinger {
			l.discard(c, n)
			return
		}
		c.lastRead = l.now
		if c.flags&flagTLS != 0 {
			l.feedSecure(c, l.buf[:n])
			return
		}
		l.feed(c, l.buf[:n])
	}
}

// maxDiscard bounds what is read and thrown away from a client that was told to close. It is more than clients have on
// their way; whoever goes on sending waits, at no cost, until Options.CloseTimeout has passed.
const maxDiscard = 4 << 20

// discard counts n bytes that nobody wants any more.
func (l *Loop) discard(c *Conn, n int) {
	if c.lastRead += uint32(n); c.lastRead > maxDiscard {
		l.setEvents(c, c.flags|flagNoRead)
	}
}

// peerDone handles the end of the client's stream. It may still read: what is queued is sent before the end.
func (l *Loop) peerDone(c *Conn) {
	if c.state == stateLinger || c.state == stateHandshake {
		l.destroy(c, EndPeer)
		return
	}
	c.flags |= flagPeerDone
	if c.state != stateClosing {
		c.startClosing()
		l.tell(c, EndPeer)
	}
	l.setEvents(c, c.flags|flagNoRead)
	c.markDirty()
}

// feed handles bytes that arrived. p is the loop's buffer, or a stash that nobody else uses.
func (l *Loop) feed(c *Conn, p []byte) {
	for len(p) > 0 {
		switch {
		case c.state == stateHandshake:
			p = l.feedHandshake(c, p)
		case c.state != stateOpen:
			return
		case c.flags&(flagPaused|flagStalled) != 0:
			l.stash(c, p)
			return
		case l.srv.gate.Closed():
			l.stall(c)
		case c.protocol == protocolTCP:
			p = l.feedStream(c, p)
		default:
			p = l.feedFrame(c, p)
		}
		if l.full() {
			l.flush() // bounds what one read can queue; may destroy c, which its state tells
			l.yield(c, p)
			return
		}
	}
	if c.state == stateOpen && c.rx != nil {
		l.tidyRx(c)
	}
}

// yield lets others have their turn before the rest of what arrived from a connection, whose messages are a lot of work.
func (l *Loop) yield(c *Conn, p []byte) {
	if c.state != stateOpen {
		return
	}
	l.stash(c, p)
	if c.flags&(flagPaused|flagStalled) == 0 {
		l.resumed = append(l.resumed, c.Ref())
	}
}

// A loop writes, even if its turn goes on, once it has queued maxPending frames, or maxShare for each connection that it
// will write to if that is more: what is written together should not be cut short because it goes to many.
const (
	maxPending = 1 << 16
	maxShare   = 16
)

// full reports whether enough is queued to write before the turn goes on.
func (l *Loop) full() bool { return l.pending > max(maxPending, maxShare*len(l.dirty)) }

// feedHandshake collects a request head and answers it. It returns what lies behind the head.
func (l *Loop) feedHandshake(c *Conn, p []byte) []byte {
	from := 0
	if c.rx != nil {
		from = len(c.rx.buf)
		if !l.grow(c, p) {
			return nil
		}
		p = c.rx.buf
	}
	r := &l.request
	n, err := handshake.Parse(p, from, r)
	if errors.Is(err, handshake.ErrIncomplete) {
		if c.rx == nil {
			l.grow(c, p)
		}
		return nil
	}
	if c.rx != nil {
		l.takeBuf(c) // p lives on until it is handled
	}
	if reject := l.answer(c, r, err); reject != nil {
		l.reject(c, reject, r)
		return nil
	}
	return p[n:]
}

// answer upgrades the connection as the request asks, or says why not.
func (l *Loop) answer(c *Conn, r *Request, err error) *Rejection {
	var reject *Rejection
	if errors.As(err, &reject) {
		return reject
	}
	e := c.session.(*listener).route(r.Path)
	if e == nil {
		return handshake.RejectNotFound
	}
	if reject = handshake.CheckUpgrade(r, l.srv.opts.Origins); reject != nil {
		return reject
	}
	b := AllocBuffer(handshake.AcceptBytes)
	b.sealRaw(handshake.AppendAccept(b.Room(), r))
	c.enqueue(b)
	b.Release()
	return l.open(c, e, r)
}

// open asks the endpoint for a session.
func (l *Loop) open(c *Conn, e Endpoint, r *Request) *Rejection {
	c.state = stateOpen
	c.since = l.now
	s, reject := e.Open(c, r)
	if reject != nil {
		l.releaseTx(c) // the acceptance
		c.state = stateHandshake
		return reject
	}
	c.session = s
	return nil
}

// reject answers an opening handshake with an error and closes.
func (l *Loop) reject(c *Conn, why *Rejection, r *Request) {
	l.srv.countRejection(why, c.RemoteAddr())
	if c.protocol == protocolWebSocket && (c.flags&flagTLS == 0 || l.secureOf(c) != nil) {
		b := AllocBuffer(handshake.ResponseBytes(why))
		b.sealRaw(handshake.AppendResponse(b.Room(), why, r, time.Now()))
		c.enqueue(b)
		b.Release()
	}
	c.startClosing()
}

// feedFrame handles one frame, or keeps the part of one that arrived. It returns what follows.
func (l *Loop) feedFrame(c *Conn, p []byte) []byte {
	rx := c.rx
	if rx == nil || len(rx.buf) == 0 {
		n, need := l.frame(c, p)
		if n == 0 && c.state == stateOpen {
			l.grow(c, p)
			if c.rx != nil {
				c.rx.need = need
			}
			return nil
		}
		return p[n:]
	}
	k := max(min(rx.need-len(rx.buf), len(p)), 0)
	if !l.grow(c, p[:k]) {
		return nil
	}
	if len(rx.buf) < rx.need {
		return p[k:]
	}
	n, need := l.frame(c, rx.buf)
	if c.state != stateOpen {
		return nil
	}
	rx.need = need
	if n > 0 { // need was exact: buf is that frame and nothing else
		rx.buf = rx.buf[:0]
		rx.busy = rx.op != 0
	}
	return p[k:]
}

// frame handles the frame at the beginning of p and returns its length, or 0 and the length that p needs at least.
func (l *Loop) frame(c *Conn, p []byte) (n, need int) {
	h, size, need, ok := parseHeader(p)
	if size == 0 {
		return 0, need
	}
	st := ws.StateServerSide
	if c.rx != nil && c.rx.op != 0 {
		st |= ws.StateFragmented
	}
	if !ok || ws.CheckHeader(h, st) != nil {
		l.fail(c, ws.StatusProtocolError, causeFrame)
		return 0, 0
	}
	if !h.OpCode.IsControl() {
		have := 0
		if c.rx != nil {
			have = len(c.rx.msg)
		}
		if h.Length > int64(l.srv.opts.MaxMessageBytes-have) {
			l.violation(c, TooBig)
			return 0, 0
		}
	}
	n = size + int(h.Length)
	if len(p) < n {
		return 0, n
	}
	payload := p[size:n]
	ws.Cipher(payload, h.Mask, 0)
	if h.OpCode.IsControl() {
		l.controlFrame(c, h.OpCode, payload)
	} else {
		l.dataFrame(c, h, payload)
	}
	return n, 0
}

func (l *Loop) controlFrame(c *Conn, op ws.OpCode, payload []byte) {
	switch op {
	case ws.OpPing:
		b := newControl(ws.OpPong, payload)
		c.Send(b)
		b.Release()
	case ws.OpClose:
		code, reason := validClose(payload), ""
		if code != 0 {
			l.fail(c, code, causeClose)
			return
		}
		if len(payload) >= 2 {
			code = ws.StatusCode(uint16(payload[0])<<8 | uint16(payload[1]))
		}
		c.flags |= flagPeerDone
		c.Close(code, reason, nil)
		l.tell(c, EndPeer)
	}
}

func (l *Loop) dataFrame(c *Conn, h ws.Header, payload []byte) {
	if h.Fin && h.OpCode != ws.OpContinuation {
		l.message(c, h.OpCode, payload)
		return
	}
	rx := l.needRx(c)
	if h.OpCode != ws.OpContinuation {
		rx.op = h.OpCode
	}
	rx.frags++
	if rx.frags > l.srv.opts.MaxFragments {
		l.fail(c, ws.StatusPolicyViolation, causeFragments)
		return
	}
	if !l.growMsg(c, payload) {
		return
	}
	if !h.Fin {
		return
	}
	msg, op := rx.msg, rx.op
	rx.op, rx.frags, rx.busy = 0, 0, false
	l.message(c, op, msg)
	if c.rx == rx { // not closed: rx may belong to the pool by now
		rx.msg = msg[:0]
	}
}

// message hands a complete message to the session.
func (l *Loop) message(c *Conn, op ws.OpCode, p []byte) {
	if op == ws.OpText && !utf8.Valid(p) {
		l.fail(c, ws.StatusInvalidFramePayloadData, causeUTF8)
		return
	}
	c.session.Message(c, op == ws.OpBinary, p)
}

// feedStream handles one JSON value of a TCP stream, or keeps the part of one that arrived. It returns what follows.
func (l *Loop) feedStream(c *Conn, p []byte) []byte {
	rx := l.needRx(c)
	limit, before := l.srv.opts.MaxMessageBytes, len(rx.buf)
	if before == 0 {
		p = p[skipSpace(p):]
	}
	b := p[:min(limit+1-before, len(p))] // what is wrong further on must not matter: it may not have arrived
	if before > 0 {                      // a value that began earlier: look at it as a whole
		if !l.grow(c, b) {
			return nil
		}
		b = rx.buf
	}
	start, end, ok, err := rx.split.next(b)
	switch {
	case err != nil:
		l.violation(c, NotJSON)
		return nil
	case end-start > limit:
		l.violation(c, TooBig)
		return nil
	case !ok && before > 0:
		return p[len(b)-before:]
	case !ok && start < end:
		l.grow(c, b[start:end])
		return nil
	case !ok:
		return nil
	}
	rx.busy = false
	c.session.Message(c, false, b[start:end])
	rx.buf = rx.buf[:0]
	return p[end-before:]
}

// fail closes a WebSocket whose client broke the protocol.
func (l *Loop) fail(c *Conn, code ws.StatusCode, why cause) {
	l.srv.count(why)
	c.Close(code, string(why), nil)
	l.tell(c, EndLocal)
}

// violation tells the session of a limit that was passed, and closes if it doesn't.
func (l *Loop) violation(c *Conn, v Violation) {
	c.session.Violation(c, v)
	if c.state != stateOpen {
		return
	}
	if v == TooBig {
		c.Close(ws.StatusMessageTooBig, "", nil)
	} else {
		c.Abort(ws.StatusPolicyViolation, "", nil)
	}
	l.tell(c, EndLocal)
}
