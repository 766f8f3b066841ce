package client

import (
	"context"
	"fmt"
)

// Close ends the Client: it takes no more messages, writes those that it has taken if it is connected, says goodbye to
// the hub, and lets the running handler finish. What still waits for handlers is dropped. When ctx ends first, the
// connection is cut instead. Close may be called repeatedly. A handler that calls it, rather than starting a goroutine
// that does, waits for itself until ctx ends.
func (c *Client) Close(ctx context.Context) error {
	c.close()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.kill()
		<-c.done
		return fmt.Errorf("close: connection cut: %w", ctx.Err())
	}
	c.kill()
	select {
	case <-c.dispatched:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: a handler is still running: %w", ctx.Err())
	}
}
