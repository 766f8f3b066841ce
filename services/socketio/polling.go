package socketio

import (
	"net/http"
	"time"

	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/transport"
)

// polling is how a session travels by HTTP requests: a GET waits for what is queued, a POST brings packets. It implements
// transport.Carrier.
type polling struct {
	s   *session
	id  sid
	get *transport.Exchange // waits for something to be queued; nil for none

	post *transport.Exchange // the rest of its packets waits until the session takes messages again; nil for none
	rest []byte              // of post

	probe    *probe        // tries a WebSocket; nil for none
	servedAt time.Duration // Type.uptime when the last GET was answered: a loop's clock is behind in a long turn
	getAt    uint32        // loop clock when get began to wait
	leaveAt  uint32        // loop clock when the session ends, since the client said so; 0 for not
	moving   bool          // gets the socket of a WebSocket at the end of the loop's turn
}

const (
	// upgradeGrace is how long a GET may wait once a WebSocket was tried: the client waits for it before it moves.
	upgradeGrace = 100 * time.Millisecond
	// leaveGrace is how long a session is kept whose client said that it ends, for the GET that is on its way.
	leaveGrace = 500 * time.Millisecond
)

// hasMoved reports whether the client has said that it goes on over a WebSocket. Its requests are refused from then on.
func (p *polling) hasMoved() bool { return p.moving || p.s.polling != p }

// text is the content type of payloads.
const text = "text/plain; charset=UTF-8"

// clockSlack is how much earlier than it should a timer of a client may fire.
const clockSlack = 2 * time.Millisecond

// isLate reports whether no GET has waited for so long that a ping would have gone unanswered. A client of this transport
// always has a GET waiting.
func (p *polling) isLate() bool {
	o := &p.s.loop.all.opts
	return p.get == nil && p.s.loop.all.uptime()-p.servedAt >= o.PingInterval+o.PingTimeout-clockSlack
}

// serveGet has a GET wait for what is queued.
func (p *polling) serveGet(x *transport.Exchange) {
	switch {
	case p.leaveAt != 0:
		p.answer(x, []byte{byte(engineio.Noop)})
		p.s.end()
	case p.get != nil: // two at once: the protocol ends the session
		first := p.get
		p.get = nil
		p.answer(first, []byte{byte(engineio.Close)})
		p.s.loop.refuse(x, engineio.ErrBadRequest)
		p.s.end()
	default:
		p.get, p.getAt = x, p.s.loop.on.Clock()
		x.OnGone(p.aborted)
		if p.fetch(); p.get != nil && p.probe != nil && p.probe.answered {
			p.s.loop.after(upgradeGrace, p.sweep)
		}
	}
}

// aborted ends the session: a client that gives up a GET may have missed what was on its way.
func (p *polling) aborted() {
	p.get = nil
	p.s.end()
}

// fetch answers the waiting GET with what is queued.
func (p *polling) fetch() {
	if p.get == nil {
		return
	}
	l := p.s.loop
	payload, n := l.payload[:0], 0
	p.s.peer.Fetch(l.all.maxPayload, func(b *transport.Buffer) bool {
		if !b.Control() { // a ping of WebSocket itself means nothing here
			payload = engineio.AppendPolled(payload, packetOf(b))
			n++
		}
		return n < maxPolled
	})
	if l.payload = payload; len(payload) == 0 {
		return
	}
	x := p.get
	p.get = nil
	p.answer(x, payload)
	if cap(l.payload) > maxKeptPayload {
		l.payload = nil
	}
}

// maxPolled is how many packets a GET brings. The library for Python takes an answer with more for an error, and disconnects.
const maxPolled = 16

// maxKeptPayload bounds the scratch memory that a loop keeps for payloads, in bytes.
const maxKeptPayload = 256 << 10

// packetOf returns the packet that a queued message is.
func packetOf(b *transport.Buffer) engineio.Packet {
	p := b.Payload()
	if b.Binary() {
		return engineio.Packet{Type: engineio.Message, Binary: true, Data: p}
	}
	return engineio.Packet{Type: engineio.Type(p[0]), Data: p[1:]}
}

// answer answers a GET.
func (p *polling) answer(x *transport.Exchange, payload []byte) {
	p.servedAt = p.s.loop.all.uptime()
	x.Respond(http.StatusOK, text, payload)
}

// servePost handles the packets that a POST brings.
func (p *polling) servePost(x *transport.Exchange) {
	if p.post != nil || p.leaveAt != 0 {
		p.s.loop.refuse(x, engineio.ErrBadRequest)
		p.s.end()
		return
	}
	p.post, p.rest = x, x.Body
	if len(p.rest) == 0 {
		p.rest = []byte{} // one packet, which has no type
	}
	x.OnGone(p.abandoned)
	p.goOn()
}

// abandoned ends the session: whether the rest of the packets arrives is not known.
func (p *polling) abandoned() {
	p.post, p.rest = nil, nil
	p.s.end()
}

// goOn handles the packets of the POST that have yet to be, until the session takes no more for now.
func (p *polling) goOn() {
	for p.post != nil && p.rest != nil {
		before := p.rest
		frame, binary, rest, err := engineio.NextFrame(p.rest)
		if err == nil && !binary {
			_, err = engineio.ParseText(frame)
		}
		if err != nil {
			x := p.post
			p.post, p.rest = nil, nil
			p.s.loop.count.refusedPackets.Add(1)
			p.s.loop.fail(x, engineio.ErrBadRequest)
			p.s.end()
			return
		}
		p.rest = rest
		if !p.s.peer.Bring(binary, frame) {
			if p.s.over {
				break
			}
			if p.rest = before; binary {
				p.rest = undecode(before, frame)
			}
			return
		}
		if p.s.over || p.leaveAt != 0 {
			break
		}
	}
	if x := p.post; x != nil {
		p.post, p.rest = nil, nil
		x.Respond(http.StatusOK, text, []byte("ok"))
	}
}

// undecode returns the payload as it was before the base64 of its first packet, a binary one, was decoded in place.
func undecode(payload, data []byte) []byte {
	again := engineio.AppendPolled(nil, engineio.Packet{Binary: true, Data: data})
	copy(payload, again)
	return payload
}

// Queued implements transport.Carrier.
func (p *polling) Queued(*transport.Conn) { p.fetch() }

// Resumed implements transport.Carrier.
func (p *polling) Resumed(*transport.Conn) { p.goOn() }

// Released implements transport.Carrier: the session has ended, or has moved to a WebSocket.
func (p *polling) Released() {
	if p.s == nil { // the hub turned its client away
		return
	}
	l := p.s.loop
	l.forget(p)
	p.s.polling = nil
	if x := p.get; x != nil {
		p.get = nil
		switch {
		case p.s.void:
			l.fail(x, engineio.ErrSession)
		case p.moving:
			// A client moves when its last GET was answered, so that this GET was sent behind the Upgrade packet, on another
			// connection, and overtook it. It gets the answer that it would have got without that.
			l.refuse(x, engineio.ErrBadRequest)
		default:
			p.answer(x, []byte{byte(engineio.Noop)})
		}
	}
	if x := p.post; x != nil {
		p.post, p.rest = nil, nil
		l.fail(x, engineio.ErrSession)
	}
	if p.probe != nil {
		p.probe.abandon()
	}
}

// left notes that the client ends the session. The GET that waits, or is on its way, learns that there is nothing more.
func (p *polling) left() {
	if x := p.get; x != nil {
		p.get = nil
		p.answer(x, []byte{byte(engineio.Noop)})
		p.s.end()
		return
	}
	if p.leaveAt != 0 {
		return
	}
	p.leaveAt = max(p.s.loop.on.Clock()+uint32(leaveGrace/time.Millisecond), 1)
	p.s.loop.after(leaveGrace, p.sweep)
}

// probing has the client's GET end soon, so that it can move to the WebSocket that it tries.
func (p *polling) probing() {
	if x := p.get; x != nil {
		p.get = nil
		p.answer(x, []byte{byte(engineio.Noop)})
	}
}

// sweep looks at the deadlines.
func (p *polling) sweep() {
	now := p.s.loop.on.Clock()
	if p.leaveAt != 0 && int32(now-p.leaveAt) >= 0 {
		p.s.end()
	}
	if p.get != nil && p.probe != nil && p.probe.answered && time.Duration(now-p.getAt)*time.Millisecond >= upgradeGrace {
		p.probing()
	}
}
