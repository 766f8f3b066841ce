package team

import (
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/transport"
)

// globalConn is a Global connection. It belongs to its loop, except client and claims.
type globalConn struct {
	loop   *loop
	peer   *hub.Peer
	holder *holder
	origin string // scheme and host of the URLs sent to the client

	cursor  uint64 // number of the last join that was sent to the client
	posted  bool   // a call of feed is posted
	checked uint32 // loop clock at the last healthcheck
	asked   bool   // the last healthcheck has no answer yet
	health  []rtm.Stat

	client uuid.UUID              // set before the connection is in Service.globals
	claims atomic.Pointer[claims] // of the last healthcheck answer; nil: none
}

// claims are a client's statements about its teams. They are immutable.
type claims struct {
	at    time.Time
	teams map[string]rtm.Stat // keyed by the text of the id
}

const (
	// feedBatch bounds the team.joins that a client is sent in one turn of the loop.
	feedBatch = 256
	// frameBound is an upper bound for the size of a team.join, in bytes.
	frameBound = 1 << 10
	// healthBatch bounds the entries of a healthcheck that are published in one turn.
	healthBatch = 256
)

// Identified implements hub.PeerHandler.
func (g *globalConn) Identified() {
	l := g.loop
	g.checked, g.client = l.on.Clock(), g.peer.ID()
	g.peer.Send(l.s.fixed.hello)
	l.globals[g] = struct{}{}
	l.s.count.globals.Add(1)
	l.s.mu.Lock()
	l.s.globals[g] = struct{}{}
	l.s.mu.Unlock()
	g.feed()
}

// feed sends the client the joins that it has not been sent, as far as its send queue has room. The rest follows later.
func (g *globalConn) feed() {
	l := g.loop
	if g.posted || g.cursor == l.seen {
		return
	}
	n := min(g.peer.Room()/frameBound, feedBatch)
	if n <= 0 {
		return // Sweep continues
	}
	ids, cursor := l.s.store.after(g.cursor, l.seen, n, make([]rtm.ID, 0, n))
	g.cursor = cursor
	for _, id := range ids {
		g.send(&rtm.Frame{Type: rtm.TeamJoin, TeamID: id})
	}
	if g.cursor != l.seen {
		g.posted = l.on.Post(func() {
			g.posted = false
			if _, open := l.globals[g]; open {
				g.feed()
			}
		})
	}
}

// teamChanged sends the client a change of the store. before is the number of the change before it.
func (g *globalConn) teamChanged(c change, before uint64, frame *transport.Buffer) {
	switch {
	case c.left:
		if g.cursor == before {
			g.cursor = c.seq
		}
		if c.join <= g.cursor {
			g.peer.Send(frame)
		}
	case frame != nil && g.cursor == before && g.peer.Room() > frameBound:
		g.cursor = c.seq
		g.peer.Send(frame)
	default:
		g.feed()
	}
}

// send sends a frame made for this client alone.
func (g *globalConn) send(f *rtm.Frame) {
	b := newFrame(f)
	g.peer.Send(b)
	b.Release()
}

// Receive implements hub.PeerHandler.
func (g *globalConn) Receive(binary bool, b []byte) {
	if binary {
		g.peer.Close(uint16(ws.StatusUnsupportedData), "binary message", nil)
		return
	}
	f, err := rtm.Parse(b)
	if err != nil {
		g.complain(err.Error(), b, rtm.ID{})
		return
	}
	switch f.Type {
	case rtm.TeamConnect:
		g.connect(f.TeamID, b)
	case rtm.Healthcheck:
		g.healthcheck(f.Stats, b)
	case rtm.Ping:
		g.loop.s.count.pings.Add(1)
		g.send(&rtm.Frame{Type: rtm.Pong, UniqueID: f.UniqueID})
	default:
		g.complain("clients don't send "+string(f.Type), b, f.TeamID)
	}
}

// complain answers an invalid message with an error.
func (g *globalConn) complain(what string, received []byte, id rtm.ID) {
	g.loop.s.count.errors.Add(1)
	g.send(errorFrame(what, received, id))
}

// connect answers a team.connect.
func (g *globalConn) connect(id rtm.ID, received []byte) {
	s := g.loop.s
	text := id.String()
	if !s.store.has(text) {
		g.complain("there is no such team", received, id)
		return
	}
	secret, why := s.tickets.issue(g.holder, id, time.Now())
	switch why {
	case eachOpen:
		s.count.exhaustedEach.Add(1)
		g.loop.on.Warn("a client got no ticket: it has too many open ones", "each")
	case allOpen:
		s.count.exhausted.Add(1)
		g.loop.on.Warn("a client got no ticket: the instance has too many open ones", "max")
	}
	if why != notExhausted {
		g.complain("too many tickets are open; try again later", received, id)
		return
	}
	s.count.issued.Add(1)
	address := g.origin + teamPath + url.PathEscape(text) + "?ticket=" + formatTicket(g.loop.inbox, secret)
	g.send(&rtm.Frame{Type: rtm.TeamConnect, TeamID: id, WSURL: address})
}

// healthcheck stores the client's claims and publishes them if they answer a question. It ignores entries about teams that
// the client was not sent, and all but the first about one team: an answer yields at most one event per announced team.
func (g *globalConn) healthcheck(stats []rtm.Stat, received []byte) {
	s := g.loop.s
	if stats == nil {
		g.complain("a healthcheck has stats", received, rtm.ID{})
		return
	}
	announced := s.store.announced(stats, g.cursor)
	s.count.healthUnknown.Add(uint64(len(stats) - len(announced)))
	all := &claims{at: time.Now(), teams: make(map[string]rtm.Stat, len(announced))}
	for _, stat := range announced {
		all.teams[stat.ID.String()] = stat
	}
	g.claims.Store(all)
	if !g.asked || len(g.health) > 0 {
		s.count.unasked.Add(1)
		return
	}
	g.asked = false
	s.count.answers.Add(1)
	g.health = announced
	g.publishHealth()
}

// publishHealth publishes healthBatch entries of a healthcheck, and the others in later turns.
func (g *globalConn) publishHealth() {
	n := min(len(g.health), healthBatch)
	for i := range g.health[:n] {
		g.loop.publish(eventHealth, healthData(&g.health[i], g.client))
	}
	g.health = g.health[n:]
	if len(g.health) == 0 {
		g.health = nil
		return
	}
	g.loop.on.Post(g.publishHealth)
}

// Deliver implements hub.PeerHandler. A Global connection is fed from the store, not from messages.
func (g *globalConn) Deliver(*opcodes.Envelope) hub.Outcome { return hub.Ignored }

// Sweep implements hub.PeerHandler.
func (g *globalConn) Sweep() {
	if _, identified := g.loop.globals[g]; !identified {
		return
	}
	g.feed()
	s := g.loop.s
	if now := g.loop.on.Clock(); time.Duration(now-g.checked)*time.Millisecond >= s.opts.Healthcheck {
		g.checked, g.asked = now, true
		s.count.healthchecks.Add(1)
		g.peer.Send(s.fixed.healthcheck)
	}
}

// Farewell implements hub.PeerHandler.
func (g *globalConn) Farewell(opcodes.Reason) *transport.Buffer { return g.loop.s.goodbye() }

// Closed implements hub.PeerHandler.
func (g *globalConn) Closed() {
	l := g.loop
	l.s.tickets.revoke(g.holder)
	if _, identified := l.globals[g]; !identified {
		return
	}
	delete(l.globals, g)
	l.s.count.globals.Add(-1)
	l.s.mu.Lock()
	delete(l.s.globals, g)
	l.s.mu.Unlock()
}
