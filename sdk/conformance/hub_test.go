package conformance

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/internal/freeport"
)

// writeTimeout bounds each write of the scripted hub, except those of flood.
const writeTimeout = 10 * time.Second

// hub is the scripted hub: a listener, and connections that do what the scenario says. By itself it only answers PINGs and
// close frames, acknowledges EVENTs and REPLYs, and passes on FENCEs.
type hub struct {
	t        *testing.T
	listener net.Listener
	accepted chan net.Conn
	running  sync.WaitGroup
	acks     bool
	fences   bool
	pings    bool

	mu    sync.Mutex
	conns map[string]*conn // by name
	raw   []net.Conn       // all connections, to be closed at the end
}

// conn is a connection after its handshake.
type conn struct {
	hub      *hub
	name     string
	net      net.Conn
	in       *bufio.Reader
	messages chan map[string]any // what the client sends, but for what the hub handles by itself
	gone     chan struct{}       // closed when the client has ended the connection

	mu   sync.Mutex // guards the fields below and orders writes
	hung bool
}

func newHub(t *testing.T, s scenario) *hub {
	t.Helper()
	l, err := net.Listen("tcp", freeport.Address(t)) // a scenario may end it and listen again
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{
		t: t, listener: l, accepted: make(chan net.Conn, 64), acks: s.Acks != "manual", fences: s.Fences != "manual", pings: s.Pings != "manual",
		conns: map[string]*conn{},
	}
	h.running.Go(h.accept)
	t.Cleanup(h.close)
	return h
}

func (h *hub) url() string { return "ws://" + h.listener.Addr().String() }

func (h *hub) accept() {
	for {
		c, err := h.listener.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.raw = append(h.raw, c)
		h.mu.Unlock()
		select {
		case h.accepted <- c:
		default:
			_ = c.Close() // a client that connects so often fails the scenario anyway
		}
	}
}

func (h *hub) close() {
	_ = h.listener.Close()
	h.mu.Lock()
	for _, c := range h.raw {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.running.Wait()
}

// next returns the next TCP connection.
func (h *hub) next(within time.Duration) (net.Conn, error) {
	select {
	case c := <-h.accepted:
		return c, nil
	case <-time.After(within):
		return nil, fmt.Errorf("no connection within %v", within)
	}
}

// handshake reads the opening handshake of RFC 6455, section 4.
func handshake(c net.Conn) (*bufio.Reader, *http.Request, error) {
	_ = c.SetReadDeadline(time.Now().Add(writeTimeout))
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, nil, fmt.Errorf("handshake: %w", err)
	}
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") || req.Header.Get("Sec-WebSocket-Version") != "13" {
		return nil, nil, fmt.Errorf("no WebSocket handshake: %v", req.Header)
	}
	return in, req, c.SetReadDeadline(time.Time{})
}

// open completes the handshake of the next connection and gives it a name.
func (h *hub) open(name string, within time.Duration) (*conn, error) {
	var netConn net.Conn
	var in *bufio.Reader
	var req *http.Request
	for err := io.EOF; errors.Is(err, io.EOF); { // the client has ended a connection that it did not use
		if netConn, err = h.next(within); err != nil {
			return nil, err
		}
		if in, req, err = handshake(netConn); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err := fmt.Fprintf(netConn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil {
		return nil, err
	}
	c := &conn{hub: h, name: name, net: netConn, in: in, messages: make(chan map[string]any, 4096), gone: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[name] != nil {
		return nil, fmt.Errorf("there is a connection %s already", name)
	}
	h.conns[name] = c
	h.running.Go(c.read)
	return c, nil
}

// forget gives the connection's name to another one.
func (h *hub) forget(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c.name)
}

// refuse answers the next handshake with an HTTP status.
func (h *hub) refuse(r refusal, within time.Duration) error {
	c, err := h.next(within)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := handshake(c); err != nil || r.Status == 0 {
		return err
	}
	resp := http.Response{
		StatusCode: r.Status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Close: true,
		Body: io.NopCloser(strings.NewReader(r.Body)), ContentLength: int64(len(r.Body)),
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		resp.Header.Set(name, r.Header[name])
	}
	return resp.Write(c)
}

// read reads the client's messages until the connection ends.
func (c *conn) read() {
	defer close(c.gone)
	defer c.net.Close()
	for {
		header, err := ws.ReadHeader(c.in)
		if err != nil {
			return
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return
		}
		ws.Cipher(payload, header.Mask, 0)
		switch header.OpCode {
		case ws.OpClose:
			_ = c.write(ws.OpClose, payload, len(payload))
			return
		case ws.OpText:
			var m map[string]any
			if err := json.Unmarshal(payload, &m); err != nil || !header.Masked {
				c.hub.t.Errorf("the client sent %q, masked: %v", payload, header.Masked)
				return
			}
			c.receive(m)
		}
	}
}

// receive handles what the scripted hub handles by itself, and queues everything else for the scenario.
func (c *conn) receive(m map[string]any) {
	c.mu.Lock()
	hung := c.hung
	c.mu.Unlock()
	to, _ := m["intent"].(map[string]any)
	switch op := m["op"]; {
	case op == 3.0 && c.hub.pings:
		if !hung {
			_ = c.send(map[string]any{"op": 4})
		}
		return
	case op == 4.0 && c.hub.pings:
		return
	case op == 13.0 && c.hub.fences:
		c.hub.pass(c, to["identifier"])
		return
	case (op == 0.0 || op == 5.0) && c.hub.acks && m["id"] != nil:
		_ = c.send(map[string]any{"op": 7, "id": m["id"], "data": map[string]any{"nodes": 1}})
	}
	select {
	case c.messages <- m:
	default:
		c.hub.t.Errorf("%s: more than %d messages wait", c.name, cap(c.messages))
	}
}

// pass passes on a FENCE.
func (h *hub) pass(from *conn, to any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, c := range h.conns {
		if connectionID(name) == to {
			_ = c.send(map[string]any{"op": 13, "sender": connectionID(from.name)})
		}
	}
}

// publish sends a message on all open connections. No FENCE passes before all have it.
func (h *hub) publish(m map[string]any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		select {
		case <-c.gone:
			continue
		default:
		}
		if err := c.send(m); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) send(m map[string]any) error { return c.sendText(text(m)) }

func (c *conn) sendText(s string) error { return c.write(ws.OpText, []byte(s), len(s)) }

// write writes the first n bytes of a frame's payload.
func (c *conn) write(op ws.OpCode, payload []byte, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.net.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := ws.WriteHeader(c.net, ws.Header{Fin: true, OpCode: op, Length: int64(len(payload))}); err != nil {
		return err
	}
	_, err := c.net.Write(payload[:n])
	return err
}

func (c *conn) hang() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hung = true
}

// flood sends messages until the client has read none for a second, or has ended the connection. It returns how many it has sent completely; the rest of the
// last one follows when the client reads again.
func (c *conn) flood(message func(i int) map[string]any, most int) (sent int, err error) {
	for size := 0; size < most; {
		sent++
		frame := ws.MustCompileFrame(ws.NewTextFrame([]byte(text(message(sent)))))
		size += len(frame)
		if more := c.tryWrite(frame, time.Second); !more {
			return sent, nil
		}
	}
	return sent, fmt.Errorf("the client has read %d bytes that no handler took", most)
}

// tryWrite writes a frame. It returns false if the client has ended the connection or does not read for d; the rest of the frame
// then follows when it reads again.
func (c *conn) tryWrite(frame []byte, d time.Duration) bool {
	c.mu.Lock()
	_ = c.net.SetWriteDeadline(time.Now().Add(d))
	n, err := c.net.Write(frame)
	var timeout net.Error
	if err == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
		c.mu.Unlock()
		return err == nil
	}
	c.hub.running.Go(func() { // it keeps the lock
		defer c.mu.Unlock()
		_ = c.net.SetWriteDeadline(time.Time{})
		_, _ = c.net.Write(frame[n:])
	})
	return false
}
