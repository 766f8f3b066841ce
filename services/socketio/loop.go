package socketio

import (
	"net/http"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/transport"
)

// loop is the service type's share of one loop.
type loop struct {
	all    *Type
	on     *hub.ServiceLoop
	count  *counters
	polled map[uint32]*polling // sessions by requests, and those that have moved on from it, by slot

	payload []byte          // scratch: of a GET
	scratch []byte          // scratch: of a message
	message opcodes.Message // scratch
	encoded encoded
	// acknowledges is the client that got an acknowledgement id with the last delivery; nil for none.
	acknowledges *socket
}

// Open implements hub.LoopService: a WebSocket, or the client of a first request.
func (l *loop) Open(p *hub.Peer, r *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	q, err := engineio.ParseQuery(r.Query)
	switch {
	case err != nil:
		l.count.refusedRequests.Add(1)
		return nil, rejectionOf(err)
	case q.Transport == engineio.Polling && !p.IsDetached():
		l.count.refusedRequests.Add(1)
		return nil, rejectionOf(engineio.ErrBadRequest)
	case len(q.SID) > 0:
		return l.openProbe(p, q.SID)
	}
	s := &session{loop: l, peer: p, beat: l.on.Clock()}
	s.protocol = l.all.protocol(s)
	if p.IsDetached() {
		return s, nil
	}
	l.count.opened.Add(1)
	slot := p.Slot()
	b := transport.NewMessage(s.handshake(newSID(l.all.node(), l.on.Index(), slot), false))
	p.Send(b)
	b.Release()
	return s, nil
}

// openProbe opens a WebSocket for a session by requests. One that the session can't use is closed at once.
func (l *loop) openProbe(p *hub.Peer, text []byte) (hub.PeerHandler, *transport.Rejection) {
	of := l.find(text)
	if of == nil {
		l.count.refusedRequests.Add(1)
		return nil, rejectionOf(l.unknown(text))
	}
	pr := &probe{peer: p}
	if of.hasMoved() || of.probe != nil || of.leaveAt != 0 {
		l.on.Post(func() { p.Close(goingAway, "", nil) })
		return pr, nil
	}
	pr.of, of.probe = of, pr
	return pr, nil
}

// unknown returns why a WebSocket can't join the session of a sid that is not here. Its client goes on by requests.
func (l *loop) unknown(text []byte) *engineio.Error {
	if id, ok := parseSID(text); ok {
		if owner, ok := l.all.ownerOf(&id); ok {
			return unknownHere(owner.Name, "and a WebSocket is not relayed")
		}
	}
	return engineio.ErrSession
}

// Serve implements hub.RequestLoop.
func (l *loop) Serve(x *transport.Exchange) {
	r := x.Request
	if !l.all.hub.Origins().Allows(r) {
		l.fail(x, engineio.ErrForbidden)
		return
	}
	x.Fields = fieldsFor(r)
	if string(r.Method) == http.MethodOptions {
		x.Fields += preflightFields(r)
		x.Respond(http.StatusNoContent, "", nil)
		return
	}
	q, err := engineio.ParseQuery(r.Query)
	switch {
	case err != nil:
	case q.Transport != engineio.Polling:
		err = engineio.ErrBadRequest
	case len(q.SID) == 0 && string(r.Method) == http.MethodGet:
		l.open(x)
		return
	case len(q.SID) == 0:
		err = engineio.ErrMethod
	}
	if err != nil {
		l.refuse(x, err)
		return
	}
	p := l.find(q.SID)
	switch {
	case p == nil:
		if !l.relay(x, &q) {
			l.refuse(x, engineio.ErrSession)
		}
	case p.hasMoved():
		l.refuse(x, engineio.ErrBadRequest)
	case string(r.Method) == http.MethodGet:
		if p.isLate() {
			p.s.end()
		}
		if p.s.checkBeat(); p.s.void {
			l.fail(x, engineio.ErrSession)
			return
		}
		p.serveGet(x)
	case string(r.Method) == http.MethodPost:
		if p.s.checkBeat(); p.s.over {
			l.fail(x, engineio.ErrSession)
			return
		}
		p.servePost(x)
	default:
		l.refuse(x, engineio.ErrBadRequest)
	}
}

// open opens a session by requests.
func (l *loop) open(x *transport.Exchange) {
	p := &polling{}
	peer, rejection := l.on.OpenDetached(x, p)
	if rejection != nil {
		x.Respond(rejection.Status, text, []byte(rejection.Line))
		return
	}
	s, ok := peer.Handler().(*session)
	if !ok { // the hub turned it away: there are too many connections, or it is about to end
		x.Fields += "Retry-After: 5\r\n"
		x.Respond(http.StatusServiceUnavailable, text, nil)
		return
	}
	l.count.opened.Add(1)
	l.count.openedPolling.Add(1)
	slot := peer.Slot()
	p.s, p.id = s, newSID(l.all.node(), l.on.Index(), slot)
	s.polling = p
	l.polled[slot] = p
	p.answer(x, s.handshake(p.id, true))
}

// find returns the session of a sid on this loop, or nil.
func (l *loop) find(text []byte) *polling {
	id, ok := parseSID(text)
	if !ok {
		return nil
	}
	_, _, slot := id.place()
	p := l.polled[slot]
	if p == nil || !p.id.equals(&id) || p.s.void {
		return nil
	}
	return p
}

// forget takes the session out of those that requests may name, unless it has moved to a WebSocket: then requests are
// told so.
func (l *loop) forget(p *polling) {
	if _, _, slot := p.id.place(); p.s.over && l.polled[slot] == p {
		delete(l.polled, slot)
	}
}

// forgetMoved is forget for a session that moved to a WebSocket, and has ended since.
func (l *loop) forgetMoved(s *session) {
	slot := s.peer.Slot()
	if p := l.polled[slot]; p != nil && p.s == s {
		delete(l.polled, slot)
	}
}

// refuse answers a request that the protocol doesn't allow.
func (l *loop) refuse(x *transport.Exchange, err *engineio.Error) {
	l.count.refusedRequests.Add(1)
	l.fail(x, err)
}

// fail answers a request with an error.
func (l *loop) fail(x *transport.Exchange, err *engineio.Error) {
	x.Respond(err.Status, "application/json", err.AppendBody(nil))
}

// rejectionOf returns the error as the answer to a handshake.
func rejectionOf(err *engineio.Error) *transport.Rejection {
	return &transport.Rejection{Cause: "socketio", Status: err.Status, Line: string(err.AppendBody(nil))}
}

// after runs f on the loop when d has passed, if the hub still runs then.
func (l *loop) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { l.on.Post(f) })
}
