package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Missing is an answer that a request did not get, or several of one instance of the hub.
type Missing struct {
	ID     string `json:"id"`     // of the receiver; empty where it can't be named
	Name   string `json:"name"`   // that it gave in its options; empty for none
	Node   string `json:"node"`   // the name of an instance; empty for none
	Reason string `json:"reason"` // such as LOST, TIMEOUT or INSTANCE_LOST; docs/protocol.md lists them
	Count  int    `json:"count"`  // of receivers where they can't be named
}

// String returns who is missing, and why.
func (m Missing) String() string {
	var who []string
	if m.Name != "" {
		who = append(who, m.Name)
	}
	if m.ID != "" {
		who = append(who, m.ID)
	}
	if m.Count > 0 {
		who = append(who, fmt.Sprint(m.Count, " receivers"))
	}
	if m.Node != "" {
		who = append(who, "on "+m.Node)
	}
	return strings.Join(append(who, m.Reason), " ")
}

// Settlement is what the hub says of a request at its end. Receivers = replied + passed + missing receivers.
type Settlement struct {
	Receivers int       `json:"receivers"` // clients that got the request
	Replied   int       `json:"replied"`   // of these, those that answered it
	Passed    int       `json:"passed"`    // of these, those that said that they don't
	Missing   []Missing `json:"missing"`   // the others, 100 entries at most, and what was not delivered
	More      int       `json:"more"`      // missing ones without an entry
}

// RequestError is why a request has no answer, or not all of them. It unwraps to [ErrNoReceiver], [ErrBrokerUnavailable],
// [ErrOutcomeUnknown], [context.DeadlineExceeded] and [context.Canceled], as far as these are among the reasons.
type RequestError struct {
	Event      string
	Intent     Intent
	Settlement // what became of the request
}

// Error names the event, the target, and those who did not answer, each with the reason.
func (e *RequestError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "event %.80q to %.150s: ", e.Event, e.Intent)
	switch {
	case e.Replied > 0:
		fmt.Fprintf(&b, "%d of %d receivers answered", e.Replied, e.Receivers)
	case e.Receivers == 0 && len(e.Missing) == 0:
		b.WriteString("no receiver can answer")
	case e.Receivers == 0 && len(e.Missing) == 1 && e.Missing[0].Reason == opcodes.MissingNotDelivered:
		b.WriteString("no client matches the intent")
	default:
		b.WriteString("no answer")
	}
	if e.Passed > 0 {
		fmt.Fprintf(&b, "; %d passed", e.Passed)
	}
	const most = 8
	for i, m := range e.Missing {
		if i == most {
			fmt.Fprintf(&b, "; %d more", len(e.Missing)-most+e.More)
			break
		}
		b.WriteString("; " + m.String())
	}
	return b.String()
}

// Unwrap returns the errors for the reasons.
func (e *RequestError) Unwrap() (all []error) {
	if e.Receivers == 0 {
		all = append(all, ErrNoReceiver)
	}
	for _, m := range e.Missing {
		switch m.Reason {
		case opcodes.MissingUnavailable:
			all = append(all, ErrBrokerUnavailable)
		case opcodes.MissingOutcomeUnknown:
			all = append(all, ErrOutcomeUnknown)
		case opcodes.MissingTimeout:
			all = append(all, context.DeadlineExceeded)
		case opcodes.MissingCancelled:
			all = append(all, context.Canceled)
		}
	}
	return all
}

// WithRetry has the hub hand a request to any member of a group to another one, if the first does not answer it: it passes, or
// its connection ends. A member may then have begun to work on it.
func WithRetry() SendOption { return func(ca *call) { ca.retry = true } }

// WithKey has a request to any member of a group go to the member that the key names, of 1 to 128 bytes: the same one as long
// as the group does not change.
func WithKey(key string) SendOption { return func(ca *call) { ca.key = key } }

// Request sends an EVENT and returns the first REPLY to it. It fails as soon as no answer can come any more: with a
// [*RequestError], which says who did not answer and why, when the receivers have passed, gone, or not been there; with a
// [*RemoteError] if the handler failed; when the connection is lost ([ErrOutcomeUnknown]), because replies are sent to the
// connection's id; and when ctx ends. The deadline of ctx, or an hour, is that of the handler's context, too, and if ctx is
// cancelled so is the handler's. A hub of an earlier release tells of no receiver at most ([ErrNoReceiver]): give ctx a
// deadline.
func (c *Client) Request(ctx context.Context, to Intent, event string, data any, opts ...SendOption) (*Message, error) {
	for m, err := range c.RequestMany(ctx, to, event, data, 1, opts...) {
		if err == nil && m.Err != nil {
			return nil, fmt.Errorf("event %.80q: %w", event, m.Err)
		}
		return m, err
	}
	return nil, ErrClosed // unreachable: RequestMany yields a reply or an error
}

// RequestAll sends an EVENT and returns all REPLYs to it, and what became of the request. Errors of handlers are in the
// REPLYs: see [Message.Err]. It returns when all receivers have answered, passed or gone, or at the deadline of ctx: then
// those who did not answer are in missing, and there is no error. The error says why the request could not be made, or that
// the connection was lost or ctx cancelled; with it come the REPLYs so far. A hub of an earlier release does not say what
// became of the request: then the Settlement is nil, and all REPLYs until the deadline are returned.
func (c *Client) RequestAll(
	ctx context.Context, to Intent, event string, data any, opts ...SendOption,
) (replies []*Message, s *Settlement, err error) {
	for m, err := range c.request(ctx, to, event, data, 0, opts, &s) {
		if err != nil {
			return replies, s, err
		}
		replies = append(replies, m)
	}
	return replies, s, nil
}

// Stream sends an EVENT when the loop over its result begins, and yields the REPLYs as they arrive, until all receivers have
// answered, passed or gone. If not all have answered the last one is a [*RequestError] with a nil Message. The loop may be
// left at any time: the request is cancelled then. At most [Options.ReceiveQueue] replies wait for the loop; one more ends it
// with [ErrTooManyReplies].
func (c *Client) Stream(ctx context.Context, to Intent, event string, data any, opts ...SendOption) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		var s *Settlement
		for m, err := range c.request(ctx, to, event, data, 0, opts, &s) {
			if !yield(m, err) || err != nil {
				return
			}
		}
		if s != nil && (len(s.Missing) > 0 || s.Replied == 0) {
			yield(nil, &RequestError{event, to, *s})
		}
	}
}

// RequestMany sends an EVENT when the loop over its result begins, and yields the REPLYs as they arrive. The loop ends after
// expect replies, or, if expect is 0, when no more can come or at the deadline of ctx. Any other end, such as a ctx that ends
// before expect replies have arrived, is yielded as an error with a nil Message. The loop may be left at any time: the request
// is cancelled then. At most [Options.ReceiveQueue] replies wait for the loop; one more ends it with [ErrTooManyReplies].
func (c *Client) RequestMany(
	ctx context.Context, to Intent, event string, data any, expect int, opts ...SendOption,
) iter.Seq2[*Message, error] {
	return c.request(ctx, to, event, data, expect, opts, new(*Settlement))
}

// request is RequestMany, and sets s when the hub has settled the request.
func (c *Client) request(
	ctx context.Context, to Intent, event string, data any, expect int, opts []SendOption, s **Settlement,
) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		if to.selection != nil {
			yield(nil, fmt.Errorf("request to %.80q: it has several targets, or exceptions, and a request has one target", to))
			return
		}
		ca, err := newCall(opcodes.Event, to, event, data, append(opts[:len(opts):len(opts)], expecting(ctx, to)))
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
		defer c.cancelRequest(ca)
		defer ca.claim()
		c.yieldReplies(ctx, ca, expect, s, yield)
	}
}

// settleMargin is how much earlier the hub gives up a request than its caller, at most, so that the caller learns who did not
// answer.
const settleMargin = 50 * time.Millisecond

// expecting makes an EVENT a request whose time is over with ctx.
func expecting(ctx context.Context, to Intent) SendOption {
	return func(ca *call) {
		timeout := time.Hour
		if deadline, ok := ctx.Deadline(); ok {
			left := time.Until(deadline)
			timeout = min(left-min(left/10, settleMargin), timeout)
		}
		ca.members += fmt.Sprintf(`,"expect":{"timeout_ms":%d`, max(timeout.Milliseconds(), 1))
		if to.Target == intent.Any && ca.retry {
			ca.members += `,"retry":true`
		}
		if to.Target == intent.Any && ca.key != "" {
			ca.members += `,"key":` + string(quoted(ca.key))
		}
		ca.members += `}`
	}
}

// cancelRequest tells the hub that no more answers are wanted, unless the request is over, or about to be.
func (c *Client) cancelRequest(ca *call) {
	s := c.pending.sessionOf(ca)
	if s == nil || !s.identity.has(opcodes.FeatureRequests.String()) || ca.isOver() {
		return
	}
	s.post(&call{frame: fmt.Appendf(nil, `{"op":%d,"id":%s}`, opcodes.Cancel, quoted(ca.id)), done: make(chan struct{})})
}

// isOver reports whether the hub has settled the request, or is about to: the one answer to it has come.
func (ca *call) isOver() bool {
	select {
	case <-ca.done:
		return true
	default:
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.answered && !ca.to.toMany()
}

// handleSettled handles what became of a request.
func (s *session) handleSettled(w *wireMessage) error {
	var settled Settlement
	if err := json.Unmarshal(w.Data, &settled, readOptions); err != nil {
		return fmt.Errorf("malformed SETTLED from the hub: %w", err)
	}
	if ca := s.c.pending.writtenBy(s, w.ID); ca != nil && ca.kind == callRequest {
		s.c.pending.remove(ca)
		ca.settled = &settled
		ca.complete(0, nil)
	}
	return nil
}

func (c *Client) yieldReplies(ctx context.Context, ca *call, expect int, s **Settlement, yield func(*Message, error) bool) {
	got := 0
	for {
		var end error
		over := false
		select {
		case <-ca.more:
		case <-ca.done:
			end, over = ca.err, true
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
		switch {
		case end == nil && !over:
			continue
		case end == nil: // settled
			if *s = ca.settled; got < expect {
				yield(nil, &RequestError{ca.event, ca.to, *ca.settled})
			}
			return
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
