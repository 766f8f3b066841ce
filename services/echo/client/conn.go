package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/mastersocket/mastersocket/services/echo/wire"
)

const (
	writeTimeout = 15 * time.Second
	closeTimeout = 5 * time.Second // for the server's Close frame in answer
	maxMessage   = 64 << 20        // hubs refuse larger ones
)

// conn is one connection. One goroutine reads; timers write too.
type conn struct {
	nc     net.Conn
	reader wsutil.Reader

	mu     sync.Mutex // guards the fields below, and writes
	ended  bool       // nothing is written any more
	oks    int        // written
	timers []*time.Timer
}

func newConn(nc net.Conn, br *bufio.Reader) *conn {
	if br == nil {
		br = bufio.NewReaderSize(nc, 512)
	}
	return &conn{nc: nc, reader: wsutil.Reader{Source: br, State: ws.StateClientSide, CheckUTF8: true, MaxMessageSize: maxMessage}}
}

// talk sends the message, reads until its ok, and then closes the connection.
func (s *sender) talk(c *conn) error {
	if s.options.Timeout > 0 {
		if err := c.nc.SetReadDeadline(time.Now().Add(s.options.Timeout)); err != nil {
			return err
		}
	}
	if s.first.IsZero() {
		s.first = time.Now()
	}
	if err := c.write(ws.OpText, wire.Frame(wire.Message, s.options.Text)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if s.options.On(Sent) {
		return c.reset()
	}
	for {
		kind, text, err := c.read()
		if err != nil {
			return err
		}
		if kind == wire.OK {
			if text != s.options.Text {
				return fmt.Errorf("%w: an ok of another text than was sent: %.40q", ErrProtocol, text)
			}
			s.result.Wait = time.Since(s.first)
			c.goodbye()
			return nil
		}
		if s.options.On(Given) {
			return c.reset()
		}
		if err := s.answer(c, text); err != nil {
			return err
		}
	}
}

// answer sends the ok to a message, after the delay if there is one.
func (s *sender) answer(c *conn, text string) error {
	ok := func() error {
		err := c.writeOK(text)
		if err == nil {
			s.options.On(Answered)
		}
		return err
	}
	delay := time.Duration(0)
	if s.options.Delay != nil {
		delay = s.options.Delay()
	}
	if delay <= 0 {
		return ok()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers = append(c.timers, time.AfterFunc(delay, func() {
		_ = ok() // the reader reports what broke the connection
	}))
	return nil
}

// read returns the next frame of the protocol. It answers pings, and close frames.
func (c *conn) read() (wire.Kind, string, error) {
	for {
		op, payload, err := c.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, "", errLate
		case err != nil:
			return 0, "", fmt.Errorf("read: %w", err)
		case op == ws.OpPing:
			_ = c.write(ws.OpPong, payload) // the next read reports what broke the connection
		case op == ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			_ = c.write(ws.OpClose, payload)
			return 0, "", wsutil.ClosedError{Code: code, Reason: reason}
		case op == ws.OpText:
			kind, text := wire.Parse(payload)
			if kind == wire.Invalid {
				return 0, "", fmt.Errorf("%w: %.40q is no frame of it", ErrProtocol, payload)
			}
			return kind, string(text), nil
		case op != ws.OpPong:
			return 0, "", fmt.Errorf("%w: a binary message", ErrProtocol)
		}
	}
}

// next reads one message or control frame.
func (c *conn) next() (ws.OpCode, []byte, error) {
	header, err := c.reader.NextFrame()
	if err != nil {
		return 0, nil, err
	}
	payload, err := io.ReadAll(&c.reader)
	return header.OpCode, payload, err
}

// write sends one frame.
func (c *conn) write(op ws.OpCode, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeFrame(op, payload)
}

// writeOK sends an ok and counts it, before the server's answer to it can arrive.
func (c *conn) writeOK(text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.writeFrame(ws.OpText, wire.Frame(wire.OK, text))
	if err == nil {
		c.oks++
	}
	return err
}

// writeFrame is write for the holder of mu.
func (c *conn) writeFrame(op ws.OpCode, payload []byte) error {
	b, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload)))
	if err != nil {
		return err
	}
	if c.ended {
		return net.ErrClosed
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = c.nc.Write(b)
	return err
}

// goodbye runs the closing handshake (RFC 6455 section 7). Messages that arrive before the server's Close frame are
// ignored: the hub gives them to others.
func (c *conn) goodbye() {
	if c.write(ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, "")) != nil {
		return
	}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	if c.nc.SetReadDeadline(time.Now().Add(closeTimeout)) != nil {
		return
	}
	for {
		if op, _, err := c.next(); err != nil || op == ws.OpClose {
			return
		}
	}
}

// reset ends the connection with a TCP RST.
func (c *conn) reset() error {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // on failure it ends with a FIN instead
	}
	_ = c.nc.Close() // the connection ends in any case
	return errReset
}

// interrupt ends reads and writes that block.
func (c *conn) interrupt() { _ = c.nc.Close() }

// end closes the connection and its timers.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, t := range c.timers {
		t.Stop()
	}
	_ = c.nc.Close() // a broken connection has nothing to report
}

// answered returns the number of oks that were sent.
func (c *conn) answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.oks
}
