package hub

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/journal"
)

// This file shows operators the event log: what happened of late, on all instances. Each instance keeps its own events, and
// answers when it is asked.

// LogEntry is an event as operators, and instances that ask each other, see it. Members that an event has no use for are empty.
type LogEntry struct {
	At      time.Time  `json:"at" doc:"By the clock of its instance."`
	Node    string     `json:"node" doc:"Name of its instance."`
	Seq     uint64     `json:"seq" doc:"Greater than that of each earlier event of the instance since its start."`
	Kind    string     `json:"kind" enum:"connected,identify_failed,disconnected,slow_consumer,kicked,broker,node,drain,rebalance,reload,operation"`
	Client  *uuid.UUID `json:"client,omitempty" format:"uuid" doc:"Id of the client. A connection that had not identified has none."`
	Type    string     `json:"type,omitempty" doc:"Service type of the client."`
	Name    string     `json:"name,omitempty" doc:"Name of the client from its IDENTIFY."`
	Token   string     `json:"token,omitempty" doc:"Name of the client's token."`
	Subject string     `json:"subject,omitempty" doc:"Subject of the client's signed token or certificate."`
	Address string     `json:"address,omitempty" doc:"Remote address of the client, host:port; missing if the connection was broken already."`
	Group   string     `json:"group,omitempty" doc:"The client's first group."`
	Reason  string     `json:"reason,omitempty" doc:"Reason of a disconnect, as in DISCONNECT; state or result of what is not about a client." example:"SLOW_CONSUMER"`
	Detail  string     `json:"detail,omitempty"`
	By      string     `json:"by,omitempty" doc:"Name of the operator's token."`
	Omitted uint32     `json:"omitted,omitempty" doc:"Events of this kind and instance that were not recorded before this one, as there were too many."`

	from broker.NodeID // set by who collects the answers
}

// LogFilter narrows the event log; empty fields match all.
type LogFilter struct {
	Kinds   []string `json:"kinds,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Client  string   `json:"client,omitempty"`
	Name    string   `json:"name,omitempty"` // one that ends with * stands for all that begin like it
	Token   string   `json:"token,omitempty"`
	Group   string   `json:"group,omitempty"`
	Address string   `json:"address,omitempty"` // without the port
	Node    string   `json:"node,omitempty"`
}

// LogPage is a part of the event log, the newest event first.
type LogPage struct {
	Entries []LogEntry
	Next    string   // cursor of the page that follows; empty for none
	Missing []string // names of the instances that did not answer in time, or keep no event log
}

// logPosition is an event's place in the log of the cluster.
type logPosition struct {
	At   int64         `json:"at"` // Unix time in microseconds
	Node broker.NodeID `json:"node"`
	Seq  uint64        `json:"seq"`
}

func (e *LogEntry) position() logPosition { return logPosition{e.At.UnixMicro(), e.from, e.Seq} }

func (p logPosition) compare(q logPosition) int {
	return cmp.Or(cmp.Compare(p.At, q.At), cmp.Compare(p.Node, q.Node), cmp.Compare(p.Seq, q.Seq))
}

// logAsked asks for the newest events of an instance that match: those before a place, if that is given, and those after a
// sequence number, if follow is set.
type logAsked struct {
	Filter LogFilter                `json:"filter"`
	Before *logPosition             `json:"before,omitempty"`
	Follow bool                     `json:"follow,omitempty"`
	After  map[broker.NodeID]uint64 `json:"after,omitempty"` // by instance
	Since  int64                    `json:"since,omitempty"` // for instances that After lacks; Unix time in microseconds
	Limit  int                      `json:"limit"`
}

// logFound is an instance's answer: the newest event first.
type logFound struct {
	Kept    bool       `json:"kept"` // false of an earlier release, which keeps no event log
	Entries []LogEntry `json:"entries,omitempty"`
	LeftOut int        `json:"left_out,omitempty"` // events that match, and are more than the limit; where follow is set
	Last    uint64     `json:"last,omitempty"`     // sequence number of the last event, whether it matches or not
}

var logQuestion = question[logAsked, logFound]{"log", (*Hub).logHere}

// EventLog returns the newest events of all instances that match, limit of them at most (1 to MaxPage), before the cursor of
// an earlier page. It waits for other instances until ctx ends. The error is ErrCursor, or ctx's.
func (h *Hub) EventLog(ctx context.Context, f LogFilter, cursor string, limit int) (LogPage, error) {
	q := logAsked{Filter: f, Limit: min(max(limit, 1), MaxPage)}
	if cursor != "" {
		q.Before = new(logPosition)
		if err := decodeCursor(cursor, q.Before); err != nil {
			return LogPage{}, err
		}
	}
	var page LogPage
	silent, err := h.gatherLog(ctx, q, func(_ broker.NodeID, a logFound) { page.Entries = append(page.Entries, a.Entries...) })
	if err != nil {
		return LogPage{}, err
	}
	page.Missing = h.namesOf(silent)
	slices.SortFunc(page.Entries, func(a, b LogEntry) int { return b.position().compare(a.position()) })
	if len(page.Entries) >= q.Limit {
		page.Entries = page.Entries[:q.Limit]
		page.Next = encodeCursor(page.Entries[q.Limit-1].position())
	}
	return page, nil
}

// gatherLog asks all instances, and returns those that gave no answer or keep no event log.
func (h *Hub) gatherLog(ctx context.Context, q logAsked, each func(broker.NodeID, logFound)) (silent []broker.NodeID, err error) {
	var without []broker.NodeID
	found := func(from broker.NodeID, a logFound) {
		if !a.Kept {
			without = append(without, from)
			return
		}
		for i := range a.Entries {
			a.Entries[i].from = from
		}
		each(from, a)
	}
	own, err := h.logHere(ctx, q)
	if err != nil {
		return nil, err
	}
	found(h.node.ID, own)
	silent, err = logQuestion.askOthers(ctx, h, q, found)
	if errors.Is(err, broker.ErrUnavailable) {
		err = nil
	}
	return append(silent, without...), err
}

// logHere returns events of this instance.
func (h *Hub) logHere(_ context.Context, q logAsked) (logFound, error) {
	found := logFound{Kept: true}
	q.Limit = min(max(q.Limit, 0), MaxPage)
	after, followed := q.After[h.node.ID]
	foreign := q.Filter.Node != "" && q.Filter.Node != h.node.Name
	h.journal.Newest(func(e *journal.Entry) bool {
		found.Last = max(found.Last, e.Seq)
		if foreign || q.Follow && (e.Seq <= after || !followed && e.At.UnixMicro() < q.Since) {
			return false
		}
		if q.Before != nil && (logPosition{e.At.UnixMicro(), h.node.ID, e.Seq}).compare(*q.Before) >= 0 || !h.inLog(e, &q.Filter) {
			return true
		}
		if len(found.Entries) == q.Limit {
			found.LeftOut++
			return q.Follow
		}
		found.Entries = append(found.Entries, h.logEntry(e))
		return true
	})
	return found, nil
}

// inLog reports whether the filter lets an event through.
func (h *Hub) inLog(e *journal.Entry, f *LogFilter) bool {
	return (len(f.Kinds) == 0 || slices.Contains(f.Kinds, LogKind(e.Kind).String())) &&
		(f.Reason == "" || e.Reason == f.Reason) &&
		(f.Client == "" || uuid.UUID(e.Client).String() == f.Client) &&
		(f.Name == "" || matchesName(e.Name, f.Name)) &&
		(f.Token == "" || e.Token == f.Token) &&
		(f.Group == "" || e.Group == f.Group) &&
		(f.Address == "" || e.Address.IsValid() && e.Address.Addr().String() == f.Address)
}

// logEntry makes what operators see of an event.
func (h *Hub) logEntry(e *journal.Entry) LogEntry {
	l := LogEntry{
		At: e.At, Node: h.node.Name, Seq: e.Seq, Kind: LogKind(e.Kind).String(), Name: e.Name, Token: e.Token, Subject: e.Subject,
		Group: e.Group, Reason: e.Reason, Detail: e.Detail, By: e.By, Omitted: e.Omitted,
	}
	if e.Client != uuid.Nil {
		id := uuid.UUID(e.Client)
		l.Client, l.Type = &id, h.typeNames[e.Type]
	}
	if e.Address.IsValid() {
		l.Address = e.Address.String()
	}
	return l
}

// LogFollower returns the events of all instances from a moment on. One goroutine may use it.
type LogFollower struct {
	hub   *Hub
	asked logAsked
}

// FollowLog returns a LogFollower for the events that match, from now on.
func (h *Hub) FollowLog(f LogFilter) *LogFollower {
	return &LogFollower{h, logAsked{Filter: f, Follow: true, After: make(map[broker.NodeID]uint64), Since: time.Now().UnixMicro()}}
}

// Next returns the events since the last call, limit of each instance at most, the oldest first, and how many were left out
// because they are more. An instance that does not answer until ctx ends is asked for the same events the next time.
func (f *LogFollower) Next(ctx context.Context, limit int) (entries []LogEntry, leftOut int, err error) {
	f.asked.Limit = limit
	last := maps.Clone(f.asked.After)
	_, err = f.hub.gatherLog(ctx, f.asked, func(from broker.NodeID, a logFound) {
		entries = append(entries, a.Entries...)
		leftOut += a.LeftOut
		last[from] = max(last[from], a.Last)
	})
	f.asked.After = last
	slices.SortFunc(entries, func(a, b LogEntry) int { return a.position().compare(b.position()) })
	return entries, leftOut, err
}
