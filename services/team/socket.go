package team

import (
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/transport"
)

// CloseReplaced is the close code of a Team connection that another connection of its team replaced.
const CloseReplaced = 4100

// The reasons in team.disconnected, besides the hub's own in lower case.
const (
	reasonClosed   = "closed"   // by the client, or by the network
	reasonLeft     = "left"     // the team did
	reasonReplaced = "replaced" // by another connection of the team
	reasonBinary   = "binary"   // the client sent a binary message
)

// doubtTimeout bounds the time from a change of the store to the loop's own team.left event.
const doubtTimeout = 2 * time.Second

// teamConn is a Team connection. It belongs to its loop.
type teamConn struct {
	loop     *loop
	peer     *hub.Peer
	opened   uint32 // loop clock
	question uint64 // number of the open question about the ticket; 0: none
	ended    string // why this side ended it; empty: it is open
	doubtful bool   // since doubted the store says that the team has left
	doubted  uint32

	id    rtm.ID // in the form of the client's team.connect
	entry *entry // nil until identified
	sock  *socket
}

// identify identifies the connection as its team's.
func (c *teamConn) identify(id rtm.ID, grant *auth.Grant) {
	c.id = id
	c.loop.s.count.redeemed.Add(1)
	c.peer.Identify(hub.Identity{Grant: grant, Groups: []string{teamPrefix + id.String()}, Right: teamsGroup, Name: "team"})
}

// Identified implements hub.PeerHandler.
func (c *teamConn) Identified() {
	l := c.loop
	c.peer.Send(l.s.fixed.hello)
	c.sock = &socket{conn: c, client: c.peer.ID(), since: time.Now()}
	if a := c.peer.RemoteAddr(); a.IsValid() {
		c.sock.address = a.String()
	}
	entry, old, left := l.s.store.attach(c.id, c.sock)
	c.entry = entry
	if old != nil {
		old.replace()
	}
	l.sockets[c.id.String()] = c
	l.s.count.sockets.Add(1)
	l.announce([]opened{{c.id, c.sock.rank, c.sock.client}})
	l.publish(eventConnected, socketData(c.id, c.sock.client, ""))
	if left { // the team left while the ticket was redeemed or the group subscribed to
		c.left()
	}
}

// replace ends the connection because another one replaces it. Any goroutine may call it.
func (s *socket) replace() {
	s.conn.loop.on.Post(func() {
		c := s.conn
		if c.ended != "" {
			return
		}
		const why = "another connection of the team replaced this one"
		c.loop.s.count.replaced.Add(1)
		c.end(reasonReplaced, CloseReplaced, why, newFrame(&rtm.Frame{Type: rtm.Error, Text: why, TeamID: c.id}))
	})
}

// left ends the connection because the team has left.
func (c *teamConn) left() {
	c.end(reasonLeft, uint16(ws.StatusNormalClosure), "the team has left", newFrame(&rtm.Frame{Type: rtm.TeamLeft, TeamID: c.id}))
}

// end ends the connection for a reason of this protocol. It takes ownership of last, which may be nil.
func (c *teamConn) end(reason string, code uint16, text string, last *transport.Buffer) {
	if c.ended != "" || !c.peer.IsOpen() {
		if last != nil {
			last.Release()
		}
		return
	}
	c.ended = reason
	c.peer.Close(code, text, last)
}

// Receive implements hub.PeerHandler.
func (c *teamConn) Receive(binary bool, b []byte) {
	if binary {
		c.end(reasonBinary, uint16(ws.StatusUnsupportedData), "binary message", nil)
		return
	}
	f, err := rtm.Parse(b)
	switch {
	case err != nil:
		c.complain(err.Error(), b)
	case f.Type == rtm.Ping:
		c.loop.s.count.pings.Add(1)
		c.send(&rtm.Frame{Type: rtm.Pong, UniqueID: f.UniqueID})
	default:
		c.complain(string(f.Type)+" does not belong on a team's connection", b)
	}
}

func (c *teamConn) complain(what string, received []byte) {
	c.loop.s.count.errors.Add(1)
	c.send(errorFrame(what, received, c.id))
}

func (c *teamConn) send(f *rtm.Frame) {
	b := newFrame(f)
	c.peer.Send(b)
	b.Release()
}

// Deliver implements hub.PeerHandler.
func (c *teamConn) Deliver(m *opcodes.Envelope) hub.Outcome {
	if m.Op != opcodes.Event || string(m.Event) != eventMessage && string(m.Event) != eventTeamMessage {
		return hub.Ignored
	}
	text, ok := teamText(m.Data)
	if !ok {
		c.loop.bad("a message for a team has no text", string(m.Event))
		return hub.Ignored
	}
	if c.ended != "" {
		return hub.Refused
	}
	b := messageFrame(text)
	defer b.Release()
	outcome := c.peer.SendDelivery(b)
	if outcome == hub.Taken {
		c.countMessage(hasProps(text))
	}
	return outcome
}

func (c *teamConn) countMessage(props bool) {
	c.entry.messages.Add(1)
	c.loop.s.count.messages.Add(1)
	if props {
		c.entry.props.Add(1)
		c.loop.s.count.props.Add(1)
	}
}

// Sweep implements hub.PeerHandler.
func (c *teamConn) Sweep() {
	waits := time.Duration(c.loop.on.Clock()-c.opened) * time.Millisecond
	if c.question != 0 && waits >= redeemTimeout {
		c.refuse(refusedTimeout)
	}
	if now := c.loop.on.Clock(); c.doubtful && time.Duration(now-c.doubted)*time.Millisecond >= doubtTimeout {
		c.doubtful = false
		if !c.loop.s.store.has(c.id.String()) {
			c.left()
		}
	}
}

// doubt notes that the store lost the team. The loop's own team.left event normally follows, behind the team's last
// messages. If the event came before the connection, it never follows; Sweep ends the connection after doubtTimeout.
func (c *teamConn) doubt(now uint32) {
	if !c.doubtful {
		c.doubtful, c.doubted = true, now
	}
}

// Farewell implements hub.PeerHandler.
func (c *teamConn) Farewell(r opcodes.Reason) *transport.Buffer {
	if c.ended == "" {
		c.ended = strings.ToLower(r.String())
	}
	return c.loop.s.goodbye()
}

// Closed implements hub.PeerHandler.
func (c *teamConn) Closed() {
	l := c.loop
	delete(l.pending, c.question)
	if c.entry == nil {
		return
	}
	if c.ended == "" {
		c.ended = reasonClosed
	}
	l.s.count.sockets.Add(-1)
	l.s.store.detach(c.entry, c.sock)
	if text := c.id.String(); l.sockets[text] == c {
		delete(l.sockets, text)
	}
	l.publish(eventDisconnected, socketData(c.id, c.sock.client, c.ended))
}
