package hub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/opcodes"
)

// This file tells operators which clients are connected to the cluster. Nothing is kept for it: each instance answers when
// it is asked.

// Client is a client as operators, and instances that ask each other, see it.
type Client struct {
	ID             uuid.UUID         `json:"id" format:"uuid"`
	Node           string            `json:"node" doc:"Name of its instance."`
	Type           string            `json:"type" doc:"Its service type." example:"service"`
	Name           string            `json:"name" doc:"Name from its IDENTIFY; empty if it sent none."`
	Version        string            `json:"version" doc:"Version from its IDENTIFY; empty if it sent none."`
	Groups         []string          `json:"groups" nullable:"false"`
	Weight         *int              `json:"weight" doc:"Its share of the ANYs to its groups; null if its instance is of a release without weights."`
	Meta           map[string]string `json:"meta" doc:"Meta from its IDENTIFY."`
	Address        string            `json:"address" doc:"Remote address, host:port; empty if the connection is broken."`
	Token          string            `json:"token" doc:"Name of its token, never the token itself. For a signed token or a certificate: name of the entry in the tokens file that grants its rights."`
	Subject        string            `json:"subject" doc:"Subject of its signed token (claim sub) or certificate; empty for other tokens." example:"system:serviceaccount:shop:billing"`
	ConnectedSince time.Time         `json:"connected_since" doc:"Time of its IDENTIFY."`
	IdleMillis     int64             `json:"idle_ms" doc:"Milliseconds since the last bytes from it."`
	LastSeen       time.Time         `json:"last_seen" doc:"Time of the last bytes from it."`
	MessagesIn     uint64            `json:"messages_in" doc:"EVENT, REPLY and FENCE messages from it."`
	MessagesOut    uint64            `json:"messages_out" doc:"Messages written to it completely, PING, ACK and others of the hub included."`
	BytesIn        uint64            `json:"bytes_in"`
	BytesOut       uint64            `json:"bytes_out"`
	QueueBytes     int               `json:"queue_bytes" doc:"Unsent bytes. A client beyond send_queue_bytes is disconnected as SLOW_CONSUMER."`
	OpenRequests   int               `json:"open_requests" doc:"Requests of the client that are not settled yet."`
	OwedAnswers    int               `json:"owed_answers" doc:"Requests of others that the client has got, and neither answered nor passed."`
	StalledMillis  int64             `json:"stalled_ms" doc:"Milliseconds since the last of the unsent bytes left; 0 without any. At write_timeout the client is disconnected as SLOW_CONSUMER."`
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

// Errors of Client and Kick.
var (
	ErrClientNotFound = errors.New("no such client")
	// ErrSilent: the instance that could tell did not answer.
	ErrSilent = errors.New("the instance that the client is on did not answer")
)

// clientsAsked asks for an instance's clients behind a place.
type clientsAsked struct {
	Filter Filter   `json:"filter"`
	After  position `json:"after"`
	Limit  int      `json:"limit"`
}

// clientAsked asks for one client.
type clientAsked struct {
	ID uuid.UUID `json:"id"`
}

// clientsFound is an instance's answer to both.
type clientsFound struct {
	Clients []Client `json:"clients,omitempty"`
	Cut     bool     `json:"cut,omitempty"` // Clients ends before the limit though others follow: it would be too large
}

var (
	clientsQuestion = question[clientsAsked, clientsFound]{"clients", (*Hub).clientsHere}
	clientQuestion  = question[clientAsked, clientsFound]{"client", (*Hub).clientHere}
	kickQuestion    = question[clientAsked, clientsFound]{"kick", (*Hub).kickHere}
)

// position is a client's place in the order of lists: instance, loop, slot. It stays while the client is connected, so
// that a client that is connected from the first to the last page is on exactly one of them.
type position struct {
	Node broker.NodeID `json:"node"`
	Loop int           `json:"loop"`
	Slot uint32        `json:"slot"`
	Set  bool          `json:"set"` // false: before all
}

func positionOf(id *uuid.UUID) position {
	at := clientid.Locate(id)
	return position{at.Node, at.Loop, at.Slot, true}
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.Node, q.Node), cmp.Compare(p.Loop, q.Loop), cmp.Compare(p.Slot, q.Slot))
}

// behind reports whether p comes after the cursor q.
func (p position) behind(q position) bool { return !q.Set || p.compare(q) > 0 }

// Clients lists the cluster's clients that match, limit of them at most (1 to MaxPage), behind the cursor of an earlier
// page, or from the first for an empty one. A page may be shorter though others follow. It waits for other instances until
// ctx ends. The error is ErrCursor, or ctx's if this instance itself did not answer in time.
//
// Instances are asked in the order of their clients' places, as many as the page needs.
func (h *Hub) Clients(ctx context.Context, f Filter, cursor string, limit int) (ClientPage, error) {
	q := clientsAsked{Filter: f, Limit: min(max(limit, 1), MaxPage)}
	if err := decodeCursor(cursor, &q.After); err != nil {
		return ClientPage{}, err
	}
	var page ClientPage
	var silent []broker.NodeID
	var until *position // the end of the shortest list that was cut: what lies behind it is not known of all instances
	left := h.nodesBehind(q.After, f.Node)
	for round := 0; len(left) > 0 && until == nil && len(page.Clients) < q.Limit && ctx.Err() == nil; round++ {
		n := nodesToAsk(left, q.Limit-len(page.Clients), f, round)
		more, err := clientsQuestion.askAmong(ctx, h, nodeIDs(left[:n]), q, func(a clientsFound) {
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
		silent, left = append(silent, more...), left[n:]
	}
	if ctx.Err() != nil && len(page.Clients) < q.Limit {
		silent = append(silent, nodeIDs(left)...)
	}
	page.Missing = h.namesOf(silent)
	slices.SortFunc(page.Clients, func(a, b Client) int { return positionOf(&a.ID).compare(positionOf(&b.ID)) })
	if until != nil {
		page.Clients = slices.DeleteFunc(page.Clients, func(c Client) bool { return positionOf(&c.ID).behind(*until) })
	}
	if len(page.Clients) >= q.Limit || until != nil {
		page.Clients = page.Clients[:min(q.Limit, len(page.Clients))]
		page.Next = encodeCursor(positionOf(&page.Clients[len(page.Clients)-1].ID))
	}
	now := time.Now()
	for i := range page.Clients {
		page.Clients[i].complete(now)
	}
	return page, nil
}

// nodesBehind lists the instances, by id, that may have clients behind the cursor, all or those of that name.
func (h *Hub) nodesBehind(after position, name string) []broker.Node {
	return slices.DeleteFunc(h.broker.Nodes(), func(n broker.Node) bool {
		return after.Set && n.ID < after.Node || name != "" && n.Name != name
	})
}

// nodesToAsk returns how many of nodes to ask in a round for as many clients as are missing. Without a filter the numbers
// of clients tell. With one, twice as many are asked each time.
func nodesToAsk(nodes []broker.Node, missing int, f Filter, round int) int {
	if f = (Filter{f.Group, f.Type, f.Name, "", f.MinQueue}); f != (Filter{}) {
		return min(4<<min(round, 10), len(nodes))
	}
	n := 0
	for missing > 0 && n < len(nodes) {
		missing -= nodes[n].Clients
		n++
	}
	return n
}

func nodeIDs(nodes []broker.Node) []broker.NodeID {
	ids := make([]broker.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	return ids
}

// Client returns the client of that id, wherever it is. The error is ErrClientNotFound if no instance has it, and
// ErrSilent if the one that its id names did not answer.
func (h *Hub) Client(ctx context.Context, id uuid.UUID) (Client, error) {
	return h.findClient(ctx, clientQuestion, id)
}

// Kick disconnects the client of that id as KICKED, wherever it is, and returns what it was. It returns once the
// instance that has it has done so. The errors are those of Client; with ErrSilent it may be disconnected or not.
func (h *Hub) Kick(ctx context.Context, id uuid.UUID) (Client, error) {
	return h.findClient(ctx, kickQuestion, id)
}

// findClient asks the instance that the id names about one client.
func (h *Hub) findClient(ctx context.Context, k question[clientAsked, clientsFound], id uuid.UUID) (c Client, err error) {
	node := clientid.Locate(&id).Node
	if !slices.ContainsFunc(h.broker.Nodes(), func(n broker.Node) bool { return n.ID == node }) {
		return c, ErrClientNotFound
	}
	found := false
	silent, err := k.askAmong(ctx, h, []broker.NodeID{node}, clientAsked{id}, func(a clientsFound) {
		if len(a.Clients) > 0 {
			c, found = a.Clients[0], true
		}
	})
	switch {
	case err != nil:
		return c, err
	case found:
		c.complete(time.Now())
		return c, nil
	case len(silent) > 0:
		return c, ErrSilent
	}
	return c, ErrClientNotFound
}

// complete fills in what does not travel between instances.
func (c *Client) complete(now time.Time) {
	c.LastSeen = now.Add(-time.Duration(c.IdleMillis) * time.Millisecond).UTC()
	if c.Groups == nil {
		c.Groups = []string{}
	}
	if c.Meta == nil {
		c.Meta = map[string]string{}
	}
}

// clientHere looks for one client of this instance.
func (h *Hub) clientHere(ctx context.Context, q clientAsked) (clientsFound, error) {
	return h.withClient(ctx, q.ID, func(*session) {})
}

// kickHere disconnects one client of this instance.
func (h *Hub) kickHere(ctx context.Context, q clientAsked) (clientsFound, error) {
	return h.withClient(ctx, q.ID, func(s *session) { s.disconnect(opcodes.Kicked) })
}

// withClient describes a client of this instance, if there is one of that id, and calls then for it on its loop.
func (h *Hub) withClient(ctx context.Context, id uuid.UUID, then func(*session)) (clientsFound, error) {
	sh := h.shardOf(&id)
	if sh == nil {
		return clientsFound{}, nil
	}
	result := make(chan clientsFound, 1) // has room for the result: the asker may have given up
	posted := sh.loop.Post(task(func() {
		var found clientsFound
		if s := sh.client(&id); s != nil {
			found.Clients = []Client{s.describe()}
			then(s)
		}
		result <- found
	}))
	if !posted {
		return clientsFound{}, ErrDraining
	}
	return receive(ctx, result)
}

// describedClients is how many clients a loop describes before it goes on with its other work.
const describedClients = 16

// clientsHere lists this instance's clients loop by loop, which is their order.
func (h *Hub) clientsHere(ctx context.Context, q clientsAsked) (clientsFound, error) {
	var found clientsFound
	if q.Filter.Node != "" && q.Filter.Node != h.node.Name {
		return found, nil
	}
	q.Limit = min(max(q.Limit, 0), MaxPage)
	for _, sh := range h.shards {
		if last := (position{h.node.ID, sh.index, ^uint32(0), true}); !last.behind(q.After) {
			continue
		}
		first := uint32(0)
		if q.After.Set && q.After.Node == h.node.ID && q.After.Loop == sh.index {
			first = q.After.Slot + 1
		}
		if len(found.Clients) >= q.Limit {
			break
		}
		clients, err := sh.clients(ctx, &q.Filter, first, q.Limit-len(found.Clients))
		if err != nil {
			return found, err
		}
		found.Clients = append(found.Clients, clients...)
	}
	found.cut(h.answerBytes)
	return found, nil
}

// clients lists limit clients of the loop at most, from a slot on. limit is 1 at least.
func (sh *shard) clients(ctx context.Context, f *Filter, first uint32, limit int) ([]Client, error) {
	var found []Client
	result := make(chan []Client, 1) // has room for the result: the asker may have given up
	t := &tour{next: first, visits: describedClients, done: func() { result <- found }}
	t.visit = func(s *session) (counts, on bool) {
		if s.phase != phaseIdentified || !s.matches(f) {
			return false, true
		}
		found = append(found, s.describe())
		return true, len(found) < limit
	}
	t.start(sh)
	return receive(ctx, result)
}

// answerBytes bounds an answer: a broker refuses those that are much larger. It has room for MaxPage usual clients, and
// for some hundred of those that say of themselves as much as they may.
const answerBytes = 12 << 20

// cut drops the clients that an answer of so many bytes has no room for.
func (a *clientsFound) cut(most int) {
	size := 0
	for i := range a.Clients {
		if size += a.Clients[i].size(); size > most && i > 0 {
			a.Clients, a.Cut = a.Clients[:i], true
			return
		}
	}
}

// size returns how many bytes of JSON the client takes at most.
func (c *Client) size() int {
	const rest, escaped = 640, 6 // the names of the members and the numbers; a byte of text, as in \u0001
	n := len(c.Node) + len(c.Type) + len(c.Name) + len(c.Version) + len(c.Token) + len(c.Subject)
	for _, g := range c.Groups {
		n += len(g)
	}
	for k, v := range c.Meta {
		n += len(k) + len(v)
	}
	return rest + escaped*n + 4*(len(c.Groups)+2*len(c.Meta))
}

// matches reports whether the client is one that the filter lets through.
func (s *session) matches(f *Filter) bool {
	if f.Type != "" && s.shard.hub.typeNames[s.kind] != f.Type {
		return false
	}
	if f.MinQueue > 0 && s.conn.QueueBytes() < f.MinQueue {
		return false
	}
	if f.Name != "" && (s.about == nil || !matchesName(s.about.name, f.Name)) {
		return false
	}
	return f.Group == "" || s.memberOf(f.Group)
}

// matchesName reports whether a client's name is wanted, or begins with what stands before the * of wanted.
func matchesName(name, wanted string) bool {
	if prefix, ok := strings.CutSuffix(wanted, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return name == wanted
}

// describe makes what operators see of the client.
func (s *session) describe() Client {
	c := Client{
		ID: s.id, Node: s.shard.hub.node.Name, Type: s.shard.hub.typeNames[s.kind], Groups: s.groupNames(), Token: s.tokenName(),
		ConnectedSince: time.Unix(int64(s.since), 0).UTC(), IdleMillis: s.conn.Idle().Milliseconds(),
		QueueBytes: s.conn.QueueBytes(), StalledMillis: s.conn.Stalled().Milliseconds(), MessagesIn: uint64(s.sent),
	}
	traffic := s.conn.Traffic()
	c.BytesIn, c.BytesOut, c.MessagesOut = traffic.BytesIn, traffic.BytesOut, traffic.MessagesOut
	c.OpenRequests, c.OwedAnswers = s.openRequests(), s.owedAnswers()
	if a := s.conn.RemoteAddr(); a.IsValid() {
		c.Address = a.String()
	}
	weight := int(s.weight)
	c.Weight = &weight
	if s.about != nil {
		c.Name, c.Version, c.Meta = s.about.name, s.about.version, s.about.meta
		c.Subject = s.about.subject
	}
	return c
}
