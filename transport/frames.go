package transport

import (
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/transport/internal/frame"
)

// feedFrame handles one frame, or keeps the part of one that arrived. It returns what follows.
func (l *Loop) feedFrame(c *Conn, p []byte) []byte {
	rx := c.rx
	if rx == nil || len(rx.buf) == 0 {
		n, need := l.handleFrame(c, p)
		if n == 0 && c.state == stateOpen {
			if l.grow(c, p) {
				c.rx.need = need
				l.checkArrived(c)
			}
			return nil
		}
		return p[n:]
	}
	k := max(min(rx.need-len(rx.buf), len(p)), 0)
	if !l.grow(c, p[:k]) {
		return p[k:]
	}
	if len(rx.buf) < rx.need {
		l.checkArrived(c)
		return p[k:]
	}
	n, need := l.handleFrame(c, rx.buf)
	if c.state != stateOpen {
		return p[k:]
	}
	rx.need = need
	if n == 0 {
		l.checkArrived(c)
		return p[k:]
	}
	rx.buf = rx.buf[:0] // need was exact: buf is that frame and nothing else
	rx.busy = rx.op != 0
	return p[k:]
}

// checkArrived checks what has arrived of a text frame that is incomplete: a client that sends invalid text is told so
// at once, not at the end of a long message.
func (l *Loop) checkArrived(c *Conn) {
	rx := c.rx
	h, size, _, _ := frame.ParseHeader(rx.buf)
	if size == 0 || h.OpCode != ws.OpText && (h.OpCode != ws.OpContinuation || rx.op != ws.OpText) {
		return
	}
	if rx.seen == 0 && h.OpCode == ws.OpText {
		rx.text = frame.Text{}
	}
	p := rx.buf[size+rx.seen:]
	ws.Cipher(p, h.Mask, rx.seen)
	rx.seen += len(p)
	if !rx.text.Append(p) {
		l.failConn(c, ws.StatusInvalidFramePayloadData, causeUTF8)
	}
}

// handleFrame handles the frame at the beginning of p and returns its length, or 0 and the length that p needs at least.
func (l *Loop) handleFrame(c *Conn, p []byte) (n, need int) {
	h, size, need, ok := frame.ParseHeader(p)
	if size == 0 {
		return 0, need
	}
	st, have, seen := ws.StateServerSide, 0, 0
	if rx := c.rx; rx != nil {
		if rx.op != 0 {
			st |= ws.StateFragmented
		}
		have, seen = len(rx.msg), rx.seen
	}
	if !ok || ws.CheckHeader(h, st) != nil {
		l.failConn(c, ws.StatusProtocolError, causeFrame)
		c.stopSeeking()
		return 0, 0
	}
	if !h.OpCode.IsControl() && h.Length > int64(l.srv.opts.MaxMessageBytes-have) {
		l.report(c, TooBig)
		return 0, 0
	}
	n = size + int(h.Length)
	if len(p) < n {
		return 0, n
	}
	payload := p[size:n]
	ws.Cipher(payload[seen:], h.Mask, seen)
	if h.OpCode.IsControl() {
		l.controlFrame(c, h.OpCode, payload)
	} else {
		l.dataFrame(c, h, payload, seen)
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
		code, reason := frame.CheckClose(payload), ""
		if code != 0 {
			l.failConn(c, code, causeClose)
			c.stopSeeking()
			return
		}
		if len(payload) >= 2 {
			code = ws.StatusCode(uint16(payload[0])<<8 | uint16(payload[1]))
		}
		c.flags |= flagPeerClosed
		c.Close(code, reason, nil)
		l.notifyClosed(c, EndPeer)
	}
}

// dataFrame handles a whole frame of a message, of whose payload seen bytes were checked before.
func (l *Loop) dataFrame(c *Conn, h ws.Header, payload []byte, seen int) {
	if h.Fin && h.OpCode != ws.OpContinuation && seen == 0 {
		if h.OpCode == ws.OpText && !utf8.Valid(payload) {
			l.failConn(c, ws.StatusInvalidFramePayloadData, causeUTF8)
			return
		}
		c.session.Message(c, h.OpCode == ws.OpBinary, payload)
		return
	}
	rx := l.partialOf(c)
	if h.OpCode != ws.OpContinuation {
		rx.op = h.OpCode
		if seen == 0 {
			rx.text = frame.Text{}
		}
	}
	rx.seen = 0
	if rx.op == ws.OpText && !(rx.text.Append(payload[seen:]) && (!h.Fin || rx.text.Complete())) {
		l.failConn(c, ws.StatusInvalidFramePayloadData, causeUTF8)
		return
	}
	if h.Fin && h.OpCode != ws.OpContinuation {
		rx.op = 0
		c.session.Message(c, h.OpCode == ws.OpBinary, payload)
		return
	}
	l.fragment(c, rx, h.Fin, payload)
}

// fragment joins a checked frame with those of its message before, and handles the message if it is whole.
func (l *Loop) fragment(c *Conn, rx *partial, last bool, payload []byte) {
	rx.frags++
	if rx.frags > l.srv.opts.MaxFragments {
		l.failConn(c, ws.StatusPolicyViolation, causeFragments)
		return
	}
	if !l.growMessage(c, payload) || !last {
		return
	}
	msg, binary := rx.msg, rx.op == ws.OpBinary
	rx.op, rx.frags, rx.busy = 0, 0, false
	c.session.Message(c, binary, msg)
	if c.state == stateOpen { // else rx belongs to the pool
		rx.msg = msg[:0]
	}
}
