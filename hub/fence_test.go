package hub

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

var withDrain = m{"features": []string{"drain", "errors", "acks"}}

func fenceTo(p *peer, id string) m { return m{"op": 13, "id": id, "intent": to("DIRECT", p.id)} }

// loops makes a hub have so many loops.
func loops(n int) func(*Options) {
	return func(o *Options) { o.Transport = transport.DefaultOptions(n) }
}

// identifyOn is identify for a client on that loop.
func identifyOn(t *testing.T, url, group string, loop int, extra m) *peer {
	t.Helper()
	for range 1000 {
		p := identify(t, url, group, extra)
		if id := uuid.MustParse(p.id); clientid.Locate(&id).Loop == loop {
			return p
		}
		_ = p.conn.CloseNow()
	}
	t.Fatalf("no connection comes to loop %d", loop)
	return nil
}

// onLoop runs f on a loop and returns when it has begun; it goes on holding the loop until the returned function is
// called.
func onLoop(sh *shard, f func()) (release func()) {
	begun, end := make(chan struct{}), make(chan struct{})
	sh.loop.Post(task(func() { f(); close(begun); <-end }))
	<-begun
	return func() { close(end) }
}

// settle returns when what the loops had for each other has been done, and what that had for them.
func settle(shards ...*shard) {
	for range 3 {
		for _, sh := range shards {
			onLoop(sh, func() {})()
		}
	}
}

// order reads as many messages as are wanted, and compares the ids of EVENTs and the word FENCE for FENCEs.
func order(t *testing.T, which string, p *peer, want ...string) {
	t.Helper()
	var got []string
	for range want {
		f := p.read()
		if f.Op == 13 {
			f.ID = "FENCE"
		}
		got = append(got, f.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s got %v, want %v", which, got, want)
	}
}

func TestFence(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	h, here := startHub(t, bus.Broker(), loops(2))
	_, there := startHub(t, bus.Broker(), nil)
	for name, tc := range map[string]struct {
		url  string
		loop int
	}{"same loop": {here, 0}, "other loop": {here, 1}, "other instance": {there, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := identifyOn(t, here, "fence", 0, withDrain)
			b := identifyOn(t, tc.url, "fence", tc.loop, withDrain)
			for range 3 {
				a.send(event("x", to("DIRECT", b.id)))
				outcomeOf(t, a)
				a.send(fenceTo(b, "f"))
				if f := b.read(); f.ID != "x" {
					t.Fatalf("got %+v before the FENCE", f)
				}
				if f := b.read(); f.Op != 13 || f.Sender != a.id || f.ID != "" || f.Intent != nil {
					t.Fatalf("FENCE: %+v", f)
				}
			}
			if got := a.fence(); len(got) > 0 {
				t.Errorf("the sender was told %+v", got)
			}
		})
	}
	t.Cleanup(func() {
		if n := h.Stats().Fences; n < 6 {
			t.Errorf("%d FENCEs counted", n)
		}
		for _, s := range h.Stats().Types {
			for target, n := range s.Received {
				if target != intent.Direct && n > 0 {
					t.Errorf("FENCEs count as %v", target)
				}
			}
		}
	})
}

// TestFenceRefused sends FENCEs that have no receiver.
func TestFenceRefused(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	h, here := startHub(t, bus.Broker(), loops(2))
	other, there := startHub(t, bus.Broker(), nil)
	sender := identifyOn(t, here, "g", 0, withDrain)
	gone := func(h *Hub, loop int) string {
		return clientid.New(clientid.Location{Node: h.node.ID, Loop: loop, Slot: 77}).String()
	}
	unknown := []string{gone(h, 0), gone(h, 1), gone(h, 200), gone(other, 0), gone(other, 200), uuid.New().String()}
	for _, url := range []string{here, there} {
		unknown = append(unknown, identify(t, url, "g", withFeedback).id) // without drain
	}
	for i, to := range unknown {
		for _, id := range []string{"f", ""} {
			f := m{"op": 13, "intent": m{"target": "DIRECT", "identifier": to}}
			if id != "" {
				f["id"] = id
			}
			sender.send(f)
			got := sender.read()
			if d, _ := got.Data.(m); got.Op != 6 || got.ID != id || d["code"] != "NO_RECEIVER" {
				t.Errorf("%d: FENCE %q is answered with %+v", i, id, got)
			}
		}
	}
	dropped := h.Stats().Drops[DropNoReceiver] + other.Stats().Drops[DropNoReceiver]
	if want := uint64(2 * len(unknown)); dropped != want {
		t.Errorf("%d drops counted, want %d", dropped, want)
	}
}

// TestFenceMay sends FENCEs as clients that may not send DIRECT, may send nothing, or did not identify.
func TestFenceMay(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		o.Tokens = auth.NewStore(tokenTable(t, "- {name: mute, sha256: "+auth.Hash(testToken)+", groups: ['*']}"))
	})
	a := identify(t, url, "g", withDrain)
	a.send(fenceTo(a, "f"))
	order(t, "who may send nothing", a, "FENCE")

	without := identify(t, url, "g", withFeedback)
	without.send(fenceTo(a, "f"))
	if f := without.read(); f.Op != 2 || f.Data != "INVALID_PAYLOAD" {
		t.Errorf("without the feature: %+v", f)
	}
	stranger := connect(t, url)
	stranger.send(fenceTo(a, "f"))
	if f := stranger.read(); f.Op != 2 || f.Data != "UNAUTHORIZED" {
		t.Errorf("before IDENTIFY: %+v", f)
	}
}

// agent returns a sender without a connection.
func agent(sh *shard) *sender {
	return &sender{id: clientid.New(clientid.Location{Node: sh.hub.node.ID, Loop: sh.index, Slot: clientid.AgentSlot})}
}

// halfway makes the loop of sh send an EVENT to the group and stops it there: other instances have the message, and the
// instance's other loops do not.
func halfway(sh *shard, group, id string) (release func()) {
	return onLoop(sh, func() {
		sh.publishAs(agent(sh), nil, &opcodes.Message{Op: opcodes.Event, ID: id, Target: intent.Group, Group: []byte(group)}, nil)
	})
}

// TestFenceBehindOtherLoops lets a message that has reached another instance already wait on its way to the old
// connection's loop. A FENCE of a client that may have missed it there must wait too.
func TestFenceBehindOtherLoops(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"same instance", "other instance"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			bus := memory.NewBus()
			h, here := startHub(t, bus.Broker(), loops(3))
			_, there := startHub(t, bus.Broker(), nil)
			a := identifyOn(t, here, "g", 0, withDrain)
			witness := identify(t, there, "g", nil)
			url := here
			if where == "other instance" {
				url = there
			}
			b := identifyOn(t, url, "movers", 1, withDrain)

			release := halfway(h.shards[2], "g", "m")
			order(t, "who is elsewhere", witness, "m")
			b.send(fenceTo(a, "f"))
			b.send(event("later", to("DIRECT", a.id)))
			order(t, "the old connection", a, "later") // it is there, as the FENCE would be
			release()
			order(t, "the old connection", a, "m", "FENCE")
		})
	}
}

// TestFenceBehindSameTurn lets a loop send a message and pass on a FENCE in one turn, at whose end its mail for other
// loops leaves.
func TestFenceBehindSameTurn(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), loops(3))
	a := identifyOn(t, url, "g", 0, withDrain)
	b := identifyOn(t, url, "movers", 1, withDrain)
	sh := h.shards[2]
	release := onLoop(sh, func() {})
	sh.loop.Post(task(func() {
		sh.publishAs(agent(sh), nil, &opcodes.Message{Op: opcodes.Event, ID: "m", Target: intent.Group, Group: []byte("g")}, nil)
	}))
	b.send(fenceTo(a, "f"))
	b.pong() // its loop has sent the FENCE to the others
	release()
	order(t, "the old connection", a, "m", "FENCE")
}

// TestFenceBehindOwn lets what a client sent wait on its way to a loop of its instance. Its FENCE to the new connection,
// which goes on sending then, must wait too.
func TestFenceBehindOwn(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"same instance", "other instance"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			bus := memory.NewBus()
			h, here := startHub(t, bus.Broker(), loops(3))
			_, there := startHub(t, bus.Broker(), loops(1)) // where a FENCE takes no time
			url, loop := here, 1
			if where == "other instance" {
				url, loop = there, 0
			}
			a := identifyOn(t, here, "movers", 0, withDrain)
			b := identifyOn(t, url, "movers", loop, withDrain)
			receiver := identifyOn(t, here, "g", 2, nil)
			messenger := identifyOn(t, here, "messengers", 1, nil)

			release := onLoop(h.shards[0], func() {
				id := uuid.MustParse(a.id)
				s := h.shards[0].client(&id)
				for _, text := range []any{event("m1", to("GROUP", "g")), fenceTo(b, "f")} {
					s.Message(s.conn, false, encode(t, text))
				}
			})
			settle(h.shards[1:]...)
			messenger.send(event("meanwhile", to("DIRECT", b.id)))
			order(t, "the new connection", b, "meanwhile") // it comes the way of the FENCE
			release()
			order(t, "the new connection", b, "FENCE")
			b.send(event("m2", to("GROUP", "g")))
			order(t, "the receiver", receiver, "m1", "m2")
		})
	}
}

// TestFenceBehindBroker sends a FENCE while the broker's goroutine has handed a message of another instance to some
// loops and not yet to that of the FENCE's receiver.
func TestFenceBehindBroker(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), loops(3))
	a := identifyOn(t, url, "g", 0, withDrain)
	b := identifyOn(t, url, "movers", 1, withDrain)
	h.incoming.Enter()
	b.send(fenceTo(a, "f"))
	b.pong()
	settle(h.shards...)
	expect(t, "the old connection", a)
	buf := transport.NewMessage(encode(t, event("m", to("GROUP", "g"))))
	late := h.shards[0].newMail(deliverMail, buf)
	late.group = h.groups.find([]byte("g"))
	late.postWait()
	buf.Release()
	h.incoming.Leave()
	order(t, "the old connection", a, "m", "FENCE")
}

// TestFenceFlood has a client that may send nothing send FENCEs to another: only so many a second get through, and it is told.
func TestFenceFlood(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), loops(1))
	victim := identify(t, url, "g", withDrain)
	flooder := identify(t, url, "g", withDrain)
	id := uuid.MustParse(flooder.id)
	sh := h.shardOf(&id)
	onLoop(sh, func() { // within one reading of the clock
		s := sh.client(&id)
		for range maxFences + 50 {
			s.Message(s.conn, false, encode(t, fenceTo(victim, "f")))
		}
	})()
	for range maxFences {
		if f := victim.read(); f.Op != 13 || f.Sender != flooder.id {
			t.Fatalf("got %+v", f)
		}
	}
	for range 50 {
		if f := flooder.read(); f.Op != 6 || f.ID != "f" || f.Data.(m)["code"] != "OVERLOADED" {
			t.Fatalf("got %+v", f)
		}
	}
	expect(t, "the victim", victim)
	if st := h.Stats(); st.Fences != maxFences || st.Drops[DropOverloaded] != 50 {
		t.Errorf("%d FENCEs, %d dropped", st.Fences, st.Drops[DropOverloaded])
	}
	var s session
	for second := range uint32(600) {
		for i := range 2 * maxFences {
			if got := s.mayFence(second<<10 + uint32(i)); got != (i < maxFences) {
				t.Fatalf("FENCE %d of second %d: %v", i, second, got)
			}
		}
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return b
}
