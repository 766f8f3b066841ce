package client

import (
	"context"
	"fmt"
)

// Close shuts the Client down gracefully. It calls no further handler and drops queued messages, waits for the running
// handler, which may still send and reply, writes what was sent before, and says goodbye to the hub. If ctx ends first,
// Close cuts the connection and ends the handlers' contexts. It may be called repeatedly.
//
// A handler that calls Close must pass its own context; otherwise Close waits for that handler until ctx ends. OnConnect,
// OnDisconnect and OnError may call Close with any context: Close does not wait for a running hook.
func (c *Client) Close(ctx context.Context) error {
	c.quit()
	var waitFor <-chan struct{} = c.dispatched
	if ctx.Value(handling{}) == c || c.inHook.Load() {
		waitFor = c.quitting.Done() // already closed
	}
	select {
	case <-waitFor:
	case <-ctx.Done():
		c.holds.endAll()
		c.kill()
		<-c.done
		return fmt.Errorf("close: connection cut, a handler is still running: %w", ctx.Err())
	}
	c.holds.endAll() // before the goodbye lets others act
	c.close()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.kill()
		<-c.done
		return fmt.Errorf("close: connection cut: %w", ctx.Err())
	}
	c.kill()
	if waitFor != c.dispatched { // the handler that runs is not done with its message
		return nil
	}
	select {
	case <-c.keeper.done:
	case <-ctx.Done():
		c.keeper.stop()
		<-c.keeper.done
	}
	c.keeper.stop()
	if c.keeper.err != nil {
		return fmt.Errorf("close: save positions: %w", c.keeper.err)
	}
	return nil
}
