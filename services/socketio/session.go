package socketio

import (
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/transport"
)

// protocol is what runs on a session: Socket.IO, or, in tests, something simpler.
type protocol interface {
	// message handles the data of one message. b is valid, and may be overwritten, during the call only.
	message(binary bool, b []byte)
	// deliver hands over what the hub routed to the client: see hub.PeerHandler.
	deliver(m *opcodes.Envelope) hub.Outcome
	// answers reports whether the client can answer the request that is being delivered.
	answers() bool
	// settled tells that no more answers come to the client's request with that id.
	settled(id string, s *opcodes.Settlement)
	// cancelled tells that no answer is wanted any more to the requester's message with that id.
	cancelled(requester uuid.UUID, id string)
	identified()
	// sweep looks at the protocol's own deadlines.
	sweep()
	// farewell returns the last message for a client that is disconnected for that reason, or nil.
	farewell(r opcodes.Reason) *transport.Buffer
	// closed is the last call.
	closed()
}

// session is a session of Engine.IO: one client, over whatever transport. It implements hub.PeerHandler.
type session struct {
	loop     *loop
	peer     *hub.Peer
	protocol protocol
	polling  *polling // nil over WebSocket
	beat     uint32   // loop clock when the last ping left, or the session was opened
	pinged   bool     // that ping has no answer yet
	over     bool     // the hub has ended it
	void     bool     // nothing that is queued matters any more
}

// handshake returns the first packet of a session.
func (s *session) handshake(id sid, upgrades bool) []byte {
	o := &s.loop.all.opts
	return engineio.AppendOpen(nil, engineio.Handshake{
		SID: id.String(), Upgrades: upgrades, PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, MaxPayload: s.loop.all.maxPayload,
	})
}

// Receive implements hub.PeerHandler: one frame of a WebSocket, or one packet of a request.
func (s *session) Receive(binary bool, b []byte) {
	if binary {
		s.protocol.message(true, b)
		return
	}
	p, err := engineio.ParseText(b)
	if err != nil {
		s.loop.count.refusedPackets.Add(1)
		s.end()
		return
	}
	switch p.Type {
	case engineio.Message:
		s.protocol.message(false, p.Data)
	case engineio.Pong:
		s.pinged = false
	case engineio.Close:
		s.leave()
	default: // a server's: among them a ping, which clients of older revisions send
		s.loop.count.refusedPackets.Add(1)
		s.end()
	}
}

// send queues the data of one message. It reports whether they were queued.
func (s *session) send(b *transport.Buffer) bool { return s.peer.Send(b) }

// sendPacket queues a packet without data.
func (s *session) sendPacket(t engineio.Type) {
	b := transport.NewMessage([]byte{byte(t)})
	s.peer.Send(b)
	b.Release()
}

// checkBeat sends a ping when it is due, and ends the session when the last one was not answered in time.
func (s *session) checkBeat() {
	o, now := &s.loop.all.opts, s.loop.on.Clock()
	since := time.Duration(int32(now-s.beat)) * time.Millisecond
	switch {
	case s.over:
	case s.pinged && since >= o.PingTimeout:
		s.loop.count.pingTimeouts.Add(1)
		s.end()
	case !s.pinged && since >= o.PingInterval:
		s.beat, s.pinged = s.beat+uint32(o.PingInterval/time.Millisecond), true // when it was due: a late sweep must not add up
		if now-s.beat >= uint32(o.PingTimeout/time.Millisecond) {               // this process was away
			s.beat = now
		}
		s.sendPacket(engineio.Ping)
	}
}

// leave ends the session because its client says so.
func (s *session) leave() {
	if s.polling != nil {
		s.polling.left()
		return
	}
	s.end()
}

// end ends the session without further words: the client's library connects again if it wants to.
func (s *session) end() {
	if s.void = true; !s.over {
		s.peer.Close(uint16(goingAway), "", nil)
	}
}

// goingAway is the code of Close frames with which libraries connect again (RFC 6455 section 7.4.1).
const goingAway = 1001

// Deliver implements hub.PeerHandler.
func (s *session) Deliver(m *opcodes.Envelope) hub.Outcome { return s.protocol.deliver(m) }

// Settled implements hub.RequestSender.
func (s *session) Settled(id string, of *opcodes.Settlement) { s.protocol.settled(id, of) }

// AnswersRequests implements hub.RequestHandler, as does Cancelled.
func (s *session) AnswersRequests() bool { return s.protocol.answers() }

// Cancelled implements hub.RequestHandler.
func (s *session) Cancelled(requester uuid.UUID, id string) { s.protocol.cancelled(requester, id) }

// Identified implements hub.PeerHandler.
func (s *session) Identified() { s.protocol.identified() }

// Sweep implements hub.PeerHandler.
func (s *session) Sweep() {
	if s.checkBeat(); s.polling != nil {
		s.polling.sweep()
	}
	if !s.over {
		s.protocol.sweep()
	}
}

// Farewell implements hub.PeerHandler.
func (s *session) Farewell(r opcodes.Reason) *transport.Buffer { return s.protocol.farewell(r) }

// Closed implements hub.PeerHandler.
func (s *session) Closed() {
	s.over = true
	if s.polling == nil {
		s.loop.forgetMoved(s)
	}
	s.protocol.closed()
}
