package client

import (
	"context"
	"fmt"
)

// Close ends the Client in good order: no further handler is called, the one that is running may finish and still send
// and reply, what was sent before is written, and the hub is told goodbye. What waits for a handler is dropped. When ctx
// ends first the connection is cut instead, and handlers' contexts end. Close may be called repeatedly. A handler that
// calls it must pass its own context on, or Close would wait for that handler until ctx ends.
func (c *Client) Close(ctx context.Context) error {
	c.quit()
	var waitFor <-chan struct{} = c.dispatched
	if ctx.Value(handling{}) == c {
		waitFor = c.quitting.Done() // which has ended
	}
	select {
	case <-waitFor:
	case <-ctx.Done():
		c.kill()
		<-c.done
		return fmt.Errorf("close: connection cut, a handler is still running: %w", ctx.Err())
	}
	c.close()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.kill()
		<-c.done
		return fmt.Errorf("close: connection cut: %w", ctx.Err())
	}
	c.kill()
	return nil
}
