package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Member is a member of a group that the Client watches.
type Member struct {
	ID      string            `json:"id"` // changes when the member moves to another connection
	Name    string            `json:"name,omitempty"`
	Version string            `json:"version,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
	Weight  int               `json:"weight"` // its share of the ANYs of its groups
	Node    string            `json:"node"`   // the name of the hub's instance that it is connected to
	Since   time.Time         `json:"since"`  // of its IDENTIFY
}

// Departure is a member that left, and why: a reason of DISCONNECT, UNSUBSCRIBED, LOST or INSTANCE_LOST. The reason is empty
// where the member left while this Client was not connected.
type Departure struct {
	Member Member
	Reason string
}

// Move is a member that has another connection, and another id.
type Move struct {
	From string // its former id
	To   Member
}

// PresenceChange is what changed in a group.
type PresenceChange struct {
	Joined  []Member
	Left    []Departure
	Moved   []Move
	Updated []Member // with another meta or weight
	// Totals tells that Watch.Missing or Watch.Count return something else than before. If the group has become too large for
	// its members to be told, the set is empty now, and nothing is in Left.
	Totals bool
}

func (p *PresenceChange) isEmpty() bool {
	return len(p.Joined)+len(p.Left)+len(p.Moved)+len(p.Updated) == 0 && !p.Totals
}

// WatchOptions configures a [Watch].
type WatchOptions struct {
	// OnChange is called for each change, and once when it is known who is there: then all of them have joined. The goroutine
	// that calls handlers calls it too.
	OnChange func(w *Watch, change PresenceChange)
}

// Watch is the set of the members of a group. Its methods may be called by any goroutine. The set changes right before the
// call of OnChange that says so. It stays through reconnects and moves of the Client; after a reconnect OnChange gets the
// difference.
type Watch struct {
	c     *Client
	group string
	opts  WatchOptions
	known chan struct{} // closed once the set is known

	mu      sync.Mutex // guards what others may ask for
	members map[string]Member
	count   int // of a group that is too large; -1: the members are known
	missing []string
	ready   bool

	// Guarded by watches.mu.
	views []*view // of the sessions, in the order of their first frames
	shown view    // what OnChange is told of, or is about to be
}

// view is what one session was told of the group.
type view struct {
	session *session
	members map[string]Member
	whole   bool // it has the whole snapshot
	count   int  // -1: members
	missing []string
}

// watches are a Client's Watches.
type watches struct {
	mu  sync.Mutex
	all map[string]*Watch
}

// Errors of Client.Watch.
var (
	// ErrNoPresence: the hub is of a release without presence.
	ErrNoPresence = errors.New("the hub does not tell who is in a group")
	// ErrWatched: the Client watches the group already.
	ErrWatched = errors.New("the group is watched already")
)

// Watch makes the Client a watcher of a group, and returns once it is known who is in it. The Client need not be a member,
// but its token needs the right to watch the group. At most 64 groups can be watched.
//
// The error is a *[GroupError] if the hub refuses, [ErrNoPresence] if it can't tell, or [ErrWatched].
func (c *Client) Watch(ctx context.Context, group string, o WatchOptions) (*Watch, error) {
	if err := intent.CheckGroup(group); err != nil {
		return nil, fmt.Errorf("watch %.150q: %w", group, err)
	}
	w := &Watch{c: c, group: group, opts: o, known: make(chan struct{}), members: make(map[string]Member), count: -1, shown: view{count: -1}}
	if !c.watches.add(w) {
		return nil, fmt.Errorf("watch %q: %w", group, ErrWatched)
	}
	if err := c.groups.change(ctx, &groupChange{c: c, op: opcodes.Subscribe, data: changeData{Watch: []string{group}}}); err != nil {
		c.watches.remove(w)
		return nil, err
	}
	select {
	case <-w.known:
		return w, nil
	case <-c.done:
		return nil, fmt.Errorf("watch %q: %w", group, c.endError())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("watch %q: %w", group, ctx.Err()), w.Close(context.WithoutCancel(ctx)))
	}
}

// Close ends the Watch. OnChange may still be called for what has arrived before.
func (w *Watch) Close(ctx context.Context) error {
	w.c.watches.remove(w)
	return w.c.groups.change(ctx, &groupChange{c: w.c, op: opcodes.Unsubscribe, data: changeData{Watch: []string{w.group}}})
}

// Group returns the name of the group.
func (w *Watch) Group() string { return w.group }

// Members returns the members, in the order of their ids. It returns none for a group that is too large: see Count.
func (w *Watch) Members() []Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Collect(maps.Values(w.members))
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Count returns how many members the group has, and whether Members has them: the hub tells only the number of those of a
// group that is too large.
func (w *Watch) Count() (n int, named bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= 0 {
		return w.count, false
	}
	return len(w.members), true
}

// Missing returns the names of the instances that don't answer. Of their members the set has those that were known before.
func (w *Watch) Missing() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.missing)
}

// add adds w. It returns false if there is one of the same group.
func (ws *watches) add(w *Watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all[w.group] != nil {
		return false
	}
	if ws.all == nil {
		ws.all = make(map[string]*Watch)
	}
	ws.all[w.group] = w
	return true
}

func (ws *watches) remove(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all[w.group] == w {
		delete(ws.all, w.group)
	}
}

// ended forgets what a session was told. What another one was told, in a move, is shown from now on.
func (ws *watches) ended(s *session) {
	ws.mu.Lock()
	var all []func()
	for _, w := range ws.all {
		w.views = slices.DeleteFunc(w.views, func(v *view) bool { return v.session == s })
		if f := w.choose(); f != nil {
			all = append(all, f)
		}
	}
	ws.mu.Unlock()
	for _, f := range all {
		s.c.inbox.announce(delivery{hook: f})
	}
}

// presenceData is the data of a PRESENCE.
type presenceData struct {
	Group    string        `json:"group"`
	Members  *[]wireMember `json:"members"`
	Complete bool          `json:"complete"`
	Joined   []wireMember  `json:"joined"`
	Updated  []wireMember  `json:"updated"`
	Left     []struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
	} `json:"left"`
	Moved []struct {
		From string     `json:"from"`
		To   wireMember `json:"to"`
	} `json:"moved"`
	Missing *[]string `json:"missing"`
	Count   *int      `json:"count"`
}

// wireMember is a Member whose weight may be left out.
type wireMember struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta"`
	Weight  *int              `json:"weight"`
	Node    string            `json:"node"`
	Since   time.Time         `json:"since"`
}

func (m *wireMember) member() Member {
	weight := opcodes.DefaultWeight
	if m.Weight != nil {
		weight = *m.Weight
	}
	return Member{ID: m.ID, Name: m.Name, Version: m.Version, Meta: m.Meta, Weight: weight, Node: m.Node, Since: m.Since}
}

// handlePresence handles a PRESENCE.
func (s *session) handlePresence(w *wireMessage) error {
	var d presenceData
	if err := json.Unmarshal(w.Data, &d, readOptions); err != nil {
		return fmt.Errorf("malformed PRESENCE from the hub: %w", err)
	}
	ws := &s.c.watches
	ws.mu.Lock()
	var hook func()
	if watch := ws.all[d.Group]; watch != nil {
		hook = watch.take(s, &d)
	}
	ws.mu.Unlock()
	if hook != nil {
		s.enqueue(delivery{hook: hook})
	}
	return nil
}

// take applies a frame to what its session was told, and returns what makes it seen, if it changes what is shown.
func (w *Watch) take(s *session, d *presenceData) (hook func()) {
	i := slices.IndexFunc(w.views, func(v *view) bool { return v.session == s })
	if i < 0 {
		i = len(w.views)
		w.views = append(w.views, &view{session: s, members: make(map[string]Member), count: -1})
	}
	v := w.views[i]
	if w.shown.session != s || !v.whole || d.Members != nil || d.Count != nil {
		v.apply(d)
		return w.choose()
	}
	v.apply(d)
	change := w.shown.follow(d)
	w.shown.missing = v.missing
	return w.tell(change)
}

// apply applies a frame.
func (v *view) apply(d *presenceData) {
	switch {
	case d.Count != nil:
		v.members, v.count, v.whole = make(map[string]Member), *d.Count, true
	case d.Members != nil:
		if v.count >= 0 || v.whole { // another snapshot begins
			v.members, v.count = make(map[string]Member), -1
		}
		v.whole = d.Complete
		for i := range *d.Members {
			v.members[(*d.Members)[i].ID] = (*d.Members)[i].member()
		}
	}
	v.follow(d)
	if d.Missing != nil {
		v.missing = *d.Missing
	}
}

// follow applies the changes in a frame, and returns them.
func (v *view) follow(d *presenceData) (change PresenceChange) {
	for _, l := range d.Left {
		change.Left = append(change.Left, Departure{v.members[l.ID], l.Reason})
		delete(v.members, l.ID)
	}
	for i := range d.Moved {
		m := d.Moved[i].To.member()
		delete(v.members, d.Moved[i].From)
		v.members[m.ID] = m
		change.Moved = append(change.Moved, Move{d.Moved[i].From, m})
	}
	for i := range d.Joined {
		m := d.Joined[i].member()
		v.members[m.ID] = m
		change.Joined = append(change.Joined, m)
	}
	for i := range d.Updated {
		m := d.Updated[i].member()
		v.members[m.ID] = m
		change.Updated = append(change.Updated, m)
	}
	change.Totals = d.Missing != nil || d.Count != nil
	return change
}

// choose shows what the newest session was told, if that is whole and is not shown yet, and returns what makes it seen.
func (w *Watch) choose() (hook func()) {
	for _, v := range slices.Backward(w.views) {
		if !v.whole {
			continue
		}
		first := w.shown.session == nil
		change := w.shown.differ(v)
		w.shown = view{v.session, maps.Clone(v.members), true, v.count, v.missing}
		if change.isEmpty() && !first {
			return nil
		}
		return w.tell(change)
	}
	return nil
}

// differ returns what is other in next.
func (v *view) differ(next *view) (change PresenceChange) {
	for id, m := range next.members {
		switch old, ok := v.members[id]; {
		case !ok:
			change.Joined = append(change.Joined, m)
		case !old.equal(&m):
			change.Updated = append(change.Updated, m)
		}
	}
	for id, m := range v.members {
		if _, ok := next.members[id]; !ok && next.count < 0 {
			change.Left = append(change.Left, Departure{Member: m})
		}
	}
	byID := func(a, b Member) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(change.Joined, byID)
	slices.SortFunc(change.Updated, byID)
	slices.SortFunc(change.Left, func(a, b Departure) int { return byID(a.Member, b.Member) })
	change.Totals = v.count != next.count || !slices.Equal(v.missing, next.missing)
	return change
}

func (m *Member) equal(o *Member) bool {
	return m.Name == o.Name && m.Version == o.Version && m.Weight == o.Weight && m.Node == o.Node && m.Since.Equal(o.Since) &&
		maps.Equal(m.Meta, o.Meta)
}

// tell returns what makes a change seen: the goroutine that calls handlers calls it.
func (w *Watch) tell(change PresenceChange) func() {
	count, missing := w.shown.count, w.shown.missing
	return func() {
		w.mu.Lock()
		for _, l := range change.Left {
			delete(w.members, l.Member.ID)
		}
		for _, m := range change.Moved {
			delete(w.members, m.From)
			w.members[m.To.ID] = m.To
		}
		for _, m := range append(change.Joined, change.Updated...) {
			w.members[m.ID] = m
		}
		if count >= 0 {
			clear(w.members)
		}
		w.count, w.missing = count, missing
		first := !w.ready
		w.ready = true
		w.mu.Unlock()
		if w.opts.OnChange != nil && (first || !change.isEmpty()) {
			w.opts.OnChange(w, change)
		}
		if first {
			close(w.known)
		}
	}
}
