package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// An instance looks for the answer to another's query as long as that waits, maxAnswer at most, and answerTimeout if it
// does not say.
const (
	answerTimeout = time.Second
	maxAnswer     = 10 * time.Second
)

// A loop looks at so many places, or describes so many clients, before it goes on with its other work: either takes it
// some tens of microseconds.
const (
	inspectSlots    = 512
	inspectDescribe = 16
)

// Answer implements broker.Handler.
func (r remote) Answer(encoded []byte) []byte {
	var q query
	if err := json.Unmarshal(encoded, &q); err != nil {
		return nil
	}
	wait := answerTimeout
	if q.Wait > 0 {
		wait = time.Duration(min(q.Wait, maxAnswer.Milliseconds())) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	a, err := r.hub.inspect(ctx, q)
	if err != nil {
		return nil
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return b
}

// inspect answers q for this instance.
func (h *Hub) inspect(ctx context.Context, q query) (answer, error) {
	q.Limit = min(max(q.Limit, 0), MaxPage)
	switch q.Kind {
	case queryClients:
		return h.inspectClients(ctx, q)
	case queryClient, queryKick:
		return h.inspectClient(ctx, q)
	case queryGroups:
		return answer{Groups: h.groups.list(q.Prefix, q.Name, q.Limit, h.node.Name)}, nil
	case queryGroup:
		return answer{Groups: h.groups.one(q.Name, h.node.Name)}, nil
	case queryNode:
		status := h.status()
		return answer{Node: &status}, nil
	case queryReceipt:
		return answer{Receipt: h.receipts.tally(q.ID)}, nil
	case queryLoad:
		return answer{Load: h.load()}, nil
	case queryShed:
		l, err := h.shed(ctx, q.Shed[NodeName(h.node.ID)], time.Duration(q.Over)*time.Millisecond)
		return answer{Load: l}, err
	case askServices:
		return h.answerService(q), nil
	}
	return answer{}, nil
}

// inspectClient looks for one client, and disconnects it if that is asked for.
func (h *Hub) inspectClient(ctx context.Context, q query) (answer, error) {
	sh := h.shardOf(&q.ID)
	if sh == nil {
		return answer{}, nil
	}
	clients, err := sh.inspect(ctx, func(i *inspection) {
		i.finished = true
		s := sh.client(&q.ID)
		if s == nil {
			return
		}
		i.found = append(i.found, s.describe())
		if q.Kind == queryKick {
			s.disconnect(opcodes.Kicked)
		}
	})
	return answer{Clients: clients}, err
}

// inspectClients lists clients loop by loop, which is their order.
func (h *Hub) inspectClients(ctx context.Context, q query) (answer, error) {
	var a answer
	if q.Filter.Node != "" && q.Filter.Node != h.node.Name {
		return a, nil
	}
	for _, sh := range h.shards {
		if last := (position{h.node.ID, sh.index, ^uint32(0), true}); !last.behind(q.After) {
			continue
		}
		first := uint32(0)
		if here := (position{h.node.ID, sh.index, 0, true}); q.After.Set && here.Node == q.After.Node && here.Loop == q.After.Loop {
			first = q.After.Slot + 1
		}
		limit := q.Limit - len(a.Clients)
		found, err := sh.inspect(ctx, func(i *inspection) { sh.scanClients(i, &q.Filter, first, limit) })
		if err != nil {
			return a, err
		}
		if a.Clients = append(a.Clients, found...); len(a.Clients) >= q.Limit {
			break
		}
	}
	a.cut(h.answerBytes)
	return a, nil
}

// answerBytes bounds an answer: a broker refuses those that are much larger. It has room for MaxPage usual clients, and
// for some hundred of those that say of themselves as much as they may.
const answerBytes = 12 << 20

// cut drops the clients that an answer of so many bytes has no room for.
func (a *answer) cut(most int) {
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
	const rest, escaped = 512, 6 // the names of the members and the numbers; a byte of text, as in \u0001
	n := len(c.Node) + len(c.Type) + len(c.Name) + len(c.Version) + len(c.Token) + len(c.Subject)
	for _, g := range c.Groups {
		n += len(g)
	}
	for k, v := range c.Meta {
		n += len(k) + len(v)
	}
	return rest + escaped*n + 4*(len(c.Groups)+2*len(c.Meta))
}

// inspection is a look at the sessions of a loop, a part of them at a time.
type inspection struct {
	shard    *shard
	step     func(*inspection)
	next     uint32 // the slot to go on with
	found    []Client
	finished bool
	done     chan []Client // has room for the result, so that nobody waits for whoever gave up
}

// inspect runs step on the shard's loop until it sets finished.
func (sh *shard) inspect(ctx context.Context, step func(*inspection)) ([]Client, error) {
	i := &inspection{shard: sh, step: step, done: make(chan []Client, 1)}
	if !sh.loop.Post(i) {
		return nil, ErrDraining
	}
	select {
	case found := <-i.done:
		return found, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Deliver implements transport.Mail.
func (i *inspection) Deliver(l *transport.Loop) {
	i.step(i)
	if i.finished || !l.Post(i) {
		i.done <- i.found
	}
}

// Size implements transport.Mail.
func (i *inspection) Size() int { return 0 }

// scanClients looks at some slots of the loop, from first on.
func (sh *shard) scanClients(i *inspection, f *Filter, first uint32, limit int) {
	slots := sh.loop.Slots()
	i.next = max(i.next, first)
	enough := min(len(i.found)+inspectDescribe, limit)
	for end := i.next + inspectSlots; i.next < slots && i.next < end && len(i.found) < enough; i.next++ {
		c := sh.loop.Conn(i.next)
		if c == nil {
			continue
		}
		if s, ok := c.Session().(*session); ok && s.phase == phaseIdentified && s.matches(f) {
			i.found = append(i.found, s.describe())
		}
	}
	i.finished = i.next >= slots || len(i.found) >= limit
}

// matches reports whether the client is one that the filter lets through.
func (s *session) matches(f *Filter) bool {
	if f.Type != "" && s.shard.hub.typeName(s.kind) != f.Type {
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

// matchesName reports whether a client's name is the one that is looked for, or begins with what stands before its *.
func matchesName(name, wanted string) bool {
	if prefix, ok := strings.CutSuffix(wanted, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return name == wanted
}

// memberOf reports whether the client is in the group of that name.
func (s *session) memberOf(name string) bool {
	if s.first.group == nil {
		return false
	}
	return s.first.group.name == name ||
		s.more != nil && slices.ContainsFunc(*s.more, func(p place) bool { return p.group.name == name })
}

func (s *session) groupNames() []string {
	if s.first.group == nil {
		return []string{}
	}
	names := []string{s.first.group.name}
	if s.more != nil {
		for _, p := range *s.more {
			names = append(names, p.group.name)
		}
	}
	return names
}

// describe makes what operators see of the client.
func (s *session) describe() Client {
	c := Client{
		ID: s.id, Node: s.shard.hub.node.Name, Type: s.shard.hub.typeName(s.kind), Groups: s.groupNames(), Token: s.tokenName(),
		ConnectedSince: time.Unix(int64(s.since), 0).UTC(), IdleMillis: s.conn.Idle().Milliseconds(),
		QueueBytes: s.conn.QueueBytes(), StalledMillis: s.conn.Stalled().Milliseconds(), MessagesIn: uint64(s.sent),
	}
	traffic := s.conn.Traffic()
	c.BytesIn, c.BytesOut, c.MessagesOut = traffic.BytesIn, traffic.BytesOut, traffic.MessagesOut
	if a := s.conn.RemoteAddr(); a.IsValid() {
		c.Address = a.String()
	}
	if s.about != nil {
		c.Name, c.Version, c.Meta = s.about.name, s.about.version, s.about.meta
		c.Subject = s.about.subject
	}
	return c
}

// list returns the groups with members here whose names begin with prefix and come behind after, in the order of their
// names.
func (r *registry) list(prefix, after string, limit int, node string) []Group {
	var all []Group
	for i := range r.shards {
		s := &r.shards[i]
		s.RLock()
		for name, g := range s.groups {
			if n := g.total(); n > 0 && name > after && strings.HasPrefix(name, prefix) {
				all = append(all, Group{Name: name, Members: n})
			}
		}
		s.RUnlock()
	}
	slices.SortFunc(all, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	all = all[:min(limit, len(all))]
	for i := range all {
		all[i].Nodes = map[string]int{node: all[i].Members}
	}
	return all
}

// one returns the group of that name if it has members here.
func (r *registry) one(name, node string) []Group {
	g := r.find([]byte(name))
	if g == nil {
		return nil
	}
	n := g.total()
	if n == 0 {
		return nil
	}
	return []Group{{Name: name, Members: n, Nodes: map[string]int{node: n}}}
}
