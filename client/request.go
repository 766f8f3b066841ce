package client

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Request sends an EVENT and returns the first REPLY to it. It fails at once if there is no receiver ([ErrNoReceiver]), when
// the connection is lost ([ErrOutcomeUnknown]), because replies are sent to the connection's id, and when ctx ends. Give
// ctx a deadline: receivers are not obliged to reply.
func (c *Client) Request(ctx context.Context, to Intent, event string, data any, opts ...SendOption) (*Message, error) {
	for m, err := range c.RequestMany(ctx, to, event, data, 1, opts...) {
		return m, err
	}
	return nil, ErrClosed // unreachable: RequestMany yields a reply or an error
}

// RequestMany sends an EVENT when the loop over its result begins, and yields the REPLYs as they arrive. The loop ends after
// expect replies, or at the deadline of ctx if expect is 0. Any other end, such as a ctx that ends before expect replies
// have arrived, is yielded as an error with a nil Message. The loop may be left at any time. At most
// [Options.ReceiveQueue] replies wait for the loop; one more ends it with [ErrTooManyReplies].
func (c *Client) RequestMany(
	ctx context.Context, to Intent, event string, data any, expect int, opts ...SendOption,
) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		ca, err := newCall(opcodes.Event, to, event, data, opts)
		if err != nil {
			yield(nil, err)
			return
		}
		ca.kind, ca.more, ca.limit = callRequest, make(chan struct{}, 1), c.opts.ReceiveQueue
		if err := c.enqueueCall(ctx, ca); err != nil {
			yield(nil, err)
			return
		}
		defer c.pending.remove(ca)
		defer ca.claim()
		c.yieldReplies(ctx, ca, expect, yield)
	}
}

func (c *Client) yieldReplies(ctx context.Context, ca *call, expect int, yield func(*Message, error) bool) {
	got := 0
	for {
		var end error
		select {
		case <-ca.more:
		case <-ca.done:
			end = ca.err
		case <-c.done:
			end = c.unsent(ca)
		case <-ctx.Done():
			end = ctx.Err()
		}
		for _, m := range ca.takeReplies() { // replies that arrived before the end
			if got++; !yield(m, nil) || got == expect {
				return
			}
		}
		if end == nil {
			continue
		}
		if err := c.requestError(ctx, ca, expect, got, end); err != nil {
			yield(nil, err)
		}
		return
	}
}

// requestError returns the error of a request that ended before all its replies came; nil if that is expected.
func (c *Client) requestError(ctx context.Context, ca *call, expect, got int, end error) error {
	if end != ctx.Err() {
		return end
	}
	switch {
	case ca.claim():
		return fmt.Errorf("event %.80q: not sent, there was no connection: %w", ca.event, end)
	case expect > 0:
		return fmt.Errorf("event %.80q: %d of %d replies came: %w", ca.event, got, expect, end)
	case errors.Is(end, context.DeadlineExceeded):
		return nil
	}
	return fmt.Errorf("event %.80q: %d replies came: %w", ca.event, got, end)
}
