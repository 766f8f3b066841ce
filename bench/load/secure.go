//go:build linux

package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Over TLS each client has a tls.Conn on its non-blocking socket, which crypto/tls reads again after errNothing. Only the
// handshake can't be taken up again: it runs on a goroutine that waits for its socket. The Loop adopts the client then.

// handshakes are the clients whose TLS handshakes are under way, or over and not adopted yet.
type handshakes struct {
	config *tls.Config // nil without TLS
	wake   int         // eventfd

	running sync.WaitGroup

	mu   sync.Mutex
	over []handshake
}

// handshake is one that is over.
type handshake struct {
	client *Client
	err    error
}

// Secure makes all further clients connect over TLS. They take any certificate.
func (l *Loop) Secure() error {
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("creating an eventfd: %w", err)
	}
	l.tls.config, l.tls.wake = &tls.Config{InsecureSkipVerify: true}, wake
	return l.watch(wake, unix.EPOLLIN)
}

// start shakes hands for a client whose socket is connecting.
func (h *handshakes) start(c *Client) {
	w := &wire{fd: c.fd, waits: true}
	c.secure = tls.Client(w, h.config)
	h.running.Go(func() {
		err := c.secure.Handshake()
		w.waits = false
		h.mu.Lock()
		h.over = append(h.over, handshake{c, err})
		h.mu.Unlock()
		rawWrite(h.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
}

// adopt takes the clients that have shaken hands, and sends their requests.
func (l *Loop) adopt() error {
	var count [8]byte
	rawRead(l.tls.wake, count[:])
	l.tls.mu.Lock()
	over := l.tls.over
	l.tls.over = nil
	l.tls.mu.Unlock()
	for _, h := range over {
		err := h.err
		if err == nil {
			err = l.watch(h.client.fd, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET)
		}
		if err == nil {
			err = h.client.flush()
		}
		if err != nil {
			return l.failed(h.client, err)
		}
	}
	return nil
}

// close ends the handshakes that are under way, and waits for them.
func (h *handshakes) close(clients []*Client) {
	if h.config == nil {
		return
	}
	for _, c := range clients {
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // an error means that it is over already
	}
	h.running.Wait()
	unix.Close(h.wake)
}

// readSecure is read for a client over TLS, record by record.
func (l *Loop) readSecure(c *Client) error {
	for {
		kept := copy(l.buf, c.carry)
		n, err := c.secure.Read(l.buf[kept:])
		if n > 0 {
			if err := l.take(c, l.buf[:kept+n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, errNothing):
			return nil
		case errors.Is(err, io.EOF):
			return errClosed
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		}
		if len(c.carry) > len(l.buf)/2 {
			l.buf = make([]byte, 2*len(l.buf))
		}
	}
}

// errNothing says that nothing has arrived.
var errNothing error = nothing{}

// nothing is a temporary net.Error: crypto/tls takes no other for one after which a connection can be read again.
type nothing struct{}

func (nothing) Error() string   { return "nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// wire is the socket below a tls.Conn.
type wire struct {
	noDeadlines
	fd    int
	waits bool // Read waits for bytes
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	for {
		n, errno := rawRead(w.fd, b)
		switch {
		case errno == 0 && n == 0:
			return 0, io.EOF
		case errno == 0:
			return n, nil
		case errno == unix.EINTR:
		case errno != unix.EAGAIN && errno != unix.ENOTCONN:
			return 0, errno
		case !w.waits:
			return 0, errNothing
		default:
			if err := w.await(unix.POLLIN); err != nil {
				return 0, err
			}
		}
	}
}

// Write implements net.Conn. It waits until the socket has taken everything, as a record can't be cut.
func (w *wire) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n, errno := rawWrite(w.fd, b[done:])
		switch errno {
		case 0:
			done += n
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOTCONN:
			if err := w.await(unix.POLLOUT); err != nil {
				return done, err
			}
		default:
			return done, errno
		}
	}
	return len(b), nil
}

// await waits until the socket is ready, at most as long as deliveries may be under way.
func (w *wire) await(events int16) error {
	poll := []unix.PollFd{{Fd: int32(w.fd), Events: events}}
	n, err := unix.Poll(poll, int(drainTimeout.Milliseconds()))
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("waiting for a socket: %w", err)
	case n == 0:
		return errLate
	}
	return nil
}

// noDeadlines are the methods of a net.Conn that crypto/tls does not need for reading and writing.
type noDeadlines struct{}

func (noDeadlines) Close() error                     { return nil }
func (noDeadlines) LocalAddr() net.Addr              { return nil }
func (noDeadlines) RemoteAddr() net.Addr             { return nil }
func (noDeadlines) SetDeadline(time.Time) error      { return nil }
func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }
