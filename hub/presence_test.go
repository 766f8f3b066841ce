package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/roster"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/opcodes"
)

// member is a member of a group as its watchers see it.
type member struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta"`
	Weight  *int              `json:"weight"`
	Node    string            `json:"node"`
	Since   time.Time         `json:"since"`
}

// presenceFrame is a PRESENCE.
type presenceFrame struct {
	Op   int `json:"op"`
	Data struct {
		Group    string    `json:"group"`
		Members  *[]member `json:"members"`
		Complete bool      `json:"complete"`
		Joined   []member  `json:"joined"`
		Updated  []member  `json:"updated"`
		Left     []struct {
			ID     string `json:"id"`
			Reason string `json:"reason"`
		} `json:"left"`
		Moved []struct {
			From string `json:"from"`
			To   member `json:"to"`
		} `json:"moved"`
		Missing *[]string `json:"missing"`
		Count   *int      `json:"count"`
	} `json:"data"`
	at    time.Time
	bytes int
}

// onlooker is a watcher that keeps the set as the protocol says, and fails where a frame does not fit it.
type onlooker struct {
	t testing.TB
	*peer

	mu       sync.Mutex
	set      map[string]member
	complete bool
	count    int // -1: members are named
	missing  []string
	frames   []presenceFrame
}

// newOnlooker connects a client that watches the group.
func newOnlooker(t testing.TB, url, group string, extra m) *onlooker {
	t.Helper()
	data := m{"features": []string{"presence", "groups"}, "watch": []string{group}}
	maps.Copy(data, extra)
	o := &onlooker{t: t, peer: identify(t, url, "onlookers", data), set: map[string]member{}, count: -1}
	o.conn.SetReadLimit(1 << 20)
	go o.follow()
	return o
}

// follow reads until the connection ends.
func (o *onlooker) follow() {
	for {
		kind, b, err := o.conn.Read(o.ctx)
		if err != nil || kind != websocket.MessageText {
			return
		}
		var f presenceFrame
		if err := json.Unmarshal(b, &f); err != nil {
			o.t.Errorf("%s: %v", b, err)
			return
		}
		if f.Op == int(opcodes.Ping) {
			_ = o.conn.Write(o.ctx, websocket.MessageText, []byte(opcodes.PongMessage))
		}
		if f.Op == int(opcodes.Presence) {
			f.at, f.bytes = time.Now(), len(b)
			o.apply(f, b)
		}
	}
}

func (o *onlooker) apply(f presenceFrame, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frames = append(o.frames, f)
	d := &f.Data
	bad := func(what, id string) { o.t.Errorf("%s %s by %s", id, what, b) }
	come := func(id string, all member) {
		if _, ok := o.set[id]; ok {
			bad("comes twice", id)
		}
		o.set[id] = all
	}
	gone := func(id string) {
		if _, ok := o.set[id]; !ok {
			bad("goes and was not there", id)
		}
		delete(o.set, id)
	}
	if d.Count != nil {
		o.set, o.count, o.complete = map[string]member{}, *d.Count, true
	}
	if d.Members != nil {
		if o.count >= 0 {
			o.count, o.complete = -1, false
		} else if o.complete {
			o.t.Errorf("a second snapshot by %s", b)
		}
		if len(b) > 32<<10 {
			o.t.Errorf("a part of a snapshot has %d bytes", len(b))
		}
		for _, each := range *d.Members {
			come(each.ID, each)
		}
		o.complete = d.Complete
	}
	for _, l := range d.Left {
		gone(l.ID)
	}
	for _, mv := range d.Moved {
		gone(mv.From)
		come(mv.To.ID, mv.To)
	}
	for _, each := range d.Joined {
		come(each.ID, each)
	}
	for _, each := range d.Updated {
		gone(each.ID)
		come(each.ID, each)
	}
	if d.Missing != nil {
		o.missing = *d.Missing
	}
}

// wants waits until the set is that of these ids.
func (o *onlooker) wants(what string, ids ...string) {
	o.t.Helper()
	slices.Sort(ids)
	eventually.True(o.t, what, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.complete && o.count < 0 && slices.Equal(slices.Sorted(maps.Keys(o.set)), ids)
	})
}

// seen returns the frames so far, one word for what each has.
func (o *onlooker) seen() (words []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.frames {
		word := ""
		for name, n := range map[string]int{
			"joined": len(f.Data.Joined), "left": len(f.Data.Left), "moved": len(f.Data.Moved), "updated": len(f.Data.Updated),
		} {
			if n > 0 {
				word += fmt.Sprintf("%s %d ", name, n)
			}
		}
		if f.Data.Members != nil {
			word += fmt.Sprintf("members %d ", len(*f.Data.Members))
		}
		if f.Data.Count != nil {
			word += fmt.Sprintf("count %d ", *f.Data.Count)
		}
		if f.Data.Missing != nil {
			word += fmt.Sprintf("missing %v ", *f.Data.Missing)
		}
		words = append(words, word)
	}
	return words
}

// memoryCluster starts instances that reach each other.
func memoryCluster(t testing.TB, n int, change func(*Options)) (hubs []*Hub, urls []string) {
	bus := memory.NewBus()
	for i := range n {
		h, url := startHub(t, bus.Broker(), func(o *Options) {
			o.NodeName = fmt.Sprintf("host-%d", i+1)
			if change != nil {
				change(o)
			}
		})
		hubs, urls = append(hubs, h), append(urls, url)
	}
	return hubs, urls
}

func TestWatchersSeeWhoIsThere(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, nil)
	a := identify(t, urls[0], "workers", m{"name": "resizer", "version": "2.1", "meta": m{"zone": "a"}})
	b := identify(t, urls[1], "other", m{"groups": []string{"workers"}})
	o1, o2 := newOnlooker(t, urls[0], "workers", nil), newOnlooker(t, urls[1], "workers", nil)
	o1.wants("the snapshot", a.id, b.id)
	o2.wants("the snapshot on the other instance", a.id, b.id)
	got := o2.set[a.id]
	if got.Name != "resizer" || got.Version != "2.1" || got.Meta["zone"] != "a" || got.Node != "host-1" || got.Weight != nil ||
		time.Since(got.Since) > time.Minute {
		t.Errorf("a member is shown as %+v", got)
	}
	c := identify(t, urls[1], "workers", nil)
	o1.wants("a third member", a.id, b.id, c.id)
	o2.wants("a third member", a.id, b.id, c.id)
	_ = b.conn.Close(websocket.StatusNormalClosure, "")
	a.send(m{"op": 2})
	o1.wants("the one that is left", c.id)
	o2.wants("the one that is left", c.id)
	if words := o1.seen(); words[0] != "members 2 " {
		t.Errorf("the first frame has %s", words[0])
	}
	for _, f := range o1.frames {
		for _, l := range f.Data.Left {
			if l.Reason != "NO_REASON" {
				t.Errorf("a member left with %s", l.Reason)
			}
		}
	}
}

func TestWatchersHaveTheReasons(t *testing.T) {
	t.Parallel()
	hubs, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "workers", nil)
	o.wants("an empty group")
	p := identify(t, urls[1], "workers", nil)
	q := identify(t, urls[1], "other", m{"groups": []string{"workers"}, "features": []string{"groups"}})
	r := identify(t, urls[1], "workers", nil)
	o.wants("the members", p.id, q.id, r.id)
	p.send(m{"op": 1})
	q.send(m{"op": 9, "id": "u", "data": m{"groups": []string{"workers"}}})
	if _, err := hubs[0].Kick(t.Context(), uuid.MustParse(r.id)); err != nil {
		t.Fatal(err)
	}
	o.wants("the end of all three")
	reasons := map[string]string{}
	for _, f := range o.frames {
		for _, l := range f.Data.Left {
			reasons[l.ID] = l.Reason
		}
	}
	want := map[string]string{p.id: "ALREADY_IDENTIFIED", q.id: "UNSUBSCRIBED", r.id: "KICKED"}
	if !maps.Equal(reasons, want) {
		t.Errorf("members left with %v, want %v", reasons, want)
	}
}

// lastOf returns the last frame that has what is asked for.
func (o *onlooker) lastOf(has func(f *presenceFrame) bool) *presenceFrame {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.frames) - 1; i >= 0; i-- {
		if has(&o.frames[i]) {
			return &o.frames[i]
		}
	}
	return nil
}

func TestAMoveIsNoJoinAndNoLeave(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, nil)
	features := []string{"drain", "presence"}
	o := newOnlooker(t, urls[0], "workers", nil)
	a := identify(t, urls[0], "workers", m{"features": features})
	o.wants("the member", a.id)
	b := identify(t, urls[1], "workers", m{"features": features, "replaces": a.id})
	b.send(fenceTo(a, "f"))
	if f := a.read(); f.Op != 13 {
		t.Fatalf("the old connection got %+v", f)
	}
	o.wants("the member as before", a.id)
	a.send(fenceTo(b, "f"))
	o.wants("the member where it went", b.id)
	a.send(m{"op": 2})
	a.fenceless()
	c := identify(t, urls[0], "workers", nil)
	o.wants("another member", b.id, c.id)
	for _, f := range o.frames {
		if len(f.Data.Left) > 0 {
			t.Errorf("a member left: %+v", f.Data.Left)
		}
	}
	if f := o.lastOf(func(f *presenceFrame) bool { return len(f.Data.Moved) > 0 }); f.Data.Moved[0].From != a.id {
		t.Errorf("it moved from %s, want %s", f.Data.Moved[0].From, a.id)
	}
}

// fenceless reads until the connection ends.
func (p *peer) fenceless() {
	for {
		if _, _, err := p.conn.Read(p.ctx); err != nil {
			return
		}
	}
}

func TestAMoveLeadsBack(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, nil)
	features := []string{"drain", "presence"}
	o := newOnlooker(t, urls[0], "workers", nil)
	a := identify(t, urls[0], "workers", m{"features": features})
	o.wants("the member", a.id)
	b := identify(t, urls[1], "workers", m{"features": features, "replaces": a.id})
	a.send(fenceTo(b, "f"))
	o.wants("the member where it went", b.id)
	late := newOnlooker(t, urls[1], "workers", nil)
	late.wants("the member, of a watcher that came later", b.id)
	_ = b.conn.CloseNow()
	o.wants("the member where it came from", a.id)
	late.wants("the member where it came from", a.id)
	a.send(m{"op": 2})
	o.wants("its end")
	late.wants("its end")
}

func TestNobodyCanReplaceAnother(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "workers", nil)
	a := identify(t, urls[0], "workers", nil)
	o.wants("the member", a.id)
	began := time.Now()
	b := identify(t, urls[1], "workers", m{"features": []string{"drain", "presence"}, "replaces": a.id})
	o.wants("both", a.id, b.id)
	if d := time.Since(began); d < hiddenTime || d > 5*time.Second {
		t.Errorf("a client that claims to replace another one was shown after %v", d)
	}
}

func TestWatchersSeeWhatMembersSayOfThemselves(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "workers", nil)
	a := identify(t, urls[1], "other", m{"groups": []string{"workers"}, "meta": m{"load": "1"}, "features": []string{"groups"}})
	o.wants("the member", a.id)
	a.send(m{"op": 8, "id": "s", "data": m{"meta": m{"load": "2"}, "weight": 0}})
	eventually.True(t, "the other meta and weight", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		got := o.set[a.id]
		return got.Meta["load"] == "2" && got.Weight != nil && *got.Weight == 0
	})
	if f := o.lastOf(func(f *presenceFrame) bool { return len(f.Data.Updated) > 0 }); f == nil {
		t.Errorf("the frames have %q", o.seen())
	}
	a.send(m{"op": 8, "id": "s", "data": m{"weight": 1}})
	eventually.True(t, "the usual weight", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.set[a.id].Weight == nil
	})
}

func TestLargeGroupsAreCounted(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, func(o *Options) { o.PresenceMembers = 10 })
	o := newOnlooker(t, urls[0], "workers", nil)
	var all []*peer
	ids := func() (ids []string) {
		for _, p := range all {
			ids = append(ids, p.id)
		}
		return ids
	}
	for i := range 10 {
		all = append(all, identify(t, urls[i%2], "workers", nil))
	}
	o.wants("ten members", ids()...)
	for i := range 3 {
		all = append(all, identify(t, urls[i%2], "workers", nil))
	}
	counted := func(n int) func() bool {
		return func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.count == n
		}
	}
	eventually.True(t, "the number of members", counted(13))
	late := newOnlooker(t, urls[1], "workers", nil)
	eventually.True(t, "the number of members, of a watcher that came later", func() bool {
		late.mu.Lock()
		defer late.mu.Unlock()
		return late.count == 13 && len(late.frames) == 1
	})
	for range 5 { // eight are left: above four fifths less one
		all[0].send(m{"op": 2})
		all[0].fenceless()
		all = all[1:]
	}
	eventually.True(t, "a smaller number", counted(8))
	all[0].send(m{"op": 2})
	all[0].fenceless()
	all = all[1:]
	o.wants("those that are left, by their names", ids()...)
	late.wants("those that are left, by their names", ids()...)
}

func TestWatchIsRefused(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 1, nil)
	many := []string{}
	for i := range 65 {
		many = append(many, fmt.Sprint("g", i))
	}
	features := []string{"presence", "groups"}
	p := identify(t, urls[0], "g", m{"features": features, "watch": many[:60]})
	for i, test := range []struct {
		watch any
		want  string
	}{
		{[]string{"$team"}, "FORBIDDEN"},
		{[]string{""}, "FORBIDDEN"},
		{many, "TOO_MANY_GROUPS"},
		{[]string{"g1", "g2", "g60"}, ""},
	} {
		id := fmt.Sprint(i)
		p.send(m{"op": 8, "id": id, "data": m{"watch": test.watch}})
		f := p.read()
		for f.Op == 10 {
			f = p.read()
		}
		data, _ := f.Data.(m)
		e, _ := data["error"].(m)
		if code, _ := e["code"].(string); f.Op != 8 || f.ID != id || code != test.want {
			t.Errorf("watch %v is answered with %+v, want %q", test.watch, f, test.want)
		}
	}
	q := connect(t, urls[0])
	q.send(m{"op": 1, "data": m{"token": testToken, "group": "g", "features": features, "watch": []string{"$team"}}})
	if f := q.read(); f.Op != 2 || f.Data != "IDENTIFY_FAILED" {
		t.Errorf("an IDENTIFY that watches $team is answered with %+v", f)
	}
	// Without the feature the member means nothing.
	r := identify(t, urls[0], "g", m{"watch": 5, "replaces": 5, "features": []string{"groups"}})
	r.send(m{"op": 8, "id": "x", "data": m{"watch": []string{"$team"}}})
	if f := r.read(); f.Op != 8 || f.ID != "x" {
		t.Errorf("watch without the feature is answered with %+v", f)
	}
	if all := r.fence(); len(all) > 0 {
		t.Errorf("a client without the feature got %+v", all)
	}
}

func TestUnwatch(t *testing.T) {
	t.Parallel()
	hubs, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "workers", nil)
	a := identify(t, urls[1], "workers", nil)
	o.wants("the member", a.id)
	o.send(m{"op": 9, "id": "u", "data": m{"watch": []string{"workers"}}})
	none := func() bool {
		for _, h := range hubs {
			for i := range h.counters {
				if h.counters[i].presence.watched.Load() != 0 {
					return false
				}
			}
		}
		return true
	}
	eventually.True(t, "no group to be watched anywhere", none)
	frames := len(o.seen())
	b := identify(t, urls[1], "workers", nil)
	o.send(m{"op": 8, "id": "w", "data": m{"watch": []string{"workers"}}})
	o.mu.Lock()
	o.set, o.complete = map[string]member{}, false
	o.mu.Unlock()
	o.wants("both members", a.id, b.id)
	if words := o.seen()[frames:]; words[0] != "members 2 " {
		t.Errorf("behind the answer to the second watch came %q", words)
	}
	_ = o.conn.CloseNow()
	eventually.True(t, "no group to be watched anywhere", none)
	for _, h := range hubs {
		h.groups.tapMu.Lock()
		if len(h.groups.tapped) > 0 {
			t.Error("the group is still held")
		}
		h.groups.tapMu.Unlock()
	}
}

// TestNothingIsSentOfUnwatchedGroups: members of a group that no client watches cause no message between instances.
func TestNothingIsSentOfUnwatchedGroups(t *testing.T) {
	t.Parallel()
	hubs, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "watched", nil)
	a := identify(t, urls[1], "watched", nil)
	o.wants("the member", a.id)
	o.send(m{"op": 9, "id": "u", "data": m{"watch": []string{"watched"}}})
	sent := func() (n uint64) {
		for _, h := range hubs {
			for i := range h.counters {
				n += h.counters[i].presence.sent.Load()
			}
		}
		return n
	}
	eventually.True(t, "the group to be watched no more", func() bool {
		return hubs[0].Stats().Presence.Groups+hubs[1].Stats().Presence.Groups == 0
	})
	// A Beat that crossed the end of its stream is still answered.
	before, since := sent(), time.Now()
	eventually.True(t, "the last answer", func() bool {
		if n := sent(); n != before {
			before, since = n, time.Now()
		}
		return time.Since(since) >= beatInterval
	})
	for range 50 {
		p := identify(t, urls[1], "workers", m{"groups": []string{"watched"}})
		p.send(m{"op": 2})
		p.fenceless()
	}
	time.Sleep(2 * beatInterval) // for what is sent from time to time
	if n := sent() - before; n > 0 {
		t.Errorf("%d messages between instances", n)
	}
}

func TestInstanceLost(t *testing.T) {
	t.Parallel()
	hubs, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "workers", nil)
	a := identify(t, urls[1], "workers", nil)
	o.wants("the member", a.id)
	if err := hubs[1].broker.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.wants("its end")
	if f := o.lastOf(func(f *presenceFrame) bool { return len(f.Data.Left) > 0 }); f.Data.Left[0].Reason != "INSTANCE_LOST" {
		t.Errorf("it left with %s", f.Data.Left[0].Reason)
	}
}

// oldOthers is a broker whose other instances are of a release that knows nothing of presence.
type oldOthers struct{ broker.Broker }

func (b oldOthers) Nodes() []broker.Node {
	nodes := b.Broker.Nodes()
	for i := range nodes {
		nodes[i].LastKind = broker.KindReturned
	}
	return nodes
}

func TestInstancesOfAnEarlierReleaseAreMissing(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, oldOthers{bus.Broker()}, func(o *Options) { o.NodeName = "new" })
	_, oldURL := startHub(t, bus.Broker(), func(o *Options) { o.NodeName = "old" })
	identify(t, oldURL, "workers", nil)
	a := identify(t, url, "workers", nil)
	o := newOnlooker(t, url, "workers", nil)
	o.wants("the member of the newer instance", a.id)
	eventually.True(t, "the older instance to be missing", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return slices.Equal(o.missing, []string{"old"})
	})
	late := newOnlooker(t, url, "workers", nil)
	eventually.True(t, "the older instance to be missing for a later watcher", func() bool {
		late.mu.Lock()
		defer late.mu.Unlock()
		return slices.Equal(late.missing, []string{"old"})
	})
}

// TestAStormIsFolded: a member that comes and goes all the time costs its watchers 20 frames a second at most.
func TestAStormIsFolded(t *testing.T) {
	t.Parallel()
	_, urls := memoryCluster(t, 2, nil)
	o := newOnlooker(t, urls[0], "workers", nil)
	p := identify(t, urls[1], "other", m{"features": []string{"groups"}})
	o.wants("an empty group")
	began, rounds := time.Now(), 0
	for ; time.Since(began) < 1500*time.Millisecond; rounds++ {
		op := 8 + rounds%2
		p.send(m{"op": op, "id": "s", "data": m{"groups": []string{"workers"}}})
		if f := p.read(); f.Op != op {
			t.Fatalf("%+v", f)
		}
	}
	if rounds%2 == 0 {
		o.wants("its absence")
	} else {
		o.wants("it", p.id)
	}
	frames := len(o.seen())
	most := int(time.Since(began)/presenceInterval) + 2
	t.Logf("%d changes, %d frames", rounds, frames)
	if frames > most {
		t.Errorf("%d frames, want %d at most", frames, most)
	}
}

// TestAWatcherThatDoesNotRead: nothing waits for it, its queue is bounded, and it has the set once it reads.
func TestAWatcherThatDoesNotRead(t *testing.T) {
	t.Parallel()
	const members = 10_000
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.SendQueueBytes = 256 << 10 })
	home := h.homeOf("workers")
	// The members are made up: as many connections would be another test.
	onHome := func(f func(l *roster.Ledger)) {
		home.loop.Post(task(func() {
			f(&home.home().groups["workers"].ledger)
			home.presence.changedSoon()
		}))
	}
	made := func(n, version int) roster.Member {
		id := clientid.New(clientid.Location{Node: h.node.ID, Slot: uint32(n)})
		about := opcodes.PresenceMember{ID: id, Node: "host-1", Weight: version % 100, Meta: map[string]string{"filler": strings.Repeat("x", 700)}}
		return roster.Member{ID: id, About: opcodes.AppendPresenceMember(nil, &about)}
	}
	o := newOnlooker(t, url, "workers", nil)
	o.wants("an empty group")
	here := map[string]roster.Member{}
	onHome(func(l *roster.Ledger) {
		for n := range members {
			one := made(n, 1)
			here[one.ID.String()] = one
			l.Put(one)
		}
	})
	size := func(o *onlooker, n int) func() bool {
		return func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return len(o.set) == n && o.complete && o.count < 0
		}
	}
	eventually.True(t, "all members", size(o, members))
	began := time.Now()
	late := newOnlooker(t, url, "workers", nil)
	eventually.True(t, "all members of a watcher that came later", size(late, members))
	t.Logf("a snapshot of %d members took %v in %d frames", members, time.Since(began), len(late.seen()))

	gate := make(chan struct{})
	slow := newSlowOnlooker(t, url, "workers", gate)
	for range 100 { // it reads nothing meanwhile
		onHome(func(l *roster.Ledger) {
			for id := range here { // some, drawn at random
				l.Remove(here[id].ID, "KICKED", uuid.Nil)
				delete(here, id)
				break
			}
			one := made(members+1, 2)
			here[one.ID.String()] = one
			l.Put(one)
		})
		time.Sleep(presenceInterval / 2) // the pace of the changes
	}
	var queued int
	if err := h.onLoops(t.Context(), func(sh *shard) {
		for slot := range sh.loop.Slots() {
			if c := sh.loop.Conn(slot); c != nil && sh.index == 0 {
				queued = max(queued, c.QueueBytes())
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if most := 256 << 10; queued > most/2+maxFrame {
		t.Errorf("a watcher that does not read has a queue of %d bytes", queued)
	}
	close(gate)
	if err := h.onLoops(t.Context(), func(*shard) {}); err != nil { // the changes have been made
		t.Fatal(err)
	}
	o.wants("the set of the watcher that reads", slices.Sorted(maps.Keys(here))...)
	slow.wants("the set of the watcher that did not read", slices.Sorted(maps.Keys(here))...)
	t.Logf("the one that did not read got %d frames, %d restarts", len(slow.seen()), h.Stats().Presence.Restarts)
}

// newSlowOnlooker is newOnlooker for a client with a small receive buffer, which reads nothing before gate is closed.
func newSlowOnlooker(t testing.TB, url, group string, gate <-chan struct{}) *onlooker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return c, err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	p := &peer{t: t, ctx: ctx, conn: conn}
	p.send(m{"op": 1, "data": m{"token": testToken, "group": "onlookers", "features": []string{"presence"}, "watch": []string{group}}})
	if f := p.read(); f.Op != 1 {
		t.Fatalf("%+v", f)
	}
	o := &onlooker{t: t, peer: p, set: map[string]member{}, count: -1}
	conn.SetReadLimit(1 << 20)
	go func() {
		<-gate
		o.follow()
	}()
	return o
}

func TestClientsOfServiceTypesAreShown(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, _, there := startWithLines(t, bus.Broker())
	_, url := startHub(t, bus.Broker(), nil)
	l := openLine(t, there, "workers")
	o := newOnlooker(t, url, "workers", nil)
	o.wants("the client of the service type", l.id)
	_ = l.conn.CloseNow()
	o.wants("its end")
}

// TestWatchersLoseTheirRight: a client whose token may not watch its groups any more is disconnected.
func TestWatchersLoseTheirRight(t *testing.T) {
	t.Parallel()
	entry := func(watch string) string {
		return fmt.Sprintf("  - {name: a, sha256: %s, groups: [g], send: [], watch: [%s]}\n", auth.Hash("a"), watch)
	}
	store := auth.NewStore(tokenTable(t, entry("w")))
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = store })
	p := identify(t, url, "g", m{"token": "a", "features": []string{"presence"}, "watch": []string{"w"}})
	if f := p.read(); f.Op != 10 {
		t.Fatalf("%+v", f)
	}
	q := connect(t, url)
	q.send(m{"op": 1, "data": m{"token": "a", "group": "g", "features": []string{"presence"}, "watch": []string{"other"}}})
	if f := q.read(); f.Op != 2 || f.Data != "IDENTIFY_FAILED" {
		t.Errorf("a watch without the right is answered with %+v", f)
	}
	store.Replace(tokenTable(t, entry("other")))
	h.TokensChanged()
	p.wantDisconnect("its right to watch is gone", "UNAUTHORIZED", 4003)
}

// TestLossesBetweenInstancesAreMadeUpFor: messages of streams are lost at random. The watchers' sets are right nevertheless.
func TestLossesBetweenInstancesAreMadeUpFor(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	lossy := &lossyBroker{Broker: bus.Broker()}
	_, there := startHub(t, lossy, nil)
	h, url := startHub(t, bus.Broker(), nil)
	o := newOnlooker(t, url, "workers", nil)
	var ids []string
	for range 40 {
		p := identify(t, there, "workers", nil)
		ids = append(ids, p.id)
		time.Sleep(presenceInterval / 2) // so that they are in several messages
	}
	o.wants("all members", ids...)
	lossy.lose.Store(true) // all of them: a change, and what could show that it is missing
	late := identify(t, there, "workers", nil)
	time.Sleep(3 * presenceInterval)
	lossy.lose.Store(false)
	o.wants("the member whose coming was lost", append(ids, late.id)...)
	if n := h.Stats().Presence.Gaps; n == 0 || lossy.lost.Load() == 0 {
		t.Errorf("%d messages were lost, %d gaps were seen", lossy.lost.Load(), n)
	}
}

// lossyBroker loses each fifth message about presence, and all while lose is set.
type lossyBroker struct {
	broker.Broker
	n, lost atomic.Int64
	lose    atomic.Bool
}

func (b *lossyBroker) Publish(m *broker.Message, done broker.Completion) {
	if m.Kind == broker.KindPresence && (b.n.Add(1)%5 == 0 || b.lose.Load()) {
		b.lost.Add(1)
		if done != nil {
			done.Published(1, nil)
		}
		return
	}
	b.Broker.Publish(m, done)
}
