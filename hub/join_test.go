package hub

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

// slowBroker is a real broker whose confirmations, and whose draws, a test can hold back or bend.
type slowBroker struct {
	broker.Broker
	asked chan func(error) // confirmations that wait for the test; nil: they are not held back

	mu    sync.Mutex
	draws []broker.NodeID // what Draw returns before it asks the real broker
}

func (b *slowBroker) Subscribe(group string, confirmed func(error)) {
	if b.asked == nil {
		b.Broker.Subscribe(group, confirmed)
		return
	}
	b.Broker.Subscribe(group, func(err error) {
		b.asked <- func(refusal error) { confirmed(errors.Join(err, refusal)) }
	})
}

func (b *slowBroker) Draw(group []byte, own int, random uint64) (broker.NodeID, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.draws) > 0 {
		id := b.draws[0]
		b.draws = b.draws[1:]
		return id, true
	}
	return b.Broker.Draw(group, own, random)
}

func identification(group string) m { return m{"op": 1, "data": m{"token": testToken, "group": group}} }

func TestIdentifyWaitsForTheSubscription(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	_, url := startHub(t, slow, nil)
	p := connect(t, url)
	p.send(identification("g"))
	p.send(event("behind", to("GROUP", "g"))) // not lost, and not before the answer
	confirm := <-slow.asked

	second := connect(t, url) // waits for the same subscription
	second.send(identification("g"))

	confirm(nil)
	if f := p.read(); f.Op != 1 {
		t.Fatalf("got %+v, want the answer to IDENTIFY", f)
	}
	if f := p.read(); f.ID != "behind" {
		t.Fatalf("got %+v, want the event that was sent behind IDENTIFY", f)
	}
	if f := second.read(); f.Op != 1 {
		t.Fatalf("got %+v, want the answer to IDENTIFY", f)
	}
	third := identify(t, url, "g", nil) // nothing to wait for any more
	third.send(event("e", to("GROUP", "g")))
	if f := third.read(); f.ID != "e" {
		t.Fatalf("got %+v", f)
	}
}

func TestIdentifyWithoutASubscription(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	h, url := startHub(t, slow, nil)
	p := connect(t, url)
	p.send(identification("g"))
	(<-slow.asked)(errors.New("the broker is away"))
	p.wantDisconnect("the subscription failed", "TRY_AGAIN_LATER", 1001)

	left := connect(t, url)
	left.send(identification("g"))
	confirm := <-slow.asked
	_ = left.conn.CloseNow()
	again := connect(t, url)
	again.send(identification("g"))
	confirm(nil)
	answered := make(chan struct{})
	go func() { // had the first one gone before the second came, it is subscribed to once more
		select {
		case confirm := <-slow.asked:
			confirm(nil)
		case <-answered:
		}
	}()
	if f := again.read(); f.Op != 1 {
		t.Fatalf("got %+v", f)
	}
	close(answered)
	again.send(m{"op": 2})
	again.wantDisconnect("goodbye", "NO_REASON", 1000)
	for ctx := inspectCtx(t); h.groups.everyone.total() != 0; { // that the first has gone may be read last
		if err := h.onLoops(ctx, func(*shard) {}); err != nil {
			t.Fatalf("%d clients are left in the registry: %v", h.groups.everyone.total(), err)
		}
	}
}

func TestAnyIsDrawnAgain(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	slow := &slowBroker{Broker: bus.Broker()}
	_, url := startHub(t, slow, nil)
	empty, _ := startHub(t, bus.Broker(), nil)
	gone := broker.NodeID(12345)
	sender := identify(t, url, "boss", m{"features": []string{"errors"}})
	worker := identify(t, url, "work", nil)

	for _, wrong := range []broker.NodeID{empty.Node().ID, gone} {
		slow.bend(wrong)
		sender.send(event("drawn twice", to("ANY", "work")))
		if f := worker.read(); f.ID != "drawn twice" {
			t.Fatalf("got %+v", f)
		}
		slow.bend(slices.Repeat([]broker.NodeID{wrong}, maxAvoid+1)...)
		sender.send(event("nowhere", to("ANY", "work")))
		if f := sender.read(); f.Op != 6 || f.ID != "nowhere" || f.Data.(m)["code"] != "NO_RECEIVER" {
			t.Fatalf("got %+v", f)
		}
	}

	// Once its sender has sent more, a message that comes back could overtake that: it is dropped instead.
	raw := newRawPeer(t, url, `,"features":["errors"]`)
	slow.bend(empty.Node().ID)
	raw.write(append(maskedText(`{"op":0,"id":"late","intent":{"target":"ANY","identifier":"work"}}`),
		maskedText(`{"op":0,"id":"next","intent":{"target":"GROUP","identifier":"work"}}`)...))
	if got := string(raw.readMessage()); !strings.Contains(got, "RECEIVER_GONE") || !strings.Contains(got, `"late"`) {
		t.Errorf("got %s", got)
	}
	expectFenced(t, "the worker", fenced(worker), []string{"next"})
}

// bend makes the next draws name these instances.
func (b *slowBroker) bend(draws ...broker.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draws = draws
}

// fenced sends the fence that expectFenced waits for.
func fenced(p *peer) *peer {
	p.send(event("fence", to("DIRECT", p.id)))
	return p
}

// An instance is drawn for an ANY as soon as it tells of a group's first member there, which is before that has joined.
func TestAnyWaitsForWhoIsAboutToJoin(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(p *peer, h *Hub, confirm func(error))
		code string // for the sender; empty for a delivery
	}{
		"it joins": {func(p *peer, h *Hub, confirm func(error)) {
			confirm(nil)
			f := p.read()
			if f.Op != 1 {
				t.Errorf("got %+v, want the answer to IDENTIFY", f)
			}
			p.id = f.Data.(m)["id"].(string)
			expectFenced(t, "the client that joined", fenced(p), []string{"first", "second"})
		}, ""},
		"it may not join": {func(p *peer, h *Hub, confirm func(error)) {
			confirm(errors.New("the broker is away"))
			p.wantDisconnect("the subscription failed", "TRY_AGAIN_LATER", 1001)
		}, "RECEIVER_GONE"},
		"it goes": {func(p *peer, h *Hub, confirm func(error)) {
			h.expecting("work", func(s *session) { s.disconnect(opcodes.PingTimeout) })
			confirm(nil)
		}, "RECEIVER_GONE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender, p, joins, confirm := startJoining(t)
			sender.send(event("first", to("ANY", "work")))
			sender.send(event("second", to("ANY", "work")))
			joins.awaitHeld(2)
			test.end(p, joins, confirm)
			if test.code == "" {
				return
			}
			if f := sender.read(); f.Op != 6 || f.ID != "first" || f.Data.(m)["code"] != test.code {
				t.Errorf("got %+v, want %s for the first", f, test.code)
			}
			if f := sender.read(); f.Op != 6 || f.ID != "second" { // drawn again, without a member left
				t.Errorf("got %+v, want an ERROR for the second", f)
			}
		})
	}
}

// startJoining starts two hubs, a sender on one, and on the other a client that is about to join the group "work" and waits
// for confirm.
func startJoining(t *testing.T) (sender, p *peer, joins *Hub, confirm func(error)) {
	t.Helper()
	bus := memory.NewBus()
	slow := &slowBroker{Broker: bus.Broker(), asked: make(chan func(error), 1)}
	_, url := startHub(t, bus.Broker(), nil)
	joins, joinsURL := startHub(t, slow, nil)
	sender = identify(t, url, "boss", m{"features": []string{"errors"}})
	p = connect(t, joinsURL)
	p.send(identification("work"))
	return sender, p, joins, <-slow.asked
}

// awaitHeld waits until so many messages wait for that client. Each look waits for the loops.
func (h *Hub) awaitHeld(n int) {
	for held := 0; held < n; {
		h.expecting("work", func(s *session) { held = len(s.shard.held.of[s]) })
	}
}

// expecting calls f for the client that is about to join the group, on its loop.
func (h *Hub) expecting(group string, f func(*session)) {
	g := h.groups.find([]byte(group))
	err := h.onLoops(context.Background(), func(sh *shard) {
		if s := g.anyExpected(func(s *session, _ bool) bool { return s.shard == sh }); s != nil {
			f(s)
		}
	})
	if err != nil {
		panic(err)
	}
}

// Other instances know of a group's first member before it is told that it is one, also where the group was watched
// before, so that it was subscribed to.
func TestFirstMemberBesideWhoWatches(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	h, url := startHub(t, slow, nil)
	tapped := make(chan *Tap)
	go func() {
		tap, err := h.Tap(t.Context(), TapOptions{Group: "g"})
		if err != nil {
			t.Error(err)
		}
		tapped <- tap
	}()
	(<-slow.asked)(nil)
	defer (<-tapped).Close()

	p := connect(t, url)
	p.send(identification("g"))
	answer := make(chan frame, 1)
	go func() { answer <- p.read() }()
	select {
	case confirm := <-slow.asked:
		confirm(nil)
	case f := <-answer:
		t.Fatalf("got %+v before others knew", f)
	}
	if f := <-answer; f.Op != 1 {
		t.Errorf("got %+v, want the answer to IDENTIFY", f)
	}
}

// A join that fails leaves others no wrong idea of a group whose members are about to leave.
func TestFailedJoinBesideWhoLeaves(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	slow := &slowBroker{Broker: bus.Broker(), asked: make(chan func(error), 1)}
	h, url := startHub(t, slow, nil)
	other, _ := startHub(t, bus.Broker(), nil)
	drawn := func() bool {
		_, ok := other.broker.Draw([]byte("g"), 0, 1)
		return ok
	}
	leaves := connect(t, url)
	leaves.send(identification("g"))
	(<-slow.asked)(nil)
	leaves.read()
	g := h.groups.find([]byte("g"))
	if err := h.onLoops(t.Context(), func(sh *shard) {
		for _, s := range g.local[sh.index].list {
			s.told = true
			s.depart()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if drawn() {
		t.Error("who is about to leave is drawn")
	}
	p := connect(t, url)
	p.send(identification("g"))
	confirm := <-slow.asked
	if !drawn() {
		t.Error("who is about to join is not drawn")
	}
	confirm(errors.New("the broker is away"))
	p.wantDisconnect("the subscription failed", "TRY_AGAIN_LATER", 1001)
	if drawn() {
		t.Error("who did not join is drawn")
	}
}

// What is held for a client when its hub closes goes back: its sender is told.
func TestHeldGoesBackWhenTheHubCloses(t *testing.T) {
	t.Parallel()
	sender, _, joins, confirm := startJoining(t)
	sender.send(event("held", to("ANY", "work")))
	joins.awaitHeld(1)
	if err := joins.Close(inspectCtx(t)); err != nil {
		t.Error(err)
	}
	confirm(broker.ErrClosed)
	if f := sender.read(); f.Op != 6 || f.ID != "held" {
		t.Errorf("got %+v, want an ERROR", f)
	}
	if n := joins.groups.len(); n != 0 {
		t.Errorf("%d groups are left", n)
	}
}

// What is held is bounded in bytes: beyond that it goes back at once.
func TestHeldBytes(t *testing.T) {
	t.Parallel()
	sender, p, joins, confirm := startJoining(t)
	reserve := func(n int) {
		if err := joins.onLoops(t.Context(), func(sh *shard) { sh.held.bytes += n }); err != nil {
			t.Fatal(err)
		}
	}
	reserve(maxHeldBytes)
	sender.send(event("too many", to("ANY", "work")))
	if f := sender.read(); f.Op != 6 || f.ID != "too many" {
		t.Errorf("got %+v, want an ERROR", f)
	}
	reserve(-maxHeldBytes)
	sender.send(event("held", to("ANY", "work")))
	joins.awaitHeld(1)
	confirm(nil)
	p.read()
	if f := p.read(); f.ID != "held" {
		t.Errorf("got %+v", f)
	}
	if err := joins.onLoops(t.Context(), func(sh *shard) {
		if sh.held.bytes != 0 || len(sh.held.of) != 0 {
			t.Errorf("%d bytes are held by %d", sh.held.bytes, len(sh.held.of))
		}
	}); err != nil {
		t.Fatal(err)
	}
}
