package client

import (
	"context"
	"fmt"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Send sends an EVENT. It returns once the message is written to an identified connection. Without a connection it waits for
// one until ctx ends. If the hub then refuses the message, [Options.OnError] is called.
//
// data is encoded as by [encoding/json.Marshal]; nil means no data. An [encoding/json.RawMessage] must be one JSON value and
// is sent byte for byte. Send itself refuses what the hub would refuse: a malformed intent, an event of more than 128
// bytes, a message that is too large. The package documentation lists the errors.
func (c *Client) Send(ctx context.Context, to Intent, event string, data any, opts ...SendOption) error {
	ca, err := newCall(opcodes.Event, to, event, data, opts)
	if err != nil {
		return err
	}
	return c.send(ctx, ca)
}

// SendAcked sends an EVENT and returns once the hub has handed it to every instance that has a receiver. instances is their
// number. If no client matches the intent, the error is [ErrNoReceiver]. See [Client.Send] for data and other errors.
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

// Receipt is a queued message; [Receipt.Wait] returns its outcome.
type Receipt struct {
	c  *Client
	ca *call
}

// Queue is SendAcked in two steps, so that one goroutine can have many messages on their way. It returns once the message
// has its place in the order of sends, and blocks while [Options.SendQueue] messages wait. If the Receipt is dropped, the
// outcome is not reported.
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

// Wait returns the outcome of the message, like SendAcked. If ctx ends first, the message stays on its way and Wait may be
// called again.
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

// enqueueCall queues the call to be written.
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

// giveUp withdraws the call if its write has not begun.
func (c *Client) giveUp(ctx context.Context, ca *call) error {
	if ca.claim() {
		return fmt.Errorf("event %.80q: not sent, there was no connection: %w", ca.event, ctx.Err())
	}
	select {
	case <-ca.done:
		return ca.err
	default:
		return fmt.Errorf("event %.80q: %w: %w", ca.event, ErrOutcomeUnknown, ctx.Err())
	}
}

// unsent returns the outcome of a call once the Client has ended.
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
