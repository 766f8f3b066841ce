package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/mastersocket/mastersocket/opcodes"
)

// crowdedWait is the longest random time added to the wait if the hub is overloaded.
const crowdedWait = 5 * time.Second

// The waits after a refusal of the token are random between half of a bound and the bound, which doubles from minAuthWait to
// maxAuthWait.
const (
	minAuthWait = 5 * time.Second
	maxAuthWait = 5 * time.Minute
)

// Client is a service's connection to the hub. It reconnects when the connection is lost and moves when the hub asks for it.
// Make one with [Connect].
type Client struct {
	opts        Options
	staticToken bool         // without a TokenSource: the token never changes
	alarm       *slog.Logger // for what must not go unnoticed: opts.Logger or, without one, the default logger

	life     context.Context // ends to stop everything at once
	kill     context.CancelFunc
	quitting context.Context // ends with the call of Close: no further handler is called
	quit     context.CancelFunc
	closing  context.Context // ends when Close says goodbye: no further call is accepted
	close    context.CancelFunc

	queue    chan *call // calls to be written by the session that sends
	inbox    *inbox     // for dispatch
	duties   duties
	pending  pending
	sent     sentLog
	groups   *memberships
	progress *progress
	keeper   keeper
	watches  watches
	holds    holds
	stream   *stream // received messages on their way to inbox

	ready      chan struct{} // closed after the first IDENTIFY
	done       chan struct{} // closed when run has ended
	err        error         // why; set before done is closed
	dispatched chan struct{} // closed when dispatch has ended

	identity atomic.Pointer[Identity] // of the current or last session; in a move, of the session that sends
	handlers handlers
	inHook   atomic.Bool // a hook is running; Close does not wait for it
	reports  reports

	// Owned by run.
	lastErr        error         // of the last attempt to connect
	reconnectDelay time.Duration // added to the next wait; see session.reconnectDelay
	refusedToken   string
	refusal        error         // of refusedToken; nil for none
	authWait       time.Duration // the last bound of the wait after a refusal; 0 after a success

	// Owned by the writer of the session that sends.
	carry *call // taken from the queue, and not begun
}

// Connect connects to the hub and identifies. It tries until it succeeds, the answer to the handshake shows a wrong URL, or ctx
// ends; with [Options.FailFast] it tries once, with [Options.StopOnAuthError] it ends with a refused token. The error is [ErrOptions], or wraps a [DisconnectError], a [HandshakeError] or an error
// of the network. ctx does not affect the connected Client, which ends with [Client.Close].
func Connect(ctx context.Context, o Options) (*Client, error) {
	opts, err := o.prepare()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	kept, err := opts.loadPositions(ctx)
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: opts, staticToken: o.TokenSource == nil, alarm: cmp.Or(o.Logger, slog.Default()), queue: make(chan *call, opts.SendQueue), inbox: newInbox(opts.ReceiveQueue),
		ready: make(chan struct{}), done: make(chan struct{}), dispatched: make(chan struct{}),
	}
	c.life, c.kill = context.WithCancel(context.Background())
	c.quitting, c.quit = context.WithCancel(c.life)
	c.closing, c.close = context.WithCancel(c.life)
	c.groups = newMemberships(&opts)
	c.progress = newProgress(opts.Recover, kept)
	c.stream = newStream(c)
	c.handlers.init(opts.On)
	go c.run()
	go c.dispatch()
	c.keepPositions()
	return c.waitReady(ctx)
}

// waitReady waits for the first IDENTIFY. When it returns an error, all goroutines of the Client have ended.
func (c *Client) waitReady(ctx context.Context) (*Client, error) {
	select {
	case <-c.ready:
		return c, nil
	case <-c.done:
		c.kill()
		<-c.dispatched
		<-c.keeper.done
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
	<-c.keeper.done
	if c.lastErr == nil {
		return nil, fmt.Errorf("connect to %s: %w", c.opts.URL, ctx.Err())
	}
	return nil, fmt.Errorf("%w; the last attempt: %w", ctx.Err(), c.lastErr)
}

// run opens one session after the other until the Client is closed or refused for good. It never waits for handlers, because
// a handler may be waiting for a connection.
func (c *Client) run() {
	defer close(c.done)
	defer func() {
		if c.quitting.Err() != nil {
			<-c.stream.quiet() // the pump ends with quitting
		}
	}()
	wait := newBackoff(c.opts)
	for {
		err := c.runSession(wait)
		switch {
		case c.closing.Err() != nil:
			c.err = ErrClosed
			return
		case c.isFinal(err):
			c.gaveUp(err)
			c.err = err
			return
		}
		if !c.sleep(c.nextWait(err, wait)) {
			c.err = ErrClosed
			return
		}
	}
}

// gaveUp logs the end of the Client. Before the first connection Connect returns the error.
func (c *Client) gaveUp(err error) {
	log := c.opts.Logger
	select {
	case <-c.ready:
		log = c.alarm
	default:
	}
	log.Error("mastersocket: gave up", "error", err)
}

// nextWait returns and logs how long to wait after err.
func (c *Client) nextWait(err error, wait *backoff.ExponentialBackOff) time.Duration {
	if isRefusal(err) {
		c.authWait = min(max(2*c.authWait, minAuthWait), maxAuthWait)
		delay := c.authWait/2 + rand.N(c.authWait/2)
		c.alarm.Error("mastersocket: the hub refuses the token or a group", "error", err, "next_attempt_in", delay)
		return delay
	}
	delay := wait.NextBackOff() + c.reconnectDelay
	if isCrowded(err) {
		delay += rand.N(crowdedWait)
	}
	c.opts.Logger.Warn("mastersocket: not connected", "error", err, "next_attempt_in", delay)
	return delay
}

// runSession opens a session, follows its moves, and returns why the last session ended.
func (c *Client) runSession(wait *backoff.ExponentialBackOff) error {
	c.reconnectDelay = 0
	opened, err := c.groups.begin(c.closing)
	defer opened()
	if err != nil {
		return err
	}
	s, err := c.open(c.closing, "", nil)
	if err != nil {
		if c.closing.Err() == nil { // else Close has cut the attempt off, and the previous error says more
			c.lastErr = err
		}
		return err
	}
	c.lastErr = nil
	began := time.Now()
	c.stream.addOwnID(s.identity.ID)
	c.identity.Store(&s.identity)
	c.opts.Logger.Info("mastersocket: connected", "url", c.opts.URL, "id", s.identity.ID, "node", s.identity.Node)
	c.readyOnce()
	if c.opts.OnConnect != nil {
		c.stream.announce(delivery{id: &s.identity})
	}
	s.start()
	s.setMode(sending)
	c.groups.use(s)
	opened()
	s = c.follow(s)
	err = s.endErr
	c.reconnectDelay = s.reconnectDelay(c.opts.MaxBackoff)
	// Short sessions don't reset the backoff: a hub may accept clients and drop them at once.
	if time.Since(began) >= c.opts.MaxBackoff {
		wait.Reset()
	}
	if c.opts.OnDisconnect != nil && c.quitting.Err() == nil {
		c.stream.announce(delivery{lost: err})
	}
	return err
}

// follow waits for the end of the session and of those to which the Client moves from it. It returns the last one.
func (c *Client) follow(s *session) *session {
	for {
		select {
		case <-s.done:
			return s
		case <-c.closing.Done():
			s.setMode(finishing)
			<-s.done
			return s
		case <-s.drain:
			s = c.move(s)
		}
	}
}

// connectHook announces the session that sends now.
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

// isFinal reports whether err ends the Client.
func (c *Client) isFinal(err error) bool {
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
	return c.opts.StopOnAuthError && c.staticToken && isRefusal(err)
}

// isRefusal reports whether the hub refused the token or a group.
func isRefusal(err error) bool {
	var d *DisconnectError
	return errors.As(err, &d) && d.is(opcodes.IdentifyFailed)
}

// isCrowded reports whether the hub is overloaded, so that clients must reconnect more slowly.
func isCrowded(err error) bool {
	var d *DisconnectError
	return errors.As(err, &d) && (d.is(opcodes.TryAgainLater) || d.is(opcodes.RateLimited) || d.is(opcodes.SlowConsumer))
}

// sleep waits. It returns false if the Client was closed.
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

// newBackoff returns waits that are uniform between 0 and a bound ("full jitter"). The bound doubles from MinBackoff to
// MaxBackoff.
func newBackoff(o Options) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = max(o.MinBackoff/2, 1) // ± 100 %
	b.MaxInterval = max(o.MaxBackoff/2, 1)
	b.RandomizationFactor = 1
	b.Multiplier = 2
	return b
}

// Identity returns the hub's answer to the last IDENTIFY. Its id is valid until the Client reconnects or moves.
func (c *Client) Identity() Identity { return *c.identity.Load() }

// Done returns a channel that is closed when the Client has ended, by Close or by itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// endError returns why the Client has ended, once it has: an error that is ErrClosed.
func (c *Client) endError() error {
	if c.err == ErrClosed {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, c.err)
}

// Err returns why the Client has ended: [ErrClosed] after Close, nil before Done is closed.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// reports limits how often refusals are logged.
type reports struct {
	mu       sync.Mutex
	last     time.Time
	withheld int
}

// logError logs an ERROR that belongs to no call.
func (c *Client) logError(err *HubError) {
	c.reports.mu.Lock()
	defer c.reports.mu.Unlock()
	if time.Since(c.reports.last) < time.Second {
		c.reports.withheld++
		return
	}
	c.opts.Logger.Warn("mastersocket: a message was not delivered",
		"event", err.Event, "to", err.Intent, "id", err.ID, "code", err.Code, "message", err.Message, "not_logged_before", c.reports.withheld)
	c.reports.last, c.reports.withheld = time.Now(), 0
}
