package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/handshake"
	"github.com/mastersocket/mastersocket/internal/hosts"
)

// listener is a listening socket, and what its connections have in common. While a connection has no session yet, the
// listener stands in for it.
type listener struct {
	protocol protocol
	route    func(path []byte) Endpoint
	hosts    *hosts.Policy
	tls      *tlsListener // nil without TLS

	fd    int
	loops atomic.Int32 // those that accept from it; the last one closes it
}

// ListenWebSocket accepts WebSocket connections on addr ("host:port"; port 0 picks a free one). route says which
// Endpoint a path belongs to, nil for none; it is called on the loops and must be safe for concurrent use.
func (s *Server) ListenWebSocket(ctx context.Context, addr string, route func(path []byte) Endpoint) (net.Addr, error) {
	return s.listen(ctx, addr, &listener{protocol: protocolWebSocket, route: route})
}

// ListenTCP accepts connections on addr that speak JSON values without any framing. Between two messages to a client
// passes Options.TCPGap, until Conn.Unpace.
func (s *Server) ListenTCP(ctx context.Context, addr string, e Endpoint) (net.Addr, error) {
	p := protocolPacedTCP
	if s.opts.TCPGap <= 0 {
		p = protocolTCP
	}
	return s.listen(ctx, addr, &listener{protocol: p, route: func([]byte) Endpoint { return e }})
}

func (s *Server) listen(ctx context.Context, addr string, lis *listener) (net.Addr, error) {
	bound, err := lis.open(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	lis.loops.Store(int32(len(s.loops)))
	if lis.hosts, err = hosts.NewPolicy(bound, s.opts.AllowedHosts); err != nil {
		_ = unix.Close(lis.fd)
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = unix.Close(lis.fd)
		return nil, fmt.Errorf("listen on %s: %w", addr, net.ErrClosed)
	}
	watched := make(chan error, len(s.loops))
	for _, l := range s.loops {
		l.Post(acceptFrom{lis, watched})
	}
	for range s.loops {
		err = errors.Join(err, <-watched)
	}
	if err != nil {
		s.stopAccepting(lis)
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s.listeners = append(s.listeners, lis)
	return bound, nil
}

// open makes the socket listen on addr.
func (lis *listener) open(ctx context.Context, addr string) (net.Addr, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the default of the net package, where TCP_NODELAY is an error before Linux 5.17
	nl, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = nl.Close() }() // the duplicate below stays
	tl, ok := nl.(*net.TCPListener)
	if !ok {
		return nil, errNotTCP
	}
	if lis.fd, err = duplicate(tl); err != nil {
		return nil, err
	}
	// Accepted sockets inherit it: messages leave at once, and it is the loop that gathers them.
	if err := unix.SetsockoptInt(lis.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		_ = unix.Close(lis.fd)
		return nil, fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	if lis.protocol == protocolWebSocket { // the client speaks first
		// Without it, the request makes an event of its own.
		_ = unix.SetsockoptInt(lis.fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, silentSeconds)
	}
	return nl.Addr(), nil
}

// silentSeconds is how long the kernel keeps a connection to itself whose client has sent nothing: one that it hands out
// before has its request with it. When too many are silent, SYN cookies end that.
const silentSeconds = 1

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

func (*listener) Message(*Conn, bool, []byte) {}

func (*listener) Sweep(*Conn) {}

func (*listener) Closed(*Conn, End) {}

// Violation refuses a handshake for which there is no memory.
func (*listener) Violation(c *Conn, _ Violation) {
	c.loop.refuseHandshake(c, handshake.RejectOverload, &Request{})
}
