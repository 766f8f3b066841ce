package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// holdRepeat is how often a holder asks for how long it may act.
const holdRepeat = time.Second

// Hold is an exclusive group that the Client holds, made by [Client.Hold].
type Hold struct {
	c     *Client
	group string

	ctx    context.Context // ends when the group is not held any more, or may not be
	cancel context.CancelCauseFunc
	news   chan struct{} // holds a token when the hub has said something; capacity 1
	gone   chan struct{} // closed when the hub has been told of the end, or can't be

	mu      sync.Mutex
	session *session // that holds it, or waits for it
	moved   bool     // session was handed the group, and has not been told for how long it may act
	term    uint64
	until   time.Time   // the Client may act until then; zero before the first grant
	expiry  *time.Timer // ends ctx then
}

// Hold claims an exclusive group, which has one holder in the whole cluster, and waits until this Client is the holder or ctx
// ends. Those who wait get it in the order in which they asked. While the Client holds the group it is a member of it.
//
// The Hold is lost when the connection breaks for longer than a holder may be silent (about 2 seconds), when the hub loses
// its broker, and when the Client is closed. It stays in a move. What must not be done by two at a time is done under
// [Hold.Context], and where that can't be interrupted only while [Hold.Left] is long enough. [Hold.Term] is a fencing token:
// a store that refuses lower terms than the highest that it has seen is safe from a holder that was stopped in between.
//
// The error is a *[GroupError] if the hub refuses, [ErrNoExclusive] if it is of a release without exclusive groups, and
// [ErrHeld] if this Client holds the group or waits for it already.
func (c *Client) Hold(ctx context.Context, group string) (*Hold, error) {
	if err := intent.CheckGroup(group); err != nil {
		return nil, fmt.Errorf("hold %.150q: %w", group, err)
	}
	h := &Hold{c: c, group: group, news: make(chan struct{}, 1), gone: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	err := c.holds.add(ctx, h)
	if err == nil {
		if err = h.await(ctx); err == nil {
			go h.keep()
			return h, nil
		}
		h.end(err)
		go h.withdraw()
	}
	return nil, fmt.Errorf("hold %.150q: %w", group, err)
}

// Term returns the number of this tenure. It is higher than those of all holders before; a move raises it.
func (h *Hold) Term() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.term
}

// Left returns for how long the Client holds the group for certain, zero if it is not certain any more.
func (h *Hold) Left() time.Duration {
	if h.ctx.Err() != nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(time.Until(h.until), 0)
}

// Context returns a context that ends when the group is lost, or when it can't be told any more whether it is held. Its cause
// ([context.Cause]) says why: [ErrHoldLost], [ErrHoldReleased] or [ErrClosed].
func (h *Hold) Context() context.Context { return holdContext{h.ctx, h} }

// holdContext is the context of a Hold. Err looks at the clock, so that a process that was stopped for long finds out before
// a timer does.
type holdContext struct {
	context.Context
	hold *Hold
}

// Err implements context.Context.
func (c holdContext) Err() error {
	if c.hold.Left() <= 0 {
		c.hold.end(fmt.Errorf("%w: it was not confirmed in time", ErrHoldLost))
	}
	return c.Context.Err()
}

// Release ends the Hold's context, and gives the group to the next one. It returns when the hub has answered or ctx ends;
// without a connection the hub releases by itself.
func (h *Hold) Release(ctx context.Context) error {
	h.end(ErrHoldReleased)
	select {
	case <-h.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("release %.150q: %w", h.group, ctx.Err())
	}
}

// withdraw gives the group, or the place, up. A claim that is left would be granted to a Client that does not know of it. It
// ends with the session, or after changeTime.
func (h *Hold) withdraw() {
	defer close(h.gone)
	defer h.c.holds.remove(h)
	s := h.at()
	if s == nil || s.hasEnded() {
		return
	}
	ctx, cancel := context.WithTimeout(h.c.life, changeTime)
	defer cancel()
	ch := &groupChange{c: h.c, op: opcodes.Unsubscribe, data: changeData{Exclusive: []string{h.group}}}
	if err := h.c.groups.ask(ctx, ch, s); err != nil && !errors.Is(err, errLost) {
		h.c.opts.Logger.Warn("mastersocket: an exclusive group was not given up", "group", h.group, "error", err)
	}
}

// end ends the context.
func (h *Hold) end(cause error) {
	h.cancel(cause)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.expiry != nil {
		h.expiry.Stop()
	}
}

// at returns the session that holds the group or waits for it; nil for none.
func (h *Hold) at() *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session
}

// await waits for the first grant.
func (h *Hold) await(ctx context.Context) error {
	g := h.c.groups
	for {
		s, arrived := g.sender()
		if s == nil {
			select {
			case <-arrived:
				continue
			case <-h.c.done:
				return h.c.endError()
			case <-h.ctx.Done():
				return context.Cause(h.ctx)
			case <-ctx.Done():
				return fmt.Errorf("there was no connection: %w", ctx.Err())
			}
		}
		if !s.identity.has(opcodes.FeatureExclusive.String()) {
			return ErrNoExclusive
		}
		h.mu.Lock()
		h.session = s
		h.mu.Unlock()
		held, err := h.ask(ctx, s)
		switch {
		case errors.Is(err, errLost):
			continue
		case err != nil:
			return err
		case held:
			return nil
		}
		if err := h.awaitNews(ctx, s); err != nil {
			return err
		}
	}
}

// awaitNews waits until it is time to ask again.
func (h *Hold) awaitNews(ctx context.Context, s *session) error {
	again := time.NewTimer(10 * holdRepeat) // a notice is not lost, but who knows
	defer again.Stop()
	select {
	case <-h.news:
	case <-again.C:
	case <-s.ended:
	case <-h.c.groups.replaced(s):
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// ask asks on the session how the Client stands with the group, and reports whether it holds it.
func (h *Hold) ask(ctx context.Context, s *session) (held bool, err error) {
	sent := time.Now()
	ch := &groupChange{c: h.c, op: opcodes.Subscribe, data: changeData{Exclusive: []string{h.group}}}
	if err := h.c.groups.ask(ctx, ch, s); err != nil {
		return false, err
	}
	st, ok := ch.holds[h.group]
	if !ok || !st.Held || st.Valid <= 0 {
		return false, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.session != s || s.left.Load() {
		return false, nil
	}
	until := sent.Add(time.Duration(st.Valid) * time.Millisecond)
	switch {
	case h.term == 0, h.moved:
		h.term, h.moved = st.Term, false
	case h.term != st.Term: // it was lost and granted again: what was begun under the old term must end
		h.cancel(fmt.Errorf("%w: another one held it meanwhile", ErrHoldLost))
		return false, nil
	}
	if until.After(h.until) {
		h.until = until
	}
	if h.expiry == nil {
		h.expiry = time.AfterFunc(time.Until(h.until), h.expire)
	} else {
		h.expiry.Reset(time.Until(h.until))
	}
	return time.Until(h.until) > 0, nil
}

// expire ends a Hold that was not confirmed in time.
func (h *Hold) expire() {
	if h.Left() <= 0 {
		h.end(fmt.Errorf("%w: it was not confirmed in time", ErrHoldLost))
	}
}

// keep asks again and again until the Hold has ended.
func (h *Hold) keep() {
	tick := time.NewTicker(holdRepeat)
	defer tick.Stop()
	defer h.withdraw()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
		case <-h.news:
		}
		s := h.at()
		if s.hasEnded() {
			continue // expiry ends it, unless it is handed over before
		}
		ctx, cancel := context.WithTimeout(h.ctx, holdRepeat)
		_, _ = h.ask(ctx, s)
		cancel()
	}
}

// told takes what the hub says unasked.
func (h *Hold) told(s *session, st holdStanding) {
	h.mu.Lock()
	lost := !st.Held && h.session == s && h.term != 0 && !h.moved
	h.mu.Unlock()
	if lost {
		h.end(fmt.Errorf("%w: %s", ErrHoldLost, st.Reason))
	}
	signal(h.news)
}

// holdStanding is how a client stands with an exclusive group.
type holdStanding struct {
	Held   bool   `json:"held"`
	Term   uint64 `json:"term"`
	Valid  int64  `json:"valid_ms"`
	Reason string `json:"reason"`
}

// holds are the Holds of a Client.
type holds struct {
	mu     sync.Mutex
	groups map[string]*Hold
	closed bool
}

// add notes h, once one of the same group that has ended is gone.
func (a *holds) add(ctx context.Context, h *Hold) error {
	for {
		other, err := a.tryAdd(h)
		switch {
		case err != nil || other == nil:
			return err
		case other.ctx.Err() == nil:
			return ErrHeld
		}
		select {
		case <-other.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryAdd notes h, or returns the Hold of the same group.
func (a *holds) tryAdd(h *Hold) (other *Hold, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	if other = a.groups[h.group]; other == nil {
		if a.groups == nil {
			a.groups = make(map[string]*Hold)
		}
		a.groups[h.group] = h
	}
	return other, nil
}

func (a *holds) remove(h *Hold) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.groups[h.group] == h {
		delete(a.groups, h.group)
	}
}

func (a *holds) find(group string) *Hold {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.groups[group]
}

// on returns the Holds that the session holds.
func (a *holds) on(s *session) (all []*Hold) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.groups {
		if h.at() == s && h.Left() > 0 {
			all = append(all, h)
		}
	}
	return all
}

// leave ends what the session holds, and was not handed over, ahead of its goodbye: others may act then.
func (a *holds) leave(s *session) {
	s.left.Store(true)
	a.mu.Lock()
	all := make([]*Hold, 0, len(a.groups))
	for _, h := range a.groups {
		all = append(all, h)
	}
	a.mu.Unlock()
	for _, h := range all {
		h.mu.Lock()
		held := h.session == s && h.term != 0
		h.mu.Unlock()
		if held {
			h.end(fmt.Errorf("%w: its connection was left", ErrHoldLost))
		}
	}
}

// endAll ends all Holds, ahead of the Client's goodbye.
func (a *holds) endAll() {
	a.mu.Lock()
	a.closed = true
	all := make([]*Hold, 0, len(a.groups))
	for _, h := range a.groups {
		all = append(all, h)
	}
	a.mu.Unlock()
	for _, h := range all {
		h.end(ErrClosed)
	}
}

// handOverTime bounds the time that a move spends on exclusive groups.
const handOverTime = time.Second

func (c *Client) handOverInTime(old, next *session) {
	ctx, cancel := context.WithTimeout(c.closing, handOverTime)
	defer cancel()
	c.handOver(ctx, old, next)
}

// handOver has the next connection of a move take over what the old one holds: it asks, and the old one releases to it. The
// hub gives the group to no other one while the Client may act, so that this goes on meanwhile. What can't be handed over is
// lost with the old connection.
func (c *Client) handOver(ctx context.Context, old, next *session) {
	all := c.holds.on(old)
	if len(all) == 0 || !next.identity.has(opcodes.FeatureExclusive.String()) {
		return
	}
	groups := make([]string, 0, len(all))
	for _, h := range all {
		groups = append(groups, h.group)
	}
	if err := next.claim(ctx, groups); err != nil {
		c.opts.Logger.Warn("mastersocket: exclusive groups can't move", "groups", groups, "error", err)
		return
	}
	for _, h := range all {
		h.mu.Lock()
		h.session, h.moved = next, true
		h.mu.Unlock()
	}
	ch := &groupChange{c: c, op: opcodes.Unsubscribe, data: changeData{Exclusive: groups, To: next.identity.ID}}
	if err := c.groups.ask(ctx, ch, old); err != nil {
		c.opts.Logger.Warn("mastersocket: exclusive groups were not handed over", "groups", groups, "error", err)
	}
}
