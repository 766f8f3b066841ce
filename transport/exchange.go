package transport

import (
	"bytes"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/mastersocket/mastersocket/internal/handshake"
	"github.com/mastersocket/mastersocket/transport/internal/chunked"
)

// HTTPEndpoint is an Endpoint whose path also takes HTTP requests that ask for no upgrade.
type HTTPEndpoint interface {
	Endpoint
	// LoopFor returns the index of the loop that a request belongs to, be it for an upgrade or not, or -1 if any loop may
	// handle it. It is called on the loop that the connection came to. r is valid during the call only.
	LoopFor(r *Request) int
	// Serve handles one complete request: x.Respond answers it, in the call or later, on the same loop. Until then the
	// client's connection waits, however long that takes: the endpoint keeps the deadline.
	Serve(x *Exchange)
}

// BodyLimiter is an HTTPEndpoint that takes larger requests than a message may be.
type BodyLimiter interface {
	// MaxBodyBytes returns the size of the largest content of a request. It is the same for each call.
	MaxBodyBytes() int
}

// Exchange is one HTTP request and its answer. It belongs to the loop of its connection. It implements Session for the
// time in which the request is read and answered.
type Exchange struct {
	// Request is the head of the request. It is valid during HTTPEndpoint.Serve, and nil after.
	Request *Request
	// Body is the content, at most Options.MaxMessageBytes, or what a [BodyLimiter] says. It is valid until Respond, and the
	// endpoint may overwrite it.
	Body []byte
	// Fields are further header lines of the answer, each with its CRLF. The endpoint sets them, if it likes.
	Fields string

	loop     *Loop
	conn     *Conn
	lis      *listener
	endpoint HTTPEndpoint
	head     []byte // of a request that was not complete at once; nil once it was served
	length   int64  // of the content, if it is not chunked
	most     int    // bytes of the content
	chunks   chunked.Decoder
	chunked  bool
	complete bool
	answered bool
	noBody   bool // the answer has none: the method is HEAD
	closes   bool // the connection ends with the answer
	gone     func()
}

// maxKeptHead bounds what a client may send behind a request before it has the answer, in bytes.
const maxKeptHead = 16 << 10

// keepAlive is how long a connection may wait for its next request.
const keepAlive = 60 * time.Second

// IsOpen reports whether the request waits for its answer: it does no more once it was answered, or its client has gone.
func (x *Exchange) IsOpen() bool { return !x.answered }

// OnGone has f called once if the client's connection ends before the request is answered. f must not block.
func (x *Exchange) OnGone(f func()) { x.gone = f }

// Loop returns the loop that the exchange belongs to. Any goroutine may call it.
func (x *Exchange) Loop() *Loop { return x.loop }

// Conn returns the connection that the request came by. It is valid until the request is answered or its client gone.
func (x *Exchange) Conn() *Conn { return x.conn }

// RemoteAddr returns the address of the connection's other end.
func (x *Exchange) RemoteAddr() netip.AddrPort { return x.conn.RemoteAddr() }

// beginExchange begins to read the content of a request whose head, the first n bytes of p, is r. It returns what lies
// behind the head.
func (l *Loop) beginExchange(c *Conn, e HTTPEndpoint, r *Request, p []byte, n int) ([]byte, *Rejection) {
	if r.HasCredential() {
		return nil, handshake.RejectTokenInURL
	}
	length, chunks, reject := r.BodyFrame()
	if reject != nil {
		return nil, reject
	}
	most := l.srv.opts.MaxMessageBytes
	if limiter, ok := e.(BodyLimiter); ok {
		most = limiter.MaxBodyBytes()
	}
	if length > int64(most) {
		return nil, handshake.RejectBodyTooLarge
	}
	lis, _ := c.session.(*listener)
	x := &Exchange{
		loop: l, conn: c, lis: lis, endpoint: e, length: length, most: most, chunked: chunks,
		noBody: string(r.Method) == http.MethodHead, closes: r.ConnectionClose,
	}
	c.session = x
	c.state = stateRequest
	c.since = l.clock.now
	if r.ExpectContinue && r.HasBody && len(p) == n {
		b := AllocBuffer(len(continueLine))
		b.sealRaw(append(b.Room(), continueLine...))
		c.enqueue(b)
		b.Release()
	}
	if !chunks && length <= int64(len(p)-n) { // all of it is here, as nearly always
		x.Request = r
		return l.feedBody(c, p[n:]), nil
	}
	x.head = bytes.Clone(p[:n])
	return p[n:], nil
}

// continueLine asks a client to send the content that it announced (RFC 9110 §15.2.1).
const continueLine = "HTTP/1.1 100 Continue\r\n\r\n"

// feedBody reads content of a request, and serves the request once it is complete. It returns what lies behind it.
func (l *Loop) feedBody(c *Conn, p []byte) []byte {
	x, _ := c.session.(*Exchange)
	if x.complete { // the client sends its next request before it has the answer
		if c.rx != nil && len(c.rx.buf)+len(p) > maxKeptHead || len(p) > maxKeptHead {
			l.srv.count(causePipelined)
			l.destroy(c, EndLocal)
			return nil
		}
		l.grow(c, p)
		return nil
	}
	if reject := l.collect(c, x, &p); reject != nil {
		l.refuseHandshake(c, reject, &Request{})
		l.notifyClosed(c, EndLocal)
		return nil
	}
	if c.state == stateRequest && x.complete {
		l.serve(x)
	}
	return p
}

// serve hands a complete request to its endpoint. The head, which no answer needs, does not wait with it.
func (l *Loop) serve(x *Exchange) {
	if x.Request == nil {
		x.Request = &l.in.served
		if _, err := handshake.Parse(x.head, 0, x.Request); err != nil { // it was parsed before
			x.Respond(http.StatusBadRequest, "", nil)
			return
		}
	}
	x.endpoint.Serve(x)
	x.Request, x.head = nil, nil
}

// collect moves content from p to the body until it is complete or p is empty.
func (l *Loop) collect(c *Conn, x *Exchange, p *[]byte) *Rejection {
	if !x.chunked {
		n := int(min(x.length-int64(len(x.Body)), int64(len(*p))))
		if x.add(l, (*p)[:n]); c.state != stateRequest {
			return nil
		}
		*p = (*p)[n:]
		x.complete = int64(len(x.Body)) == x.length
		return nil
	}
	for len(*p) > 0 {
		content, rest, done, err := x.chunks.Next(*p)
		switch {
		case err != nil:
			return handshake.RejectChunk
		case len(x.Body)+len(content) > x.most:
			return handshake.RejectBodyTooLarge
		}
		if x.add(l, content); c.state != stateRequest {
			return nil
		}
		if *p = rest; done {
			x.complete = true
			return nil
		}
	}
	return nil
}

// add appends content to the body, on the account of what strangers keep in memory.
func (x *Exchange) add(l *Loop, content []byte) {
	if len(content) == 0 {
		return
	}
	before := cap(x.Body)
	x.Body = append(x.Body, content...)
	if n := cap(x.Body) - before; n > 0 {
		l.afford(x.conn, n)
	}
}

// release gives back what the body takes of the account.
func (x *Exchange) release() {
	x.loop.charge(x.conn, -cap(x.Body))
	x.Body = nil
}

// Respond answers the request, once. body may be used again after the call. The connection is then kept for the client's next request, unless it asked for the contrary.
func (x *Exchange) Respond(status int, contentType string, body []byte) {
	if x.answered {
		return
	}
	x.answered = true
	c, l := x.conn, x.loop
	closing := x.closes || !x.complete || l.srv.stopped.Load()
	b := AllocBuffer(256 + len(contentType) + len(x.Fields) + len(body))
	p := append(b.Room(), "HTTP/1.1 "...)
	p = strconv.AppendInt(p, int64(status), 10)
	p = append(append(p, ' '), http.StatusText(status)...)
	p = append(p, "\r\nDate: "...)
	p = append(p, l.date()...)
	if contentType != "" {
		p = append(append(p, "\r\nContent-Type: "...), contentType...)
	}
	p = append(p, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff"...)
	if status != http.StatusNoContent { // RFC 9110 §8.6
		p = append(p, "\r\nContent-Length: "...)
		p = strconv.AppendInt(p, int64(len(body)), 10)
	}
	if closing {
		p = append(p, "\r\nConnection: close"...)
	}
	p = append(append(p, "\r\n"...), x.Fields...)
	p = append(p, "\r\n"...)
	if !x.noBody && status != http.StatusNoContent {
		p = append(p, body...)
	}
	b.sealRaw(p)
	c.enqueue(b)
	b.Release()
	x.release()
	c.session = x.lis
	if closing {
		c.startClosing()
		return
	}
	c.state, c.since = stateHandshake, l.clock.now
	c.flags |= flagKept
	switch {
	case c.rx == nil:
	case len(c.rx.buf) == 0:
		l.dropPartial(c)
	default: // the next request has arrived
		l.unread.requests = append(l.unread.requests, c.Ref())
	}
}

// date returns the time in the form of HTTP, made once a second. It is valid until the next call.
func (l *Loop) date() []byte {
	if now := time.Now().Unix(); now != l.out.dated {
		l.out.dated = now
		l.out.date = time.Unix(now, 0).UTC().AppendFormat(l.out.date[:0], http.TimeFormat)
	}
	return l.out.date
}

// Message implements Session. Nothing calls it: there are no messages.
func (x *Exchange) Message(*Conn, bool, []byte) {}

// Violation implements Session: there is no memory for the content.
func (x *Exchange) Violation(c *Conn, _ Violation) {
	c.loop.refuseHandshake(c, handshake.RejectOverload, &Request{})
	c.loop.notifyClosed(c, EndLocal)
}

// Sweep implements Session: the content must arrive in time.
func (x *Exchange) Sweep(c *Conn) {
	l := c.loop
	if !x.complete && l.clock.since(c.since) > l.srv.opts.MessageTimeout {
		l.srv.count(causeUnfinished)
		l.destroy(c, EndLocal)
	}
}

// Closed implements Session.
func (x *Exchange) Closed(*Conn, End) {
	if x.answered {
		return
	}
	x.answered = true
	x.release()
	if x.gone != nil {
		x.gone()
	}
}
