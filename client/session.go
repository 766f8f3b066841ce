package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/opcodes"
)

// silenceGrace is added to twice the hub's ping interval before its silence ends the connection.
const silenceGrace = 5 * time.Second

// goodbyeTimeout is how long the hub may take to close the connection after its DISCONNECT.
const goodbyeTimeout = 5 * time.Second

// session is one connection, from dialing to its end.
type session struct {
	// Fixed once open returned.
	c        *Client
	conn     *websocket.Conn
	link     *link
	token    string
	identity Identity

	ended   chan struct{} // closed by end
	endOnce sync.Once
	endErr  error // why; set before ended is closed

	done chan struct{} // closed when reader and writer have ended, and no call waits for an answer any more

	orders    chan order             // for the writer, from run
	told      atomic.Int64           // how many orders run gave
	stoppedAt atomic.Int64           // the order by which the writer stopped to take messages from the queue; 0 if it takes some
	pong      chan struct{}          // asks the writer to answer a PING; capacity 1
	fence     chan struct{}          // asks the writer for a FENCE to the other connection of a move; capacity 1
	drain     chan struct{}          // tells run of a DRAIN; capacity 1
	notice    atomic.Pointer[notice] // the last DRAIN
	stalled   atomic.Int32           // who waits for handlers, so that silence says nothing about the hub

	// Owned by the reader.
	buf    bytes.Buffer
	reason string // of the hub's DISCONNECT

	// Owned by the writer.
	obeyed int64 // how many orders
}

// open dials and identifies within ConnectTimeout, with another token than old, if that is not empty. It calls before, if
// that is not nil, between the two.
func (c *Client) open(ctx context.Context, old string, before func(*session)) (_ *session, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.ConnectTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("connect to %s: %w", c.opts.URL, err)
		}
	}()
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	if token == old && token != "" { // with a certificate in its place, the hub judges that
		return nil, errSameToken
	}
	s := &session{
		c: c, token: token, ended: make(chan struct{}), done: make(chan struct{}),
		orders: make(chan order, maxOrders), pong: make(chan struct{}, 1), fence: make(chan struct{}, 1),
		drain: make(chan struct{}, 1),
	}
	if err := s.dial(ctx); err != nil {
		return nil, err
	}
	if before != nil {
		before(s)
	}
	if err := s.identify(ctx, token); err != nil {
		_ = s.conn.CloseNow()
		return nil, err
	}
	c.refusal, c.refusedToken = nil, ""
	return s, nil
}

// What is wrong with a token before it is tried.
var (
	errNoToken   = errors.New("the token is empty")
	errSameToken = errors.New("the token is still the one that expires")
)

// token asks for the token of a new connection. One that the hub refused is not tried again.
func (c *Client) token(ctx context.Context) (string, error) {
	token, err := c.opts.TokenSource(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("token: %w", err)
	case token == "" && !c.opts.hasCertificate():
		return "", errNoToken
	case c.refusal != nil && token == c.refusedToken && token != "":
		return "", &refusedAgainError{c.refusal}
	}
	return token, nil
}

// dial opens the WebSocket. Each has an HTTP transport of its own, so that nothing outlives it.
func (s *session) dial(ctx context.Context) error {
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   s.c.opts.TLSConfig.Clone(),
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := s.c.dialNetwork(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			s.link = newLink(conn, s.c.opts.WriteTimeout)
			return s.link, nil
		},
	}
	if s.c.opts.Dial != nil {
		transport.Proxy = nil
	}
	conn, resp, err := websocket.Dial(ctx, s.c.opts.URL, &websocket.DialOptions{
		HTTPHeader: s.c.opts.Header,
		HTTPClient: &http.Client{
			Transport: transport,
			// The token goes to the host that the caller named and to no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		transport.CloseIdleConnections()
		return dialError(ctx, resp, err)
	}
	conn.SetReadLimit(int64(s.c.opts.MaxReceiveBytes))
	s.conn = conn
	return nil
}

func (c *Client) dialNetwork(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.opts.Dial != nil {
		return c.opts.Dial(ctx, network, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// dialError strips the layers that say nothing to a caller.
func dialError(ctx context.Context, resp *http.Response, err error) error {
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		var body [200]byte
		n := 0
		if resp.Body != nil {
			n, _ = resp.Body.Read(body[:])
		}
		return &HandshakeError{Status: resp.StatusCode, Body: strings.TrimSpace(string(body[:n]))}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// identify sends IDENTIFY and waits for its answer. Until then the hub sends nothing but PING, PONG and DISCONNECT.
func (s *session) identify(ctx context.Context, token string) error {
	data := s.c.opts.identify()
	data.Token = token
	msg, err := json.Marshal(struct {
		Op   opcodes.Op `json:"op"`
		Data identify   `json:"data"`
	}{opcodes.Identify, data})
	if err != nil {
		return fmt.Errorf("IDENTIFY: %w", err)
	}
	if err := s.conn.Write(ctx, websocket.MessageText, msg); err != nil {
		return fmt.Errorf("IDENTIFY: %w", contextError(ctx, err))
	}
	for {
		raw, err := s.read(ctx)
		if err != nil {
			err = contextError(ctx, err)
			s.c.noteRefusal(token, err)
			return fmt.Errorf("IDENTIFY: %w", err)
		}
		w, err := parseWire(raw)
		if err != nil {
			return err
		}
		switch w.Op {
		case opcodes.Identify:
			return s.identified(w.Data)
		case opcodes.Ping:
			if err := s.conn.Write(ctx, websocket.MessageText, pongFrame); err != nil {
				return fmt.Errorf("PONG: %w", contextError(ctx, err))
			}
		case opcodes.Disconnect:
			s.disconnect(w)
		}
	}
}

func (s *session) identified(data []byte) (err error) {
	if s.identity, err = parseIdentity(data); err != nil {
		return err
	}
	limit := max(s.c.opts.MaxReceiveBytes, s.identity.MaxMessageBytes+receiveMargin)
	s.conn.SetReadLimit(int64(limit))
	return nil
}

// refusedAgainError is the refusal of a token that was refused before: nothing will change that.
type refusedAgainError struct{ error }

func (e *refusedAgainError) Unwrap() error { return e.error }

// noteRefusal remembers a token that the hub refused.
func (c *Client) noteRefusal(token string, err error) {
	var d *DisconnectError
	if errors.As(err, &d) && d.is(opcodes.IdentifyFailed) {
		c.refusedToken, c.refusal = token, err
	}
}

// contextError returns the context's error where it is the cause of err.
func contextError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// start runs the session until it ends, or the Client's life does. Where it is not sending, the messages in the queue
// are another session's until startSending.
func (s *session) start(sending bool) {
	s.link.touch()
	stop := context.AfterFunc(s.c.life, func() { s.end(ErrClosed) })
	var writer sync.WaitGroup
	writer.Go(func() { s.writeLoop(sending) })
	go func() {
		defer close(s.done)
		defer stop()
		s.end(s.readLoop())
		writer.Wait()
		s.c.pending.fail(s, fmt.Errorf("%w: %w", ErrOutcomeUnknown, s.endErr))
	}()
}

func (s *session) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// end ends the session with its first cause. It doesn't wait for reader and writer.
func (s *session) end(err error) {
	s.endOnce.Do(func() {
		s.endErr = err
		close(s.ended)
		// Closing the link first frees a writer that is stuck in it; CloseNow waits for that.
		_ = s.link.Close()
		_ = s.conn.CloseNow()
	})
}
