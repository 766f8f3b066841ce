package transport

import "sync/atomic"

// flood is an Endpoint that counts, and echoes to itself.
type flood struct {
	opened, closed, messages atomic.Int64
}

func (f *flood) Open(*Conn, *Request) (Session, *Rejection) {
	f.opened.Add(1)
	return &hooks{
		message: func(c *Conn, b bool, p []byte) { f.messages.Add(1); echo(c, b, p) },
		closed:  func(*Conn, End) { f.closed.Add(1) },
	}, nil
}
