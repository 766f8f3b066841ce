package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// Each loop accepts for itself. All loops watch the same listening socket with EPOLLEXCLUSIVE: for a connection that
// arrives, the kernel wakes one of those that sleep, the one that watches for longest. A loop keeps what it accepts unless
// it has more than its share; then it hands the connection to the loop with the fewest, and watches from the end of the
// line. docs/adr/0014-loops-accept.md has the figures.

const (
	// acceptBatch is how many connections a loop takes from a socket in one turn.
	acceptBatch = 64
	// shareSlack is the part of the connections of the loop with the fewest that another one may have in addition: 1/16.
	// Up to 16 connections the loops are exactly even.
	shareSlack = 16
	// acceptBackoff is how long connections stay in the kernel's queue when a loop can't take more.
	acceptBackoff = 100 * time.Millisecond
)

// accepting is the listening sockets that a loop accepts from.
type accepting struct {
	from   []*listener // nil for those that are closed
	paused bool        // none is watched
	until  uint32      // loop clock when a paused loop watches again
}

// listenerEvent is the epoll data of the first listening socket; those of the others are below it.
const listenerEvent = -2

// watchListener adds a listening socket to what the loop waits for, or removes it. The last that was added is the last in
// line.
func (l *Loop) watchListener(op, i int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(listenerEvent - i)}
	if err := unix.EpollCtl(l.poll.fd, op, l.accepting.from[i].fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// acceptFrom is mail that makes a loop accept from a socket.
type acceptFrom struct {
	lis  *listener
	done chan<- error
}

// Deliver implements Mail.
func (a acceptFrom) Deliver(l *Loop) {
	l.accepting.from = append(l.accepting.from, a.lis)
	if l.accepting.paused {
		a.done <- nil
		return
	}
	a.done <- l.watchListener(unix.EPOLL_CTL_ADD, len(l.accepting.from)-1)
}

// Size implements Mail.
func (acceptFrom) Size() int { return 0 }

// leaveListener is mail that makes a loop accept no more from a socket.
type leaveListener struct{ lis *listener }

// Deliver implements Mail.
func (m leaveListener) Deliver(l *Loop) {
	for i, lis := range l.accepting.from {
		if lis == m.lis {
			_ = l.watchListener(unix.EPOLL_CTL_DEL, i) // an error means that it was not watched
			l.accepting.from[i] = nil
			lis.leave()
		}
	}
}

// Size implements Mail.
func (leaveListener) Size() int { return 0 }

// leave closes the socket when the last loop has left it: until then, another socket must not have its number.
func (lis *listener) leave() {
	if lis.loops.Add(-1) == 0 {
		_ = unix.Close(lis.fd)
	}
}

// stopAccepting makes the kernel refuse connections from now on, and the loops close the socket.
func (s *Server) stopAccepting(lis *listener) {
	_ = unix.Shutdown(lis.fd, unix.SHUT_RD) // ends listening, also of those that wait to be accepted
	for _, l := range s.loops {
		if !l.Post(leaveListener{lis}) {
			lis.leave()
		}
	}
}

// acceptAll takes what waits in the queue of a listening socket, as far as this turn goes.
func (l *Loop) acceptAll(i int) {
	lis, s := l.accepting.from[i], l.srv
	if lis == nil || l.stopping {
		return
	}
	for range acceptBatch {
		if s.open.Load() >= s.maxFDs {
			l.pauseAccepting()
			return
		}
		fd, err := accept(lis.fd)
		switch {
		case err == nil:
			if !l.place(accepted{fd: int32(fd), lis: lis}) {
				_ = l.watchListener(unix.EPOLL_CTL_DEL, i)
				_ = l.watchListener(unix.EPOLL_CTL_ADD, i)
			}
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINVAL): // no more; no longer listening
			return
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			l.pauseAccepting()
			return
		default: // ECONNABORTED and errors of the network that belong to that connection alone (accept(2))
		}
	}
}

// place admits an accepted connection and takes it to a loop: to this one, which it reports, if it has less than its
// share.
func (l *Loop) place(a accepted) (here bool) {
	s := l.srv
	s.accepted.Add(1)
	if open := s.open.Add(1); open > int64(s.opts.MaxConnections) {
		a.excess = true
		s.count(causeLimit, slog.Int("limit", s.opts.MaxConnections))
	}
	switch s.admit(a.fd) {
	case refused:
		s.closeFD(a.fd)
		return true
	case surplus:
		a.excess = true
	}
	to := s.leastLoaded()
	if least := to.conns.Load(); l.conns.Load() <= least+least/shareSlack {
		l.conns.Add(1)
		l.adopt(a)
		return true
	}
	to.conns.Add(1)
	if !to.postAccepted(a) {
		to.closeAccepted(a)
	}
	return false
}

// pauseAccepting leaves connections in the kernel's queue for a while, as there are no descriptors or no memory for them.
func (l *Loop) pauseAccepting() {
	s := l.srv
	s.count(causeDescriptors, slog.Int64("open", s.open.Load()), slog.Int64("limit", s.maxFDs))
	for i, lis := range l.accepting.from {
		if lis != nil {
			_ = l.watchListener(unix.EPOLL_CTL_DEL, i)
		}
	}
	l.accepting.paused = true
	l.accepting.until = l.clock.now + uint32(acceptBackoff/time.Millisecond)
	l.sweepSoon()
}

// resumeAccepting ends the pause when it is over. What can't be watched then is tried again later.
func (l *Loop) resumeAccepting() {
	if !l.accepting.paused || int32(l.clock.now-l.accepting.until) < 0 {
		return
	}
	l.accepting.paused = false
	for i, lis := range l.accepting.from {
		if lis != nil && l.watchListener(unix.EPOLL_CTL_ADD, i) != nil {
			l.pauseAccepting()
			return
		}
	}
}

// accept takes one connection from a listening socket. unix.Accept4 would allocate the client's address each time, which
// is seldom needed: see Conn.RemoteAddr.
func accept(fd int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
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

// accepted is a connection on its way to a loop.
type accepted struct {
	fd     int32
	excess bool
	lis    *listener
	handed *handedOver // nil for a connection that was just accepted
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
	if a.handed == nil && c.protocol == protocolWebSocket {
		n, err := receive(c.fd, l.in.buf) // before it is watched, so that what is there makes no event
		l.poll.watchConn(unix.EPOLL_CTL_ADD, c)
		l.received(c, n, err)
		return
	}
	l.poll.watchConn(unix.EPOLL_CTL_ADD, c)
	if a.handed != nil {
		l.arrive(c, a.handed)
		return
	}
	r := &l.in.request
	*r = Request{}
	if reject := l.openSession(c, a.lis.route(nil), r); reject != nil {
		l.refuseHandshake(c, reject, r)
	}
}

// closeAccepted closes what was accepted too late.
func (l *Loop) closeAccepted(a accepted) {
	if a.handed != nil {
		a.handed.release()
	}
	l.srv.closeFD(a.fd)
	l.conns.Add(-1)
}
