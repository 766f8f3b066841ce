package hub

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/hub/internal/pace"
	"github.com/mastersocket/mastersocket/opcodes"
)

// drainInterval is how often a hub disconnects the clients whose slot has come.
const drainInterval = 20 * time.Millisecond

// campaign tells clients of this instance to go, each in a slot of its own: those that asked for DRAIN are told of their
// slot when it begins, the others are disconnected in theirs.
type campaign struct {
	hub      *Hub
	reason   opcodes.DrainReason
	begin    time.Time
	interval time.Duration
	deadline time.Time // when all that are left are disconnected; zero for never
	limit    int       // clients to tell; negative for all, those of service types included
	nowhere  bool      // there is no other instance to go to: no client is sent DRAIN
	number   int64     // of the Drain; 0 for a rebalance
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

// assign gives a client its slot.
func (c *campaign) assign(s *session, at, now time.Time) {
	deadline := time.Duration(0)
	if !c.deadline.IsZero() {
		deadline = max(c.deadline.Sub(now), time.Millisecond)
	}
	if c.nowhere || !s.sendDrain(at.Sub(now), deadline, c.reason) {
		s.shard.goodbyes = append(s.shard.goodbyes, goodbye{s, at})
	}
}

// sayGoodbye disconnects the clients whose slot has come.
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

// selection says which clients are given slots.
type selection uint8

const (
	everyClient      selection = iota // of all types
	movableClients                    // those of the hub's own protocol that asked for DRAIN
	unmovableClients                  // those of the hub's own protocol that did not
)

// has reports whether the client is one of them.
func (l selection) has(s *session) bool {
	if s.phase != phaseIdentified {
		return false
	}
	movable := s.features.Has(opcodes.FeatureDrain)
	return l == everyClient || s.kind == 0 && movable == (l == movableClients)
}

// toldClients is how many clients a loop tells in one turn.
const toldClients = 64

// assignAll gives slots to the clients of all loops, and returns when they have theirs or ctx ends. The loops tell a few
// clients in each turn, at the same time, so that neighbouring slots are of different loops.
func (c *campaign) assignAll(ctx context.Context, which selection, now time.Time) error {
	done := make(chan struct{}, len(c.hub.shards)) // room for all: no loop waits for a caller that gave up
	visit := func(s *session) (counts, on bool) {
		if !which.has(s) {
			return false, true
		}
		at, ok := c.claim()
		if !ok {
			return false, false
		}
		c.assign(s, at, now)
		return true, true
	}
	for _, sh := range c.hub.shards {
		t := &tour{visits: toldClients, visit: visit, done: func() { done <- struct{}{} }}
		t.start(sh)
	}
	return receiveAll(ctx, done, len(c.hub.shards))
}

// warnPace says that the time is too short for the rate; moving is the part of it that clients have after the last slot.
func (h *Hub) warnPace(clients, rate int, over, moving time.Duration) {
	needed := time.Duration(clients) * pace.OfRate(rate)
	if moving > 0 {
		needed = pace.Whole(needed)
	}
	h.log.Warn("drain-timeout is too short for drain-rate: clients are told faster", slog.Int("clients", clients),
		slog.Int("drain_rate", rate), slog.Duration("drain_timeout", over),
		slog.Duration("drain_timeout_needed", needed.Round(100*time.Millisecond)),
		slog.Int("drain_rate_needed", pace.RateNeeded(clients, over-moving)))
}
