package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/mastersocket/mastersocket/hub/internal/pace"
	"github.com/mastersocket/mastersocket/opcodes"
)

// SetDrain replaces the settings. What has begun goes on as it began.
func (h *Hub) SetDrain(s DrainSettings) { h.drainSettings.Store(&s) }

// Drain makes the hub leave service: it accepts nothing more, is not ready, and tells its clients to go, each in a slot of
// its own, so that they don't all reconnect at once. The slots are as close as DrainSettings.Rate allows, or spread evenly
// over the time given; if the time is too short for the rate, it wins. Clients that asked for DRAIN are told of their slots
// at once, and move by themselves; the others get SERVER_RESTART in theirs, and so do, at the end of the time, those that
// are left. Where no other instance is known there is nowhere to move to: then all get SERVER_RESTART in their slots. Drain
// returns when all connections have ended, or with an error when ctx ends first. Call Close in either case.
// Of several calls the last one counts.
func (h *Hub) Drain(ctx context.Context, over time.Duration) error {
	h.draining.Store(true)
	h.server.StopListening()
	h.endRebalance()
	h.Record(LogDrain, "BEGUN", fmt.Sprintf("%d connections, over %v", h.server.Connections(), over), "")
	d, err := h.startDrain(ctx, over, time.Now())
	if err != nil {
		return err
	}
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for h.server.Connections() > 0 {
		d.drainStep(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	h.Record(LogDrain, "DONE", "no connection is left", "")
	return nil
}

// startDrain ends the connections that have not identified, and gives the clients their slots.
func (h *Hub) startDrain(ctx context.Context, over time.Duration, now time.Time) (*campaign, error) {
	d := &campaign{
		hub: h, reason: opcodes.DrainRestart, begin: now, deadline: now.Add(over), limit: -1,
		nowhere: len(h.broker.Nodes()) <= 1, number: h.drains.Add(1),
	}
	err := h.onLoops(ctx, func(sh *shard) {
		sh.goodbyes = nil
		sh.dropStrangers()
	})
	if err != nil || over <= 0 {
		return d, err
	}
	clients, movable := 0, 0
	for i := range h.counters {
		movable += int(h.counters[i].movable.Load())
		for kind := range h.counters[i].types {
			clients += int(h.counters[i].types[kind].clients.Load())
		}
	}
	window := over
	if movable > 0 && !d.nowhere {
		window = pace.Window(over)
	}
	rate := h.drainSettings.Load().Rate
	interval, enough := pace.Interval(clients, window, rate)
	d.interval = interval
	if !enough && !d.nowhere {
		h.warnPace(clients, rate, over, over-window)
	}
	return d, d.assignAll(ctx, everyClient, now)
}

// drainStep makes the loops disconnect the clients whose slot has come, and all when the time is over.
func (c *campaign) drainStep(now time.Time) {
	if c.hub.drains.Load() != c.number {
		return // another call took over
	}
	over := !now.Before(c.deadline)
	for _, sh := range c.hub.shards {
		sh.loop.Post(task(func() {
			sh.dropStrangers()
			sh.sayGoodbye(now)
			if over {
				sh.dropAll()
			}
		}))
	}
}

// dropStrangers disconnects the connections that have not identified.
func (sh *shard) dropStrangers() {
	for len(sh.strangers) > 0 {
		sh.strangers[0].disconnect(opcodes.ServerRestart)
	}
}

// dropAll disconnects all clients of the loop.
func (sh *shard) dropAll() {
	for _, g := range []*group{sh.hub.groups.everyone, sh.hub.groups.foreign} {
		for m := g.local[sh.index]; len(m.list) > 0; {
			m.list[0].disconnect(opcodes.ServerRestart)
		}
	}
}
