package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// Options configure a Server. Every field must be set; see DefaultOptions.
type Options struct {
	Loops            int                     // number of loops; each runs on a core of its own when busy
	MaxConnections   int                     // beyond it connections are opened with Conn.Excess
	MaxMessageBytes  int                     // a message from a client, over all its fragments
	MaxFragments     int                     // fragments of one message
	SendQueueBytes   int                     // unsent backlog of one connection, where a frame counts for 64 bytes at least
	InboxBytes       int                     // mail waiting at one loop before nothing more is read from clients
	UntrustedBytes   int                     // buffers of all connections that are not trusted together
	TLSHandshakes    int                     // TLS handshakes at the same time; further ones wait for their turn
	HandshakeTimeout time.Duration           // from accept to a complete request, a TLS handshake included
	MessageTimeout   time.Duration           // from the first to the last byte of a message
	WriteTimeout     time.Duration           // a backlog that doesn't move
	CloseTimeout     time.Duration           // for what is queued when a connection is closed, and then for the client to close
	SweepInterval    time.Duration           // how often each connection's deadlines are looked at
	Origins          *handshake.OriginPolicy // which web pages may connect
	Log              Logger                  // told of refusals
}

// Logger takes log lines of which any number may come: it must bound what it writes.
type Logger interface {
	// Warn writes a line, at most one a second for each message and cause.
	Warn(msg, cause string, attrs ...slog.Attr)
}

// DefaultOptions returns the options of a server with n loops, without Origins and Log.
func DefaultOptions(n int) Options {
	return Options{
		Loops:            n,
		MaxConnections:   1 << 20,
		MaxMessageBytes:  32768,
		MaxFragments:     1024,
		SendQueueBytes:   1 << 20,
		InboxBytes:       8 << 20,
		UntrustedBytes:   64 << 20,
		TLSHandshakes:    1024,
		HandshakeTimeout: 10 * time.Second,
		MessageTimeout:   30 * time.Second,
		WriteTimeout:     30 * time.Second,
		CloseTimeout:     5 * time.Second,
		SweepInterval:    time.Second,
	}
}

// Server accepts connections and runs the loops that serve them. Its methods may be called from any goroutine.
type Server struct {
	opts     Options
	gate     Gate
	loops    []*Loop
	started  time.Time
	accepted atomic.Uint64
	open     atomic.Int64 // descriptors of connections
	maxFDs   int64        // connections that may be open so that the rest of the process has descriptors left
	refusals [len(causes)]atomic.Uint64
	rejected []atomic.Uint64
	tls      tlsCounts

	mu        sync.Mutex
	acceptors []*acceptor
	running   sync.WaitGroup
	closed    bool
}

// reservedFDs are descriptors that connections never take: for the admin listener, the broker, files.
const reservedFDs = 64

// DescriptorLimit returns how many connections the process's open-file limit allows.
func DescriptorLimit() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur > 1<<30 {
		return 1 << 30
	}
	return max(int(lim.Cur)-reservedFDs, 1)
}

// NewServer starts the loops of a server that accepts nothing yet. Close ends them.
func NewServer(o Options) (*Server, error) {
	s := &Server{opts: o, started: time.Now(), maxFDs: int64(DescriptorLimit()), rejected: make([]atomic.Uint64, len(handshake.Rejections()))}
	for i := range o.Loops {
		l, err := newLoop(s, i)
		if err != nil {
			for _, l := range s.loops {
				_ = unix.Close(l.epfd)
				_ = unix.Close(l.inbox.evfd)
			}
			return nil, fmt.Errorf("start loop %d: %w", i, err)
		}
		s.loops = append(s.loops, l)
	}
	s.gate.loops = s.loops
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	return s, nil
}

func newLoop(s *Server, index int) (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	evfd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, evfd, &ev); err != nil {
		_ = unix.Close(evfd)
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	l := &Loop{
		srv: s, index: index, epfd: epfd, buf: make([]byte, readBytes), events: make([]unix.EpollEvent, maxEvents),
		patience: s.opts.HandshakeTimeout / mostPatience,
	}
	l.inbox.init(evfd, s.opts.InboxBytes)
	return l, nil
}

// clock returns the time since the server started.
func (s *Server) clock() time.Duration { return time.Since(s.started) }

// Loops returns the server's loops, by their Index.
func (s *Server) Loops() []*Loop { return s.loops }

// Gate returns the gate that stops the server from reading what clients send.
func (s *Server) Gate() *Gate { return &s.gate }

// ListenWebSocket accepts WebSocket connections on addr ("host:port"; port 0 picks a free one). route says which
// Endpoint a path belongs to, nil for none; it is called on the loops and must be safe for concurrent use.
func (s *Server) ListenWebSocket(ctx context.Context, addr string, route func(path []byte) Endpoint) (net.Addr, error) {
	return s.listen(ctx, addr, &listener{protocol: protocolWebSocket, route: route})
}

// ListenTCP accepts connections on addr that speak JSON values without any framing.
func (s *Server) ListenTCP(ctx context.Context, addr string, e Endpoint) (net.Addr, error) {
	return s.listen(ctx, addr, &listener{protocol: protocolTCP, route: func([]byte) Endpoint { return e }})
}

func (s *Server) listen(ctx context.Context, addr string, lis *listener) (net.Addr, error) {
	a, bound, err := newAcceptor(ctx, s, addr, lis)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		a.close()
		return nil, fmt.Errorf("listen on %s: %w", addr, net.ErrClosed)
	}
	s.acceptors = append(s.acceptors, a)
	s.running.Go(a.run)
	return bound, nil
}

// StopListening closes the listeners; connections stay. Whoever connects from now on is refused by the kernel.
func (s *Server) StopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.acceptors {
		a.stop()
	}
	s.acceptors = nil
}

// Close stops listening, ends every connection without further words, and waits until the loops have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.StopListening()
	for _, l := range s.loops {
		l.Post(stop{})
	}
	s.running.Wait()
}

// Connections returns the number of connections, those still shaking hands or closing included.
func (s *Server) Connections() int { return int(s.open.Load()) }

// closeFD closes a connection's descriptor.
func (s *Server) closeFD(fd int32) {
	_ = unix.Close(int(fd))
	s.open.Add(-1)
}

// listener is what the connections of one listening socket have in common. While a connection has no session yet, the
// listener stands in for it.
type listener struct {
	protocol protocol
	route    func(path []byte) Endpoint
	tls      *tlsListener // nil without TLS
}

func (*listener) Message(*Conn, bool, []byte) {}
func (*listener) Sweep(*Conn)                 {}
func (*listener) Closed(*Conn, End)           {}

// Violation refuses a handshake for which there is no memory.
func (*listener) Violation(c *Conn, _ Violation) {
	c.loop.reject(c, handshake.RejectOverload, &Request{})
}

// addrPort converts a socket address.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// errNotTCP: the listener that the net package made is not the one that was asked for.
var errNotTCP = errors.New("not a TCP listener")
