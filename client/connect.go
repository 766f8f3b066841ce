package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/mastersocket/mastersocket/opcodes"
)

// crowdedWait is added at random to the wait after a hub said that it has too much to do.
const crowdedWait = 5 * time.Second

// Client is a service's connection to the hub, which it makes anew whenever it is lost or the hub asks for it. Make one
// with [Connect].
type Client struct {
	opts Options

	life     context.Context // ends when everything must stop at once
	kill     context.CancelFunc
	quitting context.Context // ends when Close was called: no further handler is called
	quit     context.CancelFunc
	closing  context.Context // ends when Close goes on to the goodbye: nothing more is sent
	close    context.CancelFunc

	queue   chan *call // messages to be written, by the writer of the current session
	inbox   *inbox     // messages and hooks, for dispatch
	pending pending
	stream  *stream // what arrives, on its way to inbox

	ready      chan struct{} // closed after the first IDENTIFY
	done       chan struct{} // closed when run has ended
	err        error         // why; set before done is closed
	dispatched chan struct{} // closed when dispatch has ended

	identity atomic.Pointer[Identity] // of the current or last session; in a move, of the one that sends
	handlers handlers
	reports  reports

	// Owned by run, and by what it calls.
	lastErr      error         // of the last attempt to connect
	slotAnew     time.Duration // see notice.slotAnew
	refusedToken string
	refusal      error

	// Owned by the writer of the session that sends.
	carry *call
}

// Connect connects to the hub and identifies. It tries until it succeeds, the hub refuses for good, or ctx ends; with
// [Options.FailFast] only once. The error is [ErrOptions], or has a [DisconnectError], a [HandshakeError] or what the
// network said. Afterwards ctx has no meaning for the Client: end it with [Client.Close].
func Connect(ctx context.Context, o Options) (*Client, error) {
	opts, err := o.prepare()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	c := &Client{
		opts: opts, queue: make(chan *call, opts.SendQueue), inbox: newInbox(opts.ReceiveQueue),
		ready: make(chan struct{}), done: make(chan struct{}), dispatched: make(chan struct{}),
	}
	c.life, c.kill = context.WithCancel(context.Background())
	c.quitting, c.quit = context.WithCancel(c.life)
	c.closing, c.close = context.WithCancel(c.life)
	c.stream = newStream(c)
	c.handlers.init(opts.On)
	go c.run()
	go c.dispatch()
	return c.waitReady(ctx)
}

// waitReady waits for the first IDENTIFY. If it returns an error, nothing of the Client is left.
func (c *Client) waitReady(ctx context.Context) (*Client, error) {
	select {
	case <-c.ready:
		return c, nil
	case <-c.done:
		c.kill()
		<-c.dispatched
		return nil, c.err
	case <-ctx.Done():
	}
	select {
	case <-c.ready: // before ctx ended
		return c, nil
	default:
	}
	c.kill()
	<-c.done
	<-c.dispatched
	if c.lastErr == nil {
		return nil, fmt.Errorf("connect to %s: %w", c.opts.URL, ctx.Err())
	}
	return nil, fmt.Errorf("%w; the last attempt: %w", ctx.Err(), c.lastErr)
}

// run makes one session after the other until the Client is closed or refused for good. It never waits for handlers, one of
// which may wait for a connection.
func (c *Client) run() {
	defer close(c.done)
	defer func() {
		if c.quitting.Err() != nil {
			<-c.stream.quiet() // which is soon
		}
	}()
	wait := newBackoff(c.opts)
	for {
		err := c.once(wait)
		switch {
		case c.closing.Err() != nil:
			c.err = ErrClosed
			return
		case c.final(err):
			c.opts.Logger.Error("mastersocket: gave up", "error", err)
			c.err = err
			return
		}
		delay := wait.NextBackOff()
		if isCrowded(err) {
			delay += rand.N(crowdedWait)
		}
		delay += c.slotAnew
		c.opts.Logger.Warn("mastersocket: not connected", "error", err, "next_attempt_in", delay)
		if !c.sleep(delay) {
			c.err = ErrClosed
			return
		}
	}
}

// once makes one session, follows it wherever it moves, and returns why the last one ended.
func (c *Client) once(wait *backoff.ExponentialBackOff) error {
	c.slotAnew = 0
	s, err := c.open(c.closing, "", nil)
	if err != nil {
		if c.closing.Err() == nil { // else the attempt was cut off, and says less than the one before
			c.lastErr = err
		}
		return err
	}
	c.lastErr = nil
	began := time.Now()
	c.stream.identified(s.identity.ID)
	c.identity.Store(&s.identity)
	c.opts.Logger.Info("mastersocket: connected", "url", c.opts.URL, "id", s.identity.ID, "node", s.identity.Node)
	c.readyOnce()
	if c.opts.OnConnect != nil {
		c.stream.announce(delivery{id: &s.identity})
	}
	s.start(true)
	s = c.follow(s)
	err = s.endErr
	c.slotAnew = s.slotAnew(c.opts.MaxBackoff)
	// A hub that accepts and at once drops its clients must not be asked again and again without a wait.
	if time.Since(began) >= c.opts.MaxBackoff {
		wait.Reset()
	}
	if c.opts.OnDisconnect != nil && c.quitting.Err() == nil {
		c.stream.announce(delivery{lost: err})
	}
	return err
}

// follow serves the session, and those to which the Client moves from there, and returns the last one when it has ended.
func (c *Client) follow(s *session) *session {
	for {
		select {
		case <-s.done:
			return s
		case <-c.closing.Done():
			s.tell(closeDown)
			<-s.done
			return s
		case <-s.drain:
			s = c.move(s)
		}
	}
}

// connectHook tells that the session is the one that sends.
func (c *Client) connectHook(s *session) {
	if c.opts.OnConnect != nil {
		c.inbox.announce(delivery{id: &s.identity})
	}
}

func (c *Client) readyOnce() {
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}

// final tells whether trying again is of no use.
func (c *Client) final(err error) bool {
	select {
	case <-c.ready:
	default:
		var refused *HandshakeError
		if c.opts.FailFast || errors.As(err, &refused) && refused.permanent() {
			return true
		}
	}
	var again *refusedAgainError
	if errors.As(err, &again) {
		return true
	}
	var d *DisconnectError
	return errors.As(err, &d) && d.is(opcodes.IdentifyFailed) && c.opts.Token != ""
}

// isCrowded tells whether the hub asked its clients to come back more slowly.
func isCrowded(err error) bool {
	var d *DisconnectError
	return errors.As(err, &d) && (d.is(opcodes.TryAgainLater) || d.is(opcodes.RateLimited) || d.is(opcodes.SlowConsumer))
}

// sleep waits, and returns false if the Client was closed meanwhile.
func (c *Client) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.closing.Done():
		return false
	}
}

// newBackoff returns waits that are uniform between 0 and a bound ("full jitter"), which doubles from MinBackoff to
// MaxBackoff.
func newBackoff(o Options) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = max(o.MinBackoff/2, 1) // ± 100 %
	b.MaxInterval = max(o.MaxBackoff/2, 1)
	b.RandomizationFactor = 1
	b.Multiplier = 2
	return b
}

// Identity returns what the hub said at the last IDENTIFY. The id is good for the connection that had it.
func (c *Client) Identity() Identity { return *c.identity.Load() }

// Done is closed when the Client has ended, by Close or because the hub refused it for good.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil until Done is closed, and then why the Client ended: [ErrClosed] after Close.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// reports bounds how often refusals are logged.
type reports struct {
	mu       sync.Mutex
	last     time.Time
	withheld int
}

// logError logs the refusal of a message for which nobody waits.
func (c *Client) logError(err *HubError) {
	c.reports.mu.Lock()
	defer c.reports.mu.Unlock()
	if time.Since(c.reports.last) < time.Second {
		c.reports.withheld++
		return
	}
	c.opts.Logger.Warn("mastersocket: a message was not delivered",
		"id", err.ID, "code", err.Code, "message", err.Message, "not_logged_before", c.reports.withheld)
	c.reports.last, c.reports.withheld = time.Now(), 0
}
