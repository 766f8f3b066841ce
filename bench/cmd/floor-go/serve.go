//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	maxBatch    = 1024     // frames that are coalesced at most
	maskedBytes = 6        // a client's frame header with a length up to 125
	readBytes   = 64 << 10 // the one read buffer
)

var (
	endOfHeader = []byte("\r\n\r\n")
	// The key is always that of RFC 6455, section 1.3, and so is the answer.
	accepted = []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
)

type client struct {
	open  bool
	carry []byte
}

type floor struct {
	coalesce bool

	epoll, listener int
	buf             []byte
	clients         []*client // by file descriptor
	subscribers     []int     // file descriptors

	// frame is the prebuilt frame, repeated for batches. It is built from the first message.
	frame     []byte
	size      int // of one frame
	published int // messages in this turn that wait to be written
}

func listen(address, port string) (*floor, error) {
	at, err := netip.ParseAddrPort(address + ":" + port)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("setting SO_REUSEADDR: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("binding to %s: %w", at, err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", at, err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	f := &floor{epoll: epoll, listener: fd, buf: make([]byte, readBytes)}
	return f, f.watch(fd)
}

func (f *floor) watch(fd int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &e)
}

func (f *floor) serve() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(f.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting: %w", err)
		}
		for i := range n {
			if fd := int(events[i].Fd); fd == f.listener {
				f.accept()
			} else {
				f.read(fd)
			}
		}
		f.flush()
	}
}

func (f *floor) accept() {
	for {
		fd, _, err := unix.Accept4(f.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		// Without TCP_NODELAY the connection would merely be slower.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for len(f.clients) <= fd {
			f.clients = append(f.clients, nil)
		}
		f.clients[fd] = &client{}
		if err := f.watch(fd); err != nil {
			f.leave(fd)
		}
	}
}

func (f *floor) leave(fd int) {
	for i, s := range f.subscribers {
		if s == fd {
			f.subscribers = append(f.subscribers[:i], f.subscribers[i+1:]...)
			break
		}
	}
	f.clients[fd] = nil
	unix.Close(fd)
}

func (f *floor) read(fd int) {
	c := f.clients[fd]
	kept := copy(f.buf, c.carry)
	n, err := unix.Read(fd, f.buf[kept:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		f.leave(fd)
		return
	}
	b := f.buf[:kept+n]
	b = b[f.handle(fd, c, b):]
	c.carry = append(c.carry[:0], b...)
}

// handle returns how much of b was used up.
func (f *floor) handle(fd int, c *client, b []byte) int {
	used := 0
	if !c.open {
		end := bytes.Index(b, endOfHeader)
		if end < 0 {
			return 0
		}
		c.open = true
		used = end + len(endOfHeader)
		writeAll(fd, accepted)
	}
	for len(b)-used >= maskedBytes+1 {
		rest := b[used:]
		head, length := maskedBytes, int(rest[1]&0x7f)
		if length == 126 {
			head, length = head+2, int(rest[2])<<8|int(rest[3])
		}
		if len(rest) < head+length {
			break
		}
		f.message(fd, rest[head-4:head], rest[head:head+length])
		used += head + length
	}
	return used
}

// message handles one message. Of a masked payload, only what is needed is unmasked.
func (f *floor) message(fd int, mask, payload []byte) {
	switch payload[0] ^ mask[0] {
	case 'S':
		f.subscribers = append(f.subscribers, fd)
		writeAll(fd, fmt.Appendf([]byte{0x82, 9}, "S%08x", fd))
	case 'P':
		f.build(payload)
		f.published++
		if !f.coalesce || f.published == maxBatch {
			f.flush()
		}
	case 'D':
		f.build(payload)
		to := 0
		for i := 1; i <= 8; i++ {
			to = to<<4 | digit(payload[i]^mask[i&3])
		}
		if to < len(f.clients) && f.clients[to] != nil {
			writeAll(to, f.frame[:f.size])
		}
	}
}

func digit(b byte) int {
	if b >= 'a' {
		return int(b-'a') + 10
	}
	return int(b - '0')
}

// build makes the frame, once. All messages have the same length, between 126 and 65,535 bytes.
func (f *floor) build(payload []byte) {
	if f.frame != nil {
		return
	}
	one := append([]byte{0x82, 126, byte(len(payload) >> 8), byte(len(payload))}, payload...)
	f.size = len(one)
	f.frame = bytes.Repeat(one, maxBatch)
}

// flush writes what was published to every subscriber.
func (f *floor) flush() {
	if f.published == 0 {
		return
	}
	b := f.frame[:f.published*f.size]
	f.published = 0
	for _, fd := range f.subscribers {
		writeAll(fd, b)
	}
}
