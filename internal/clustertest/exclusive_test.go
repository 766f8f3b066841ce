//go:build linux

package clustertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// contest has clients of several instances contend for one exclusive group while everything breaks. Each follows the
// protocol's rule: it may act from when it sent a request until valid_ms later, on one clock for all. The model is that
// no two may act at a time, that terms rise with time, and that no message reaches two holders.
type contest struct {
	t       *testing.T
	cluster *cluster
	redis   *redistest.Server
	proxies []*faultproxy.Proxy
	begun   time.Time

	mu       sync.Mutex
	spans    []*span
	latest   *span
	got      map[string]string        // for each message, the holder that received it
	handed   []time.Duration          // from a goodbye to the next request of a holder
	goodbye  time.Duration            // the last one; zero: answered
	doubled  []string                 // messages that two received
	received atomic.Int64             // messages
	calm     atomic.Bool              // no client gives the group up by itself
	release  atomic.Bool              // the holder is to give it up now
	hubs     []atomic.Pointer[string] // the instances' addresses
}

// span is a time in which a client may act.
type span struct {
	client     string
	hub        int
	term       uint64
	start, end time.Duration
}

func (x *contest) now() time.Duration { return time.Since(x.begun) }

// act notes that the client may act from sent on.
func (x *contest) act(s *span) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.spans = append(x.spans, s)
	if x.latest == nil || s.term > x.latest.term {
		if x.goodbye > 0 && s.start > x.goodbye {
			x.handed = append(x.handed, s.start-x.goodbye)
		}
		x.goodbye = 0
	}
	if x.latest == nil || s.term >= x.latest.term {
		x.latest = s
	}
}

// stop notes that the client acts no more, by its own will.
func (x *contest) stop(client string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	for _, s := range x.spans {
		if s.client == client {
			s.end = min(s.end, now)
		}
	}
	x.goodbye = now
}

// holder returns the last span.
func (x *contest) holder() span {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.latest == nil {
		return span{}
	}
	return *x.latest
}

// contender is one client after the other.
type contender struct {
	x      *contest
	hub    int
	random *rand.Rand

	conn *websocket.Conn
	id   string
	sent map[string]time.Duration // requests without an answer
	held uint64                   // the term; zero while it waits
	to   func() string            // the id of another one
}

type exclusiveFrame struct {
	Op    int    `json:"op"`
	ID    string `json:"id"`
	Event string `json:"event"`
	Data  struct {
		ID        string          `json:"id"`
		Exclusive json.RawMessage `json:"exclusive"`
	} `json:"data"`
}

// run contends until ctx ends.
func (c *contender) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.connect(ctx) == nil {
			c.contend(ctx)
			_ = c.conn.CloseNow()
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *contender) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if c.conn, _, err = websocket.Dial(ctx, *c.x.hubs[c.hub].Load(), nil); err != nil {
		return err
	}
	c.conn.SetReadLimit(1 << 20)
	err = wsjson.Write(ctx, c.conn, map[string]any{"op": 1, "data": map[string]any{
		"token": hubtest.Token, "group": "contenders", "features": []string{"groups", "exclusive"},
	}})
	var f exclusiveFrame
	if err == nil {
		err = wsjson.Read(ctx, c.conn, &f)
	}
	if err != nil || f.Op != 1 {
		_ = c.conn.CloseNow()
		return fmt.Errorf("%+v: %w", f, err)
	}
	c.id, c.held, c.sent = f.Data.ID, 0, make(map[string]time.Duration)
	return nil
}

// contend asks again and again until the connection ends or the client goes.
func (c *contender) contend(ctx context.Context) {
	frames := make(chan exclusiveFrame)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(frames)
		for {
			var f exclusiveFrame
			if wsjson.Read(ctx, c.conn, &f) != nil {
				return
			}
			select {
			case frames <- f:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		if !c.ask(ctx, n) {
			return
		}
	wait:
		for {
			select {
			case <-tick.C:
				break wait
			case f, ok := <-frames:
				if !ok {
					return
				}
				if c.take(f) {
					break wait // news: ask at once
				}
			case <-ctx.Done():
				return
			}
		}
		if c.held != 0 && c.x.release.CompareAndSwap(true, false) {
			if !c.unsubscribe(ctx, map[string]any{"exclusive": []string{"contested"}}) {
				return
			}
			continue
		}
		if c.held != 0 && !c.x.calm.Load() && c.random.IntN(4) == 0 && !c.give(ctx) {
			return
		}
	}
}

func (c *contender) ask(ctx context.Context, n int) bool {
	id := fmt.Sprint(n)
	c.sent[id] = c.x.now()
	return wsjson.Write(ctx, c.conn, map[string]any{"op": 8, "id": id, "data": map[string]any{"exclusive": []string{"contested"}}}) == nil
}

// take takes a message of the hub, and reports whether it is news that the client did not ask for.
func (c *contender) take(f exclusiveFrame) (news bool) {
	x := c.x
	if f.Op == 0 {
		x.received.Add(1)
		x.mu.Lock()
		if by, ok := x.got[f.Event]; ok {
			x.doubled = append(x.doubled, fmt.Sprintf("message %s reached %s and %s", f.Event, by, c.id))
		}
		x.got[f.Event] = c.id
		x.mu.Unlock()
		return false
	}
	if f.Op != 8 {
		return false
	}
	var all map[string]struct {
		Held  bool   `json:"held"`
		Term  uint64 `json:"term"`
		Valid int64  `json:"valid_ms"`
	}
	if json.Unmarshal(f.Data.Exclusive, &all) != nil {
		return false
	}
	st := all["contested"]
	if c.held = st.Term; !st.Held {
		c.held = 0
	}
	sent, asked := c.sent[f.ID]
	if delete(c.sent, f.ID); asked && st.Valid > 0 {
		x.act(&span{c.id, c.hub, st.Term, sent, sent + time.Duration(st.Valid)*time.Millisecond})
	}
	return f.ID == ""
}

// give gives the group up in one of the ways that there are. It returns false if the connection is not to be used any more.
func (c *contender) give(ctx context.Context) bool {
	data := map[string]any{"exclusive": []string{"contested"}}
	switch way := c.random.IntN(5); way {
	case 0: // its connection breaks: it may act on
		return false
	case 1: // it says goodbye
		c.x.stop(c.id)
		_ = wsjson.Write(ctx, c.conn, map[string]any{"op": 2})
		return false
	case 2: // it is stopped for a while, and wakes up with what arrived meanwhile
		pauses := figure.Choose([]time.Duration{2 * time.Second}, []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second})
		select {
		case <-time.After(pauses[c.random.IntN(len(pauses))]):
		case <-ctx.Done():
		}
		return true
	case 3:
		data["to"] = c.to()
		fallthrough
	default:
		return c.unsubscribe(ctx, data)
	}
}

func (c *contender) unsubscribe(ctx context.Context, data map[string]any) bool {
	c.x.stop(c.id)
	c.held = 0
	clear(c.sent) // answers to what it asked before count no more
	return wsjson.Write(ctx, c.conn, map[string]any{"op": 9, "id": "u", "data": data}) == nil
}

// startContest starts instances with a proxy each, contenders, and senders.
func startContest(t *testing.T) *contest {
	t.Helper()
	x := &contest{t: t, redis: redistest.Start(t), begun: time.Now(), got: make(map[string]string)}
	for range 3 {
		x.proxies = append(x.proxies, faultproxy.Start(t, x.redis.Addr()))
	}
	x.cluster = startCluster(t, 3, clusterOptions{redis: x.redis, url: func(i int) string { return "redis://" + x.proxies[i].Addr() }})
	x.hubs = make([]atomic.Pointer[string], 3)
	x.locate()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	var all []*contender
	for i := range 6 {
		c := &contender{x: x, hub: i % 3, random: rand.New(rand.NewPCG(uint64(i), 3))}
		all = append(all, c)
	}
	ids := func(n uint64) func() string {
		random := rand.New(rand.NewPCG(n, 4))
		return func() string { // of a span: it may have left
			x.mu.Lock()
			defer x.mu.Unlock()
			if len(x.spans) == 0 {
				return uuid.NewString()
			}
			return x.spans[random.IntN(len(x.spans))].client
		}
	}
	for i, c := range all {
		c.to = ids(uint64(i))
		running.Go(func() { c.run(ctx) })
	}
	for i := range 3 {
		running.Go(func() { x.send(ctx, i) })
	}
	return x
}

// locate notes where the instances are.
func (x *contest) locate() {
	for i, h := range x.cluster.hubs {
		url := h.URL()
		x.hubs[i].Store(&url)
	}
}

// send sends messages to the group from instance i.
func (x *contest) send(ctx context.Context, i int) {
	for n := 0; ctx.Err() == nil; {
		c := &contender{x: x, hub: i}
		if c.connect(ctx) != nil {
			time.Sleep(100 * time.Millisecond) // before the next attempt
			continue
		}
		go func() { // until the connection ends
			for c.conn != nil {
				if _, _, err := c.conn.Read(ctx); err != nil {
					return
				}
			}
		}()
		for ctx.Err() == nil {
			n++
			event := fmt.Sprintf("%d-%d", i, n)
			if wsjson.Write(ctx, c.conn, map[string]any{"op": 0, "event": event, "intent": map[string]any{"target": "GROUP", "identifier": "contested"}}) != nil {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		_ = c.conn.CloseNow()
	}
}

// awaitChange waits until a client of another term than before holds the group, and returns how long that took.
func (x *contest) awaitChange(what string, before uint64) time.Duration {
	x.t.Helper()
	begun := time.Now()
	if err := eventually.Within(patience, func() bool { return x.holder().term > before }); err != nil {
		x.t.Fatalf("no holder after %s: %v", what, err)
	}
	return time.Since(begun)
}

// goodbyes has the holder give the group up n times, and measures how soon the next one knows.
func (x *contest) goodbyes(n int) {
	x.t.Helper()
	x.calm.Store(true)
	err := eventually.Within(patience, func() bool { return x.holder().end > x.now()+time.Second })
	if err != nil {
		x.t.Fatalf("no holder: %v", err)
	}
	x.mu.Lock()
	x.handed = nil
	x.mu.Unlock()
	for range n {
		before := x.holder().term
		x.release.Store(true)
		x.awaitChange("a goodbye", before)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	slices.Sort(x.handed)
	median, most := x.handed[len(x.handed)/2], x.handed[len(x.handed)-1]
	figure.Printf(x.t, "exclusive: %d goodbyes: the next one knows after %v (median), %v (most)", len(x.handed), figure.MS(median), figure.MS(most))
	if median > figure.Choose(2*time.Second, 100*time.Millisecond) {
		x.t.Errorf("the next one knows of the goodbye after %v, want 100ms", median)
	}
}

// verdict compares everything with the model.
func (x *contest) verdict() {
	x.mu.Lock()
	defer x.mu.Unlock()
	slices.SortFunc(x.spans, func(a, b *span) int { return cmp.Compare(a.start, b.start) })
	terms, faults := make(map[uint64]string), 0
	fail := func(format string, args ...any) {
		if faults++; faults <= 20 {
			x.t.Errorf(format, args...)
		}
	}
	var last *span // of those before, the one that ends last
	for _, s := range x.spans {
		if by, ok := terms[s.term]; ok && by != s.client {
			fail("term %d of both %s and %s", s.term, by, s.client)
		}
		terms[s.term] = s.client
		if last != nil && last.client != s.client {
			if s.start < last.end {
				fail("%s (term %d, until %v) and %s (term %d, from %v) may act at a time", last.client, last.term, last.end, s.client, s.term, s.start)
			}
			if s.term <= last.term {
				fail("term %d at %v follows %d", s.term, s.start, last.term)
			}
		}
		if last == nil || s.end > last.end {
			last = s
		}
	}
	for _, d := range x.doubled {
		fail("%s", d)
	}
	figure.Printf(x.t, "exclusive: %d holders, %d spans, %d messages to holders: %d faults of the model",
		len(terms), len(x.spans), x.received.Load(), faults)
	if len(terms) < 5 {
		x.t.Errorf("%d holders: too few to tell anything", len(terms))
	}
}

// TestExclusive breaks everything around the holder of a group, one thing after the other.
func TestExclusive(t *testing.T) {
	t.Parallel()
	x := startContest(t)
	x.awaitChange("the start", 0)
	time.Sleep(figure.Choose(4*time.Second, 45*time.Second)) // changes by the clients themselves

	// apply breaks something at the holder's instance, and measures from then until the next holder.
	apply := func(what string, limit time.Duration, do, undo func(hub int)) {
		t.Helper()
		x.calm.Store(true)
		var before span
		err := eventually.Within(patience, func() bool {
			before = x.holder()
			return before.end > x.now()+time.Second
		})
		if err != nil {
			t.Fatalf("%s: no holder before: %v", what, err)
		}
		do(before.hub)
		took := x.awaitChange(what, max(before.term, x.holder().term))
		figure.Printf(t, "exclusive: %s: the next holder after %v", what, figure.MS(took))
		if took > figure.Bound(limit) {
			t.Errorf("%s: the next holder after %v, want %v", what, took, limit)
		}
		undo(before.hub)
		x.calm.Store(false)
	}
	none := func(int) {}
	through := func(f faultproxy.Fault) func(int) { return func(hub int) { x.proxies[hub].Set(f) } }
	stop := func(hub int) { x.cluster.hubs[hub].Signal(syscall.SIGSTOP) }
	goOn := func(d time.Duration) func(int) {
		return func(hub int) { time.Sleep(d); x.cluster.hubs[hub].Signal(syscall.SIGCONT) }
	}
	for range figure.Choose(1, 4) {
		apply("kill -9 of an instance", 5*time.Second, func(hub int) { x.cluster.hubs[hub].Kill() }, func(hub int) {
			x.cluster.restart(hub)
			x.locate()
		})
		apply("an instance that is stopped", 5*time.Second, stop, goOn(figure.Choose(time.Second, 17*time.Second)))
		apply("an instance that hears nothing of Redis", 5*time.Second, through(faultproxy.SwallowReplies), through(faultproxy.None))
		if figure.Full() {
			apply("an instance that Redis does not hear", 5*time.Second, through(faultproxy.SwallowRequests), through(faultproxy.None))
			apply("an instance that is cut off", 5*time.Second, through(faultproxy.Swallow), through(faultproxy.None))
			hub := x.holder().hub
			stop(hub)
			goOn(2 * time.Second)(hub)
		}
		apply("FLUSHALL", 8*time.Second, func(int) { x.redis.Do("FLUSHALL") }, none)
		apply("a Redis that comes back without the last grant", 12*time.Second, func(int) {
			x.redis.Do("SAVE")
			held := x.holder().term
			x.calm.Store(false)
			x.awaitChange("a change by the clients", held)
			x.calm.Store(true)
			x.redis.Restart()
		}, none)
	}
	x.goodbyes(figure.Choose(10, 50))
	x.verdict()
}
