package transport

import (
	"slices"
	"time"
)

// This file has connections wait for the turn of their TLS handshake while as many as Options.TLSHandshakes are under way,
// and makes room for them. Clients that begin a handshake and don't go on would keep all others out otherwise, without
// doing anything for it.

// How long a client may let the server wait in the middle of its handshake while others wait for their turn, as parts
// of Options.HandshakeTimeout. It is the most while no connection waits. It falls with each client that had to make
// room: to a third when as many did as have room, and down to the least. It rises to several times what a successful
// client took. So it is short where few clients go on, and long where all do but slowly, as when many connect at once
// from a machine that is too slow for it.
const (
	mostPatience  = 8
	leastPatience = 64
	risePatience  = 4 // times what a client took
)

// maxShaking is this loop's share of Options.TLSHandshakes.
func (l *Loop) maxShaking() int { return max(l.srv.opts.TLSHandshakes/len(l.srv.loops), 1) }

// queueHandshake has a connection whose first record is there wait for its turn.
func (l *Loop) queueHandshake(c *Conn) {
	c.setEvents(c.flags | flagNoRead)
	c.flags |= flagAwaitsTurn
	if l.tls.awaiting++; len(l.tls.waiting) > 2*l.tls.awaiting+maxFree { // most are gone
		l.tls.waiting = slices.DeleteFunc(l.tls.waiting, func(r Ref) bool { return r.queued() == nil })
	}
	l.tls.waiting = append(l.tls.waiting, c.Ref())
	l.sweepSoon()
}

// startQueuedHandshakes begins the handshakes of connections that waited longest for their turn, as many as there is room for.
func (l *Loop) startQueuedHandshakes() {
	for len(l.tls.waiting) > 0 && len(l.tls.shaking) < l.maxShaking() {
		c := l.tls.waiting[0].queued()
		if l.tls.waiting = l.tls.waiting[1:]; c != nil {
			c.flags &^= flagAwaitsTurn
			l.tls.awaiting--
			l.beginTLSHandshake(c, c.rx.buf)
			c.setEvents(c.flags &^ flagNoRead)
		}
	}
	if len(l.tls.waiting) == 0 {
		l.tls.waiting = nil
	}
}

// queued returns the connection if it still waits for the turn of its TLS handshake.
func (r Ref) queued() *Conn {
	if c := r.live(); c != nil && c.flags&flagAwaitsTurn != 0 {
		return c
	}
	return nil
}

// makeRoom ends handshakes whose clients let the server wait, as many as there are connections that wait for a turn. Time
// in which a handshake waits for a processor of this machine does not count against its client.
func (l *Loop) makeRoom() {
	if l.tls.awaiting == 0 {
		l.tls.patience = l.srv.opts.HandshakeTimeout / mostPatience
	}
	for i := 0; i < len(l.tls.shaking) && l.tls.awaiting > l.tls.leaving; i++ {
		h := l.tls.shaking[i]
		c := h.ref.live()
		if c == nil || l.clock.since(h.spoke) <= l.tls.patience || !h.clientsTurn() {
			continue
		}
		l.tls.patience = max(l.tls.patience-l.tls.patience/time.Duration(l.maxShaking()), l.srv.opts.HandshakeTimeout/leastPatience)
		l.dropLateHandshake(c)
	}
}

// learnPatience learns from a handshake that has succeeded.
func (l *Loop) learnPatience(h *tlsHandshake) {
	l.tls.patience = min(max(l.tls.patience, risePatience*h.slowest), l.srv.opts.HandshakeTimeout/mostPatience)
}

// clientsTurn reports whether nothing more is done for a handshake until its client goes on. What is still on its way to the
// loop is not there for the client to answer.
func (h *tlsHandshake) clientsTurn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listens && len(h.in) == 0 && !h.posted
}

// dropLateHandshake drops a connection whose handshake takes too long.
func (l *Loop) dropLateHandshake(c *Conn) {
	if sc := l.secureOf(c); c.flags&flagTLS != 0 && (sc == nil || sc.hand != nil) {
		l.countTLSFailure(c, tlsTimeout)
	}
	l.srv.count(causeHandshakeTimeout)
	l.destroy(c, EndLocal)
}
