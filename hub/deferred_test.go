package hub

import (
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// chain is a service type without connections. Where a test says so, a loop answers the event "first", which it observes
// in the group ping, with two events for the group pong.
type chain struct{ loops []*chainLoop }

type chainLoop struct {
	on      *ServiceLoop
	answers bool // belongs to the loop
}

func (*chain) Name() string       { return "chain" }
func (*chain) Serves([]byte) bool { return false }

func (c *chain) Attach(on *ServiceLoop) LoopService {
	l := &chainLoop{on: on}
	c.loops = append(c.loops, l)
	on.Observe("ping", func(m *opcodes.Envelope) {
		if l.answers && string(m.Event) == "first" {
			l.publish("pong", "second")
			l.publish("pong", "third")
		}
	})
	on.Observe("pong", func(*opcodes.Envelope) {})
	return l
}

func (*chainLoop) Open(*Peer, *transport.Request) (PeerHandler, *transport.Rejection) {
	return nil, nil
}

func (l *chainLoop) publish(group, event string) {
	l.on.Publish(&opcodes.Message{Event: event, Data: []byte("1"), Target: intent.Group, Group: []byte(group)})
}

// What a service type sends because of a message that it sends itself comes behind that message, in its order, and goes
// to its own group: on all loops, and on all instances.
func TestWhatADeliveryCausesComesBehindIt(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	types := [2]*chain{{}, {}}
	var peers, pongs []*peer
	for _, c := range types {
		_, url := startHub(t, bus.Broker(), func(o *Options) { o.Services = []ServiceType{c} })
		for range 4 { // on both loops
			peers = append(peers, identify(t, url, "ping", m{"groups": []string{"pong"}}))
		}
		pongs = append(pongs, identify(t, url, "pong", nil))
	}
	l := types[0].loops[0]
	l.on.Post(func() {
		l.answers = true
		l.publish("ping", "first")
		l.publish("ping", "last")
	})
	want := func(p *peer, events ...string) {
		for _, event := range events {
			f := p.read()
			group := "pong"
			if event == "first" || event == "last" {
				group = "ping"
			}
			if f.Event != event || f.Intent["identifier"] != group {
				t.Errorf("got %+v, want %s in %s", f, event, group)
			}
		}
	}
	for _, p := range peers {
		want(p, "first", "second", "third", "last")
	}
	for _, p := range pongs {
		want(p, "second", "third")
		if all := p.fence(); len(all) > 0 {
			t.Errorf("got %+v", all)
		}
	}
}

// An ANY that no member on the sender's own loop can use must not reach a client that joins a moment later behind
// what its sender sent to that client since.
func TestAnyIsNotDrawnAgainBehindALaterMessage(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		o.Transport.Loops = 1
		o.Services = []ServiceType{newLines()}
	})
	openLine(t, url, "any")
	sender := identify(t, url, "boss", m{"features": []string{"errors"}})
	late := identify(t, url, "late", nil)
	sh := h.shards[0]
	sh.loop.Post(task(func() {
		var s, joins *session
		for slot := range sh.loop.Slots() {
			if c := sh.loop.Conn(slot); c != nil {
				switch o := c.Session().(*session); o.id.String() {
				case sender.id:
					s = o
				case late.id:
					joins = o
				}
			}
		}
		send := func(message string) {
			var e opcodes.Envelope
			if err := e.Scan([]byte(message)); err != nil {
				t.Error(err)
				return
			}
			s.route(&e)
		}
		send(`{"op":0,"id":"early","event":"silence","intent":{"target":"ANY","identifier":"any"}}`)
		joins.rest = &rest{more: []place{joins.enter(h.groups.expect("any", joins))}}
		send(`{"op":0,"id":"next","intent":{"target":"GROUP","identifier":"any"}}`)
	}))
	if f := sender.read(); f.Op != 6 || f.ID != "early" || f.Data.(m)["code"] != "RECEIVER_GONE" {
		t.Errorf("got %+v", f)
	}
	if f := late.read(); f.ID != "next" {
		t.Errorf("got %+v, want next", f)
	}
	if all := late.fence(); len(all) > 0 {
		t.Errorf("got %+v behind it", all)
	}
}
