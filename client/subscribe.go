package client

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/opcodes"
)

// handlers holds the handlers of EVENTs by name. Reads take no lock, because the map is replaced and never modified.
type handlers struct {
	mu     sync.Mutex // held to replace byName
	byName atomic.Pointer[map[string][]*Handler]
}

func (hs *handlers) init(on map[string]Handler) {
	byName := make(map[string][]*Handler, len(on))
	for event, h := range on {
		byName[event] = []*Handler{&h}
	}
	hs.byName.Store(&byName)
}

// lookup returns the handlers of m. A REPLY has none, so that no handler replies to a reply.
func (hs *handlers) lookup(m *Message) []*Handler {
	if m.Op != opcodes.Event {
		return nil
	}
	return (*hs.byName.Load())[m.Event]
}

// wants reports whether there is a handler for m.
func (hs *handlers) wants(m *Message, otherwise Handler) bool {
	return otherwise != nil || len(hs.lookup(m)) > 0
}

// change replaces the handlers of one event.
func (hs *handlers) change(event string, f func([]*Handler) []*Handler) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	byName := maps.Clone(*hs.byName.Load())
	if byName[event] = f(slices.Clone(byName[event])); len(byName[event]) == 0 {
		delete(byName, event)
	}
	hs.byName.Store(&byName)
}

// On adds a handler for EVENTs with the given name, behind existing ones, and returns a function that removes it. It does
// not get messages that arrived before; [Options.On] is for handlers that must not miss any. A message whose handlers are
// being called may still reach a removed one.
func (c *Client) On(event string, h Handler) (remove func()) {
	mine := &h
	c.handlers.change(event, func(all []*Handler) []*Handler { return append(all, mine) })
	return func() {
		c.handlers.change(event, func(all []*Handler) []*Handler {
			return slices.DeleteFunc(all, func(other *Handler) bool { return other == mine })
		})
	}
}

// handling is the key of the Client in a handler's context.
type handling struct{}

// dispatch calls handlers and hooks one at a time until the Client is closed. If the Client ends by itself, dispatch first
// handles everything that arrived before.
func (c *Client) dispatch() {
	defer close(c.dispatched)
	ctx := context.WithValue(c.life, handling{}, c)
	if c.handleUntil(ctx, c.done) && c.handleUntil(ctx, c.stream.quiet()) {
		c.handleRest(ctx)
		c.kill() // ends the handlers' context
	}
	<-c.stream.quiet()
}

// handleUntil handles deliveries until end is closed. It returns false if the Client was closed.
func (c *Client) handleUntil(ctx context.Context, end <-chan struct{}) bool {
	for {
		if !c.handleRest(ctx) {
			return false
		}
		select {
		case <-c.inbox.more:
		case <-c.quitting.Done():
			return false
		case <-end:
			return true
		}
	}
}

// handleRest handles the queued deliveries. It returns false if the Client was closed.
func (c *Client) handleRest(ctx context.Context) bool {
	for c.quitting.Err() == nil {
		d, ok := c.inbox.pop()
		if !ok {
			return true
		}
		c.invoke(ctx, d)
	}
	return false
}

// invoke calls the handlers or the hook of a delivery. What they did not finish before the Client was killed is not handled.
func (c *Client) invoke(ctx context.Context, d delivery) {
	defer func() {
		if d.mark.place != nil && ctx.Err() == nil {
			c.progress.handled(d.mark)
		}
	}()
	if d.message != nil {
		c.invokeHandlers(ctx, d.message)
		return
	}
	c.inHook.Store(true)
	defer func() {
		c.inHook.Store(false)
		if v := recover(); v != nil {
			c.alarm.Error("mastersocket: a hook panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	switch {
	case d.hook != nil:
		d.hook()
	case d.lost != nil:
		c.opts.OnDisconnect(d.lost)
	case d.id != nil:
		c.opts.OnConnect(*d.id)
	}
}

func (c *Client) invokeHandlers(ctx context.Context, m *Message) {
	if d := m.duty; d != nil {
		if d.isOver() {
			return // the requester no longer waits for the answer
		}
		ctx = d.ctx
		defer d.handled()
	}
	all := c.handlers.lookup(m)
	for _, h := range all {
		c.invokeHandler(ctx, *h, m)
	}
	if len(all) == 0 && c.opts.OnMessage != nil {
		c.invokeHandler(ctx, c.opts.OnMessage, m)
	}
}

// invokeHandler calls a handler and contains its panic.
func (c *Client) invokeHandler(ctx context.Context, h Handler, m *Message) {
	defer func() {
		if v := recover(); v != nil {
			c.alarm.Error("mastersocket: a handler panicked",
				"event", m.Event, "id", m.ID, "sender", m.Sender, "panic", v, "stack", string(debug.Stack()))
			if m.duty != nil {
				_ = m.ReplyError(ctx, &RemoteError{Code: codePanic, Message: "the handler panicked"})
			}
		}
	}()
	h(ctx, m)
}

// enqueue hands d to dispatch and waits while the inbox is full. It drops d and returns false when the Client is closed, and
// when gone is closed while it waits: d's connection has ended, and the handler that blocks the inbox may be waiting for the
// next one.
func (c *Client) enqueue(d delivery, gone <-chan struct{}) bool {
	for !c.inbox.add(d) {
		select {
		case <-c.inbox.room:
		case <-gone:
			return false
		case <-c.quitting.Done():
			return false
		}
	}
	return true
}
