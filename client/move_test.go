package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// rig is a hub with an instance for each connection. It delivers FENCEs between them and the messages that a test publishes.
// A goroutine per connection writes its messages in order and pauses while the connection is held.
type rig struct {
	*fakeHub
	features string                                        // the features granted; default: all
	node     func(n int) (name string, id uint32)          // the instance of the nth connection; default: n<n> and n
	refuse   func(n int) string                            // the reason to refuse IDENTIFY; empty: none
	delay    func(n int) time.Duration                     // of each message to the nth connection; default: none
	hear     func(l *line, f frame)                        // called with each EVENT or REPLY of a client
	fence    func(from, to *line, id string) (passed bool) // whether a FENCE is delivered; default: all are

	bus    sync.Mutex // held while a message is published to all connections
	mu     sync.Mutex
	lines  map[int]*line
	opened chan *line // identified connections
}

// line is one connection of a rig.
type line struct {
	*peer
	rig *rig
	n   int
	id  string

	mu    sync.Mutex
	queue []string
	more  chan struct{}
	held  bool
	ended bool
	got   []frame // EVENTs, REPLYs and DISCONNECTs
}

func lineID(n int) string { return lineIDOn(uint32(n), n) }

// lineIDOn is the id of the nth connection on an instance, whose id it begins with.
func lineIDOn(instance uint32, n int) string {
	return fmt.Sprintf("%08x-0000-8000-8000-%012d", instance, n)
}

// inRig runs a test with a rig in a bubble of testing/synctest. A Sleep there takes no real time: it returns once all
// goroutines are blocked until that time of the bubble's clock.
func inRig(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	inBubble(t, func(t *testing.T, h *fakeHub) {
		r := &rig{fakeHub: h, lines: map[int]*line{}, opened: make(chan *line, 100), features: `"errors","acks","drain"`}
		h.serve = r.serveLine
		f(t, r)
	})
}

func (r *rig) serveLine(n int, p *peer) {
	l := &line{peer: p, rig: r, n: n, id: lineID(n), more: make(chan struct{}, 1)}
	f, ok := p.next()
	if !ok {
		return
	}
	if r.refuse != nil {
		if reason := r.refuse(n); reason != "" {
			p.disconnect(reason, 4004)
			return
		}
	}
	node := fmt.Sprint("n", n)
	if r.node != nil {
		var instance uint32
		node, instance = r.node(n)
		l.id = lineIDOn(instance, n)
	}
	l.got = append(l.got, f)
	r.mu.Lock()
	r.lines[n] = l
	r.mu.Unlock()
	l.deliver(`{"op":1,"data":{"id":%q,"ping":30000,"node":%q,"features":[%s]}}`, l.id, node, r.features)
	var writer sync.WaitGroup
	writer.Go(l.write)
	r.opened <- l
	for {
		f, ok := p.next()
		if !ok {
			break
		}
		l.handle(f)
	}
	l.end()
	writer.Wait()
}

// handle handles a client's message as the hub does.
func (l *line) handle(f frame) {
	l.rig.bus.Lock()
	defer l.rig.bus.Unlock()
	switch f.Op {
	case 13:
		var to int
		if _, err := fmt.Sscanf(f.Intent.Identifier[min(8, len(f.Intent.Identifier)):], "-0000-8000-8000-%d", &to); err != nil {
			l.t.Errorf("FENCE %s", f.raw)
			return
		}
		other := l.rig.line(to)
		if l.rig.fence != nil && !l.rig.fence(l, other, f.ID) {
			return
		}
		if other == nil || !other.deliver(`{"op":13,"sender":%q}`, l.id) {
			l.deliver(`{"op":6,"id":%q,"data":{"code":"NO_RECEIVER","message":"gone"}}`, f.ID)
		}
		return
	case 3:
		l.deliver(`{"op":4}`)
		return
	case 4:
		return
	}
	l.mu.Lock()
	l.got = append(l.got, f)
	l.mu.Unlock()
	if f.Op == 2 {
		l.deliver("bye")
	} else if l.rig.hear != nil {
		l.rig.hear(l, f)
	}
}

func (r *rig) line(n int) *line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines[n]
}

// deliver queues a message for the connection. It returns false if the connection has ended.
func (l *line) deliver(format string, args ...any) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.queue = append(l.queue, fmt.Sprintf(format, args...))
	select {
	case l.more <- struct{}{}:
	default:
	}
	return true
}

func (l *line) write() {
	for {
		l.mu.Lock()
		if l.ended {
			l.mu.Unlock()
			return
		}
		msg := ""
		if len(l.queue) > 0 && !l.held {
			msg, l.queue = l.queue[0], l.queue[1:]
		}
		l.mu.Unlock()
		if msg == "" {
			<-l.more
			continue
		}
		if l.rig.delay != nil {
			time.Sleep(l.rig.delay(l.n))
		}
		if msg == "bye" {
			l.disconnect("NO_REASON", 1000)
			return
		}
		l.send("%s", msg)
	}
}

// hold stops delivery to the connection; messages queue up.
func (l *line) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// unhold resumes delivery.
func (l *line) unhold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// cut breaks the connection.
func (l *line) cut() { _ = l.conn.CloseNow() }

// heard returns the events that the client sent on the connection, and "BYE" for its DISCONNECT.
func (l *line) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, f := range l.got {
		switch f.Op {
		case 0, 5:
			all = append(all, f.Event)
		case 2:
			all = append(all, "BYE")
		}
	}
	return strings.Join(all, " ")
}

// drain sends DRAIN with its data.
func (l *line) drain(data string) { l.deliver(`{"op":12,"data":{%s}}`, data) }

// event returns an EVENT as the hub delivers it; target is GLOBAL, GROUP, DIRECT or ANY.
func event(sender, id, event, target string) string {
	return fmt.Sprintf(`{"op":0,"id":%q,"event":%q,"intent":{"target":%q,"identifier":"g"},"sender":%q}`, id, event, target, sender)
}

// journal records the calls of a client's handlers and hooks.
type journal struct {
	mu  sync.Mutex
	all []string
}

func (l *journal) add(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, what)
}

func (l *journal) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, " ")
}

// options returns the options of a client that records in l the names of events, "+n" for OnConnect with connection n, and
// "-" for OnDisconnect.
func (r *rig) options(l *journal) client.Options {
	o := r.fakeHub.options()
	o.OnMessage = handlerOf(func(m *client.Message) { l.add(m.Event) })
	o.OnConnect = func(id client.Identity) { l.add("+" + strings.TrimLeft(id.ID[24:], "0")) }
	o.OnDisconnect = func(error) { l.add("-") }
	return o
}

// client connects a client and returns it with its connection.
func (r *rig) client(o client.Options) (*client.Client, *line) {
	c := r.connect(o)
	return c, <-r.opened
}

// moving connects a client and asks it to move. It returns both connections once the new one has identified.
func (r *rig) moving(o client.Options, data string) (c *client.Client, a, b *line) {
	c, a = r.client(o)
	a.drain(data)
	return c, a, <-r.opened
}

// ask sends a request and returns once it is written. Its error follows on the channel.
func ask(c *client.Client) <-chan error {
	asked := make(chan error, 1)
	go func() {
		_, err := c.Request(context.Background(), client.Any("w"), "q", nil)
		asked <- err
	}()
	synctest.Wait()
	return asked
}

func wantLog(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

const restart = `"after_ms":1000,"deadline_ms":30000,"reason":"restart"`

// The simplest move: the client leaves the old connection when no answer is due on it.
func TestMove(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		send(t, c, "s1")
		a.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		began := time.Now()
		a.drain(restart)
		b := <-r.opened
		if d := time.Since(began); d < time.Second || d > 1500*time.Millisecond {
			t.Errorf("dialed after %v, want 1s and a little", d)
		}
		synctest.Wait()
		send(t, c, "s2")
		time.Sleep(time.Second)
		b.deliver("%s", event(sender, "2", "e2", "GLOBAL"))
		synctest.Wait()
		wantLog(t, "the handlers", l.String(), "+1 e1 +2 e2")
		wantLog(t, "over the old connection", a.heard(), "s1 BYE")
		wantLog(t, "over the new connection", b.heard(), "s2")
		if id := c.Identity(); id.ID != b.id || id.Node != "n2" {
			t.Errorf("Identity = %+v", id)
		}
	})
}

// Messages that arrive just before the new connection is dialed, and again on it, are handed out once.
func TestMoveRecordsMessages(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		a.drain(`"after_ms":0,"deadline_ms":30000,"reason":"restart"`)
		time.Sleep(100 * time.Millisecond) // of the 250 ms that are recorded
		a.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		b := <-r.opened
		b.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		time.Sleep(2 * time.Second)
		wantLog(t, "the handlers", l.String(), "+1 e1 +2")
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// Messages on both connections are handed out once and in each sender's order. Messages on one connection are not lost.
func TestMoveMergesBothConnections(t *testing.T) {
	both := func(a, b *line, e string) { a.deliver("%s", e); b.deliver("%s", e) }
	for name, test := range map[string]struct {
		play func(a, b *line)
		want string
	}{
		"old one first": {func(a, b *line) {
			b.hold()
			both(a, b, event(sender, "1", "e1", "GLOBAL"))
			both(a, b, event(sender, "2", "e2", "GROUP"))
		}, "e1 e2"},
		"new one first": {func(a, b *line) {
			a.hold()
			both(a, b, event(sender, "1", "e1", "GLOBAL"))
			both(a, b, event(sender, "2", "e2", "GROUP"))
		}, "e1 e2"},
		"not yet for the new one": {func(a, b *line) {
			a.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
			both(a, b, event(sender, "2", "e2", "GROUP"))
		}, "e1 e2"},
		"only the new one, before both": {func(a, b *line) {
			b.hold()
			b.deliver("%s", event(sender, "1", "e1", "ANY"))
			both(a, b, event(sender, "2", "e2", "GLOBAL"))
		}, "e1 e2"},
		"only the new one, behind only the old one": {func(a, b *line) {
			a.hold()
			a.deliver("%s", event(sender, "1", "e1", "DIRECT"))
			b.deliver("%s", event(sender, "2", "e2", "DIRECT"))
		}, "e1 e2"},
		"one id several times": {func(a, b *line) {
			for range 3 {
				both(a, b, event(sender, "1", "e", "GLOBAL"))
			}
			a.deliver("%s", event(sender, "1", "e", "DIRECT"))
			b.deliver("%s", event(sender, "1", "e", "DIRECT"))
		}, "e e e e e"},
		"a reply to many": {func(a, b *line) {
			both(a, b, strings.Replace(event(sender, "1", "r1", "GROUP"), `"op":0`, `"op":5`, 1))
		}, "r1"},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				c, a := r.client(r.options(&l))
				defer closeClient(t, c)
				a.drain(restart)
				b := <-r.opened
				test.play(a, b)
				time.Sleep(500 * time.Millisecond)
				a.unhold()
				b.unhold()
				time.Sleep(5 * time.Second)
				b.deliver("%s", event(sender, "9", "end", "GLOBAL"))
				synctest.Wait()
				got := strings.ReplaceAll(strings.ReplaceAll(l.String(), "+1 ", ""), "+2 ", "")
				wantLog(t, "the handlers", got, test.want+" end")
				wantLog(t, "over the old connection", a.heard(), "BYE")
			})
		})
	}
}

func send(t testing.TB, c *client.Client, event string) {
	t.Helper()
	ctx, cancel := within(time.Minute)
	defer cancel()
	if err := c.Send(ctx, client.Global(), event, nil); err != nil {
		t.Errorf("Send %s: %v", event, err)
	}
}

// unmarshal is json.Unmarshal for tests.
func unmarshal(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Errorf("%s: %v", b, err)
	}
}
