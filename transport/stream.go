package transport

import (
	"github.com/mastersocket/mastersocket/transport/internal/jsonstream"
)

// feedStream handles one JSON value of a TCP stream, or keeps the part of one that arrived. It returns what follows.
func (l *Loop) feedStream(c *Conn, p []byte) []byte {
	rx := l.partialOf(c)
	limit, before := l.srv.opts.MaxMessageBytes, len(rx.buf)
	if before == 0 {
		p = p[jsonstream.SkipSpace(p):]
	}
	b := p[:min(limit+1-before, len(p))] // what is wrong further on must not matter: it may not have arrived
	if before > 0 {                      // a value that began earlier: look at it as a whole
		if !l.grow(c, b) {
			return nil
		}
		b = rx.buf
	}
	start, end, ok, err := rx.split.Next(b)
	switch {
	case err != nil:
		l.report(c, NotJSON)
		return nil
	case end-start > limit:
		l.report(c, TooBig)
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
