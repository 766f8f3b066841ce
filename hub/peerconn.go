package hub

import (
	"net/netip"

	"github.com/mastersocket/mastersocket/auth"
)

// This file has what a service type may see of a Peer's connection, and do to it.

// RemoteAddr returns the address at the other end of the connection, a proxy's perhaps. It is invalid if the connection
// is broken.
func (p *Peer) RemoteAddr() netip.AddrPort {
	if !p.Open() {
		return netip.AddrPort{}
	}
	return p.session.conn.RemoteAddr()
}

// Room returns how many bytes may still be queued for the client before it counts as a slow consumer; less if the
// messages are very short. What is sent in bulk should go on in a later turn once this runs out.
func (p *Peer) Room() int {
	if !p.Open() {
		return 0
	}
	return p.session.shard.hub.opts.Transport.SendQueueBytes - p.session.conn.QueueBytes()
}

// Pause makes what the client sends wait, until Resume. It is for a Peer that can't be identified before somebody else
// has answered; call Resume before Identify, which pauses and resumes by itself.
func (p *Peer) Pause() {
	if p.Open() {
		p.session.conn.Pause()
	}
}

// Resume undoes Pause.
func (p *Peer) Resume() {
	if p.Open() {
		p.session.conn.Resume()
	}
}

// GrantNamed returns what the holder of the token of that name may do, and whether there is such a token here: for what
// another instance vouches for. See [auth.Store.Named].
func (h *Hub) GrantNamed(name string) (*auth.Grant, bool) { return h.tokens.Named(name) }
