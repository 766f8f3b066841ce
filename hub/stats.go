package hub

import (
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// Drop is why a message did not reach somebody it was meant for.
type Drop uint8

// The reasons to drop a message. DropClosing counts receivers, the others messages.
const (
	DropNoReceiver        Drop = iota // nobody matched the intent
	DropReceiverGone                  // the one receiver left while the message was on its way
	DropForbidden                     // the sender's token may not send the intent
	DropClosing                       // a receiver was being disconnected, as a slow consumer for instance
	DropBrokerUnavailable             // not published: the broker is away and the buffer full, or its time over
	DropOutcomeUnknown                // published, but the broker's connection broke before it said so
	DropOverloaded                    // a FENCE: its sender sends too many, or too many wait already
	NumDrops              = iota
)

var dropNames = [NumDrops]string{
	"no_receiver", "receiver_gone", "forbidden", "closing", "broker_unavailable", "outcome_unknown",
	"overloaded",
}

// String returns the reason's name in metrics.
func (d Drop) String() string { return dropNames[d] }

// numTargets is the number of intent targets, intent.None included.
const numTargets = int(intent.Any) + 1

// counters are written by one loop each, so that counting never makes a cache line travel between cores.
type counters struct {
	types     [maxTypes]typeCounters
	drops     [NumDrops]atomic.Uint64
	reasons   [opcodes.NumReasons]atomic.Uint64
	notices   [numDrainReasons]atomic.Uint64 // DRAINs sent
	fences    atomic.Uint64                  // FENCEs delivered
	published [numTargets]atomic.Uint64      // EVENT and REPLY of senders without a connection, by target
	movable   atomic.Int64                   // clients that asked for DRAIN
	strangers atomic.Int64                   // not identified yet
	_         [64]byte
}

// typeCounters are what is counted for each service type.
type typeCounters struct {
	clients    atomic.Int64              // identified
	received   [numTargets]atomic.Uint64 // EVENT and REPLY accepted, by target
	deliveries atomic.Uint64
}

func (c *counters) drop(d Drop) { c.drops[d].Add(1) }

// Stats are the hub's counts since it started.
type Stats struct {
	Clients     int // identified, of all types
	Strangers   int // connected, not identified
	Groups      int // with a member on this instance
	Types       []TypeStats
	Published   map[intent.Target]uint64 // EVENT and REPLY accepted by Publish
	Deliveries  uint64                   // of all types
	Drops       map[Drop]uint64
	Disconnects map[opcodes.Reason]uint64
	Notices     map[opcodes.DrainReason]uint64 // DRAINs sent
	Fences      uint64                         // FENCEs delivered
	Transport   transport.Stats
	Broker      broker.State
	BrokerStats broker.Stats
	Verifier    *VerifierStats // nil without one
	Draining    bool
	Started     time.Time
}

// TypeStats are the counts of one service type.
type TypeStats struct {
	Type       string
	Clients    int // identified
	Received   map[intent.Target]uint64
	Deliveries uint64
	Metrics    []Metric // the type's own
}

// Stats returns the counts. Any goroutine may call it.
func (h *Hub) Stats() Stats {
	s := Stats{
		Groups:      h.groups.len(),
		Published:   make(map[intent.Target]uint64),
		Drops:       make(map[Drop]uint64),
		Disconnects: make(map[opcodes.Reason]uint64),
		Notices:     make(map[opcodes.DrainReason]uint64),
		Transport:   h.server.Stats(),
		Broker:      h.broker.State(),
		Verifier:    h.verifications.stats(),
		Draining:    h.draining.Load(),
		Started:     h.started,
	}
	if source, ok := h.broker.(broker.StatsSource); ok {
		s.BrokerStats = source.Stats()
	}
	for i := range h.counters {
		c := &h.counters[i]
		s.Strangers += int(c.strangers.Load())
		for d := range Drop(NumDrops) {
			s.Drops[d] += c.drops[d].Load()
		}
		for _, r := range opcodes.Reasons() {
			s.Disconnects[r] += c.reasons[r].Load()
		}
	}
	for i := range h.counters {
		s.Fences += h.counters[i].fences.Load()
		for n, r := range drainReasons {
			s.Notices[r] += h.counters[i].notices[n].Load()
		}
		for target := intent.Global; int(target) < numTargets; target++ {
			s.Published[target] += h.counters[i].published[target].Load()
		}
	}
	for kind := range len(h.opts.Services) + 1 {
		t := h.typeStats(uint8(kind))
		s.Types = append(s.Types, t)
		s.Clients += t.Clients
		s.Deliveries += t.Deliveries
	}
	return s
}

// typeStats returns the counts of one kind of client.
func (h *Hub) typeStats(kind uint8) TypeStats {
	t := TypeStats{Type: h.typeName(kind), Received: make(map[intent.Target]uint64)}
	for i := range h.counters {
		c := &h.counters[i].types[kind]
		t.Clients += int(c.clients.Load())
		t.Deliveries += c.deliveries.Load()
		for target := intent.Global; int(target) < numTargets; target++ {
			t.Received[target] += c.received[target].Load()
		}
	}
	if kind > 0 {
		if m, ok := h.opts.Services[kind-1].(Meter); ok {
			t.Metrics = m.Metrics()
		}
	}
	return t
}
