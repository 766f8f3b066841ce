// Package rawclient is a WebSocket and TCP client for tests. It can send anything: raw bytes split at any offset, frames
// with any header bits, and requests of any text. It is strict when it reads: it accepts only what RFC 6455 allows a
// server to send.
//
// # Concurrency
//
// One goroutine may read from a [Conn] while another one writes; Close and Abort may be called from any goroutine. Each
// read and write has a deadline, so that a hung server fails the test instead of hanging it.
package rawclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// The errors of reading, besides *ProtocolError.
var (
	// ErrReset: the peer closed the connection with a reset (RST).
	ErrReset = errors.New("connection reset by peer")
	// ErrTimeout: the expected bytes did not arrive in time.
	ErrTimeout = errors.New("timed out")
)

// ProtocolError is a violation of the protocol by the server.
type ProtocolError struct{ What string }

// Error describes the violation.
func (e *ProtocolError) Error() string { return "protocol violation by the server: " + e.What }

func violation(format string, args ...any) error { return &ProtocolError{fmt.Sprintf(format, args...)} }

// Options says how to connect.
type Options struct {
	Source  string        // the local address, such as 127.0.0.7; empty lets the kernel choose
	Timeout time.Duration // of each read and write; 0 means five seconds
	TLS     *tls.Config   // nil for no TLS; with TLS each write is a record of its own
}

// Conn is one connection.
type Conn struct {
	tcp     *net.TCPConn
	nc      net.Conn // tcp, or TLS over it
	br      *bufio.Reader
	timeout time.Duration
	ws      bool // the opening handshake is done
	closing bool // the server's close frame was read
	closed  bool // a close frame was sent with SendClose
}

// Dial connects to addr (host:port). Nagle's algorithm is off, so that each write is sent at once as its own segment.
func Dial(addr string, o Options) (*Conn, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	d := net.Dialer{}
	if o.Source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o.Source)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	tcp := nc.(*net.TCPConn)
	if err := tcp.SetNoDelay(true); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	nc = tcp
	if o.TLS != nil {
		conn := tls.Client(tcp, o.TLS)
		if err := conn.HandshakeContext(ctx); err != nil {
			tcp.Close()
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
		nc = conn
	}
	return &Conn{tcp: tcp, nc: nc, br: bufio.NewReaderSize(nc, 4<<10), timeout: o.Timeout}, nil
}

// SetTimeout sets the deadline of each following read and write.
func (c *Conn) SetTimeout(d time.Duration) { c.timeout = d }

// LocalAddr returns the client's own address.
func (c *Conn) LocalAddr() string { return c.tcp.LocalAddr().String() }

// Close closes the connection: with a FIN if all received bytes were read, otherwise with a reset.
func (c *Conn) Close() error { return c.nc.Close() }

// CloseWrite sends a FIN. Reading is still possible.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// Abort closes the connection with a reset (RST).
func (c *Conn) Abort() error {
	if err := c.tcp.SetLinger(0); err != nil {
		return err
	}
	return c.tcp.Close()
}

// Write writes b in one piece.
func (c *Conn) Write(b []byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return translate(err)
}

// WriteSplit writes b in pieces, split at the given offsets, which must ascend.
func (c *Conn) WriteSplit(b []byte, at ...int) error {
	begin := 0
	for _, end := range append(at, len(b)) {
		if end == begin {
			continue
		}
		if err := c.Write(b[begin:end]); err != nil {
			return err
		}
		begin = end
		// Lets the server read this piece by itself. If it doesn't, the test covers less and is still valid.
		time.Sleep(pieceGap)
	}
	return nil
}

// pieceGap is the pause between two pieces of WriteSplit.
const pieceGap = 200 * time.Microsecond

// Drip writes b byte by byte, one per interval, until all is written, ctx ends or the server closes. It returns the number
// of bytes written. It reads nothing.
func (c *Conn) Drip(ctx context.Context, b []byte, interval time.Duration) (int, error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := range b {
		if err := c.Write(b[i : i+1]); err != nil {
			return i, err
		}
		select {
		case <-ctx.Done():
			return i + 1, ctx.Err()
		case <-tick.C:
		}
	}
	return len(b), nil
}

// ReadSome reads at least one and at most len(b) bytes.
func (c *Conn) ReadSome(b []byte) (int, error) {
	c.arm()
	n, err := c.br.Read(b)
	return n, translate(err)
}

func (c *Conn) arm() {
	// An error means a closed connection, which the next read reports.
	_ = c.nc.SetReadDeadline(time.Now().Add(c.timeout))
}

func (c *Conn) readFull(b []byte) error {
	_, err := io.ReadFull(c.br, b)
	return translate(err)
}

// translate maps errors of the network to ErrReset and ErrTimeout. io.EOF stays io.EOF.
func translate(err error) error {
	var ne net.Error
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrReset
	case errors.As(err, &ne) && ne.Timeout():
		return ErrTimeout
	}
	return err
}
