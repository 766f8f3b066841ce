package socketio

import (
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/transport"
)

// probe is a WebSocket that a session by requests tries, to move there. Until then it is a connection of its own, which has
// not identified: the hub's deadline for that ends a probe that comes to nothing. It implements hub.PeerHandler.
type probe struct {
	peer     *hub.Peer
	of       *polling // nil once it is of no more use
	answered bool     // the client knows that the WebSocket works
	moves    *session // gets the socket at the end of the loop's turn; nil for none
}

// Receive implements hub.PeerHandler.
func (p *probe) Receive(binary bool, b []byte) {
	packet, err := engineio.ParseText(b)
	switch {
	case p.of == nil:
	case binary || err != nil:
		p.refuse()
	case packet.Type == engineio.Ping && string(packet.Data) == engineio.Probe:
		p.answered = true
		answer := transport.NewMessage([]byte(string(rune(engineio.Pong)) + engineio.Probe))
		p.peer.Send(answer)
		answer.Release()
		p.of.probing()
	case packet.Type == engineio.Upgrade && p.answered:
		p.of.s.moveTo(p)
	default:
		p.refuse()
	}
}

// refuse ends the WebSocket. The session goes on by requests.
func (p *probe) refuse() {
	p.detach()
	p.peer.Close(goingAway, "", nil)
}

// abandon ends the WebSocket because the session has ended.
func (p *probe) abandon() {
	p.of = nil
	p.peer.Close(goingAway, "", nil)
}

// detach makes the session forget the probe.
func (p *probe) detach() {
	if p.of != nil {
		p.of.probe, p.of = nil, nil
	}
}

// moveTo gives the session the WebSocket of the probe.
func (s *session) moveTo(p *probe) {
	p.of.moving, p.moves = true, s
	p.detach()
	s.loop.count.upgrades.Add(1)
	s.peer.TakeOver(p.peer)
}

// Deliver implements hub.PeerHandler. It is in no group.
func (p *probe) Deliver(*opcodes.Envelope) hub.Outcome { return hub.Ignored }

// Identified implements hub.PeerHandler. It never identifies.
func (p *probe) Identified() {}

// Sweep implements hub.PeerHandler.
func (p *probe) Sweep() {}

// Farewell implements hub.PeerHandler.
func (p *probe) Farewell(opcodes.Reason) *transport.Buffer { return nil }

// Closed implements hub.PeerHandler.
func (p *probe) Closed() {
	p.detach()
	if s := p.moves; s != nil && !s.over && s.peer.IsDetached() { // the WebSocket broke before the session got it
		s.end()
	}
}
