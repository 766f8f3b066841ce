//go:build linux

package hubtest

import (
	"context"
	"fmt"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/internal/history"
)

// replyEvery makes every n-th message a REPLY, which is routed like an EVENT.
const replyEvery = 7

// Send sends one message with pad bytes of padding and returns its number. It waits for room in the window. Calls must
// not overlap.
func (c *Client) Send(ctx context.Context, to history.To, pad int) (int, error) {
	if c.window != nil {
		select {
		case c.window <- struct{}{}:
		case <-c.done:
			return 0, c.Err()
		case <-ctx.Done():
			return 0, fmt.Errorf("%v waits for an answer to one of its messages: %w", c.record, context.Cause(ctx))
		}
	}
	n := c.record.Send(to)
	if err := c.conn.Write(ctx, websocket.MessageText, c.envelope(to, n, pad)); err != nil {
		c.record.Unsent(n)
		return n, fmt.Errorf("%v sends: %w", c.record, err)
	}
	return n, nil
}

func (c *Client) envelope(to history.To, n, pad int) []byte {
	op := opEvent
	if n%replyEvery == replyEvery-1 {
		op = opReply
	}
	b := fmt.Appendf(make([]byte, 0, 256+pad), `{"op":%d,"id":"`, op)
	b = history.AppendID(b, c.record.Index(), n)
	b = append(b, `","event":"`+eventName+`","data":`...)
	b = history.AppendPayload(b, c.record.Index(), n, pad)
	b = append(b, `,"intent":{"target":"`+to.Target.String()+`"`...)
	if to.Name != "" {
		b = append(b, `,"identifier":"`+to.Name+`"`...)
	}
	return append(b, "}}"...)
}

// Settled waits until every message of the client was answered by an ACK or an ERROR.
func (c *Client) Settled(ctx context.Context) error {
	for range cap(c.window) {
		select {
		case c.window <- struct{}{}:
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return fmt.Errorf("%v waits for answers to %d of its messages: %w", c.record, len(c.window), context.Cause(ctx))
		}
	}
	for range cap(c.window) {
		<-c.window
	}
	return nil
}

// Ping sends a PING and waits for its PONG. As the hub answers in order, all that it had sent before is recorded then.
func (c *Client) Ping(ctx context.Context) error {
	if c.pinging.Add(1) > maxPings {
		c.pinging.Add(-1)
		return fmt.Errorf("%v pings: %d PINGs are without a PONG", c.record, maxPings)
	}
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(`{"op":3}`)); err != nil {
		return fmt.Errorf("%v pings: %w", c.record, err)
	}
	select {
	case <-c.pongs:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("%v waits for a PONG: %w", c.record, context.Cause(ctx))
	}
}

// WaitArrival waits until message n of the session from, or a later one of it, has arrived.
func (c *Client) WaitArrival(ctx context.Context, from, n int) error {
	for {
		c.mu.Lock()
		last, known := c.latest[from]
		next := c.arrived
		c.mu.Unlock()
		if known && last >= n {
			return nil
		}
		select {
		case <-next:
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return fmt.Errorf("%v waits for message %d-%d: %w", c.record, from, n, context.Cause(ctx))
		}
	}
}

// Leave closes gracefully and waits for the hub's close.
func (c *Client) Leave(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.record.Leaving()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(`{"op":2}`)); err != nil {
		return fmt.Errorf("%v leaves: %w", c.record, err)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%v waits to be let go: %w", c.record, context.Cause(ctx))
	}
}

// Cut breaks the connection and waits until that is recorded.
func (c *Client) Cut() {
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
	c.record.Leaving()
	c.conn.CloseNow()
	c.stop()
	<-c.done
}

// Retire ends the connection after the history is complete; in the history the client stays.
func (c *Client) Retire() {
	c.mu.Lock()
	c.retired = true
	c.mu.Unlock()
	c.conn.CloseNow()
	c.stop()
	<-c.done
}
