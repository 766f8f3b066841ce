// Package rawclient is a WebSocket and TCP client for tests that is able to send every wrong thing and reads with
// suspicion: it writes bytes as given, split wherever the test likes, frames with any header bits and requests of any
// text, and accepts from a server only what RFC 6455 allows one to send.
//
// A [Conn] may be read by one goroutine while another one writes; Close and Abort may be called from any. Every read and write has a
// deadline, so that a server that hangs fails a test and does not hang it.
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

// How reading can end, beside a *ProtocolError.
var (
	// ErrReset: the peer closed the connection with a reset (RST).
	ErrReset = errors.New("connection reset by peer")
	// ErrTimeout: nothing, or not enough, arrived in time.
	ErrTimeout = errors.New("timed out")
)

// ProtocolError is something that the server sent and must not have sent.
type ProtocolError struct{ What string }

// Error returns what was wrong.
func (e *ProtocolError) Error() string { return "protocol violation by the server: " + e.What }

func violation(format string, args ...any) error { return &ProtocolError{fmt.Sprintf(format, args...)} }

// Options says how to connect.
type Options struct {
	Source  string        // the local address, such as 127.0.0.7; empty leaves it to the kernel
	Timeout time.Duration // of each read and write; 0 means five seconds
	TLS     *tls.Config   // nil without TLS; with it the pieces of what is written are records
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

// Dial connects to addr (host:port). Nagle's algorithm is off: each write leaves at once, as a segment of its own.
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

// SetTimeout changes the time that each following read or write may take.
func (c *Conn) SetTimeout(d time.Duration) { c.timeout = d }

// LocalAddr returns the client's own address.
func (c *Conn) LocalAddr() string { return c.tcp.LocalAddr().String() }

// Close closes the connection with a FIN, if all that arrived was read.
func (c *Conn) Close() error { return c.nc.Close() }

// CloseWrite sends a FIN and goes on reading.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// Abort closes the connection with a reset (RST).
func (c *Conn) Abort() error {
	if err := c.tcp.SetLinger(0); err != nil {
		return err
	}
	return c.tcp.Close()
}

// SetReadBuffer asks for a receive buffer of n bytes in the kernel: a client with a small one that does not read is a
// slow consumer soon.
func (c *Conn) SetReadBuffer(n int) error { return c.tcp.SetReadBuffer(n) }

// Write writes b in one piece.
func (c *Conn) Write(b []byte) error {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return translate(err)
}

// WriteSplit writes b in pieces that end before each of the given offsets, which must ascend, and at the end.
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
		// Time for the server to read this piece alone. Where it does not, the test tries less and still holds.
		time.Sleep(pieceGap)
	}
	return nil
}

// pieceGap is the pause between two pieces of WriteSplit.
const pieceGap = 200 * time.Microsecond

// Drip writes b byte by byte, one each interval, until all is written, ctx ends or the server closes; it returns how
// many bytes it wrote. What the server sends meanwhile stays to be read.
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

// ReadSome reads what is there, at most len(b) bytes, waiting for at least one.
func (c *Conn) ReadSome(b []byte) (int, error) {
	c.arm()
	n, err := c.br.Read(b)
	return n, translate(err)
}

// Buffered reports how many bytes arrived together with what was read, and were not looked at yet.
func (c *Conn) Buffered() int { return c.br.Buffered() }

func (c *Conn) arm() {
	// It fails only on a closed connection, of which the read that follows tells.
	_ = c.nc.SetReadDeadline(time.Now().Add(c.timeout))
}

func (c *Conn) readFull(b []byte) error {
	_, err := io.ReadFull(c.br, b)
	return translate(err)
}

// translate names the ends of a connection; io.EOF stays io.EOF.
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
