//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Connect adds n clients with a role and returns once all of them are ready. At most parallel are on their way at the
// same time.
func (l *Loop) Connect(n, parallel int, role Role, timeout time.Duration) error {
	var (
		target  = len(l.clients) + n
		waiting = make(map[*Client]struct{}, parallel)
		ready   = len(l.clients)
		failure error
	)
	done := func() bool {
		for c := range waiting {
			if c.Ready {
				delete(waiting, c)
				ready++
			}
		}
		for failure == nil && len(waiting) < parallel && len(l.clients) < target {
			var c *Client
			if c, failure = l.dial(role); failure == nil {
				waiting[c] = struct{}{}
			}
		}
		return failure != nil || ready == target
	}
	err := errors.Join(l.run(time.Now().Add(timeout), done), failure)
	if err != nil {
		return fmt.Errorf("connecting %d clients, of which %d are ready: %w", target, ready, err)
	}
	return nil
}

// stalledBuffer is how many bytes the kernel keeps for a client that reads nothing.
const stalledBuffer = 4096

// Stall makes the clients with the role Stalled read nothing more.
func (l *Loop) Stall() error {
	for _, c := range l.Clients(Stalled) {
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, c.fd, nil); err != nil {
			return fmt.Errorf("leaving a socket alone: %w", err)
		}
	}
	return nil
}

// dial starts a connection, to each server in turn. The request is written once it is there, by the first EPOLLOUT.
func (l *Loop) dial(role Role) (*Client, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	c := &Client{Index: len(l.clients), Role: role, Subscription: l.subscribed, fd: fd}
	if role.Receives() {
		l.subscribed++
	}
	if role == Stalled {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, stalledBuffer); err != nil {
			return nil, fmt.Errorf("setting SO_RCVBUF: %w", err)
		}
	}
	c.out = append(c.out, l.dialect.Request(c)...)
	for len(l.byFD) <= fd {
		l.byFD = append(l.byFD, nil)
	}
	l.byFD[fd] = c
	l.clients = append(l.clients, c)

	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, fmt.Errorf("setting TCP_NODELAY: %w", err)
	}
	server := l.servers[c.Index%len(l.servers)]
	to := &unix.SockaddrInet4{Port: int(server.Port()), Addr: server.Addr().As4()}
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, fmt.Errorf("connecting to %s: %w", server, err)
	}
	if l.tls.config != nil {
		l.tls.start(c)
		return c, nil
	}
	return c, l.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}
