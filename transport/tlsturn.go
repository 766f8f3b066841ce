package transport

import (
	"slices"
	"time"
)

// This file has connections wait for the turn of their TLS handshake while as many as Options.TLSHandshakes are under way,
// and makes room for them. Clients that begin a handshake and don't go on would keep all others out otherwise, without
// doing anything for it.

// How long a client may let the server wait in the middle of its handshake while others wait for their turn, as parts of
// Options.HandshakeTimeout. It is the most as long as nobody waits. It falls with each client that had to make room, to a third when as many
// did as have room, and down to the least. It rises to several times what a client took that went on. So it is short where
// hardly anybody goes on, and long where all do but slowly, as when many come at once from a machine that is too slow for it.
const (
	mostPatience  = 8
	leastPatience = 64
	risePatience  = 4 // times what a client took
)

// maxShaking is this loop's share of Options.TLSHandshakes.
func (l *Loop) maxShaking() int { return max(l.srv.opts.TLSHandshakes/len(l.srv.loops), 1) }

// await has a connection whose first record is there wait for its turn.
func (l *Loop) await(c *Conn) {
	l.setEvents(c, c.flags|flagNoRead)
	c.flags |= flagAwaitsTurn
	if l.awaiting++; len(l.waiting) > 2*l.awaiting+maxFree { // most are gone
		l.waiting = slices.DeleteFunc(l.waiting, func(r Ref) bool { return r.awaiting() == nil })
	}
	l.waiting = append(l.waiting, c.Ref())
}

// nextHandshake begins the handshakes of connections that waited longest for their turn, as many as there is room for.
func (l *Loop) nextHandshake() {
	for len(l.waiting) > 0 && len(l.shaking) < l.maxShaking() {
		c := l.waiting[0].awaiting()
		if l.waiting = l.waiting[1:]; c != nil {
			c.flags &^= flagAwaitsTurn
			l.awaiting--
			l.beginHandshake(c, c.rx.buf)
			l.setEvents(c, c.flags&^flagNoRead)
		}
	}
	if len(l.waiting) == 0 {
		l.waiting = nil
	}
}

// awaiting returns the connection if it still waits for the turn of its TLS handshake.
func (r Ref) awaiting() *Conn {
	if c := r.any(); c != nil && c.flags&flagAwaitsTurn != 0 {
		return c
	}
	return nil
}

// makeRoom ends handshakes whose clients let the server wait, as many as others wait for. The time that a handshake waits
// for a processor of this machine is not its client's.
func (l *Loop) makeRoom() {
	if l.awaiting == 0 {
		l.patience = l.srv.opts.HandshakeTimeout / mostPatience
	}
	for i := 0; i < len(l.shaking) && l.awaiting > l.leaving; i++ {
		h := l.shaking[i]
		c := h.ref.any()
		if c == nil || l.since(h.spoke) <= l.patience || !h.clientsTurn() {
			continue
		}
		l.patience = max(l.patience-l.patience/time.Duration(l.maxShaking()), l.srv.opts.HandshakeTimeout/leastPatience)
		l.lateHandshake(c)
	}
}

// tookTime learns from a handshake that has succeeded.
func (l *Loop) tookTime(h *handshaking) {
	l.patience = min(max(l.patience, risePatience*h.slowest), l.srv.opts.HandshakeTimeout/mostPatience)
}

// clientsTurn reports whether nothing more is done for a handshake until its client goes on. What is still on its way to the
// loop is not there for the client to answer.
func (h *handshaking) clientsTurn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listens && len(h.in) == 0 && !h.posted
}

// lateHandshake drops a connection whose handshake takes too long.
func (l *Loop) lateHandshake(c *Conn) {
	if sc := l.secureOf(c); c.flags&flagTLS != 0 && (sc == nil || sc.hand != nil) {
		l.failedHandshake(c, tlsTimeout)
	}
	l.srv.count(causeHandshakeTimeout)
	l.destroy(c, EndLocal)
}
