// Package client is the client end of the echo protocol: it sends one message and waits until another client received
// it.
//
// While it waits, it is given messages of others and answers them. If a connection ends before the ok, or the ok does
// not come in time, it connects again and sends the same message.
//
// Send may be called from any number of goroutines. Everything that it starts has ended when it returns, except timers
// that no longer do anything.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Event is what happens on a connection.
type Event uint8

// The events, in their order. Given and Answered may come any number of times.
const (
	Opened   Event = iota + 1 // the connection is open
	Sent                      // the message was sent
	Given                     // another client's message arrived
	Answered                  // an ok to such a message was sent
	Closed                    // the connection ended
)

// Options configures Send. URL is required.
type Options struct {
	URL     string               // ws://host:port/echo
	Text    string               // of the message
	Timeout time.Duration        // per connection, from the handshake to the ok; 0: no limit
	Tries   int                  // connections at most; 0: no limit
	Delay   func() time.Duration // time until the ok to a message; nil: none. Calls do not overlap
	// Dial makes the TCP connections; nil: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// On, if not nil, is called at each event, from any goroutine. If it returns true after Sent or Given, Send resets
	// the connection (TCP RST) and connects again.
	On func(e Event) (cut bool)
}

// Result is the outcome of Send.
type Result struct {
	Connections int           // opened, including the last one
	Answered    int           // messages of others that were answered with an ok
	Wait        time.Duration // from the first attempt to send until the ok
}

// dialTimeout bounds the dial and the handshake together.
const dialTimeout = 15 * time.Second

// ErrProtocol means that the server violated the echo protocol.
var ErrProtocol = errors.New("the server violated the echo protocol")

// Reasons why a connection ended before the ok came.
var (
	errReset = errors.New("reset by this client")
	errLate  = errors.New("timeout waiting for the ok")
)

// Send sends the message and returns when its ok has come. Otherwise it returns the error of the last connection, which
// wraps a [ws.StatusError] for a handshake that was refused, a [wsutil.ClosedError] for a connection that the server
// closed, or ErrProtocol. It does not try again after a permanent error.
func Send(ctx context.Context, o Options) (Result, error) {
	if o.On == nil {
		o.On = func(Event) bool { return false }
	}
	s := sender{options: o}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 5*time.Second
	var before error // of the previous attempt
	for try := 1; ; try++ {
		err := s.try(ctx)
		switch {
		case err == nil:
			return s.result, nil
		case ctx.Err() != nil && before != nil:
			return s.result, fmt.Errorf("send message: %w; before that: %w", context.Cause(ctx), before)
		case ctx.Err() != nil:
			return s.result, fmt.Errorf("send message: %w", context.Cause(ctx))
		case permanent(err) || o.Tries > 0 && try >= o.Tries:
			return s.result, fmt.Errorf("send message, try %d: %w", try, err)
		case errors.Is(err, errReset) || errors.Is(err, errLate):
			wait.Reset() // the server accepted the connection
			continue
		}
		before = err
		select {
		case <-ctx.Done():
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// permanent reports whether another attempt would fail in the same way.
func permanent(err error) bool {
	var status ws.StatusError
	if errors.As(err, &status) {
		return status >= 400 && status < 500
	}
	var closed wsutil.ClosedError
	if errors.As(err, &closed) {
		return closed.Code == ws.StatusMessageTooBig
	}
	return errors.Is(err, ErrProtocol)
}

// sender sends one message over successive connections.
type sender struct {
	options Options
	result  Result
	first   time.Time // when the message was first sent
}

// try makes one connection.
func (s *sender) try(ctx context.Context) error {
	// gobwas/ws returns in br what it read beyond the handshake; nil: nothing.
	nc, br, _, err := ws.Dialer{
		NetDial: s.options.Dial, Timeout: dialTimeout, ReadBufferSize: 1024, WriteBufferSize: 512,
	}.Dial(ctx, s.options.URL)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.options.URL, err)
	}
	c := newConn(nc, br)
	s.result.Connections++
	s.options.On(Opened)
	defer func() {
		c.end()
		s.options.On(Closed)
	}()
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	err = s.talk(c)
	s.result.Answered += c.answered()
	return err
}
