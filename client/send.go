package client

import (
	"context"
	"fmt"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Send sends an EVENT. It returns once the message was written to an identified connection, and waits for one while
// there is none, until ctx ends. What the hub then thinks of it goes to [Options.OnError].
//
// The data becomes JSON as with [encoding/json.Marshal]; nil means none; a [encoding/json.RawMessage] is one JSON value
// and goes out byte for byte. What the hub would refuse (a malformed intent, an event of more than 128 bytes, more bytes
// than it takes) is refused here, before anything is sent. For errors see the package's documentation.
func (c *Client) Send(ctx context.Context, to Intent, event string, data any, opts ...SendOption) error {
	ca, err := newCall(opcodes.Event, to, event, data, opts)
	if err != nil {
		return err
	}
	return c.send(ctx, ca)
}

// SendAcked is Send, but it returns once the hub handed the message to every instance that has a receiver, and says how
// many that were. Where nobody matches the intent, the error is [ErrNoReceiver].
func (c *Client) SendAcked(ctx context.Context, to Intent, event string, data any, opts ...SendOption) (instances int, err error) {
	ca, err := newCall(opcodes.Event, to, event, data, opts)
	if err != nil {
		return 0, err
	}
	ca.kind = callAcked
	if err := c.send(ctx, ca); err != nil {
		c.pending.remove(ca)
		return 0, err
	}
	return ca.nodes, nil
}

// Receipt is a message on its way, whose outcome can be waited for.
type Receipt struct {
	c  *Client
	ca *call
}

// Queue is SendAcked in two steps: it returns once the message has its place in the order of what is sent, so that one
// goroutine can have many on their way. It waits while [Options.SendQueue] messages wait already. The outcome of a
// message whose Receipt is thrown away is not reported to anybody.
func (c *Client) Queue(ctx context.Context, to Intent, event string, data any, opts ...SendOption) (*Receipt, error) {
	ca, err := newCall(opcodes.Event, to, event, data, opts)
	if err != nil {
		return nil, err
	}
	ca.kind = callAcked
	if err := c.enqueueCall(ctx, ca); err != nil {
		return nil, err
	}
	return &Receipt{c, ca}, nil
}

// ID returns the message's id.
func (r *Receipt) ID() string { return r.ca.id }

// Wait waits for the outcome as SendAcked does. If ctx ends first the message stays on its way, and Wait may be called
// again.
func (r *Receipt) Wait(ctx context.Context) (instances int, err error) {
	select {
	case <-r.ca.done:
	case <-r.c.done:
		return 0, r.c.unsent(r.ca)
	case <-ctx.Done():
		return 0, fmt.Errorf("event %.80q: %w: %w", r.ca.event, ErrOutcomeUnknown, ctx.Err())
	}
	return r.ca.nodes, r.ca.err
}

// send queues the call and waits for its outcome.
func (c *Client) send(ctx context.Context, ca *call) error {
	if err := c.enqueueCall(ctx, ca); err != nil {
		return err
	}
	select {
	case <-ca.done:
		return ca.err
	case <-c.done:
		return c.unsent(ca)
	case <-ctx.Done():
		return c.giveUp(ctx, ca)
	}
}

// enqueueCall gives the call its place in the order of what is sent.
func (c *Client) enqueueCall(ctx context.Context, ca *call) error {
	if err := checkSize(ca, c.Identity().MaxMessageBytes); err != nil {
		return fmt.Errorf("event %.80q: %w", ca.event, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("event %.80q: not sent: %w", ca.event, ctx.Err())
	}
	select {
	case <-c.done:
		return c.unsent(ca)
	case <-c.closing.Done():
		return fmt.Errorf("event %.80q: not sent: %w", ca.event, ErrClosed)
	default:
	}
	select {
	case c.queue <- ca:
		return nil
	case <-c.done:
		return c.unsent(ca)
	case <-c.closing.Done():
		return fmt.Errorf("event %.80q: not sent: %w", ca.event, ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("event %.80q: not sent, %d messages wait before it: %w", ca.event, len(c.queue), ctx.Err())
	}
}

// giveUp takes the call back if it was not begun.
func (c *Client) giveUp(ctx context.Context, ca *call) error {
	if ca.take() {
		return fmt.Errorf("event %.80q: not sent, there was no connection: %w", ca.event, ctx.Err())
	}
	select {
	case <-ca.done:
		return ca.err
	default:
		return fmt.Errorf("event %.80q: %w: %w", ca.event, ErrOutcomeUnknown, ctx.Err())
	}
}

// unsent is the outcome of a call when the Client has ended: its own, if it has one.
func (c *Client) unsent(ca *call) error {
	select {
	case <-ca.done:
		return ca.err
	default:
	}
	if c.err == ErrClosed {
		return fmt.Errorf("event %.80q: not sent: %w", ca.event, ErrClosed)
	}
	return fmt.Errorf("event %.80q: not sent: %w: %w", ca.event, ErrClosed, c.err)
}
