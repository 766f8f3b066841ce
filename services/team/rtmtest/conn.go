package rtmtest

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// writeTimeout bounds a write to a client that does not read, drainTimeout the wait for a client's close.
const (
	writeTimeout = 30 * time.Second
	drainTimeout = 10 * time.Second
	maxFrame     = 16 << 20 // bytes of a frame from a client
)

// conn is one WebSocket.
type conn struct {
	net.Conn
	r *bufio.Reader

	mu   sync.Mutex  // held while writing
	open atomic.Bool // false: no more writes
}

// write writes one text message. It reports whether the connection was open.
func (c *conn) write(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(ws.NewTextFrame([]byte(text)))
}

func (c *conn) writeLocked(f ws.Frame) bool {
	if !c.open.Load() {
		return false
	}
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	raw, err := ws.CompileFrame(f)
	if err == nil {
		_, err = c.Write(raw)
	}
	if err != nil {
		c.open.Store(false)
	}
	return err == nil
}

// drop ends the stream without a Close frame. Data written before still arrives.
func (c *conn) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open.Store(false)
	_ = c.SetReadDeadline(time.Now().Add(drainTimeout)) // the reader continues until the client has closed
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// bye writes a Close frame and waits for the client's close.
func (c *conn) bye(code ws.StatusCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeLocked(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
	c.open.Store(false)
	_ = c.SetReadDeadline(time.Now().Add(drainTimeout))
}

// read calls f for each text message until the connection ends.
func (c *conn) read(f func(text []byte)) {
	for {
		h, err := ws.ReadHeader(c.r)
		if err != nil || h.Length > maxFrame {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(c.r, payload); err != nil {
			return
		}
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		switch h.OpCode {
		case ws.OpText:
			f(payload)
		case ws.OpPing:
			c.mu.Lock()
			c.writeLocked(ws.NewPongFrame(payload))
			c.mu.Unlock()
		case ws.OpClose:
			c.mu.Lock()
			c.writeLocked(ws.NewCloseFrame(payload[:min(len(payload), 2)]))
			c.open.Store(false)
			c.mu.Unlock()
			return
		}
	}
}
