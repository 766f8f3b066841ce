package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// These tests have the traffic between instances arrive late, out of order, or counted wrong.

// steered is the broker of one instance whose traffic a test changes.
type steered struct {
	broker.Broker

	publish   func(m *broker.Message, done broker.Completion) // in the place of Publish
	standings func(all []broker.Standing) []broker.Standing   // changes what is known of other instances
	delivered func(m *broker.Message)                         // after a message was delivered to the hub

	mu   sync.Mutex
	hold newsKind // news of this kind wait until release
	held []*broker.Message
}

func (b *steered) Start(ctx context.Context, self broker.Node, h broker.Handler) error {
	return b.Broker.Start(ctx, self, steeredHandler{h, b})
}

type steeredHandler struct {
	broker.Handler
	b *steered
}

func (h steeredHandler) Deliver(m *broker.Message) {
	h.Handler.Deliver(m)
	if h.b.delivered != nil {
		h.b.delivered(m)
	}
}

func (b *steered) Publish(m *broker.Message, done broker.Completion) {
	if b.holds(m) {
		return // losses hears only of errors
	}
	if b.publish != nil {
		b.publish(m, done)
		return
	}
	b.Broker.Publish(m, done)
}

func (b *steered) holds(m *broker.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.hold != 0 && m.Kind == broker.KindTracking && m.Payload[0] == byte(b.hold)
	if held {
		b.held = append(b.held, m.Clone())
	}
	return held
}

// awaitHeld waits until n news are held.
func (b *steered) awaitHeld(t testing.TB, n int) {
	t.Helper()
	eventually.True(t, "news are held", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.held) == n
	})
}

// release publishes what was held, and holds nothing more.
func (b *steered) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.held {
		b.Broker.Publish(m, nil)
	}
	b.hold, b.held = 0, nil
}

func (b *steered) Standings(group []byte, dst []broker.Standing) []broker.Standing {
	all := b.Broker.Standings(group, dst)
	if b.standings != nil {
		all = b.standings(all)
	}
	return all
}

// newSteeredSite starts two instances, of one loop and of two, and returns their brokers.
func newSteeredSite(t testing.TB, near, far *steered) *site {
	t.Helper()
	s := new(site)
	bus := memory.NewBus()
	for i, b := range []*steered{near, far} {
		b.Broker = bus.Broker()
		h, url := startHub(t, b, func(o *Options) {
			o.Transport.Loops = i + 1
			o.NodeName = fmt.Sprint("host-", i)
		})
		s.hubs, s.urls = append(s.hubs, h), append(s.urls, url)
	}
	return s
}

// joinAt is join at that instance.
func (s *site) joinAt(t testing.TB, at int, group string, extra m) *peer {
	t.Helper()
	s.next = at
	return s.join(t, group, extra)
}

// wantReply reads a REPLY to the request.
func (p *peer) wantReply(id string) frame {
	p.t.Helper()
	f := p.read()
	if f.Op != 5 || f.ID != id {
		p.t.Fatalf("want a REPLY to %s, got %+v", id, f)
	}
	return f
}

func (p *peer) uuid() *uuid.UUID {
	id := uuid.MustParse(p.id)
	return &id
}

// next is read for goroutines.
func (p *peer) next() (f frame, err error) {
	err = wsjson.Read(p.ctx, p.conn, &f)
	return f, err
}

const long = 600_000 // ms: a request that reaches its timeout fails the test

// TestRequestReplyBeforeReport: answers that come before their instance has said how many receivers it has do not settle the
// request, and count.
func TestRequestReplyBeforeReport(t *testing.T) {
	t.Parallel()
	far := &steered{hold: newsReport}
	s := newSteeredSite(t, new(steered), far)
	a := s.joinAt(t, 0, "askers", nil)
	var w []*peer
	for range 4 {
		w = append(w, s.joinAt(t, 1, "workers", nil))
	}
	a.send(expectation("q", inGroup("workers"), within(long)))
	for i, p := range w {
		f := p.wantRequest("q")
		if i == 0 {
			p.pass(f)
			continue
		}
		p.reply(f, nil)
		a.wantReply("q")
	}
	far.awaitHeld(t, 1)
	a.wantNothing()
	far.release()
	a.wantSettled("q", settlement{Receivers: 4, Replied: 3, Passed: 1})
	s.noneOpen(t)
}

// TestRequestCountedTooOften: the broker counts an instance that never says how many receivers it has. SETTLED says so.
func TestRequestCountedTooOften(t *testing.T) {
	t.Parallel()
	near := new(steered)
	near.publish = func(m *broker.Message, done broker.Completion) {
		if m.Kind == broker.KindGroup || m.Kind == broker.KindGlobal {
			heard := done
			done = broker.CompletionFunc(func(n int, err error) { heard.Published(n+1, err) })
		}
		near.Broker.Publish(m, done)
	}
	s := newSteeredSite(t, near, new(steered))
	a, b := s.joinAt(t, 0, "askers", nil), s.joinAt(t, 1, "workers", nil)
	a.send(expectation("q1", inGroup("workers"), within(long)))
	a.send(expectation("q2", m{"target": "GLOBAL"}, within(long)))
	a.send(expectation("q3", inGroup("askers"), within(long)))
	a.send(expectation("q4", inGroup("nobody"), within(long)))
	b.reply(b.wantRequest("q1"), nil)
	b.reply(b.wantRequest("q2"), nil)
	want := map[string]settlement{
		"q1": {Receivers: 1, Replied: 1}, "q2": {Receivers: 2, Replied: 1, Passed: 1}, "q3": {Receivers: 1, Replied: 1}, "q4": {},
	}
	for len(want) > 0 {
		switch f := a.read(); {
		case f.Op == 0 && f.ID == "q2":
			a.pass(f)
		case f.Op == 0:
			a.reply(f, nil)
		case f.Op == 14:
			w := want[f.ID]
			w.Missing = []missing{{Reason: "OUTCOME_UNKNOWN"}}
			got, err := settlementOf(f)
			if diff := cmp.Diff(w, got); diff != "" || err != nil {
				t.Errorf("SETTLED of %s, %v (-want +got):\n%s", f.ID, err, diff)
			}
			delete(want, f.ID)
		}
	}
	s.noneOpen(t)
}

// TestRequestOfInstancesWithoutMembers: instances that get a group's messages without a member, for a tap or because the last
// one has just left, say that they have no receivers. Nothing of them is missing.
func TestRequestOfInstancesWithoutMembers(t *testing.T) {
	t.Parallel()
	s := newSite(t, []int{1, 2, 1}, nil)
	a, b := s.joinAt(t, 0, "askers", nil), s.joinAt(t, 0, "workers", nil)
	watcher := s.joinAt(t, 1, "watchers", m{"features": []string{"requests", "presence"}, "watch": []string{"workers"}})
	if f := watcher.read(); f.Op != 10 {
		t.Fatalf("want PRESENCE, got %+v", f)
	}
	tap, err := s.hubs[1].Tap(t.Context(), TapOptions{Group: "workers", PerSecond: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	left := s.hubs[2].groups.keep("workers")
	defer s.hubs[2].groups.release(left)
	confirmed := make(confirmation, 1)
	left.await(confirmed)
	if err := <-confirmed; err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"q1", "q2"} {
		a.send(expectation(id, inGroup("workers"), within(long)))
		b.reply(b.wantRequest(id), nil)
		a.wantSettled(id, settlement{Receivers: 1, Replied: 1})
	}
	s.noneOpen(t)
}

// TestRequestOfAnUnknownMember: an instance that is not known yet to have a member reports, and its member's answer counts.
func TestRequestOfAnUnknownMember(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"report before the broker's word", "no report in time"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			near, far := new(steered), new(steered)
			near.standings = func([]broker.Standing) []broker.Standing { return nil }
			reported, word := make(chan struct{}, 8), make(chan func(), 1)
			near.delivered = func(m *broker.Message) {
				if m.Kind == broker.KindTracking && m.Payload[0] == byte(newsReport) {
					reported <- struct{}{}
				}
			}
			near.publish = func(m *broker.Message, done broker.Completion) {
				if m.Kind == broker.KindGroup {
					heard := done
					done = broker.CompletionFunc(func(n int, err error) { word <- func() { heard.Published(n, err) } })
				}
				near.Broker.Publish(m, done)
			}
			late := order == "no report in time"
			if late {
				far.hold = newsReport
			}
			s := newSteeredSite(t, near, far)
			a, b := s.joinAt(t, 0, "askers", nil), s.joinAt(t, 1, "workers", nil)
			known := s.joinAt(t, 0, "workers", nil)
			a.send(expectation("q", inGroup("workers"), within(long)))
			known.reply(known.wantRequest("q"), nil)
			a.wantReply("q")
			f := b.wantRequest("q")
			if late {
				far.awaitHeld(t, 1)
				(<-word)()
				a.wantSettled("q", settlement{Receivers: 1, Replied: 1, Missing: []missing{{Reason: "OUTCOME_UNKNOWN"}}})
				far.release()
				<-reported
				b.reply(f, nil)
				eventually.True(t, "the answer was too late", func() bool { return lateDrops(s) == 1 })
				a.wantNothing()
			} else {
				<-reported
				b.reply(f, nil)
				a.wantReply("q")
				a.wantNothing()
				(<-word)()
				a.wantSettled("q", settlement{Receivers: 2, Replied: 2})
			}
			s.noneOpen(t)
		})
	}
}

// TestRequestPlaceUsedAgain: what is told late of a request is not taken for one that has its place in the table now.
func TestRequestPlaceUsedAgain(t *testing.T) {
	t.Parallel()
	far := &steered{hold: newsOver}
	s := newSteeredSite(t, new(steered), far)
	a, b := s.joinAt(t, 0, "askers", nil), s.joinAt(t, 1, "workers", m{"name": "shard-1"})
	place := func() uint32 {
		at := make(chan uint32)
		sh := s.hubs[0].shards[0]
		sh.loop.Post(task(func() { at <- sh.client(a.uuid()).extra().requests.first }))
		return <-at
	}
	a.send(expectation("q", directTo(b), within(long)))
	b.wantRequest("q")
	before := place()
	a.send(m{"op": 15, "id": "q"})
	b.wantCancel("q", a.id)
	far.awaitHeld(t, 1)
	a.wantSettled("q", settlement{Receivers: 1, Missing: []missing{{Node: "host-1", Reason: "CANCELLED", Count: 1}}})
	a.send(expectation("q", directTo(b), within(long)))
	f := b.wantRequest("q")
	if now := place(); now != before {
		t.Fatalf("the request has the place %d, and not %d: this test shows nothing", now, before)
	}
	far.release()
	b.reply(f, nil)
	a.wantSettled("q", settlement{Receivers: 1, Replied: 1})
	s.noneOpen(t)
	a.wantNothing()
}

// TestRequestSlotUsedAgain: the part of a client that went is not that of the client that has its slot now.
func TestRequestSlotUsedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, []int{1}, nil)
	sh := s.hubs[0].shards[0]
	slotOf := func(p *peer) uint32 {
		at := make(chan uint32)
		sh.loop.Post(task(func() { at <- sh.client(p.uuid()).conn.Slot() }))
		return <-at
	}
	a, b := s.join(t, "askers", nil), s.join(t, "workers", m{"name": "shard-1"})
	slot := slotOf(b)
	a.send(expectation("q", directTo(b), within(long)))
	a.send(expectation("g", inGroup("workers"), within(long)))
	f := b.wantRequest("q")
	b.wantRequest("g")
	_ = b.conn.CloseNow()
	gone := settlement{Receivers: 1, Missing: []missing{{ID: b.id, Name: "shard-1", Reason: "LOST"}}}
	for range 2 {
		if got, id := a.settledAny(); fmt.Sprint(got) != fmt.Sprint(gone) {
			t.Errorf("%s: %+v", id, got)
		}
	}
	var next *peer
	for range 8 { // until one has the slot
		if next = s.join(t, "workers", nil); slotOf(next) == slot {
			break
		}
	}
	if slotOf(next) != slot {
		t.Fatal("no client got the slot: this test shows nothing")
	}
	next.reply(f, nil) // nothing of it: a message like any other
	a.wantReply("q")
	a.send(expectation("q", directTo(next), within(long)))
	next.reply(next.wantRequest("q"), nil)
	a.wantSettled("q", settlement{Receivers: 1, Replied: 1})
	s.noneOpen(t)
	if n := lateDrops(s); n != 0 {
		t.Errorf("%d replies were late", n)
	}
}

// TestRequestAnsweredForEver: a receiver that says each time that more follows is stopped by the timeout.
func TestRequestAnsweredForEver(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		a, b := s.join(t, "askers", nil), s.join(t, "workers", nil)
		a.send(expectation("q", directTo(b), within(2000)))
		f := b.wantRequest("q")
		cancelled, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(cancelled)
			if got, err := b.next(); err != nil || got.Op != 15 || got.ID != "q" || got.Sender != a.id {
				t.Errorf("want CANCEL, got %+v, %v", got, err)
			}
		}()
		go func() {
			defer close(stopped)
			for over := false; !over; {
				over = isClosed(cancelled) // and one more
				b.reply(f, m{"more": true})
			}
		}()
		a.wantUnanswered("q", "TIMEOUT", b)
		<-stopped
		s.noneOpen(t)
		eventually.True(t, "the last was too late", func() bool { return lateDrops(s) > 0 })
		a.wantNothing()
	})
}

// TestRequestEscapedIDs: an id is the same however it is escaped.
func TestRequestEscapedIDs(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		const id = "qé\"\n/𝄞"
		ways := []string{`"qé\"\n/𝄞"`, `"\u0071\u00e9\u0022\u000a\/\ud834\udd1e"`, `"\u0071\u00E9\"\u000A/\uD834\uDD1E"`}
		a, b := s.join(t, "askers", nil), s.join(t, "workers", nil)
		send := func(p *peer, text string) {
			t.Helper()
			if err := p.sendRaw(text); err != nil {
				t.Fatal(err)
			}
		}
		for i, asked := range ways {
			answered := ways[(i+1)%len(ways)]
			ask := `{"op":0,"id":` + asked + `,"intent":{"target":"DIRECT","identifier":"` + b.id + `"},"expect":{"timeout_ms":600000}}`
			back := `,"id":` + answered + `,"intent":{"target":"DIRECT","identifier":"` + a.id + `"}}`
			send(a, ask)
			b.wantRequest(id)
			send(b, `{"op":5`+back)
			a.wantSettled(id, settlement{Receivers: 1, Replied: 1})
			send(a, ask)
			b.wantRequest(id)
			send(b, `{"op":14`+back)
			a.wantSettled(id, settlement{Receivers: 1, Passed: 1})
			send(a, ask)
			b.wantRequest(id)
			send(a, strings.Replace(ask, asked, answered, 1))
			send(a, `{"op":15,"id":`+answered+`}`)
			if f := a.read(); f.Op != 6 || f.Data.(m)["code"] != "DUPLICATE_ID" {
				t.Errorf("the id a second time: %+v", f)
			}
			a.wantUnanswered(id, "CANCELLED", b)
			b.wantCancel(id, a.id)
		}
		s.noneOpen(t)
		b.wantNothing()
	})
}

// TestRequesterThatNeverReads: it is disconnected when its queue is full, and nothing of its requests is left.
func TestRequesterThatNeverReads(t *testing.T) {
	t.Parallel()
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, []int{loops}, func(o *Options) { o.Transport.SendQueueBytes = 128 << 10 })
			h := s.hubs[0]
			b, other := s.join(t, "workers", nil), s.join(t, "askers", nil)
			a := newRawPeer(t, s.urls[0], `,"features":["requests"]`).small()
			const requests = 64
			for i := range requests {
				a.write(maskedText(fmt.Sprintf(
					`{"op":0,"id":"q%d","intent":{"target":"DIRECT","identifier":%q},"expect":{"timeout_ms":600000}}`, i, b.id)))
			}
			filler := strings.Repeat("x", 16<<10)
			var asked []frame
			for range requests {
				asked = append(asked, b.read())
			}
			over, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for i := 0; !isClosed(over); i++ { // the kernel takes some megabytes, then the queue is full
					b.reply(asked[i%requests], m{"more": true, "data": filler})
				}
			}()
			eventually.True(t, "it is disconnected", func() bool { return h.Stats().Requests.Open == 0 })
			close(over)
			<-stopped
			s.noneOpen(t)
			other.send(expectation("q", directTo(b), within(long)))
			for {
				f := b.read()
				if f.Op == 0 {
					b.reply(f, nil)
					break
				}
				if f.Op != 15 || !slices.ContainsFunc(asked, func(g frame) bool { return g.ID == f.ID }) {
					t.Fatalf("got %+v", f)
				}
			}
			other.wantSettled("q", settlement{Receivers: 1, Replied: 1})
		})
	}
}
