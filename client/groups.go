package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/client/internal/move"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

const (
	// identifyGroups is how many groups IDENTIFY can name. Further ones are subscribed to behind it.
	identifyGroups = 32
	// changeTime is how long the hub may take to answer a change, more than it takes at most.
	changeTime = 15 * time.Second
	// earlyBytes bounds what arrives on a new connection while its further groups are subscribed to.
	earlyBytes = 16 << 20
)

// Subscribe makes the Client a member of further groups, and returns once it is: no message that is sent to them from then
// on is missed. It joins all of them or, with an error, none. Without a connection it waits for one until ctx ends, and
// it is repeated where a connection is lost. The groups stay after a reconnect or a move.
//
// The error is a *[GroupError] if the hub refuses, or [ErrNoGroups] if it is of a release without changes of groups. If ctx
// ends first, the Client may or may not become a member.
func (c *Client) Subscribe(ctx context.Context, groups ...string) error {
	for _, g := range groups {
		if err := intent.CheckGroup(g); err != nil {
			return fmt.Errorf("subscribe to %.150q: %w", g, err)
		}
	}
	return c.groups.change(ctx, &groupChange{c: c, op: opcodes.Subscribe, data: changeData{Groups: groups}})
}

// Unsubscribe takes the Client out of groups: the hub sends nothing more of what is sent to them. Messages that have arrived
// by then may still be waiting for their handlers. [Options.Group] can't be left. See Subscribe for the rest.
func (c *Client) Unsubscribe(ctx context.Context, groups ...string) error {
	return c.groups.change(ctx, &groupChange{c: c, op: opcodes.Unsubscribe, data: changeData{Groups: groups}})
}

// SetMeta replaces [Options.Meta], what the Client says of itself; see Subscribe.
func (c *Client) SetMeta(ctx context.Context, meta map[string]string) error {
	if meta == nil {
		meta = map[string]string{}
	}
	return c.groups.change(ctx, &groupChange{c: c, op: opcodes.Subscribe, data: changeData{Meta: maps.Clone(meta)}})
}

// SetWeight sets the Client's share of the ANYs to its groups in relation to those of their other members: 0 to 100, 1 by
// default. With 0 it gets none, and all else. See Subscribe.
func (c *Client) SetWeight(ctx context.Context, weight int) error {
	if weight < 0 || weight > opcodes.MaxWeight {
		return fmt.Errorf("weight %d: want 0 to %d", weight, opcodes.MaxWeight)
	}
	return c.groups.change(ctx, &groupChange{c: c, op: opcodes.Subscribe, data: changeData{Weight: &weight}})
}

// Groups returns the groups that the Client is in: [Options.Group] first, the others in no order.
func (c *Client) Groups() []string {
	c.groups.mu.Lock()
	defer c.groups.mu.Unlock()
	return append([]string{c.opts.Group}, c.groups.further...)
}

// memberships are the groups that a Client is in, what it says of itself, and the changes of both.
//
// One change is carried out at a time, and none while a connection identifies until it sends: so the connection has all
// groups of the time at which it begins.
type memberships struct {
	gate    chan struct{} // holds a token while a change is carried out, or a connection begins
	primary string        // Options.Group

	mu      sync.Mutex
	further []string // beyond Options.Group
	watched []string
	meta    map[string]string
	weight  *int                    // nil for the default
	current *session                // the one that sends, or did last; nil before the first
	arrived chan struct{}           // closed when current is another one
	open    map[string]*groupChange // that wait for their answer, by id
}

func newMemberships(o *Options) *memberships {
	g := &memberships{
		gate: make(chan struct{}, 1), primary: o.Group, arrived: make(chan struct{}), open: make(map[string]*groupChange), meta: o.Meta,
	}
	g.add(slices.DeleteFunc(slices.Clone(o.Groups), func(name string) bool { return name == o.Group }))
	return g
}

// begin waits until no change is carried out. None is until the returned function is called, which may be called again.
func (g *memberships) begin(ctx context.Context) (done func(), err error) {
	select {
	case g.gate <- struct{}{}:
		return sync.OnceFunc(func() { <-g.gate }), nil
	case <-ctx.Done():
		return func() {}, ctx.Err()
	}
}

// use notes which session sends.
func (g *memberships) use(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = s
	close(g.arrived)
	g.arrived = make(chan struct{})
	if s.stale {
		s.stale = false
		go g.catchUp(s) // it ends with the session
	}
}

// sender returns the session that sends, or nil and what to wait for until there is one.
func (g *memberships) sender() (s *session, wait <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil || g.current.hasEnded() {
		return nil, g.arrived
	}
	return g.current, nil
}

// replaced returns a channel that is closed when another session than s sends, at once if one does.
func (g *memberships) replaced(s *session) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != s {
		now := make(chan struct{})
		close(now)
		return now
	}
	return g.arrived
}

func (g *memberships) add(groups []string) { g.further = appendNew(g.further, groups) }

// appendNew appends those names that are not in the list.
func appendNew(list, names []string) []string {
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// without returns the list without some names.
func without(list, names []string) []string {
	return slices.DeleteFunc(list, func(name string) bool { return slices.Contains(names, name) })
}

// has reports whether the Client is in the group.
func (g *memberships) has(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return name == g.primary || slices.Contains(g.further, name)
}

// apply notes a change that the hub has carried out.
func (g *memberships) apply(op opcodes.Op, data *changeData) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if op == opcodes.Unsubscribe {
		g.further, g.watched = without(g.further, data.Groups), without(g.watched, data.Watch)
		return
	}
	g.watched = appendNew(g.watched, data.Watch)
	g.add(slices.DeleteFunc(slices.Clone(data.Groups), func(name string) bool { return name == g.primary }))
	if data.Meta != nil {
		g.meta = data.Meta
	}
	if data.Weight != nil {
		g.weight = data.Weight
	}
}

// complete fills in the data of an IDENTIFY, and returns the groups that it has no room for.
func (g *memberships) complete(data *identify) (rest []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	data.Meta, data.Weight, data.Watch = g.meta, g.weight, slices.Clone(g.watched)
	n := min(len(g.further), identifyGroups-1)
	data.Groups = slices.Clone(g.further[:n])
	return slices.Clone(g.further[n:])
}

// changeData is the data of a SUBSCRIBE or UNSUBSCRIBE.
type changeData struct {
	Groups []string `json:"groups,omitempty"`

	Recover map[string]Position `json:"recover,omitempty"`

	Watch  []string          `json:"watch,omitempty"`
	Meta   map[string]string `json:"meta,omitzero"`
	Weight *int              `json:"weight,omitempty"`

	Exclusive []string `json:"exclusive,omitempty"`
	To        string   `json:"to,omitempty"` // of an UNSUBSCRIBE: the id of who shall hold the groups in Exclusive next
}

// groupChange is a SUBSCRIBE or UNSUBSCRIBE on one session after the other.
type groupChange struct {
	c    *Client
	op   opcodes.Op
	data changeData

	session *session // that the request is on
	done    chan struct{}
	err     error                   // set before done is closed
	holds   map[string]holdStanding // from the answer; set before done is closed
}

// errLost: the connection ended before the answer came.
var errLost = errors.New("the connection was lost")

// change carries out a change, on the next connection where the current one is lost.
func (g *memberships) change(ctx context.Context, ch *groupChange) error {
	for {
		s, wait := g.sender()
		if s == nil {
			select {
			case <-wait:
				continue
			case <-ch.c.done:
				return fmt.Errorf("%v: %w", ch, ch.c.endError())
			case <-ctx.Done():
				return fmt.Errorf("%v: there was no connection: %w", ch, ctx.Err())
			}
		}
		done, err := g.begin(ctx)
		if err != nil {
			return fmt.Errorf("%v: others were before it: %w", ch, err)
		}
		err = g.carryOut(ctx, ch)
		done()
		if !errors.Is(err, errLost) {
			return err
		}
	}
}

// carryOut sends the request on the session that sends. What ends memberships goes first to the one that is being left: it
// still receives.
func (g *memberships) carryOut(ctx context.Context, ch *groupChange) error {
	s, _ := g.sender()
	if s == nil {
		return errLost
	}
	switch {
	case !s.identity.has(opcodes.FeatureGroups.String()):
		return fmt.Errorf("%v: %w", ch, ErrNoGroups)
	case ch.data.Watch != nil && !s.identity.has(opcodes.FeaturePresence.String()):
		return fmt.Errorf("%v: %w", ch, ErrNoPresence)
	}
	old := ch.c.stream.left()
	if ch.op == opcodes.Unsubscribe && old != nil && old != s {
		if err := g.ask(ctx, ch, old); err != nil && !errors.Is(err, errLost) {
			return err
		}
	}
	if ch.op == opcodes.Subscribe && s.identity.has(opcodes.FeatureHistory.String()) {
		ch.data.Recover = ch.c.progress.from(slices.DeleteFunc(slices.Clone(ch.data.Groups), g.has))
	}
	if err := g.ask(ctx, ch, s); err != nil {
		return err
	}
	g.apply(ch.op, &ch.data)
	if ch.op == opcodes.Unsubscribe {
		ch.c.progress.leave(ch.data.Groups)
	}
	if ch.op == opcodes.Subscribe && old != nil {
		g.mu.Lock()
		old.stale = true
		g.mu.Unlock()
	}
	return nil
}

// catchUp makes a session, which sends again after a move that failed, what the Client became meanwhile.
func (g *memberships) catchUp(s *session) {
	done, err := g.begin(s.c.closing)
	defer done()
	if err != nil {
		return
	}
	g.mu.Lock()
	data := changeData{Groups: slices.Clone(g.further), Watch: slices.Clone(g.watched), Meta: g.meta, Weight: g.weight}
	g.mu.Unlock()
	parts := []changeData{{Meta: data.Meta, Weight: data.Weight, Watch: data.Watch}}
	for len(data.Groups) > 0 {
		n, _, err := s.nextRest(data.Groups)
		if err != nil {
			return
		}
		parts = append(parts, s.restData(data.Groups[:n]))
		data.Groups = data.Groups[n:]
	}
	for _, part := range parts {
		if err := g.ask(s.c.closing, &groupChange{c: s.c, op: opcodes.Subscribe, data: part}, s); err != nil {
			s.end(fmt.Errorf("groups that were subscribed to in a move: %w", err)) // the next connection has them
			return
		}
	}
}

// ask sends the request on a session and waits for the answer.
func (g *memberships) ask(ctx context.Context, ch *groupChange, s *session) error {
	id := changePrefix + uuid.NewString()
	frame, err := appendChange(id, ch.op, &ch.data)
	if err != nil {
		return fmt.Errorf("%v: %w", ch, err)
	}
	if limit := s.identity.MaxMessageBytes; limit > 0 && len(frame) > limit {
		return fmt.Errorf("%v: %w: the request has %d bytes, the hub accepts at most %d", ch, ErrTooBig, len(frame), limit)
	}
	g.mu.Lock()
	ch.session, ch.done, ch.err = s, make(chan struct{}), nil
	g.open[id] = ch
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.open, id)
		g.mu.Unlock()
	}()
	timer := time.NewTimer(changeTime)
	defer timer.Stop()
	select {
	case s.requests <- frame:
	case <-s.ended:
		return errLost
	case <-ctx.Done():
		return fmt.Errorf("%v: not sent: %w", ch, ctx.Err())
	}
	select {
	case <-ch.done:
		return ch.err
	case <-s.ended:
		return errLost
	case <-timer.C:
		return fmt.Errorf("%v: %w: no answer for %v", ch, ErrOutcomeUnknown, changeTime)
	case <-ctx.Done():
		return fmt.Errorf("%v: %w: %w", ch, ErrOutcomeUnknown, ctx.Err())
	}
}

// String says what the change is, for errors.
func (ch *groupChange) String() string {
	switch {
	case ch.data.Watch != nil && ch.op == opcodes.Unsubscribe:
		return fmt.Sprintf("end the watch of %.150q", ch.data.Watch)
	case ch.data.Watch != nil:
		return fmt.Sprintf("watch %.150q", ch.data.Watch)
	case ch.op == opcodes.Unsubscribe:
		return fmt.Sprintf("unsubscribe from %.150q", append(slices.Clone(ch.data.Groups), ch.data.Exclusive...))
	case ch.data.Exclusive != nil:
		return fmt.Sprintf("claim of %.150q", ch.data.Exclusive)
	case ch.data.Groups != nil:
		return fmt.Sprintf("subscribe to %.150q", ch.data.Groups)
	}
	return "change of meta or weight"
}

// changePrefix begins the ids of requests.
const changePrefix = "groups:"

// appendChange returns a SUBSCRIBE or UNSUBSCRIBE.
func appendChange(id string, op opcodes.Op, data *changeData) ([]byte, error) {
	return json.Marshal(struct {
		Op   opcodes.Op  `json:"op"`
		ID   string      `json:"id"`
		Data *changeData `json:"data"`
	}{op, id, data})
}

// parseChanged reads an answer, or what the hub says of a change that the Client did not ask for.
func parseChanged(w *wireMessage) (data changed, refused *GroupError, err error) {
	var d struct {
		Groups    []string       `json:"groups"`
		Exclusive jsontext.Value `json:"exclusive"` // of a SUBSCRIBE: an object

		History map[string]Position `json:"history"`

		Error *struct {
			Code    opcodes.ErrorCode `json:"code"`
			Group   string            `json:"group"`
			Message string            `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(w.Data, &d, readOptions); err != nil {
		return data, nil, fmt.Errorf("malformed %v from the hub: %w", w.Op, err)
	}
	if d.Error != nil {
		refused = &GroupError{Op: w.Op, Code: d.Error.Code, Group: d.Error.Group, Message: d.Error.Message}
	}
	data.groups, data.history = d.Groups, d.History
	if w.Op == opcodes.Subscribe && d.Exclusive != nil {
		if err := json.Unmarshal(d.Exclusive, &data.holds, readOptions); err != nil {
			return data, nil, fmt.Errorf("malformed %v from the hub: %w", w.Op, err)
		}
	}
	return data, refused, nil
}

// changed is the data of an answer.
type changed struct {
	groups  []string
	holds   map[string]holdStanding
	history map[string]Position
}

// handleChanged handles an answer, or a change that an operator made.
func (s *session) handleChanged(w *wireMessage) error {
	data, refused, err := parseChanged(w)
	if err != nil {
		return err
	}
	s.tellJoined([]map[string]Position{data.history})
	g := s.c.groups
	if w.ID == "" {
		for group, st := range data.holds {
			if h := s.c.holds.find(group); h != nil {
				h.told(s, st)
			}
		}
		if data.groups != nil {
			g.apply(w.Op, &changeData{Groups: data.groups})
			if w.Op == opcodes.Unsubscribe {
				s.c.progress.leave(data.groups)
			}
			s.c.opts.Logger.Info("mastersocket: an operator changed the groups", "op", w.Op, "groups", data.groups)
		}
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ch := g.open[w.ID]
	if ch == nil || ch.session != s {
		return nil
	}
	delete(g.open, w.ID)
	if refused != nil {
		ch.err = refused
	}
	ch.holds = data.holds
	close(ch.done)
	return nil
}

// subscribeRest subscribes a connection that has just identified to the groups that IDENTIFY had no room for. What else
// arrives meanwhile is kept for the reader.
func (s *session) subscribeRest(ctx context.Context, groups []string) error {
	if len(groups) == 0 {
		return nil
	}
	if !s.identity.has(opcodes.FeatureGroups.String()) {
		return fmt.Errorf("subscribe to %d further groups: %w", len(groups), ErrNoGroups)
	}
	for len(groups) > 0 {
		n, frame, err := s.nextRest(groups)
		if err != nil {
			return err
		}
		groups = groups[n:]
		if err := s.conn.Write(ctx, websocket.MessageText, frame); err != nil {
			return fmt.Errorf("SUBSCRIBE: %w", contextError(ctx, err))
		}
		if err := s.awaitRest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// claim claims exclusive groups on a connection that has just identified.
func (s *session) claim(ctx context.Context, groups []string) error {
	frame, err := appendChange(changePrefix, opcodes.Subscribe, &changeData{Exclusive: groups})
	if err != nil {
		return fmt.Errorf("SUBSCRIBE: %w", err)
	}
	if err := s.conn.Write(ctx, websocket.MessageText, frame); err != nil {
		return fmt.Errorf("SUBSCRIBE: %w", contextError(ctx, err))
	}
	return s.awaitRest(ctx)
}

// nextRest returns a SUBSCRIBE to the first of the groups, as many as fit into one.
func (s *session) nextRest(groups []string) (n int, frame []byte, err error) {
	for n = min(len(groups), 256); ; n = (n + 1) / 2 {
		data := s.restData(groups[:n])
		frame, err = appendChange(changePrefix, opcodes.Subscribe, &data)
		if err != nil {
			return 0, nil, fmt.Errorf("SUBSCRIBE: %w", err)
		}
		if limit := s.identity.MaxMessageBytes; limit == 0 || len(frame) <= limit || n <= 1 {
			return n, frame, nil
		}
	}
}

// restData returns the data of a SUBSCRIBE to groups that the Client has joined before, on other connections.
func (s *session) restData(groups []string) changeData {
	data := changeData{Groups: groups}
	if s.identity.has(opcodes.FeatureHistory.String()) {
		data.Recover = s.c.progress.from(groups)
	}
	return data
}

// awaitRest waits for the answer to a SUBSCRIBE of subscribeRest.
func (s *session) awaitRest(ctx context.Context) error {
	for {
		raw, err := s.read(ctx)
		if err != nil {
			return fmt.Errorf("SUBSCRIBE: %w", contextError(ctx, err))
		}
		w, err := parseWire(raw)
		if err != nil {
			return err
		}
		switch {
		case w.Op == opcodes.Subscribe && w.ID == changePrefix:
			data, refused, err := parseChanged(w)
			if refused != nil {
				return refused
			}
			s.joinedEarly(data.history)
			return err
		case w.Op == opcodes.Ping:
			if err := s.conn.Write(ctx, websocket.MessageText, pongFrame); err != nil {
				return fmt.Errorf("PONG: %w", contextError(ctx, err))
			}
		case w.Op == opcodes.Disconnect:
			s.disconnect(w)
		default:
			if s.earlySize += len(raw); s.earlySize > earlyBytes {
				return fmt.Errorf("SUBSCRIBE: more than %d bytes arrived before its answer", earlyBytes)
			}
			s.early = append(s.early, slices.Clone(raw))
		}
	}
}

// left returns the connection that the client is about to leave, which still receives; nil for none.
func (st *stream) left() *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	if p := st.machine.Phase(); p != move.Lingering && p != move.Clearing {
		return nil
	}
	return st.sessions[move.Old]
}
