package client

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// corkBytes is how much a corked link collects before it writes.
const corkBytes = 64 << 10

// link is the network connection under a WebSocket. It records when bytes arrive, sets a deadline for each write, and can
// combine the writes of several messages, which coder/websocket flushes one by one.
type link struct {
	net.Conn
	writeTimeout time.Duration
	began        time.Time    // has a monotonic reading, as a step of the wall clock is no silence
	lastRead     atomic.Int64 // time since began, in ns

	mu     sync.Mutex // guards the fields below and orders writes
	corked bool
	buf    []byte
	err    error // of the first failed write; later ones return it too
}

func newLink(conn net.Conn, writeTimeout time.Duration) *link {
	l := &link{Conn: conn, writeTimeout: writeTimeout, began: time.Now()}
	l.touch()
	return l
}

// touch records that the peer is alive.
func (l *link) touch() { l.lastRead.Store(int64(time.Since(l.began))) }

// silence returns how long nothing has arrived.
func (l *link) silence() time.Duration {
	return time.Since(l.began) - time.Duration(l.lastRead.Load())
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.touch()
	}
	return n, err
}

// Write writes p, or buffers a copy while the link is corked.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	if !l.corked {
		return l.writeConn(p)
	}
	l.buf = append(l.buf, p...)
	if len(l.buf) < corkBytes {
		return len(p), nil
	}
	if err := l.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// cork makes Write buffer until uncork.
func (l *link) cork() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.corked = true
}

// uncork writes the buffer.
func (l *link) uncork() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.corked = false
	return l.flush()
}

func (l *link) flush() error {
	if l.err != nil {
		return l.err
	}
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.writeConn(l.buf)
	if cap(l.buf) > 2*corkBytes {
		l.buf = nil
	}
	l.buf = l.buf[:0]
	return err
}

func (l *link) writeConn(p []byte) (int, error) {
	if err := l.Conn.SetWriteDeadline(time.Now().Add(l.writeTimeout)); err != nil {
		l.err = err
		return 0, err
	}
	n, err := l.Conn.Write(p)
	if err != nil {
		l.err = err
	}
	return n, err
}
