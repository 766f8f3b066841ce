package transport

import (
	"context"
	"fmt"
	"net"

	"github.com/mastersocket/mastersocket/internal/handshake"
	"github.com/mastersocket/mastersocket/internal/hosts"
)

// listener is what the connections of one listening socket have in common. While a connection has no session yet, the
// listener stands in for it.
type listener struct {
	protocol protocol
	route    func(path []byte) Endpoint
	hosts    *hosts.Policy
	tls      *tlsListener // nil without TLS
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
	a, bound, err := newAcceptor(ctx, s, addr, lis)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if lis.hosts, err = hosts.NewPolicy(bound, s.opts.AllowedHosts); err != nil {
		a.release()
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		a.release()
		return nil, fmt.Errorf("listen on %s: %w", addr, net.ErrClosed)
	}
	s.acceptors = append(s.acceptors, a)
	s.running.Go(a.run)
	return bound, nil
}

func (*listener) Message(*Conn, bool, []byte) {}

func (*listener) Sweep(*Conn) {}

func (*listener) Closed(*Conn, End) {}

// Violation refuses a handshake for which there is no memory.
func (*listener) Violation(c *Conn, _ Violation) {
	c.loop.refuseHandshake(c, handshake.RejectOverload, &Request{})
}
