package transport

import (
	"errors"
	"time"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// feedRequest collects a request head and answers it. It returns what lies behind the head.
func (l *Loop) feedRequest(c *Conn, p []byte) []byte {
	from := 0
	if c.rx != nil {
		from = len(c.rx.buf)
		if !l.grow(c, p) {
			return nil
		}
		p = c.rx.buf
	}
	r := &l.in.request
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
	rest, reject := l.answer(c, r, err, p, n)
	if reject != nil {
		l.refuseHandshake(c, reject, r)
		return nil
	}
	return rest
}

// answer does what the request asks, or says why not. The request is the first n bytes of p; what is returned lies behind
// what has been handled.
func (l *Loop) answer(c *Conn, r *Request, err error, p []byte, n int) (rest []byte, reject *Rejection) {
	if err != nil {
		var why *Rejection // not the result, which would be allocated each time
		errors.As(err, &why)
		return nil, why
	}
	lis := c.session.(*listener)
	if !lis.hosts.AllowsAll() && !lis.hosts.Allows(string(r.Host)) {
		return nil, handshake.RejectMisdirected
	}
	e := lis.route(r.Path)
	if e == nil {
		return nil, handshake.RejectNotFound
	}
	if h, ok := e.(HTTPEndpoint); ok {
		if to := h.LoopFor(r); to >= 0 && to != l.index {
			l.handOver(c, l.srv.loops[to], p)
			return nil, nil
		}
		switch {
		case r.Upgrade:
		case c.flags&flagExcess != 0:
			return nil, handshake.RejectOverload
		default:
			return l.beginExchange(c, h, r, p, n)
		}
	}
	if reject = l.upgrade(c, e, r); reject != nil {
		return nil, reject
	}
	return p[n:], nil
}

// upgrade makes the connection a WebSocket.
func (l *Loop) upgrade(c *Conn, e Endpoint, r *Request) *Rejection {
	if reject := handshake.CheckUpgrade(r, l.srv.opts.Origins); reject != nil {
		return reject
	}
	b := AllocBuffer(handshake.AcceptBytes)
	b.sealRaw(handshake.AppendAccept(b.Room(), r))
	c.enqueue(b)
	b.Release()
	return l.openSession(c, e, r)
}

// openSession asks the endpoint for a session.
func (l *Loop) openSession(c *Conn, e Endpoint, r *Request) *Rejection {
	c.state = stateOpen
	c.since = l.clock.now
	s, reject := e.Open(c, r)
	if reject != nil {
		l.dropBacklog(c) // the acceptance
		c.state = stateHandshake
		return reject
	}
	c.session = s
	return nil
}

// refuseHandshake answers an opening handshake with an error and closes.
func (l *Loop) refuseHandshake(c *Conn, why *Rejection, r *Request) {
	l.srv.countRejection(why, r, c.RemoteAddr())
	if c.protocol == protocolWebSocket && (c.flags&flagTLS == 0 || l.secureOf(c) != nil) {
		b := AllocBuffer(handshake.ResponseBytes(why))
		b.sealRaw(handshake.AppendResponse(b.Room(), why, r, time.Now()))
		c.enqueue(b)
		b.Release()
	}
	c.startClosing()
}
