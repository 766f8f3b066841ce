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
	n, need := l.handleFrame(c, rx.buf)
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

// handleFrame handles the frame at the beginning of p and returns its length, or 0 and the length that p needs at least.
func (l *Loop) handleFrame(c *Conn, p []byte) (n, need int) {
	h, size, need, ok := frame.ParseHeader(p)
	if size == 0 {
		return 0, need
	}
	st := ws.StateServerSide
	if c.rx != nil && c.rx.op != 0 {
		st |= ws.StateFragmented
	}
	if !ok || ws.CheckHeader(h, st) != nil {
		l.failConn(c, ws.StatusProtocolError, causeFrame)
		return 0, 0
	}
	if !h.OpCode.IsControl() {
		have := 0
		if c.rx != nil {
			have = len(c.rx.msg)
		}
		if h.Length > int64(l.srv.opts.MaxMessageBytes-have) {
			l.report(c, TooBig)
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
		code, reason := frame.CheckClose(payload), ""
		if code != 0 {
			l.failConn(c, code, causeClose)
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

func (l *Loop) dataFrame(c *Conn, h ws.Header, payload []byte) {
	if h.Fin && h.OpCode != ws.OpContinuation {
		l.passMessage(c, h.OpCode, payload)
		return
	}
	rx := l.partialOf(c)
	if h.OpCode != ws.OpContinuation {
		rx.op = h.OpCode
	}
	rx.frags++
	if rx.frags > l.srv.opts.MaxFragments {
		l.failConn(c, ws.StatusPolicyViolation, causeFragments)
		return
	}
	if !l.growMessage(c, payload) {
		return
	}
	if !h.Fin {
		return
	}
	msg, op := rx.msg, rx.op
	rx.op, rx.frags, rx.busy = 0, 0, false
	l.passMessage(c, op, msg)
	if c.rx == rx { // not closed: rx may belong to the pool by now
		rx.msg = msg[:0]
	}
}

// passMessage hands a complete message to the session.
func (l *Loop) passMessage(c *Conn, op ws.OpCode, p []byte) {
	if op == ws.OpText && !utf8.Valid(p) {
		l.failConn(c, ws.StatusInvalidFramePayloadData, causeUTF8)
		return
	}
	c.session.Message(c, op == ws.OpBinary, p)
}
