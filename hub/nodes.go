package hub

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// This file tells operators how the instances of the cluster are. Nothing is kept for it: each answers when it is asked.

// Node is an instance as operators, and instances that ask each other, see it.
type Node struct {
	ID               string            `json:"id" doc:"Eight hexadecimal digits, with which the ids of its clients begin." example:"0b8e41d7"`
	Name             string            `json:"name" example:"hub-0"`
	Version          string            `json:"version"`
	At               time.Time         `json:"at" doc:"Time of the answer. Counts begin at the start of the instance: the rate between two answers is the difference of the counts divided by the difference of the times."`
	Started          time.Time         `json:"started"`
	Self             bool              `json:"self" doc:"Whether it is the instance that answers this request."`
	Draining         bool              `json:"draining" doc:"Whether it drains: its clients are told to connect elsewhere."`
	Connections      map[string]int    `json:"connections" doc:"Identified clients by service type."`
	Unidentified     int               `json:"unidentified" doc:"Connections that have not identified."`
	Groups           int               `json:"groups" doc:"Groups with a member on this instance."`
	MessagesReceived uint64            `json:"messages_received" doc:"EVENT and REPLY messages accepted from its clients and by its admin API."`
	Deliveries       uint64            `json:"deliveries" doc:"Messages queued for its clients."`
	Drops            map[string]uint64 `json:"drops" doc:"Messages that did not reach a receiver, by reason."`
	Disconnects      map[string]uint64 `json:"disconnects" doc:"Sessions that ended, by reason."`
	QueueBytes       int64             `json:"queue_bytes" doc:"Unsent backlog of all its clients."`
	ReceivedBytes    uint64            `json:"received_bytes"`
	SentBytes        uint64            `json:"sent_bytes"`
	SendQueueBytes   int               `json:"send_queue_bytes" doc:"Its setting send-queue-bytes, the bound of a client's unsent bytes."`
	WriteTimeout     float64           `json:"write_timeout_seconds" doc:"Its setting write-timeout."`
	LoopTurnP99      float64           `json:"loop_turn_p99_seconds" doc:"99th percentile of the turns of its busiest loop, the time that a message may wait there: over the last 10 to 20 seconds if asked within them, else since the last time asked."`
	Gated            bool              `json:"gated" doc:"Whether reading from clients is paused because a loop or the broker can't keep up."`
	Requests         NodeRequests      `json:"requests"`
	Broker           NodeBroker        `json:"broker"`
}

// NodeRequests are the requests, EVENTs with expect, of an instance's clients.
type NodeRequests struct {
	Open          int64              `json:"open" doc:"Requests that are not settled yet."`
	MemoryBytes   int64              `json:"memory_bytes" doc:"What they, and answers that its clients owe, take of its setting request-memory."`
	MemoryLimit   int                `json:"memory_limit_bytes" doc:"Its setting request-memory; 0 for no limit."`
	Settled       map[string]uint64  `json:"settled" doc:"Requests that are over, by outcome: answered, answered_in_part, unanswered, undelivered, timed_out or cancelled."`
	SettleSeconds map[string]float64 `json:"settle_seconds" doc:"The sum of the times that these took, by outcome."`
}

func requestsOf(s *RequestStats) NodeRequests {
	n := NodeRequests{
		Open: s.Open, MemoryBytes: s.Memory, MemoryLimit: s.MemoryLimit,
		Settled: make(map[string]uint64), SettleSeconds: make(map[string]float64),
	}
	for outcome, times := range s.Settled {
		for _, count := range times.Buckets {
			n.Settled[outcome.String()] += count
		}
		n.SettleSeconds[outcome.String()] = times.Sum.Seconds()
	}
	return n
}

// NodeBroker is an instance's connection to the others.
type NodeBroker struct {
	Available        bool      `json:"available"`
	Since            time.Time `json:"since" doc:"Last change of available."`
	Error            *string   `json:"error" doc:"Why the broker is not available; null if it is."`
	RoundTripSeconds float64   `json:"round_trip_seconds" doc:"Last round trip through the broker; 0 before the first."`
}

// nodeFound is an instance's answer to nodeQuestion.
type nodeFound struct {
	Node *Node `json:"node,omitempty"`
}

var nodeQuestion = question[struct{}, nodeFound]{"node", (*Hub).nodeHere}

// Status returns what operators see of each instance of the cluster, in the order of their names, and the names of those
// that did not answer before ctx ended.
func (h *Hub) Status(ctx context.Context) (nodes []Node, missing []string, err error) {
	silent, err := nodeQuestion.ask(ctx, h, struct{}{}, func(a nodeFound) {
		if a.Node != nil {
			nodes = append(nodes, *a.Node)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	for i := range nodes {
		nodes[i].Self = nodes[i].ID == h.node.ID.String()
		if r := &nodes[i].Requests; r.Settled == nil { // an earlier release says nothing of requests
			r.Settled, r.SettleSeconds = map[string]uint64{}, map[string]float64{}
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return nodes, h.namesOf(silent), nil
}

// Nodes lists the live instances, this one included, in the order of their names.
func (h *Hub) Nodes() []broker.Node {
	nodes := h.broker.Nodes()
	for i := range nodes {
		if nodes[i].ID == h.node.ID {
			nodes[i].Clients = h.groups.everyone.total()
		}
	}
	slices.SortFunc(nodes, func(a, b broker.Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return nodes
}

// NodeWithID returns the live instance with that id; ok is false if there is none.
func (h *Hub) NodeWithID(id broker.NodeID) (n broker.Node, ok bool) {
	nodes := h.broker.Nodes()
	if i := slices.IndexFunc(nodes, func(n broker.Node) bool { return n.ID == id }); i >= 0 {
		return nodes[i], true
	}
	return broker.Node{}, false
}

// nodeHere describes this instance.
func (h *Hub) nodeHere(context.Context, struct{}) (nodeFound, error) {
	s := h.Stats()
	n := Node{
		ID: h.node.ID.String(), Name: h.node.Name, Version: h.node.Version, At: time.Now().UTC(), Started: s.Started.UTC(),
		Draining: s.Draining, Connections: make(map[string]int), Unidentified: s.Strangers, Groups: s.Groups,
		Deliveries: s.Deliveries, Drops: make(map[string]uint64), Disconnects: make(map[string]uint64),
		LoopTurnP99: h.turns.P99(time.Now(), s.Transport.Loops), Gated: s.Transport.Gated,
		SendQueueBytes: h.opts.Transport.SendQueueBytes, WriteTimeout: h.opts.Transport.WriteTimeout.Seconds(),
		Requests: requestsOf(&s.Requests),
		Broker: NodeBroker{
			Available: s.Broker.Available, Since: s.Broker.Since.UTC(), RoundTripSeconds: s.BrokerStats.ProbeRTT.Seconds(),
		},
	}
	if s.Broker.Err != "" {
		n.Broker.Error = &s.Broker.Err
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
	return nodeFound{&n}, nil
}
