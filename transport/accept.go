package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// acceptor takes connections from one listening socket and hands each to the loop that has the fewest. One goroutine
// accepts for all loops, instead of each loop from its own socket with SO_REUSEPORT: the balance is exact, connections
// don't wait in the queue of a busy loop, and a second hub on the same port is an error.
type acceptor struct {
	srv      *Server
	lis      *listener
	fd       int // the listening socket
	epfd     int
	evfd     int // wakes the goroutine to stop it
	stopping atomic.Bool
}

// acceptBackoff is how long an acceptor leaves connections in the kernel's queue when it can't take more.
const acceptBackoff = 100 * time.Millisecond

func newAcceptor(ctx context.Context, s *Server, addr string, lis *listener) (*acceptor, net.Addr, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the default of the net package, where TCP_NODELAY is an error before Linux 5.17
	nl, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = nl.Close() }() // the duplicate below stays
	tl, ok := nl.(*net.TCPListener)
	if !ok {
		return nil, nil, errNotTCP
	}
	fd, err := duplicate(tl)
	if err != nil {
		return nil, nil, err
	}
	a := &acceptor{srv: s, lis: lis, fd: fd, epfd: -1, evfd: -1}
	if err := a.prepare(); err != nil {
		a.release()
		return nil, nil, err
	}
	return a, nl.Addr(), nil
}

// errNotTCP: the listener that the net package made is not the one that was asked for.
var errNotTCP = errors.New("not a TCP listener")

// duplicate returns a non-blocking descriptor of a listener's socket, which the net package doesn't watch.
func duplicate(tl *net.TCPListener) (fd int, err error) {
	rc, err := tl.SyscallConn()
	if err != nil {
		return -1, err
	}
	if cerr := rc.Control(func(p uintptr) { fd, err = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, cerr
	}
	if err != nil {
		return -1, fmt.Errorf("dup: %w", err)
	}
	return fd, unix.SetNonblock(fd, true)
}

func (a *acceptor) prepare() error {
	// Accepted sockets inherit it: messages leave at once, and it is the loop that gathers them.
	if err := unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	var err error
	if a.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create: %w", err)
	}
	if a.evfd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for _, fd := range []int{a.fd, a.evfd} {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(a.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return nil
}

// run accepts until stop.
func (a *acceptor) run() {
	defer a.release()
	events := make([]unix.EpollEvent, 2)
	for !a.stopping.Load() {
		if _, err := unix.EpollWait(a.epfd, events, -1); err != nil {
			continue // EINTR: the runtime preempts with signals
		}
		if !a.acceptAll() {
			a.srv.count(causeDescriptors, slog.Int64("open", a.srv.open.Load()), slog.Int64("limit", a.srv.maxFDs))
			a.backOff()
		}
	}
}

// acceptAll takes what waits in the kernel's queue. It returns false if there are no descriptors or memory for more.
func (a *acceptor) acceptAll() bool {
	s := a.srv
	for !a.stopping.Load() {
		open := s.open.Load()
		if open >= s.maxFDs {
			return false
		}
		fd, err := accept(a.fd)
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			return true
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			return false
		default: // ECONNABORTED and errors of the network that belong to that connection alone (accept(2))
			continue
		}
		s.accepted.Add(1)
		open = s.open.Add(1)
		excess := open > int64(s.opts.MaxConnections)
		if excess {
			s.count(causeLimit, slog.Int("limit", s.opts.MaxConnections))
		}
		switch s.admit(int32(fd)) {
		case refused:
			s.closeFD(int32(fd))
			continue
		case surplus:
			excess = true
		}
		l := s.leastLoaded()
		l.conns.Add(1)
		if !l.postAccepted(accepted{fd: int32(fd), excess: excess, lis: a.lis}) {
			l.conns.Add(-1)
			s.closeFD(int32(fd))
		}
	}
	return true
}

// accept takes one connection from a listening socket. unix.Accept4 would allocate the client's address each time, which
// is seldom needed: see Conn.RemoteAddr.
func accept(fd int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// backOff waits a moment without looking at the listening socket.
func (a *acceptor) backOff() {
	events := []unix.PollFd{{Fd: int32(a.evfd), Events: unix.POLLIN}}
	_, _ = unix.Poll(events, int(acceptBackoff/time.Millisecond))
}

// leastLoaded returns the loop with the fewest connections.
func (s *Server) leastLoaded() *Loop {
	best := s.loops[0]
	for _, l := range s.loops[1:] {
		if l.conns.Load() < best.conns.Load() {
			best = l
		}
	}
	return best
}

// stop makes run return; the listening socket closes with it, but refuses connections from now on.
func (a *acceptor) stop() {
	_ = unix.Shutdown(a.fd, unix.SHUT_RD) // ends listening, also of those that wait to be accepted
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(a.evfd, one[:])
	a.stopping.Store(true) // last: from here on run may close evfd
}

func (a *acceptor) release() {
	for _, fd := range []int{a.fd, a.epfd, a.evfd} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// accepted is a connection on its way from the acceptor to a loop.
type accepted struct {
	fd     int32
	excess bool
	lis    *listener
	handed *handedOver // nil for what the acceptor took
}

// adopt makes an accepted descriptor a connection of this loop.
func (l *Loop) adopt(a accepted) {
	if l.stopping {
		l.closeAccepted(a)
		return
	}
	c := l.table.take(l)
	c.fd = a.fd
	c.session = a.lis
	c.protocol = a.lis.protocol
	c.state = stateHandshake
	c.since, c.lastRead = l.clock.now, l.clock.now
	if a.lis.tls != nil {
		c.flags |= flagTLS
	}
	if a.excess {
		c.flags |= flagExcess
	}
	l.poll.watchConn(unix.EPOLL_CTL_ADD, c)
	if a.handed != nil {
		l.arrive(c, a.handed)
		return
	}
	if c.protocol != protocolWebSocket {
		r := &l.in.request
		*r = Request{}
		if reject := l.openSession(c, a.lis.route(nil), r); reject != nil {
			l.refuseHandshake(c, reject, r)
		}
		return
	}
	l.read(c) // the request is often there already
}

// closeAccepted closes what was accepted too late.
func (l *Loop) closeAccepted(a accepted) {
	if a.handed != nil {
		a.handed.release()
	}
	l.srv.closeFD(a.fd)
	l.conns.Add(-1)
}
