package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/transport"
)

// NodeStatus is what operators see of an instance. Counts are those since it started: whoever asks twice knows rates.
type NodeStatus struct {
	ID               string            `json:"id"` // eight hexadecimal digits, with which the ids of its clients begin
	Name             string            `json:"name"`
	Version          string            `json:"version"`
	At               time.Time         `json:"at"` // when the instance said this
	Started          time.Time         `json:"started"`
	Draining         bool              `json:"draining"`
	Connections      map[string]int    `json:"connections"`  // identified clients, by service type
	Unidentified     int               `json:"unidentified"` // connections that have not identified
	Groups           int               `json:"groups"`       // with a member here
	MessagesReceived uint64            `json:"messages_received"`
	Deliveries       uint64            `json:"deliveries"`
	Drops            map[string]uint64 `json:"drops"`       // by reason
	Disconnects      map[string]uint64 `json:"disconnects"` // by reason
	QueueBytes       int64             `json:"queue_bytes"` // unsent backlog of all its clients
	ReceivedBytes    uint64            `json:"received_bytes"`
	SentBytes        uint64            `json:"sent_bytes"`
	// LoopTurnP99 is how long 99 of 100 turns of its busiest loop took at most, in seconds, over the last 10 to 20
	// seconds that somebody asked in, or since somebody asked last.
	LoopTurnP99 float64      `json:"loop_turn_p99_seconds"`
	Gated       bool         `json:"gated"` // nothing is read from clients at the moment
	Broker      BrokerStatus `json:"broker"`
}

// BrokerStatus is an instance's connection to the others.
type BrokerStatus struct {
	Available        bool      `json:"available"`
	Since            time.Time `json:"since"` // when Available last changed
	Error            string    `json:"error,omitempty"`
	RoundTripSeconds float64   `json:"round_trip_seconds"` // of the last probe
}

// Status returns what operators see of each instance of the cluster, in the order of their names, and the names of those
// that did not answer before ctx ended.
func (h *Hub) Status(ctx context.Context) (nodes []NodeStatus, missing []string, err error) {
	silent, err := h.ask(ctx, query{Kind: queryNode}, func(a answer) {
		if a.Node != nil {
			nodes = append(nodes, *a.Node)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(nodes, func(a, b NodeStatus) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	return nodes, h.names(silent), nil
}

// NodeName returns an instance's id as operators see it.
func NodeName(id broker.NodeID) string { return fmt.Sprintf("%08x", uint32(id)) }

// status describes this instance.
func (h *Hub) status() NodeStatus {
	s := h.Stats()
	n := NodeStatus{
		ID: NodeName(h.node.ID), Name: h.node.Name, Version: h.node.Version, At: time.Now().UTC(), Started: s.Started.UTC(),
		Draining: s.Draining, Connections: make(map[string]int), Unidentified: s.Strangers, Groups: s.Groups,
		Deliveries: s.Deliveries, Drops: make(map[string]uint64), Disconnects: make(map[string]uint64),
		LoopTurnP99: h.turns.p99(time.Now(), s.Transport.Loops), Gated: s.Transport.Gated,
		Broker: BrokerStatus{s.Broker.Available, s.Broker.Since.UTC(), s.Broker.Err, s.BrokerStats.ProbeRTT.Seconds()},
	}
	for _, published := range s.Published {
		n.MessagesReceived += published
	}
	for i := range s.Types {
		t := &s.Types[i]
		n.Connections[t.Type] = t.Clients
		for _, received := range t.Received {
			n.MessagesReceived += received
		}
	}
	for d, count := range s.Drops {
		n.Drops[d.String()] = count
	}
	for r, count := range s.Disconnects {
		n.Disconnects[r.String()] = count
	}
	for i := range s.Transport.Loops {
		l := &s.Transport.Loops[i]
		n.QueueBytes += l.QueueBytes
		n.ReceivedBytes += l.BytesIn
		n.SentBytes += l.BytesOut
	}
	return n
}

// turnCounts are one loop's turns by how long they took.
type turnCounts = [len(transport.TurnBuckets) + 1]uint64

// turnWindow remembers the loops' turns at two moments, so that what is said of them is about the recent past.
type turnWindow struct {
	mu         sync.Mutex
	base, next []turnCounts
	since      time.Time // of next
}

// turnSpan is how long the window is at least while somebody asks often.
const turnSpan = 10 * time.Second

// p99 returns the 99th percentile of the busiest loop's turns in the window, in seconds.
func (w *turnWindow) p99(now time.Time, loops []transport.LoopStats) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.base == nil {
		w.base, w.next, w.since = make([]turnCounts, len(loops)), make([]turnCounts, len(loops)), now
	}
	most := 0.0
	current := make([]turnCounts, len(loops))
	for i := range loops {
		current[i] = loops[i].Turns
		passed := current[i]
		for b := range passed {
			passed[b] -= w.base[i][b]
		}
		most = max(most, percentile(&passed, 0.99))
	}
	if now.Sub(w.since) >= turnSpan {
		w.base, w.next, w.since = w.next, current, now
	}
	return most
}

// percentile reads a quantile from a histogram, taking the values within a bucket to be spread evenly. What is beyond the
// last bound counts as the last bound.
func percentile(counts *turnCounts, quantile float64) float64 {
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	rank := quantile * float64(total)
	below, passed := 0.0, uint64(0)
	for i, bound := range transport.TurnBuckets {
		if n := counts[i]; n > 0 && float64(passed+n) >= rank {
			return below + (bound-below)*(rank-float64(passed))/float64(n)
		}
		passed += counts[i]
		below = bound
	}
	if total == 0 {
		return 0
	}
	return below
}
