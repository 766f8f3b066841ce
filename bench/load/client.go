//go:build linux

package load

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Client is one connection to the server under load.
type Client struct {
	// Index counts the Loop's clients, from 0, in the order of their connecting.
	Index int
	Role  Role
	// Subscription counts the clients that receive, from 0.
	Subscription int
	// Ready is true when the client is subscribed. Set by the Dialect.
	Ready bool
	// ID is the client's address for others, if the dialect needs one. Set by the Dialect.
	ID string

	fd       int
	secure   *tls.Conn // nil without TLS
	open     bool      // the opening handshake is done
	skip     int       // bytes of a counted frame that have not arrived yet
	carry    []byte    // the beginning of what can't be handled before more of it arrives
	out      []byte    // what the socket did not take yet
	received int       // deliveries
	next     []byte    // ring of direct messages: what the client sends for each that it gets
	sent     int       // ring of direct messages: how many it sent
}

// Received returns the number of deliveries that the client got.
func (c *Client) Received() int { return c.received }

var (
	endOfHeader = []byte("\r\n\r\n")
	switching   = []byte("HTTP/1.1 101 ")
)

// errClosed is the error for a connection that the server closed.
var errClosed = errors.New("the server closed the connection")

// consume takes what arrived for c, which begins with what it left over the last time, and returns how much of it was
// used up. Deliveries are counted in l.arrived.
func (l *Loop) consume(c *Client, b []byte) (int, error) {
	used := 0
	if !c.open {
		n, err := l.upgraded(c, b)
		if n == 0 || err != nil {
			return 0, err
		}
		used = n
	}
	for {
		rest := b[used:]
		if c.skip > 0 {
			if len(rest) < c.skip {
				c.skip -= len(rest)
				return len(b), nil
			}
			used += c.skip
			c.skip = 0
			l.arrived++
			continue
		}
		size, length, err := header(rest)
		if err != nil || size == 0 {
			return used, err
		}
		whole := size + length
		if c.Ready && length >= l.least && rest[0] < closeFrame && l.count == nil {
			if len(rest) < whole {
				c.skip = whole - len(rest)
				return len(b), nil
			}
			used += whole
			l.arrived++
			continue
		}
		if len(rest) < whole {
			return used, nil
		}
		if err := l.look(c, rest[0], rest[size:whole]); err != nil {
			return used, err
		}
		used += whole
	}
}

// look handles a frame that is more than one delivery to be counted: it is part of the setup, short, a control frame,
// or holds several deliveries.
func (l *Loop) look(c *Client, first byte, payload []byte) error {
	switch first {
	case closeFrame:
		return fmt.Errorf("%w: close frame %q", errClosed, payload)
	case pingFrame:
		return l.send(c, AppendFrame(nil, pongFrame, payload))
	case pongFrame:
		return nil
	}
	var reply []byte
	var err error
	if c.Ready && len(payload) >= l.least {
		var n int
		n, reply, err = l.count(payload)
		l.arrived += n
	} else {
		reply, err = l.dialect.Message(c, payload)
	}
	if err != nil {
		return err
	}
	if len(reply) > 0 {
		return l.send(c, reply)
	}
	return nil
}

// upgraded waits for the whole answer to the opening handshake, then joins. It returns the answer's length.
func (l *Loop) upgraded(c *Client, b []byte) (int, error) {
	end := bytes.Index(b, endOfHeader)
	if end < 0 {
		return 0, nil
	}
	if !bytes.HasPrefix(b, switching) {
		return 0, fmt.Errorf("the server refused the handshake: %q", b[:end])
	}
	c.open = true
	if join := l.dialect.Join(c); len(join) > 0 {
		if err := l.send(c, join); err != nil {
			return 0, err
		}
	}
	return end + len(endOfHeader), nil
}

// send writes b, and keeps what the socket doesn't take now. It keeps no reference to b.
func (l *Loop) send(c *Client, b []byte) error {
	if len(c.out) > 0 {
		if len(c.out) > maxFrame {
			return errors.New("the server does not read")
		}
		c.out = append(c.out, b...)
		return nil
	}
	n, err := c.write(b)
	if err != nil {
		return err
	}
	if n < len(b) {
		c.out = append(c.out[:0], b[n:]...)
	}
	return nil
}

// flush writes what the socket did not take before.
func (c *Client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	n, err := c.write(c.out)
	c.out = append(c.out[:0], c.out[n:]...)
	return err
}

// write returns how much the socket took, which is 0 if it is full. Over TLS it takes all.
func (c *Client) write(b []byte) (int, error) {
	if c.secure != nil {
		return c.secure.Write(b)
	}
	n, errno := rawWrite(c.fd, b)
	switch errno {
	case 0:
		return n, nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("writing to the server: %w", errno)
}
