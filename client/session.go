package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/opcodes"
)

// goodbyeTimeout is how long the hub may take to close the connection after DISCONNECT.
const goodbyeTimeout = 5 * time.Second

// session is one connection, from dialing to its end.
type session struct {
	// Static once open has returned.
	c        *Client
	conn     *websocket.Conn
	link     *link
	token    string
	replaces string // in a move: the id on the connection that is left
	identity Identity

	ended   chan struct{} // closed by end
	endOnce sync.Once
	endErr  error // why; set before ended is closed

	done chan struct{} // closed when reader and writer have ended and no call awaits an answer

	left  atomic.Bool // what it holds ends with its goodbye
	stale bool        // groups were subscribed to on another session of a move alone; guarded by memberships.mu

	mode  atomic.Uint32 // what the writer is to do, a mode
	wake  chan struct{} // wakes up the writer for a new mode; capacity 1
	pong  chan struct{} // makes the writer answer a PING; capacity 1
	fence chan struct{} // makes the writer send a FENCE to the other connection of a move; capacity 1
	// requests are SUBSCRIBEs and UNSUBSCRIBEs for the writer.
	requests chan []byte
	drain    chan struct{}          // wakes up run for a DRAIN; capacity 1
	notice   atomic.Pointer[notice] // the last DRAIN
	stalled  atomic.Int32           // goroutines that wait for handlers; silence then says nothing about the hub

	pinned pinned // what must go over this connection

	// Owned by the reader.
	buf    bytes.Buffer
	reason string // of the hub's DISCONNECT
	// early is what arrived between IDENTIFY and start, and earlySize its size.
	early     [][]byte
	earlySize int
	joined    []map[string]Position // in a move: the positions in answers before start
	dropped   bool                  // a message that waited for handlers when the connection ended

	// Owned by the writer.
	liveness liveness
}

// open dials and identifies within ConnectTimeout. If old is not empty, the token must differ from it. If dialed is not nil,
// open calls it before IDENTIFY.
func (c *Client) open(ctx context.Context, old string, dialed func(*session)) (_ *session, err error) {
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
	if token == old && token != "" { // an empty one means a client certificate
		return nil, errSameToken
	}
	s := &session{
		c: c, token: token, ended: make(chan struct{}), done: make(chan struct{}),
		pinned: pinned{wake: make(chan struct{}, 1)},
		wake:   make(chan struct{}, 1), pong: make(chan struct{}, 1), fence: make(chan struct{}, 1),
		drain: make(chan struct{}, 1), requests: make(chan []byte),
	}
	if err := s.dial(ctx); err != nil {
		return nil, err
	}
	if dialed != nil {
		dialed(s)
	}
	if err := s.identify(ctx, token); err != nil {
		_ = s.conn.CloseNow()
		return nil, err
	}
	c.refusal, c.refusedToken, c.authWait = nil, "", 0
	return s, nil
}

// Errors of a token that is not tried.
var (
	errNoToken   = errors.New("the token is empty")
	errSameToken = errors.New("the token is still the one that expires")
)

// token returns the token for a new connection. With StopOnAuthError, a token that the hub has refused is not tried again.
func (c *Client) token(ctx context.Context) (string, error) {
	token, err := c.opts.TokenSource(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("token: %w", err)
	case token == "" && !c.opts.hasCertificate():
		return "", errNoToken
	case c.opts.StopOnAuthError && c.refusal != nil && token == c.refusedToken && token != "":
		return "", &refusedAgainError{c.refusal}
	}
	return token, nil
}

// dial opens the WebSocket. It has an HTTP transport of its own, so that nothing outlives the session.
func (s *session) dial(ctx context.Context) error {
	proxy, err := s.c.proxy()
	if err != nil {
		return err
	}
	transport := &http.Transport{
		TLSClientConfig:   s.c.opts.TLSConfig.Clone(),
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			if proxy == nil || isSOCKS(proxy) {
				conn, err = s.c.dialNetwork(ctx, network, addr)
			} else {
				conn, err = s.c.dialTunnel(ctx, proxy, addr)
			}
			if err != nil {
				return nil, err
			}
			s.link = newLink(conn, s.c.opts.WriteTimeout)
			return s.link, nil
		},
	}
	if isSOCKS(proxy) {
		transport.Proxy = http.ProxyURL(proxy)
	}
	conn, resp, err := websocket.Dial(ctx, s.c.opts.URL, &websocket.DialOptions{
		HTTPHeader: s.c.opts.Header,
		HTTPClient: &http.Client{
			Transport: transport,
			// The token goes only to the host in the URL.
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

// dialError strips wrappers without information for the caller.
func dialError(ctx context.Context, resp *http.Response, err error) error {
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		return newHandshakeError(resp)
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

// identify sends IDENTIFY and waits for its answer. Before it the hub sends only PING, PONG and DISCONNECT.
func (s *session) identify(ctx context.Context, token string) error {
	data := s.c.opts.identifyData()
	data.Token = token
	data.Replaces = s.replaces
	rest := s.c.groups.complete(&data)
	data.Recover = s.c.progress.from(append([]string{data.Group}, data.Groups...))
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
			if err := s.acceptIdentity(w.Data); err != nil {
				return err
			}
			return s.subscribeRest(ctx, rest)
		case opcodes.Ping:
			if err := s.conn.Write(ctx, websocket.MessageText, pongFrame); err != nil {
				return fmt.Errorf("PONG: %w", contextError(ctx, err))
			}
		case opcodes.Disconnect:
			s.disconnect(w)
		}
	}
}

// acceptIdentity handles the answer to IDENTIFY.
func (s *session) acceptIdentity(data []byte) (err error) {
	if s.identity, err = parseIdentity(data); err != nil {
		return err
	}
	s.joinedEarly(s.identity.history)
	limit := max(s.c.opts.MaxReceiveBytes, s.identity.MaxMessageBytes+receiveMargin)
	s.conn.SetReadLimit(int64(limit))
	return nil
}

// refusedAgainError is the error of a token that the hub has refused before.
type refusedAgainError struct{ error }

func (e *refusedAgainError) Unwrap() error { return e.error }

// noteRefusal remembers a token that the hub has refused.
func (c *Client) noteRefusal(token string, err error) {
	if isRefusal(err) {
		c.refusedToken, c.refusal = token, err
	}
}

// contextError returns the context's error if ctx has ended, else err.
func contextError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// start starts reader and writer. They run until the session or the Client's life ends. The first mode is waiting.
func (s *session) start() {
	s.link.touch()
	stop := context.AfterFunc(s.c.life, func() { s.end(ErrClosed) })
	var writer sync.WaitGroup
	writer.Go(s.writeLoop)
	go func() {
		defer close(s.done)
		defer stop()
		s.end(s.readLoop())
		writer.Wait()
		s.c.watches.ended(s)
		s.endPinned()
		s.c.duties.drop(s)
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

// end ends the session. Only the first call has an effect. It doesn't wait for reader and writer.
func (s *session) end(err error) {
	s.endOnce.Do(func() {
		s.endErr = err
		close(s.ended)
		// Closing the link first unblocks the writer, for which CloseNow waits.
		_ = s.link.Close()
		_ = s.conn.CloseNow()
	})
}
