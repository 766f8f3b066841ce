// Package client is the client end of the echo protocol: it sends one message and waits until somebody received it.
//
// While it waits it is one of those whom messages are given to, and answers them. A connection that ends before the ok,
// or that brings none in time, is made anew, with the same message.
//
// Send may be called from any number of goroutines. Everything that it starts has ended when it returns, but for timers
// that do nothing any more.
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

// The events, in the order in which they come; Given and Answered may come often, or never.
const (
	Opened   Event = iota // the connection stands
	Sent                  // the message was sent
	Given                 // somebody's message arrived
	Answered              // the ok to one was sent
	Closed                // the connection ended
)

// Options say what to send, and how. URL is required.
type Options struct {
	URL     string               // ws://host:port/echo
	Text    string               // of the message
	Timeout time.Duration        // for each connection to bring the ok, from its handshake on; 0 for no limit
	Tries   int                  // connections at most; 0 for as many as it takes
	Delay   func() time.Duration // from a message to the ok that answers it; nil for none. It is called by one goroutine at a time
	// Dial makes the TCP connections; nil for those that net.Dialer makes.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// On is told of each event, nil for nobody, by any goroutine. If it returns true after Sent or Given, the connection is cut without a
	// word (with a RST) and made anew.
	On func(e Event) (cut bool)
}

// Result is what became of a message.
type Result struct {
	Connections int           // that were opened, the last one included
	Answered    int           // messages of others that were answered with an ok
	Wait        time.Duration // from when the message was first sent until its ok
}

// dialTimeout is how long a connection may take to be made, its handshake included.
const dialTimeout = 15 * time.Second

// ErrProtocol is a server that says what it must not.
var ErrProtocol = errors.New("the server broke the echo protocol")

// Reasons why a connection ended before the ok came.
var (
	errCut  = errors.New("cut by this side")
	errLate = errors.New("no ok in time")
)

// Send sends the message, and returns when its ok is there. Where it ends without one, the error is that of the last
// connection: it wraps a [ws.StatusError] for a handshake that was refused, a [wsutil.ClosedError] for a connection that
// the server closed, and ErrProtocol. It gives up at once where another try can't help.
func Send(ctx context.Context, o Options) (Result, error) {
	if o.On == nil {
		o.On = func(Event) bool { return false }
	}
	s := sender{options: o}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 5*time.Second
	var before error // of the try before
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
		case errors.Is(err, errCut) || errors.Is(err, errLate):
			wait.Reset() // the server is well
			continue
		}
		before = err
		select {
		case <-ctx.Done():
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// permanent reports whether it would be the same the next time.
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

// sender sends one message, over one connection after the other.
type sender struct {
	options Options
	result  Result
	first   time.Time // when the message was first sent
}

// try makes one connection.
func (s *sender) try(ctx context.Context) error {
	// gobwas/ws puts what it reads behind the handshake into br, nil for nothing.
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
