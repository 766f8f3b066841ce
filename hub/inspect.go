package hub

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// This file answers operators: who is connected, which groups there are, on the whole cluster. Nothing is kept for it.
// Each instance is asked when somebody wants to know, and what it says is as old as its answer.

// TypeService is the service type of clients of the master socket protocol.
const TypeService = "service"

// MaxPage is the greatest number of entries in one page of a list.
const MaxPage = 500

// Client is what operators see of a client.
type Client struct {
	ID             uuid.UUID         `json:"id"`
	Node           string            `json:"node"`
	Type           string            `json:"type"`
	Name           string            `json:"name,omitempty"`
	Version        string            `json:"version,omitempty"`
	Meta           map[string]string `json:"meta,omitempty"`
	Groups         []string          `json:"groups"`
	Address        string            `json:"address,omitempty"`
	Token          string            `json:"token"`             // the token's name
	Subject        string            `json:"subject,omitempty"` // whom its signed token or certificate is about
	ConnectedSince time.Time         `json:"connected_since"`
	IdleMillis     int64             `json:"idle_ms"`      // since something arrived from it
	QueueBytes     int               `json:"queue_bytes"`  // its unsent backlog
	StalledMillis  int64             `json:"stalled_ms"`   // since something of the backlog left; 0 without a backlog
	MessagesIn     uint64            `json:"messages_in"`  // EVENTs, REPLYs and FENCEs from it
	MessagesOut    uint64            `json:"messages_out"` // all that was written to it, the hub's own included
	BytesIn        uint64            `json:"bytes_in"`
	BytesOut       uint64            `json:"bytes_out"`
}

// Filter narrows a list of clients; empty fields match all.
type Filter struct {
	Group    string `json:"group,omitempty"`
	Type     string `json:"type,omitempty"`
	Name     string `json:"name,omitempty"` // one that ends with * stands for all that begin like it
	Node     string `json:"node,omitempty"`
	MinQueue int    `json:"min_queue,omitempty"` // an unsent backlog of so many bytes or more
}

// ClientPage is a part of the cluster's clients, in the order of their places.
type ClientPage struct {
	Clients []Client
	Next    string   // cursor of the page that follows; empty for none
	Missing []string // names of the instances that did not answer in time: their clients are not in the page
}

// Group is what operators see of a group.
type Group struct {
	Name    string         `json:"name"`
	Members int            `json:"members"`
	Nodes   map[string]int `json:"nodes"` // members by instance
}

// GroupPage is a part of the cluster's groups, in the order of their names.
type GroupPage struct {
	Groups  []Group
	Next    string
	Missing []string
}

// Errors of the lists.
var (
	ErrCursor         = errors.New("invalid cursor")
	ErrClientNotFound = errors.New("no such client")
	ErrGroupNotFound  = errors.New("no such group")
	// ErrSilent: the instance that could tell did not answer.
	ErrSilent = errors.New("the instance that the client is on did not answer")
)

// query is what one instance asks another. It travels as JSON, so that instances of two releases understand each other.
type query struct {
	Kind   string    `json:"kind"` // one of those below
	Filter Filter    `json:"filter"`
	After  position  `json:"after"`            // queryClients: behind this place
	Name   string    `json:"name"`             // queryGroups: behind this name; queryGroup: this group
	Prefix string    `json:"prefix,omitempty"` // queryGroups: that begin with it
	ID     uuid.UUID `json:"id"`               // queryClient, queryKick: the client; queryReceipt: the sender
	Limit  int       `json:"limit"`
	Wait   int64     `json:"wait_ms,omitempty"` // how long whoever asks waits

	Shed map[string]int `json:"shed,omitempty"`    // queryShed: how many clients each instance tells to go
	Over int64          `json:"over_ms,omitempty"` // queryShed: the time over which it does; 0 for the usual pace

	Payload []byte `json:"payload,omitempty"` // askServices: what the service type called Name is asked
}

const (
	queryClients = "clients"
	queryClient  = "client"
	queryGroups  = "groups"
	queryGroup   = "group"
	queryNode    = "node"
	queryKick    = "kick"
	queryReceipt = "receipt"
	queryLoad    = "load"
	queryShed    = "shed"
)

// answer is what an instance says of itself.
type answer struct {
	Clients []Client    `json:"clients,omitempty"`
	Cut     bool        `json:"cut,omitempty"` // Clients ends before the limit though others follow: it would be too large
	Groups  []Group     `json:"groups,omitempty"`
	Node    *NodeStatus `json:"node,omitempty"`
	Receipt *tally      `json:"receipt,omitempty"`
	Load    *load       `json:"load,omitempty"`
	Payload []byte      `json:"payload,omitempty"`
}

// position is a client's place in the order of lists: instance, loop, slot. It stays while the client is connected, so
// that a client that is there from the first to the last page is on exactly one of them.
type position struct {
	Node broker.NodeID `json:"node"`
	Loop int           `json:"loop"`
	Slot uint32        `json:"slot"`
	Set  bool          `json:"set"` // false: before all
}

func positionOf(id *uuid.UUID) position {
	at := locate(id)
	return position{at.node, at.loop, at.slot, true}
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.Node, q.Node), cmp.Compare(p.Loop, q.Loop), cmp.Compare(p.Slot, q.Slot))
}

// behind reports whether p comes after the cursor q.
func (p position) behind(q position) bool { return !q.Set || p.compare(q) > 0 }

// Clients lists the cluster's clients that match, limit of them at most (1 to MaxPage), behind the cursor of an earlier
// page, or from the first for an empty one. A page may be shorter though others follow. It waits for other instances until ctx ends. The error is ErrCursor, or
// ctx's if this instance itself did not answer in time.
func (h *Hub) Clients(ctx context.Context, f Filter, cursor string, limit int) (ClientPage, error) {
	q := query{Kind: queryClients, Filter: f, Limit: min(max(limit, 1), MaxPage)}
	if err := decodeCursor(cursor, &q.After); err != nil {
		return ClientPage{}, err
	}
	var page ClientPage
	var until *position // the end of the shortest list that was cut: what lies behind it is not known of all instances
	silent, err := h.ask(ctx, q, func(a answer) {
		page.Clients = append(page.Clients, a.Clients...)
		if a.Cut && len(a.Clients) > 0 {
			if last := positionOf(&a.Clients[len(a.Clients)-1].ID); until == nil || last.compare(*until) < 0 {
				until = &last
			}
		}
	})
	if err != nil {
		return ClientPage{}, err
	}
	page.Missing = h.names(silent)
	slices.SortFunc(page.Clients, func(a, b Client) int { return positionOf(&a.ID).compare(positionOf(&b.ID)) })
	if until != nil {
		page.Clients = slices.DeleteFunc(page.Clients, func(c Client) bool { return positionOf(&c.ID).behind(*until) })
	}
	if len(page.Clients) >= q.Limit || until != nil {
		page.Clients = page.Clients[:min(q.Limit, len(page.Clients))]
		page.Next = encodeCursor(positionOf(&page.Clients[len(page.Clients)-1].ID))
	}
	return page, nil
}

// Client returns the client of that id, wherever it is. The error is ErrClientNotFound if no instance has it, and
// ErrSilent if the one that its id names did not answer.
func (h *Hub) Client(ctx context.Context, id uuid.UUID) (Client, error) {
	return h.askClient(ctx, query{Kind: queryClient, ID: id})
}

// Kick disconnects the client of that id as KICKED, wherever it is, and returns what it was. It returns once the
// instance that has it has done so. The errors are those of Client; with ErrSilent it may be disconnected or not.
func (h *Hub) Kick(ctx context.Context, id uuid.UUID) (Client, error) {
	return h.askClient(ctx, query{Kind: queryKick, ID: id})
}

// askClient asks about one client.
func (h *Hub) askClient(ctx context.Context, q query) (c Client, err error) {
	found := false
	silent, err := h.ask(ctx, q, func(a answer) {
		if len(a.Clients) > 0 {
			c, found = a.Clients[0], true
		}
	})
	switch {
	case err != nil || found:
		return c, err
	case slices.Contains(silent, locate(&q.ID).node):
		return c, ErrSilent
	}
	return c, ErrClientNotFound
}

// Groups lists the cluster's groups whose names begin with prefix in the order of their names, as Clients does clients.
func (h *Hub) Groups(ctx context.Context, prefix, cursor string, limit int) (GroupPage, error) {
	q := query{Kind: queryGroups, Prefix: prefix, Limit: min(max(limit, 1), MaxPage)}
	if err := decodeCursor(cursor, &q.Name); err != nil {
		return GroupPage{}, err
	}
	byName := make(map[string]Group)
	silent, err := h.ask(ctx, q, func(a answer) { sumGroups(byName, a.Groups) })
	if err != nil {
		return GroupPage{}, err
	}
	page := GroupPage{Missing: h.names(silent)}
	for _, g := range byName {
		page.Groups = append(page.Groups, g)
	}
	slices.SortFunc(page.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	if len(page.Groups) >= q.Limit {
		// Every instance named its first ones, as many as fit: what is cut off here, and only that, may be incomplete.
		page.Groups = page.Groups[:q.Limit]
		page.Next = encodeCursor(page.Groups[q.Limit-1].Name)
	}
	return page, nil
}

// sumGroups adds what one instance says of its groups.
func sumGroups(byName map[string]Group, groups []Group) {
	for _, g := range groups {
		sum, ok := byName[g.Name]
		if !ok {
			sum = Group{Name: g.Name, Nodes: make(map[string]int)}
		}
		sum.Members += g.Members
		for node, n := range g.Nodes {
			sum.Nodes[node] += n
		}
		byName[g.Name] = sum
	}
}

// Group returns the group of that name. The error is ErrGroupNotFound if no instance that answered has a member of it.
func (h *Hub) Group(ctx context.Context, name string) (g Group, missing []string, err error) {
	byName := make(map[string]Group)
	silent, err := h.ask(ctx, query{Kind: queryGroup, Name: name}, func(a answer) { sumGroups(byName, a.Groups) })
	if err != nil {
		return g, nil, err
	}
	g, ok := byName[name]
	if !ok {
		err = ErrGroupNotFound
	}
	return g, h.names(silent), err
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

// ask collects what all instances answer to q, and returns those that did not. While the broker is away these are all
// but this one.
func (h *Hub) ask(ctx context.Context, q query, each func(answer)) (silent []broker.NodeID, err error) {
	own, err := h.inspect(ctx, q)
	if err != nil {
		return nil, err
	}
	each(own)
	silent, err = h.gather(ctx, q, func(_ broker.NodeID, a answer) { each(a) })
	if errors.Is(err, broker.ErrUnavailable) {
		return silent, nil
	}
	return silent, err
}

// askOthers collects what the other instances answer to q.
func (h *Hub) askOthers(ctx context.Context, q query, each func(node string, a answer)) (missing []string, err error) {
	names := h.nodeNames()
	silent, err := h.gather(ctx, q, func(from broker.NodeID, a answer) { each(nodeName(names, from), a) })
	if err != nil {
		return nil, err
	}
	return h.names(silent), nil
}

// gather collects what the other instances answer to q, and returns those that did not.
func (h *Hub) gather(ctx context.Context, q query, each func(broker.NodeID, answer)) (silent []broker.NodeID, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		q.Wait = max(time.Until(deadline).Milliseconds(), 1)
	}
	encoded, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode query: %w", err)
	}
	var unreadable []broker.NodeID
	silent, err = h.broker.Gather(ctx, encoded, func(from broker.NodeID, b []byte) {
		var a answer
		if json.Unmarshal(b, &a) == nil {
			each(from, a)
			return
		}
		unreadable = append(unreadable, from) // it answered something that this release can't read
	})
	return append(silent, unreadable...), err
}

// nodeNames returns the names of the live instances.
func (h *Hub) nodeNames() map[broker.NodeID]string {
	names := make(map[broker.NodeID]string)
	for _, n := range h.broker.Nodes() {
		names[n.ID] = n.Name
	}
	return names
}

// names returns the names of instances, sorted.
func (h *Hub) names(ids []broker.NodeID) []string {
	if len(ids) == 0 {
		return nil
	}
	names := h.nodeNames()
	all := make([]string, 0, len(ids))
	for _, id := range ids {
		all = append(all, nodeName(names, id))
	}
	slices.Sort(all)
	return all
}

// nodeName returns the name of an instance, or its id if it is not known.
func nodeName(names map[broker.NodeID]string, id broker.NodeID) string {
	if name := names[id]; name != "" {
		return name
	}
	return NodeName(id)
}

// A cursor is opaque to whoever gets it.
func encodeCursor(v any) string {
	b, _ := json.Marshal(v) // a string or a position: always possible
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(cursor string, v any) error {
	if cursor == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(b, v) != nil {
		return fmt.Errorf("%w: %q", ErrCursor, cursor)
	}
	return nil
}
