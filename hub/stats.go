package hub

import (
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/internal/attempts"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

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
	Changes     map[ChangeKey]uint64           // SUBSCRIBEs and UNSUBSCRIBEs
	Presence    PresenceStats
	Exclusive   ExclusiveStats
	Requests    RequestStats
	History     HistoryStats
	Held        uint64 // times that a client waited for one of its receivers
	Transport   transport.Stats
	Broker      broker.State
	BrokerStats broker.Stats
	Verifier    *VerifierStats // nil without one
	Attempts    attempts.Stats // to authenticate
	Draining    bool
	Started     time.Time
}

// ChangeKey says what became of a change of a client's groups.
type ChangeKey struct {
	Op     opcodes.Op        // Subscribe or Unsubscribe
	Result opcodes.ErrorCode // empty for one that was carried out
}

// ExclusiveStats are the counts of exclusive groups.
type ExclusiveStats struct {
	Held    int    // by clients, and service types, of this instance
	Waiting int    // claims of these
	Granted uint64 // times that a group was granted here
	Lost    uint64 // times that one was lost, as the broker was away or lost its data
}

// HistoryStats are the counts of groups with history.
type HistoryStats struct {
	Appended       uint64                    // messages of clients of this instance that got a number
	Duplicates     uint64                    // those that had been appended before
	Refused        map[HistoryRefusal]uint64 // those that got none
	Recovering     int                       // members that get what they missed
	CaughtUp       uint64                    // times that a member had got that
	Recovered      uint64                    // messages that members got in this way
	RecoveredBytes uint64
	Gaps           map[broker.GapReason]uint64 // of loops, and of members that recover
}

func (s *HistoryStats) add(c *historyCounters) {
	s.Appended += c.appended.Load()
	s.Duplicates += c.duplicates.Load()
	s.Recovering += int(c.readers.Load())
	s.CaughtUp += c.caughtUp.Load()
	s.Recovered += c.recovered.Load()
	s.RecoveredBytes += c.recoveredBytes.Load()
	if s.Refused == nil {
		s.Refused, s.Gaps = make(map[HistoryRefusal]uint64), make(map[broker.GapReason]uint64)
	}
	for r := range c.refused {
		s.Refused[HistoryRefusal(r)] += c.refused[r].Load()
	}
	for r := range c.gaps {
		s.Gaps[broker.GapReason(r+1)] += c.gaps[r].Load()
	}
}

// PresenceStats are the counts of groups that are watched.
type PresenceStats struct {
	Groups   int    // watched by clients of this instance or by other instances
	Watchers int    // groups that each client watches, all in all
	Frames   uint64 // PRESENCEs sent to clients
	Restarts uint64 // snapshots for watchers that had not kept up
	Sent     uint64 // messages to other instances
	Asks     uint64 // of them, those that ask for members
	Gaps     uint64 // losses in what other instances sent, after which they were asked again
}

func (s *PresenceStats) add(c *presenceCounters) {
	s.Groups += int(c.watched.Load())
	s.Watchers += int(c.watchers.Load())
	s.Frames += c.frames.Load()
	s.Restarts += c.restarts.Load()
	s.Sent += c.sent.Load()
	s.Asks += c.asks.Load()
	s.Gaps += c.gaps.Load()
}

// RequestStats are the counts of requests.
type RequestStats struct {
	Open        int64 // of clients of this instance
	Memory      int64 // of Options.RequestMemory, in bytes
	MemoryLimit int   // Options.RequestMemory
	Retries     uint64
	Passed      uint64 // receivers
	Expired     uint64
	Released    uint64
	Settled     map[RequestOutcome]SettleTimes
}

// SettleTimes are how long the requests of one outcome took.
type SettleTimes struct {
	Buckets [len(SettleBounds) + 1]uint64 // the last for longer times than all bounds
	Sum     time.Duration
}

func (s *RequestStats) add(c *requestCounters) {
	s.Open += c.open.Load()
	s.Retries += c.retries.Load()
	s.Passed += c.passed.Load()
	s.Expired += c.expired.Load()
	s.Released += c.released.Load()
	if s.Settled == nil {
		s.Settled = make(map[RequestOutcome]SettleTimes)
	}
	for o := range c.times {
		t := s.Settled[RequestOutcome(o)]
		for i := range t.Buckets {
			t.Buckets[i] += c.times[o].buckets[i].Load()
		}
		t.Sum += time.Duration(c.times[o].sum.Load())
		s.Settled[RequestOutcome(o)] = t
	}
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
		Changes:     make(map[ChangeKey]uint64),
		Transport:   h.server.Stats(),
		Broker:      h.broker.State(),
		Verifier:    h.verifications.stats(),
		Attempts:    h.attempts.Stats(),
		Draining:    h.draining.Load(),
		Started:     h.started,
	}
	s.Exclusive.Held, s.Exclusive.Waiting = h.claims.count()
	s.Requests.Memory, s.Requests.MemoryLimit = h.requestMemory.Load(), h.opts.RequestMemory
	if source, ok := h.broker.(broker.StatsSource); ok {
		s.BrokerStats = source.Stats()
	}
	for i := range h.counters {
		c := &h.counters[i]
		s.Strangers += int(c.strangers.Load())
		for d := range Drop(numDrops) {
			s.Drops[d] += c.drops[d].Load()
		}
		for _, r := range opcodes.Reasons() {
			s.Disconnects[r] += c.reasons[r].Load()
		}
	}
	for i := range h.counters {
		s.Fences += h.counters[i].fences.Load()
		s.Held += h.counters[i].held.Load()
		s.Presence.add(&h.counters[i].presence)
		s.Exclusive.Granted += h.counters[i].exclusive.granted.Load()
		s.Exclusive.Lost += h.counters[i].exclusive.lost.Load()
		s.Requests.add(&h.counters[i].requests)
		s.History.add(&h.counters[i].history)
		for op := range h.counters[i].changes {
			for n, code := range changeResults {
				s.Changes[ChangeKey{opcodes.Subscribe + opcodes.Op(op), code}] += h.counters[i].changes[op][n].Load()
			}
		}
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
	t := TypeStats{Type: h.typeNames[kind], Received: make(map[intent.Target]uint64)}
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
