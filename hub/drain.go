package hub

import (
	"context"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// drainInterval is how often a draining hub looks whose slot has come.
const drainInterval = 20 * time.Millisecond

// drainState is a shard's part of a drain.
type drainState struct {
	own, foreign drainList // clients of the hub's own protocol, and of service types
}

// drainList is how far the drain of a list of clients has come.
type drainList struct {
	total int // clients when it began
	told  int
}

// Drain makes the hub leave service: it accepts nothing more, is not ready, and tells its clients SERVER_RESTART, each
// in a slot of its own, the slots spread evenly over the time given, so that they don't all reconnect at once. It
// returns when all connections have ended, or with an error when ctx ends first. Call Close in either case.
func (h *Hub) Drain(ctx context.Context, over time.Duration) error {
	h.draining.Store(true)
	h.server.StopListening()
	begin := time.Now()
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for h.server.Connections() > 0 {
		part := 1.0
		if over > 0 {
			part = min(float64(time.Since(begin))/float64(over), 1)
		}
		for _, sh := range h.shards {
			sh.loop.Post(drainStep{sh, part})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// drainStep disconnects those of a shard's clients whose slot is in the part of the drain that has passed.
type drainStep struct {
	shard *shard
	part  float64
}

// Deliver implements transport.Mail.
func (d drainStep) Deliver(*transport.Loop) {
	sh := d.shard
	for len(sh.strangers) > 0 {
		sh.strangers[0].disconnect(opcodes.ServerRestart)
	}
	sh.drain.own.step(sh.hub.groups.everyone.local[sh.index], d.part)
	sh.drain.foreign.step(sh.hub.groups.foreign.local[sh.index], d.part)
}

// step disconnects those whose slot has come.
func (d *drainList) step(clients *members, part float64) {
	if d.total == 0 {
		d.total = len(clients.list)
	}
	due := 1 + int(part*float64(d.total)) // the first goes at once
	for ; len(clients.list) > 0 && (d.told < due || part >= 1); d.told++ {
		clients.list[0].disconnect(opcodes.ServerRestart)
	}
}

// Size implements transport.Mail.
func (drainStep) Size() int { return 0 }
