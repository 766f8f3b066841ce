package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// client is a client that writes whatever it is told and believes nothing that it reads.
type client struct {
	t        testing.TB
	net.Conn // TLS, or tcp itself
	tcp      *net.TCPConn
	br       *bufio.Reader
}

// patientConn is a connection each of whose reads and writes may take as long as patience: how much a test moves, and how
// busy the machine is, does not count.
type patientConn struct{ net.Conn }

func (c patientConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return c.Conn.Read(p)
}

func (c patientConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	return c.Conn.Write(p)
}

// dial connects without shaking hands.
func dial(t testing.TB, addr net.Addr) *client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return newClient(t, nc)
}

// newClient makes a client of a connection, shaking hands where its address is one of a TLS listener that listen opened.
func newClient(t testing.TB, nc net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	conn := patientConn{nc}
	c := &client{t, conn, nc.(*net.TCPConn), bufio.NewReader(conn)}
	if cfg, ok := suiteListeners.Load(nc.RemoteAddr().String()); ok {
		c.startTLS(cfg.(*tls.Config))
	}
	return c
}

// dialTLS connects and shakes hands for TLS.
func dialTLS(t testing.TB, addr net.Addr, cfg *tls.Config) *client {
	t.Helper()
	c := dial(t, addr)
	c.startTLS(cfg)
	return c
}

func (c *client) startTLS(cfg *tls.Config) {
	c.t.Helper()
	conn := tls.Client(c.Conn, cfg)
	if err := conn.Handshake(); err != nil {
		c.t.Fatalf("TLS handshake: %v", err)
	}
	c.Conn, c.br = conn, bufio.NewReader(conn)
}

// CloseWrite ends the client's stream, with close_notify where it is one of TLS.
func (c *client) CloseWrite() error {
	if conn, ok := c.Conn.(*tls.Conn); ok {
		_ = conn.CloseWrite()
	}
	return c.tcp.CloseWrite()
}

// connect dials and shakes hands.
func connect(t testing.TB, addr net.Addr) *client {
	t.Helper()
	c := dial(t, addr)
	c.write([]byte(upgradeRequest("")))
	c.accepted()
	return c
}

// accepted reads the answer to the handshake, which must be a 101.
func (c *client) accepted() {
	c.t.Helper()
	if res := c.response(); res.StatusCode != http.StatusSwitchingProtocols ||
		res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		c.t.Fatalf("handshake: %v %v", res.Status, res.Header)
	}
}

func (c *client) response() *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("read response: %v", err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res
}

// write writes the parts as one segment.
func (c *client) write(parts ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(bytes.Join(parts, nil)); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// writeBytes writes each byte as a segment of its own.
func (c *client) writeBytes(p []byte) {
	c.t.Helper()
	for i := range p {
		c.write(p[i : i+1])
	}
}

// errFrame: the server sent something that is no valid unmasked, unfragmented frame.
var errFrame = errors.New("invalid frame from the server")

// frame reads one frame.
func (c *client) frame() (op ws.OpCode, payload []byte, err error) {
	var h [10]byte
	if _, err = io.ReadFull(c.br, h[:2]); err != nil {
		return 0, nil, err
	}
	op = ws.OpCode(h[0] & 15)
	n := uint64(h[1])
	if h[0]&0xf0 != 0x80 || h[1]&0x80 != 0 || op.IsReserved() || op == ws.OpContinuation {
		return op, nil, fmt.Errorf("%w: header %x", errFrame, h[:2])
	}
	switch n {
	case 126:
		if _, err = io.ReadFull(c.br, h[2:4]); err != nil {
			return op, nil, err
		}
		if n = uint64(binary.BigEndian.Uint16(h[2:])); n < 126 {
			return op, nil, fmt.Errorf("%w: length %d in 2 bytes", errFrame, n)
		}
	case 127:
		if _, err = io.ReadFull(c.br, h[2:10]); err != nil {
			return op, nil, err
		}
		if n = binary.BigEndian.Uint64(h[2:]); n < 65536 || n > 1<<30 {
			return op, nil, fmt.Errorf("%w: length %d in 8 bytes", errFrame, n)
		}
	}
	if op.IsControl() && n > 125 {
		return op, nil, fmt.Errorf("%w: control frame of %d bytes", errFrame, n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.br, payload)
	return op, payload, err
}

// expect reads one frame, which must be this one.
func (c *client) expect(op ws.OpCode, payload string) {
	c.t.Helper()
	got, p, err := c.frame()
	if err != nil || got != op || string(p) != payload {
		c.t.Fatalf("got frame %#x %.80q, %v; want %#x %.80q", got, p, err, op, payload)
	}
}

// expectClose reads a close frame with that code (0 for none) and then the end of the stream.
func (c *client) expectClose(code ws.StatusCode) {
	c.t.Helper()
	op, p, err := c.frame()
	if err != nil || op != ws.OpClose {
		c.t.Fatalf("got frame %#x %.80q, %v; want a close frame", op, p, err)
	}
	if got, _ := ws.ParseCloseFrameData(p); got != code && (code != 0 || len(p) != 0) {
		c.t.Fatalf("closed with %d (%q), want %d", got, p, code)
	}
	c.expectEOF()
}

// expectEOF reads the end of the stream, and nothing before it.
func (c *client) expectEOF() {
	c.t.Helper()
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("got byte %#x, %v; want EOF", b, err)
	}
}

// gone reports whether err says that the connection was cut.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

// reset closes the connection with a RST.
func (c *client) reset() {
	_ = c.tcp.SetLinger(0)
	_ = c.tcp.Close()
}

// line reads one line of a TCP connection.
func (c *client) line() string {
	c.t.Helper()
	s, err := c.br.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read line: %q, %v", s, err)
	}
	return s[:len(s)-1]
}

// mask is the key that the frames of tests are masked with.
var mask = [4]byte{0xa1, 0x00, 0xff, 0x3c}

// clientFrame returns a masked frame whose length is encoded as it should be.
func clientFrame(fin bool, op ws.OpCode, payload string) []byte {
	h := ws.Header{Fin: fin, OpCode: op, Masked: true, Mask: mask, Length: int64(len(payload))}
	return rawFrame(h, payload)
}

// rawFrame returns a frame with the header h, which need not fit the payload.
func rawFrame(h ws.Header, payload string) []byte {
	var b bytes.Buffer
	if err := ws.WriteHeader(&b, h); err != nil {
		panic(err)
	}
	p := []byte(payload)
	if h.Masked {
		ws.Cipher(p, h.Mask, 0)
	}
	b.Write(p)
	return b.Bytes()
}

// longFrame returns a masked text frame whose length is encoded in 2 or 8 bytes, however short it is.
func longFrame(size int, length uint64, payload string) []byte {
	b := []byte{0x81, 0x80 | 126}
	if size == 8 {
		b[1]++
		b = binary.BigEndian.AppendUint64(b, length)
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(length))
	}
	p := []byte(payload)
	ws.Cipher(p, mask, 0)
	return append(append(b, mask[:]...), p...)
}

// text returns a masked text message.
func text(payload string) []byte { return clientFrame(true, ws.OpText, payload) }

// closing returns a masked close frame.
func closing(code ws.StatusCode, reason string) []byte {
	return clientFrame(true, ws.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}
