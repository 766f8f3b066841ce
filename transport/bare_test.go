package transport

import (
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// bareLoop returns a loop that doesn't run: the test is its goroutine, and its clock stands.
func bareLoop(t testing.TB, o Options) *Loop {
	t.Helper()
	s := &Server{opts: o, started: time.Now(), maxFDs: 1 << 20}
	l, err := newLoop(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.loops = []*Loop{l}
	s.gate.loops = s.loops
	t.Cleanup(func() {
		l.shutDown()
		checkEmpty(t, s)
	})
	return l
}

// bareConn opens a connection of one end of a socket pair and returns the other, a descriptor that does not block.
// buffer is the size of the socket's buffer, 0 for the kernel's own choice.
func bareConn(t testing.TB, l *Loop, p protocol, s Session, buffer int) (*Conn, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if buffer > 0 {
		if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, buffer); err != nil {
			t.Fatal(err)
		}
	}
	return bareFD(l, p, s, fds[0]), fds[1]
}

// bareFD opens a connection of a descriptor, which it takes over.
func bareFD(l *Loop, p protocol, s Session, fd int) *Conn {
	c := l.table.take(l)
	c.fd = int32(fd)
	c.protocol = p
	c.state = stateOpen
	c.session = s
	l.srv.open.Add(1)
	l.conns.Add(1)
	l.poll.watchConn(unix.EPOLL_CTL_ADD, c)
	return c
}

// received returns what has arrived at the other end of a socket pair.
func received(t testing.TB, fd int) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN || n == 0 && err == nil {
			return all
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		all = append(all, buf[:n]...)
	}
}

// quietSession is a Session that does nothing.
type quietSession struct{}

func (quietSession) Message(*Conn, bool, []byte) {}
func (quietSession) Violation(*Conn, Violation)  {}
func (quietSession) Sweep(*Conn)                 {}
func (quietSession) Closed(*Conn, End)           {}

// frameOf returns the frame that a message is sent as.
func frameOf(op ws.OpCode, payload string) string {
	b := newControl(op, []byte(payload))
	defer b.Release()
	return string(b.wire(protocolWebSocket))
}

// hooks is a Session of functions, each of which may be nil.
type hooks struct {
	message   func(c *Conn, binary bool, p []byte)
	violation func(c *Conn, v Violation)
	sweep     func(c *Conn)
	closed    func(c *Conn, end End)
}

func (h *hooks) Message(c *Conn, binary bool, p []byte) {
	if h.message != nil {
		h.message(c, binary, p)
	}
}

func (h *hooks) Violation(c *Conn, v Violation) {
	if h.violation != nil {
		h.violation(c, v)
	}
}

func (h *hooks) Sweep(c *Conn) {
	if h.sweep != nil {
		h.sweep(c)
	}
}

func (h *hooks) Closed(c *Conn, end End) {
	if h.closed != nil {
		h.closed(c, end)
	}
}
