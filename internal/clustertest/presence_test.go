//go:build linux

package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// presenceLag is how long a watcher's set may differ from the truth.
var presenceLag = figure.Bound(5 * time.Second)

// census is the truth of who is in some groups, and watchers of each on each instance.
type census struct {
	t       *testing.T
	c       *cluster
	groups  []string
	actions [numActions]atomic.Int64

	mu       sync.Mutex
	people   map[string]*person // by id
	calmAt   time.Time          // faults that all instances notice were over
	watchers []*watcher
	failed   int
}

// person is a client, or was one.
type person struct {
	id   string
	hub  int
	in   map[string]*stay // by group
	meta string
}

// stay is a membership, or its absence.
type stay struct {
	present bool
	meta    string
	at      time.Time // of the last change
}

// watcher is a client that keeps the set of one group.
type watcher struct {
	census *census
	hub    int
	group  string
	since  time.Time
	conn   *rc.Conn
	set    map[string]string // meta by id
	count  bool
	whole  bool
	frames int
}

// The kinds of actions.
const (
	actJoin = iota
	actLeave
	actBreak
	actSubscribe
	actUnsubscribe
	actMeta
	actMove
	actMoveBack
	numActions
)

var actionNames = [numActions]string{"joins", "leaves", "breaks", "subscribes", "unsubscribes", "meta", "moves", "moves back"}

// TestPresence compares what watchers on three instances see with the truth, while clients join, leave, break, move and
// change what they say of themselves, an instance is killed, one is paused, and Redis is killed.
func TestPresence(t *testing.T) {
	t.Parallel()
	rounds := figure.Choose(1, 3)
	c := startCluster(t, 3, clusterOptions{flags: []string{"--ping-interval", "10m"}})
	s := &census{t: t, c: c, groups: []string{"red", "green", "blue"}, people: make(map[string]*person), calmAt: time.Now()}
	for i := range c.hubs {
		s.watchAll(i)
	}
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop()
	for n := range 4 {
		workers.Go(func() { s.work(ctx, rand.New(rand.NewPCG(uint64(n), 7))) })
	}
	workers.Go(func() { s.checkUntil(ctx) })
	calm := figure.Choose(2*time.Second, 8*time.Second)
	for round := range rounds {
		time.Sleep(calm) // for the workers
		s.killHub(round % 3)
		time.Sleep(calm)
		s.pauseHub((round + 1) % 3)
		time.Sleep(calm)
		s.killRedis()
		time.Sleep(calm)
	}
	stop()
	workers.Wait()
	s.wantTruth()
	s.mu.Lock()
	defer s.mu.Unlock()
	var done []string
	total := int64(0)
	for i, name := range actionNames {
		done = append(done, fmt.Sprintf("%d %s", s.actions[i].Load(), name))
		total += s.actions[i].Load()
	}
	figure.Printf(t, "presence: %d changes (%s), %d watchers, %d kills and pauses of instances and Redis; %d differences older than %v",
		total, strings.Join(done, ", "), len(s.watchers), 3*rounds, s.failed, presenceLag)
}

// watchAll makes a watcher of each group on an instance.
func (s *census) watchAll(hub int) {
	for _, g := range s.groups {
		w := &watcher{census: s, hub: hub, group: g, set: make(map[string]string)}
		h := s.c.hubs[hub]
		if err := eventually.Within(patience, func() bool { return w.connect(h) == nil }); err != nil {
			s.t.Fatal(err)
		}
		s.mu.Lock()
		w.since = time.Now()
		s.watchers = append(s.watchers, w)
		s.mu.Unlock()
		go w.follow()
		s.t.Cleanup(func() { _ = w.conn.Close() })
	}
}

// dial opens a connection and identifies. more are further members of IDENTIFY's data.
func dial(h *hubtest.Server, group, more string) (*rc.Conn, string, error) {
	conn, err := rc.Dial(h.HubAddr, rc.Options{Timeout: 10 * time.Second})
	if err != nil {
		return nil, "", err
	}
	id := ""
	if err = conn.Upgrade("/"); err == nil {
		id, err = conn.Identify(h.Token, group, more)
	}
	if err != nil {
		_ = conn.Close()
		return nil, "", err
	}
	return conn, id, nil
}

func (w *watcher) connect(h *hubtest.Server) (err error) {
	w.conn, _, err = dial(h, "watchers", fmt.Sprintf(`,"features":["presence"],"watch":[%q]`, w.group))
	if err == nil {
		w.conn.SetTimeout(10 * time.Minute)
	}
	return err
}

// follow applies frames until the connection ends.
func (w *watcher) follow() {
	for {
		e, err := w.conn.Receive()
		if err != nil {
			return
		}
		if e.Is(10) {
			w.apply(e)
		}
	}
}

// described is a member as a watcher sees it.
type described struct {
	ID   string            `json:"id"`
	Meta map[string]string `json:"meta"`
}

func (w *watcher) apply(e rc.Envelope) {
	var d struct {
		Members  *[]described `json:"members"`
		Complete bool         `json:"complete"`
		Joined   []described  `json:"joined"`
		Updated  []described  `json:"updated"`
		Left     []struct {
			ID string `json:"id"`
		} `json:"left"`
		Moved []struct {
			From string    `json:"from"`
			To   described `json:"to"`
		} `json:"moved"`
		Count *int `json:"count"`
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		w.census.t.Errorf("%v: %v", e, err)
		return
	}
	s := w.census
	s.mu.Lock()
	defer s.mu.Unlock()
	w.frames++
	come := func(m described) {
		if _, ok := w.set[m.ID]; ok {
			s.t.Errorf("a watcher of %s on %d is told twice of %s: %v", w.group, w.hub, m.ID, e)
		}
		w.set[m.ID] = m.Meta["n"]
	}
	gone := func(id string) {
		if _, ok := w.set[id]; !ok {
			s.t.Errorf("a watcher of %s on %d is told that %s goes, of which it was not told: %v", w.group, w.hub, id, e)
		}
		delete(w.set, id)
	}
	if d.Count != nil {
		w.set, w.count, w.whole = make(map[string]string), true, false
	}
	if d.Members != nil {
		if w.whole {
			s.t.Errorf("a watcher of %s on %d gets a second snapshot", w.group, w.hub)
		}
		w.count, w.whole = false, d.Complete
		for _, m := range *d.Members {
			come(m)
		}
	}
	for _, l := range d.Left {
		gone(l.ID)
	}
	for _, m := range d.Moved {
		gone(m.From)
		come(m.To)
	}
	for _, m := range d.Joined {
		come(m)
	}
	for _, m := range d.Updated {
		gone(m.ID)
		come(m)
	}
}

// client is a client of a worker.
type client struct {
	*person
	conn *rc.Conn
}

// await reads until a message with one of these ops has come. What a move that failed left behind may come before.
func (c *client) await(ops ...int) (rc.Envelope, error) {
	for {
		e, err := c.conn.Receive()
		if err != nil || slices.ContainsFunc(ops, e.Is) {
			return e, err
		}
	}
}

// isThere reports whether the hub still answers the client.
func (c *client) isThere() bool {
	if c.conn.Send(`{"op":3}`) != nil {
		return false
	}
	_, err := c.await(rc.OpPONG)
	return err == nil
}

// set notes what is true of a person. It needs the census's lock.
func (p *person) set(group string, present bool, meta string) {
	st := p.in[group]
	if st == nil {
		st = &stay{}
		p.in[group] = st
	}
	if st.present != present || present && st.meta != meta {
		st.present, st.meta, st.at = present, meta, time.Now()
	}
}

// groupsOf returns the groups that a person is in.
func (s *census) groupsOf(p *person) (in []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g, st := range p.in {
		if st.present {
			in = append(in, g)
		}
	}
	slices.Sort(in)
	return in
}

// gone notes that a person is in no group any more.
func (s *census) gone(p *person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range p.in {
		p.set(g, false, "")
	}
}

// work does things with clients of its own until ctx ends, and leaves them connected.
func (s *census) work(ctx context.Context, random *rand.Rand) {
	var clients []*client
	s.t.Cleanup(func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	})
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond) // the pace
		hub := random.IntN(3)
		if len(clients) < 5 || len(clients) < 30 && random.IntN(3) == 0 {
			if c := s.join(hub, s.groups[random.IntN(3)], fmt.Sprint(n), "", nil); c != nil {
				s.actions[actJoin].Add(1)
				clients = append(clients, c)
			}
			continue
		}
		i := random.IntN(len(clients))
		c := clients[i]
		drop := func() { clients = slices.Delete(clients, i, i+1) }
		switch random.IntN(8) {
		case 0:
			if c.conn.Send(`{"op":2}`) == nil {
				s.actions[actLeave].Add(1)
			}
			s.gone(c.person)
			_ = c.conn.Close()
			drop()
		case 1:
			_ = c.conn.Abort()
			s.gone(c.person)
			s.actions[actBreak].Add(1)
			drop()
		case 2, 3, 4:
			if !s.change(c, s.groups[random.IntN(3)], random) {
				drop()
			}
		default:
			next, ok := s.move(c, hub, random.IntN(3) == 0)
			switch {
			case next != nil:
				clients[i] = next
			case !ok:
				s.gone(c.person)
				_ = c.conn.Close()
				drop()
			}
		}
	}
}

// join connects a client to an instance; nil if that does not work at the moment. With replaces it takes the place of
// another client, and is in its groups.
func (s *census) join(hub int, group, meta, replaces string, groups []string) *client {
	s.mu.Lock()
	h := s.c.hubs[hub]
	s.mu.Unlock()
	if !h.Alive() {
		return nil
	}
	more := fmt.Sprintf(`,"features":["groups","presence","drain","errors"],"meta":{"n":%q}`, meta)
	if replaces != "" {
		b, _ := json.Marshal(groups)
		more += fmt.Sprintf(`,"replaces":%q,"groups":%s`, replaces, b)
	}
	conn, id, err := dial(h, "everybody", more+map[bool]string{true: "", false: fmt.Sprintf(`,"groups":[%q]`, group)}[replaces != ""])
	if err != nil {
		return nil
	}
	p := &person{id: id, hub: hub, in: make(map[string]*stay), meta: meta}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people[id] = p
	if replaces == "" {
		p.set(group, true, meta)
	}
	if s.c.hubs[hub] != h || !h.Alive() { // it was killed meanwhile
		p.set(group, false, "")
		_ = conn.Close()
		return nil
	}
	return &client{p, conn}
}

// change has the client subscribe, unsubscribe, or say something else of itself. It returns false if the client has gone.
func (s *census) change(c *client, group string, random *rand.Rand) bool {
	in := s.groupsOf(c.person)
	message, act := "", 0
	switch member := slices.Contains(in, group); {
	case random.IntN(3) == 0:
		c.meta += "x"
		message, act = fmt.Sprintf(`{"op":8,"id":"m","data":{"meta":{"n":%q}}}`, c.meta), actMeta
	case member:
		message, act = fmt.Sprintf(`{"op":9,"id":"m","data":{"groups":[%q]}}`, group), actUnsubscribe
	default:
		message, act = fmt.Sprintf(`{"op":8,"id":"m","data":{"groups":[%q]}}`, group), actSubscribe
	}
	if c.conn.Send(message) != nil {
		return false
	}
	e, err := c.await(8, 9)
	if err != nil {
		return false
	}
	if strings.Contains(string(e.Data), `"error"`) { // no other instance can be reached
		return true
	}
	s.actions[act].Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch act {
	case actMeta:
		for _, g := range in {
			c.set(g, true, c.meta)
		}
	default:
		if s.c.hubs[c.hub].Alive() {
			c.set(group, act == actSubscribe, c.meta)
		}
	}
	return true
}

// move moves a client to another connection, and back if the new one ends first. It returns the client as it is then; nil,
// and whether the old one is still there, where it does not move.
func (s *census) move(c *client, hub int, back bool) (next *client, ok bool) {
	in := s.groupsOf(c.person)
	next = s.join(hub, "", c.meta, c.id, in)
	if next == nil {
		return nil, true
	}
	if !fenced(c.conn, next.conn, c.id, next.id) || !fenced(next.conn, c.conn, next.id, c.id) {
		// The new connection may be shown once its time to be vouched for is over.
		_ = next.conn.Close()
		return nil, c.isThere()
	}
	s.mu.Lock()
	for _, g := range in {
		next.set(g, true, c.meta)
		c.set(g, false, "")
	}
	s.mu.Unlock()
	if back {
		_ = next.conn.Close()
		s.mu.Lock()
		alive := s.c.hubs[c.hub].Alive()
		for _, g := range in {
			next.set(g, false, "")
			c.set(g, alive, c.meta)
		}
		s.mu.Unlock()
		s.actions[actMoveBack].Add(1)
		return nil, alive && c.isThere()
	}
	_ = c.conn.Send(`{"op":2}`)
	_ = c.conn.Close()
	s.actions[actMove].Add(1)
	return next, true
}

// fenced sends a FENCE over one connection, of the client by, to the client id of another, and reports whether it arrived.
func fenced(to, from *rc.Conn, id, by string) bool {
	if from.Send(fmt.Sprintf(`{"op":13,"id":"f","intent":{"target":"DIRECT","identifier":%q}}`, id)) != nil {
		return false
	}
	to.SetTimeout(2 * time.Second)
	defer to.SetTimeout(10 * time.Second)
	for {
		e, err := to.Receive()
		if err != nil {
			return false
		}
		if e.Is(13) && e.Sender == by {
			return true
		}
	}
}

// killHub kills an instance, and starts it again.
func (s *census) killHub(i int) {
	s.mu.Lock()
	s.c.hubs[i].Kill()
	s.dropHub(i)
	s.mu.Unlock()
	time.Sleep(time.Second) // it is away for a while
	h := s.c.start(i, s.c.hubs[i].HubAddr, "")
	s.mu.Lock()
	s.c.hubs[i] = h
	s.mu.Unlock()
	s.watchAll(i)
}

// dropHub notes that an instance is gone with all of its clients. It needs the lock.
func (s *census) dropHub(i int) {
	for _, p := range s.people {
		if p.hub == i {
			for g := range p.in {
				p.set(g, false, "")
			}
		}
	}
	s.watchers = slices.DeleteFunc(s.watchers, func(w *watcher) bool { return w.hub == i })
}

// pauseHub stops an instance for so long that the others take it for dead.
func (s *census) pauseHub(i int) {
	s.mu.Lock()
	s.calmAt = time.Now().Add(time.Hour)
	s.mu.Unlock()
	s.c.hubs[i].Signal(syscall.SIGSTOP)
	time.Sleep(5 * time.Second) // longer than a lease
	s.c.hubs[i].Signal(syscall.SIGCONT)
	s.calm()
}

// killRedis kills Redis, and starts it again, empty.
func (s *census) killRedis() {
	s.mu.Lock()
	s.calmAt = time.Now().Add(time.Hour)
	s.mu.Unlock()
	s.c.redis.Kill()
	time.Sleep(2 * time.Second) // it is away for a while
	s.c.redis.Restart()
	s.calm()
}

// calm notes that all is well again.
func (s *census) calm() {
	awaitReady(s.t, s.c.hubs...)
	s.c.awaitNodes(patience, 3)
	s.mu.Lock()
	s.calmAt = time.Now()
	s.mu.Unlock()
}

// checkUntil compares the sets with the truth until ctx ends.
func (s *census) checkUntil(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond) // between two looks
		s.mu.Lock()
		s.check(presenceLag)
		s.mu.Unlock()
	}
}

// check counts the differences between the watchers' sets and what has been true for lag. It needs the lock.
func (s *census) check(lag time.Duration) (differences int) {
	now := time.Now()
	for _, w := range s.watchers {
		for id, p := range s.people {
			st := p.in[w.group]
			if st == nil {
				continue
			}
			since := slices.MaxFunc([]time.Time{st.at, s.calmAt, w.since}, time.Time.Compare)
			if now.Sub(since) < lag {
				continue
			}
			meta, seen := w.set[id]
			if seen == st.present && meta == st.meta || !seen && !st.present {
				continue
			}
			if differences++; lag == presenceLag {
				if s.failed++; s.failed <= 5 {
					s.t.Errorf("%v after the last change a watcher of %s on %d sees %s of %d: %v %q, want %v %q",
						now.Sub(since), w.group, w.hub, id, p.hub, seen, meta, st.present, st.meta)
				}
			}
		}
	}
	return differences
}

// wantTruth waits until all sets are the truth, and have nothing else.
func (s *census) wantTruth() {
	begin := time.Now()
	err := eventually.Within(presenceLag, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range s.watchers {
			for id := range w.set {
				if s.people[id] == nil {
					return false
				}
			}
		}
		return s.check(0) == 0
	})
	if err == nil {
		figure.Printf(s.t, "presence: all sets are the truth %v after the last change", figure.MS(time.Since(begin)))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Errorf("%d differences are left", s.check(0))
	for _, w := range s.watchers {
		for id := range w.set {
			if s.people[id] == nil {
				s.t.Errorf("a watcher of %s on %d sees %s, which the test does not know", w.group, w.hub, id)
			}
		}
	}
}
