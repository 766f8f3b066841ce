package redis

import (
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// counters are the parts of Stats that any goroutine may count.
type counters struct {
	published, received, duplicates, recovered, missed, unresumed             atomic.Uint64
	foreign, otherVersion, corrupt, forged                                    atomic.Uint64
	refusedFull, refusedExpired, refusedUnknown, refusedBroker, refusedClosed atomic.Uint64
	reconnects, lostNodes, gatherMissing                                      atomic.Uint64
	probeRTT                                                                  atomic.Int64

	appended, repeated, appendsRefused, appendsUnknown, filled atomic.Uint64
	gapsTrimmed, gapsEpoch, gapsUnavailable                    atomic.Uint64
	pagesRead, pagesShared                                     atomic.Uint64
}

// refusal is the counter of messages given up because of err.
func (c *counters) refusal(err error) *atomic.Uint64 {
	switch err {
	case broker.ErrUnknown:
		return &c.refusedUnknown
	case broker.ErrClosed:
		return &c.refusedClosed
	}
	return &c.refusedExpired
}

func (c *counters) snapshot() broker.Stats {
	return broker.Stats{
		Published: c.published.Load(), Received: c.received.Load(), Duplicates: c.duplicates.Load(),
		Recovered: c.recovered.Load(), Missed: c.missed.Load(), Unresumed: c.unresumed.Load(),
		Foreign: c.foreign.Load(), OtherVersion: c.otherVersion.Load(), Corrupt: c.corrupt.Load(), Forged: c.forged.Load(),
		RefusedFull: c.refusedFull.Load(), RefusedExpired: c.refusedExpired.Load(),
		RefusedUnknown: c.refusedUnknown.Load(), RefusedBroker: c.refusedBroker.Load(),
		RefusedClosed: c.refusedClosed.Load(), Reconnects: c.reconnects.Load(),
		LostNodes: c.lostNodes.Load(), GatherMissing: c.gatherMissing.Load(),
		ProbeRTT: time.Duration(c.probeRTT.Load()),
		Appended: c.appended.Load(), Repeated: c.repeated.Load(), AppendsRefused: c.appendsRefused.Load(),
		AppendsUnknown: c.appendsUnknown.Load(), Filled: c.filled.Load(), GapsTrimmed: c.gapsTrimmed.Load(),
		GapsEpoch: c.gapsEpoch.Load(), GapsUnavailable: c.gapsUnavailable.Load(), PagesRead: c.pagesRead.Load(),
		PagesShared: c.pagesShared.Load(),
	}
}
