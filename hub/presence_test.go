package hub

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
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

// ids returns the set, sorted.
func (o *onlooker) ids() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.set))
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
