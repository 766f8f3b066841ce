package hub

import (
	"context"
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

// drainInterval is how often a hub looks whose slot has come.
const drainInterval = 20 * time.Millisecond

// Clients that move by themselves need time for it after their slots: a part of the whole, and not more than needed.
const (
	moveShare = 4 // a quarter
	moveTime  = 5 * time.Second
)

// Drain makes the hub leave service: it accepts nothing more, is not ready, and tells its clients to go, each in a slot of
// its own, so that they don't all reconnect at once. The slots are as close as DrainSettings.Rate allows, or spread evenly
// over the time given; if the time is too short for the rate, it wins. Clients that asked for DRAIN are told of their slots
// at once, and move by themselves; the others get SERVER_RESTART in theirs, and so does, at the end of the time, whoever
// is left. Where no other instance is known there is nowhere to move to: then all get SERVER_RESTART in their slots. Drain
// returns when all connections have ended, or with an error when ctx ends first. Call Close in either case.
// Of several calls the last one counts.
func (h *Hub) Drain(ctx context.Context, over time.Duration) error {
	h.draining.Store(true)
	h.server.StopListening()
	h.endRebalance()
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
	return nil
}

// startDrain ends the connections that have not identified, and gives the clients their slots.
func (h *Hub) startDrain(ctx context.Context, over time.Duration, now time.Time) (*campaign, error) {
	d := &campaign{
		hub: h, reason: opcodes.DrainRestart, begin: now, deadline: now.Add(over), limit: -1,
		nowhere: len(h.broker.Nodes()) <= 1,
	}
	h.drain.Store(d)
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
		window -= min(over/moveShare, moveTime)
	}
	rate := h.drainSettings.Load().Rate
	interval, enough := slotInterval(clients, window, rate)
	d.interval = interval
	if !enough {
		h.warnPace(clients, rate, over, over-window)
	}
	return d, d.walk(ctx, walkAll, now)
}

// warnPace says that the time is too short for the rate; moving is the part of it that clients have after the last slot.
func (h *Hub) warnPace(clients, rate int, over, moving time.Duration) {
	slow := float64(clients) / (float64(rate) * (1 - spare))
	fast := float64(clients) / ((over - moving).Seconds() * (1 - spare))
	h.log.Warn("drain-timeout is too short for drain-rate: clients are told faster", slog.Int("clients", clients),
		slog.Int("drain_rate", rate), slog.Duration("drain_timeout", over),
		slog.Duration("drain_timeout_needed", timeNeeded(time.Duration(slow*float64(time.Second)), moving > 0).Round(100*time.Millisecond)),
		slog.Int("drain_rate_needed", int(fast)+1))
}

// timeNeeded returns how long a drain has to be whose slots take that long; some clients move by themselves, or none.
func timeNeeded(slots time.Duration, move bool) time.Duration {
	if !move {
		return slots
	}
	return slots + min(slots/(moveShare-1), moveTime)
}

// drainStep makes the loops disconnect those whose slot has come, and everybody when the time is over.
func (c *campaign) drainStep(now time.Time) {
	if c.hub.drain.Load() != c {
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
