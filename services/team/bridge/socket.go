package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	// keptBytes bounds the read buffer that a connection keeps between messages.
	keptBytes = 4 << 10
	// freeBytes is the size up to which a message does not count against the memory for large ones.
	freeBytes = 64 << 10
	// headerBytes bounds the HTTP header of a handshake's answer.
	headerBytes = 64 << 10
)

// socket is a WebSocket to the server.
type socket struct {
	b    *Bridge
	ws   *websocket.Conn
	conn net.Conn // under ws
	buf  []byte   // of the reader
}

// dialFunc dials a network connection. It calls turn immediately before each attempt.
type dialFunc func(ctx context.Context, network, addr string, turn turnFunc) (net.Conn, error)

// turnFunc waits for the caller's turn.
type turnFunc func(ctx context.Context) error

// errTimeout is the cause of an attempt that took too long.
var errTimeout = errors.New("timeout")

// dialSocket opens a WebSocket. It uses no proxy and follows no redirect, as both would dial an unchecked address. With
// a pacer each attempt waits for its turn; that wait does not count against the timeout.
func (b *Bridge) dialSocket(ctx context.Context, u *url.URL, header http.Header, dial dialFunc, pace *pacer) (*socket, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := time.AfterFunc(b.opts.ConnectTimeout, func() { cancel(errTimeout) })
	defer timeout.Stop()
	turn := func(ctx context.Context) error {
		if pace == nil {
			return nil
		}
		timeout.Stop()
		return pace.do(ctx, func() bool {
			timeout.Reset(b.opts.ConnectTimeout)
			return true
		})
	}
	s := &socket{b: b}
	var dialed atomic.Pointer[error] // set by another goroutine, possibly after this one has given up
	transport := &http.Transport{
		TLSClientConfig: b.opts.TLSConfig.Clone(), DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: headerBytes, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr, turn)
			if err != nil {
				dialed.Store(&err)
				return nil, err
			}
			s.conn = conn // read only after the handshake has succeeded
			return conn, nil
		},
	}
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPHeader: header,
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err == nil {
		ws.SetReadLimit(int64(b.opts.MaxFrameBytes))
		s.ws = ws
		return s, nil
	}
	transport.CloseIdleConnections()
	if cause := dialed.Load(); cause != nil {
		return nil, dialFailure(ctx, u, resp, *cause, err)
	}
	return nil, dialFailure(ctx, u, resp, nil, err)
}

// statusError is an HTTP answer other than 101 Switching Protocols.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("HTTP status %d", int(e)) }

// permanent reports whether another attempt would most likely get the same status.
func (e statusError) permanent() bool {
	return e >= 400 && e < 500 && e != http.StatusRequestTimeout && e != http.StatusTooEarly && e != http.StatusTooManyRequests
}

// dialFailure returns the cause of a failed attempt, without the URL's path and query, which may hold a ticket.
func dialFailure(ctx context.Context, u *url.URL, resp *http.Response, dialed, err error) error {
	at := u.Scheme + "://" + u.Host
	switch {
	case errors.Is(dialed, errAddress):
		return fail(ReasonNotAllowed, dialed)
	case dialed != nil:
		return fail(ReasonDial, fmt.Errorf("%s: %w", at, dialed))
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return fail(ReasonHandshake, fmt.Errorf("%s: %w", at, statusError(resp.StatusCode)))
	case ctx.Err() != nil:
		return fail(ReasonHandshake, fmt.Errorf("%s: no answer: %w", at, context.Cause(ctx)))
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	return fail(ReasonHandshake, fmt.Errorf("%s: %w", at, err))
}

// write writes a text message. It breaks the connection if the server does not take it within ConnectTimeout.
func (s *socket) write(ctx context.Context, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.b.opts.ConnectTimeout)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, text)
}

// Causes for which a message is not read to its end.
var (
	errMemory = errors.New("too many large messages at once")
	errSlow   = errors.New("a message was not complete in time")
)

// read calls f with the next message, which is valid until it returns.
func (s *socket) read(f func(msg []byte, text bool)) error {
	typ, r, err := s.ws.Reader(context.Background()) // ending the connection ends the read
	if err != nil {
		return err
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(s.b.opts.MessageTimeout))
	large, err := s.readAll(r)
	defer s.b.large.release(large)
	if err != nil {
		return err
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	f(s.buf, typ == websocket.MessageText)
	if cap(s.buf) > keptBytes {
		s.buf = nil
	}
	return nil
}

// readAll reads a message into buf. large is the amount it reserved of the memory for large messages, also with an
// error.
func (s *socket) readAll(r io.Reader) (large int, err error) {
	if s.buf == nil {
		s.buf = make([]byte, 0, 512)
	}
	for s.buf = s.buf[:0]; ; {
		n, err := r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return large, nil
		case isTimeout(err):
			return large, errSlow
		case err != nil:
			return large, err
		case len(s.buf) < cap(s.buf):
			continue
		}
		size := min(2*cap(s.buf), s.b.opts.MaxFrameBytes+512)
		if size > freeBytes {
			if !s.b.large.reserve(size - large) {
				return large, errMemory
			}
			large = size
		}
		s.buf = append(make([]byte, 0, size), s.buf...)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// endOf returns the cause for a read error.
func endOf(err error) error {
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		return fail(ReasonClosed, fmt.Errorf("closed by the server with code %d", closed.Code))
	case errors.Is(err, websocket.ErrMessageTooBig):
		return fail(ReasonTooBig, err)
	case errors.Is(err, errMemory):
		return fail(ReasonMemory, err)
	case errors.Is(err, errSlow):
		return fail(ReasonSlow, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, new(net.Error)):
		return fail(ReasonLost, err)
	}
	return fail(ReasonProtocol, err)
}

// budget is an amount of memory shared by many.
type budget struct {
	left atomic.Int64
}

func (m *budget) reserve(n int) bool {
	if m.left.Add(-int64(n)) >= 0 {
		return true
	}
	m.left.Add(int64(n))
	return false
}

func (m *budget) release(n int) { m.left.Add(int64(n)) }
