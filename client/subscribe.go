package client

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/opcodes"
)

// handlers holds the handlers of EVENTs by name. Reading takes no lock: what it points to is never changed.
type handlers struct {
	mu     sync.Mutex // held by those who change byName
	byName atomic.Pointer[map[string][]*Handler]
}

func (hs *handlers) init(on map[string]Handler) {
	byName := make(map[string][]*Handler, len(on))
	for event, h := range on {
		byName[event] = []*Handler{&h}
	}
	hs.byName.Store(&byName)
}

// of returns the handlers of m; none of a REPLY, so that nobody takes an answer for a question and answers it.
func (hs *handlers) of(m *Message) []*Handler {
	if m.Op != opcodes.Event {
		return nil
	}
	return (*hs.byName.Load())[m.Event]
}

// wants tells whether anybody takes m.
func (hs *handlers) wants(m *Message, otherwise Handler) bool {
	return otherwise != nil || len(hs.of(m)) > 0
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

// On adds a handler of the EVENTs of that name, after those that are already there, and returns a function that removes
// it again. What arrived before is not shown to it; for what must not be missed there is [Options.On]. A message that is
// already with its handlers may still reach one that is being removed.
func (c *Client) On(event string, h Handler) (remove func()) {
	mine := &h
	c.handlers.change(event, func(all []*Handler) []*Handler { return append(all, mine) })
	return func() {
		c.handlers.change(event, func(all []*Handler) []*Handler {
			return slices.DeleteFunc(all, func(other *Handler) bool { return other == mine })
		})
	}
}

// handling is the key under which a handler's context holds its Client.
type handling struct{}

// dispatch calls handlers and hooks one after the other until the Client is closed; if it ended by itself, until all
// that arrived before has been handled.
func (c *Client) dispatch() {
	defer close(c.dispatched)
	ctx := context.WithValue(c.life, handling{}, c)
	if c.handleUntil(ctx, c.done) && c.handleUntil(ctx, c.stream.quiet()) {
		c.handleRest(ctx)
		c.kill() // ends the handlers' context
	}
	<-c.stream.quiet()
}

// handleUntil handles what comes until end is closed. It returns false if the Client was closed.
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

// handleRest handles what is there. It returns false if the Client was closed.
func (c *Client) handleRest(ctx context.Context) bool {
	for c.quitting.Err() == nil {
		d, ok := c.inbox.take()
		if !ok {
			return true
		}
		c.handle(ctx, d)
	}
	return false
}

func (c *Client) handle(ctx context.Context, d delivery) {
	switch {
	case d.hook != nil:
		d.hook()
	case d.lost != nil:
		c.opts.OnDisconnect(d.lost)
	case d.id != nil:
		c.opts.OnConnect(*d.id)
	default:
		c.handleMessage(ctx, d)
	}
}

func (c *Client) handleMessage(ctx context.Context, d delivery) {
	all := c.handlers.of(d.message)
	for _, h := range all {
		(*h)(ctx, d.message)
	}
	if len(all) == 0 && c.opts.OnMessage != nil {
		c.opts.OnMessage(ctx, d.message)
	}
}

// enqueue hands d to dispatch, and waits while there is no room. It drops d when the Client is closed, or, while it waits,
// when the connection is gone over which d came: a handler may wait for the next one.
func (c *Client) enqueue(d delivery, gone <-chan struct{}) {
	for !c.inbox.add(d) {
		select {
		case <-c.inbox.room:
		case <-gone:
			return
		case <-c.quitting.Done():
			return
		}
	}
}
