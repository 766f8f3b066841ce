//go:build linux

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// readBytes is the size of the one buffer that everything is read into. A frame that holds several deliveries has to
// fit, or the buffer grows.
const readBytes = 256 << 10

// A Loop is a set of clients of one server, and the thread that serves them.
type Loop struct {
	dialect Dialect
	least   int
	count   Counter
	servers []netip.AddrPort

	// patience is how long deliveries may be under way after the last message: drainTimeout.
	patience time.Duration

	epoll      int
	timer      int // timerfd of a paced run
	events     []unix.EpollEvent
	buf        []byte
	byFD       []*Client
	clients    []*Client
	tls        handshakes
	subscribed int // clients that receive
	arrived    int // deliveries that the last call of consume found

	// delivered is called with each client's deliveries as they are read. Each run sets it.
	delivered func(c *Client, n int) error
	// due is called when the timer fires.
	due func() error
	// idle, if not nil, is called between events, for runs that need a finer clock than the timer.
	idle func() error
}

// New returns a Loop for clients of one server, or of several that act as one, without any client yet. The caller must
// stay on its goroutine and call Close at the end; the goroutine is locked to its thread until then.
func New(d Dialect, servers ...netip.AddrPort) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("creating a timer: %w", err)
	}
	l := &Loop{
		dialect: d, least: d.MinDelivery(), count: d.Count(), servers: servers, patience: drainTimeout,
		epoll: epoll, timer: timer,
		events: make([]unix.EpollEvent, 1024),
		buf:    make([]byte, readBytes),
	}
	l.delivered = l.unasked
	if err := l.watch(timer, unix.EPOLLIN); err != nil {
		l.Close()
		return nil, err
	}
	runtime.LockOSThread()
	return l, nil
}

// Close ends all connections, abruptly, so that none of them keeps its port occupied.
func (l *Loop) Close() {
	l.tls.close(l.clients)
	for _, c := range l.clients {
		// An error would mean that the connection is gone, as wanted.
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(c.fd)
	}
	l.clients = nil
	unix.Close(l.timer)
	unix.Close(l.epoll)
	runtime.UnlockOSThread()
}

// Clients returns the clients with the given role.
func (l *Loop) Clients(r Role) []*Client {
	var found []*Client
	for _, c := range l.clients {
		if c.Role == r {
			found = append(found, c)
		}
	}
	return found
}

func (l *Loop) unasked(c *Client, n int) error {
	return fmt.Errorf("client %d got %d messages too many", c.Index, n)
}

func (l *Loop) watch(fd int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("watching a socket: %w", err)
	}
	return nil
}

// errLate is returned by run when the deadline has passed.
var errLate = errors.New("took too long")

// run serves the clients until done returns true.
func (l *Loop) run(deadline time.Time, done func() bool) error {
	for !done() {
		left := time.Until(deadline)
		if left <= 0 {
			return errLate
		}
		n, err := unix.EpollWait(l.epoll, l.events, int(left.Milliseconds())+1)
		if err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("waiting for the server: %w", err)
		}
		for i := range n {
			if err := l.handle(&l.events[i]); err != nil {
				return err
			}
			if l.idle != nil {
				if err := l.idle(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Listen is Serve while deliveries arrive that no client of the Loop has asked for. They are counted.
func (l *Loop) Listen(d time.Duration) error {
	l.delivered = func(*Client, int) error { return nil }
	defer func() { l.delivered = l.unasked }()
	return l.Serve(d)
}

// Serve answers pings and the like for a while.
func (l *Loop) Serve(d time.Duration) error {
	err := l.run(time.Now().Add(d), func() bool { return false })
	if errors.Is(err, errLate) {
		return nil
	}
	return err
}

func (l *Loop) handle(e *unix.EpollEvent) error {
	if int(e.Fd) == l.timer {
		var ticks [8]byte
		rawRead(l.timer, ticks[:])
		if l.due != nil {
			return l.due()
		}
		return nil
	}
	if l.tls.config != nil && int(e.Fd) == l.tls.wake {
		return l.adopt()
	}
	c := l.byFD[e.Fd]
	if e.Events&unix.EPOLLOUT != 0 && len(c.out) > 0 {
		if err := c.flush(); err != nil {
			return l.failed(c, err)
		}
	}
	if e.Events&^unix.EPOLLOUT == 0 {
		return nil
	}
	if err := l.read(c); err != nil {
		return l.failed(c, err)
	}
	return nil
}

func (l *Loop) failed(c *Client, err error) error {
	return fmt.Errorf("client %d: %w", c.Index, err)
}

// read takes everything that has arrived for c.
func (l *Loop) read(c *Client) error {
	if c.secure != nil {
		return l.readSecure(c)
	}
	for {
		kept := copy(l.buf, c.carry)
		n, errno := rawRead(c.fd, l.buf[kept:])
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return fmt.Errorf("reading: %w", errno)
		case n == 0:
			return errClosed
		}
		full := kept+n == len(l.buf)
		if err := l.take(c, l.buf[:kept+n]); err != nil {
			return err
		}
		// A read that did not fill the buffer has emptied the socket: what comes now makes a new event.
		if !full {
			return nil
		}
		if len(c.carry) > len(l.buf)/2 {
			l.buf = make([]byte, 2*len(l.buf))
		}
	}
}

// take handles what was read, and keeps the rest for the next time.
func (l *Loop) take(c *Client, b []byte) error {
	l.arrived = 0
	used, err := l.consume(c, b)
	if err != nil {
		return err
	}
	c.carry = append(c.carry[:0], b[used:]...)
	if l.arrived > 0 {
		c.received += l.arrived
		return l.delivered(c, l.arrived)
	}
	return nil
}
