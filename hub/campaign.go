package hub

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

// DrainSettings are the pace at which clients are told to go elsewhere.
type DrainSettings struct {
	// Timeout is the time over which they are told where neither a Rate is set nor anything else is asked for.
	Timeout time.Duration
	// Rate is how many are told in any second, at most; 0 for no limit. Where it is set they are told as fast as it allows,
	// and not over the whole time. If the time is too short for that, the time wins.
	Rate int
}

// SetDrain replaces the settings. What has begun goes on as it began.
func (h *Hub) SetDrain(s DrainSettings) { h.drainSettings.Store(&s) }

// spare is the part of the rate that is not used: clients that are late by as much as a fifth of a second exceed no second.
const spare = 0.2

// slotInterval returns the time between two of n slots: as short as the rate allows, or, without one, so long that they
// fill the time. enough is false if the time is too short for the rate; they fill it then too.
func slotInterval(n int, over time.Duration, rate int) (interval time.Duration, enough bool) {
	if n <= 0 {
		return 0, true
	}
	filling := over / time.Duration(n)
	if rate <= 0 {
		return filling, true
	}
	if interval = rateInterval(rate); interval > filling {
		return filling, false
	}
	return interval, true
}

// rateInterval returns the time between two slots that a rate allows.
func rateInterval(rate int) time.Duration {
	return time.Duration(float64(time.Second) / (float64(rate) * (1 - spare)))
}

// campaign tells clients of this instance to go, each in a slot of its own: those that asked for DRAIN are told of their
// slot when it begins, the others are disconnected in theirs.
type campaign struct {
	hub      *Hub
	reason   opcodes.DrainReason
	begin    time.Time
	interval time.Duration
	deadline time.Time // when all that are left are disconnected; zero for never
	limit    int       // clients to tell; negative for all, those of service types included
	nowhere  bool      // there is no other instance to go to: nobody is sent DRAIN
	slots    atomic.Int64
}

// claim takes the next slot. It returns false when there is none left.
func (c *campaign) claim() (at time.Time, ok bool) {
	slot := int(c.slots.Add(1)) - 1
	if c.limit >= 0 && slot >= c.limit {
		return at, false
	}
	return c.begin.Add(time.Duration(slot) * c.interval), true
}

// claimed returns how many clients were told of their slots, or are going to be disconnected in them.
func (c *campaign) claimed() int {
	n := int(c.slots.Load())
	if c.limit >= 0 {
		n = min(n, c.limit)
	}
	return n
}

// tell gives a client its slot.
func (c *campaign) tell(s *session, at, now time.Time) {
	deadline := time.Duration(0)
	if !c.deadline.IsZero() {
		deadline = max(c.deadline.Sub(now), time.Millisecond)
	}
	if c.nowhere || !s.sendDrain(at.Sub(now), deadline, c.reason) {
		s.shard.goodbyes = append(s.shard.goodbyes, goodbye{s, at})
	}
}

// goodbye is a client that is disconnected in its slot.
type goodbye struct {
	session *session
	at      time.Time
}

// sayGoodbye disconnects those whose slot has come.
func (sh *shard) sayGoodbye(now time.Time) {
	for len(sh.goodbyes) > 0 && !sh.goodbyes[0].at.After(now) {
		s := sh.goodbyes[0].session
		sh.goodbyes[0] = goodbye{}
		sh.goodbyes = sh.goodbyes[1:]
		s.disconnect(opcodes.ServerRestart)
	}
	if len(sh.goodbyes) == 0 {
		sh.goodbyes = nil
	}
}

// Which clients a walk is for.
type walkFor uint8

const (
	walkAll       walkFor = iota // of all types
	walkMovable                  // those of the hub's own protocol that asked for DRAIN
	walkUnmovable                // those of the hub's own protocol that did not
)

// wants reports whether the client is one of them.
func (w walkFor) wants(s *session) bool {
	if s.phase != phaseIdentified {
		return false
	}
	movable := s.features.Has(opcodes.FeatureDrain)
	return w == walkAll || s.kind == 0 && movable == (w == walkMovable)
}

// toldClients is how many clients a loop tells in one turn.
const toldClients = 64

// walk gives slots to the clients of all loops, and returns when they have theirs or ctx ends. The loops tell a few clients
// in each turn, at the same time, so that neighbouring slots are of different loops.
func (c *campaign) walk(ctx context.Context, who walkFor, now time.Time) error {
	done := make(chan struct{}, len(c.hub.shards)) // room for all: no loop waits for a caller that gave up
	visit := func(s *session) (counts, on bool) {
		if !who.wants(s) {
			return false, true
		}
		at, ok := c.claim()
		if !ok {
			return false, false
		}
		c.tell(s, at, now)
		return true, true
	}
	for _, sh := range c.hub.shards {
		t := &tour{visits: toldClients, visit: visit, done: func() { done <- struct{}{} }}
		t.start(sh)
	}
	return await(ctx, done, len(c.hub.shards))
}

// onLoops runs f for each shard on its loop, and returns when that is done or ctx ends.
func (h *Hub) onLoops(ctx context.Context, f func(*shard)) error {
	done := make(chan struct{}, len(h.shards))
	for _, sh := range h.shards {
		if !sh.loop.Post(task(func() { f(sh); done <- struct{}{} })) {
			done <- struct{}{}
		}
	}
	return await(ctx, done, len(h.shards))
}

// await waits for n receptions, or until ctx ends.
func await(ctx context.Context, done <-chan struct{}, n int) error {
	for range n {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
