package team

import (
	"bytes"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/transport"
)

// The events between the hub and services.
const (
	eventJoin         = "team.join"         // in: team_id
	eventLeft         = "team.left"         // in: team_id
	eventMessage      = "message"           // in, group of the team: text
	eventTeamMessage  = "team.message"      // in, group of the team: text; as bridges send it
	eventConnected    = "team.connected"    // out: team_id, client
	eventDisconnected = "team.disconnected" // out: team_id, reason, client
	eventHealth       = "team.health"       // out: team_id, connected, message_count, props_count, client
)

// loop is the service's share of one loop of the hub. It belongs to that loop's goroutine, except s, on and inbox,
// which are constant.
type loop struct {
	s     *Service
	on    *hub.ServiceLoop
	inbox inbox

	globals map[*globalConn]struct{} // identified
	sockets map[string]*teamConn     // identified, keyed by the text of the team's id; the newest of each
	seen    uint64                   // number of the last change of the store that this loop has handled

	pending  map[uint64]*teamConn // connections whose tickets another instance is checking
	question uint64               // number of the last question
}

// Open implements hub.LoopService.
func (l *loop) Open(p *hub.Peer, r *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	if string(r.Path) == globalPath {
		return l.openGlobal(p, r)
	}
	return l.openTeam(p, r)
}

// openGlobal opens a Global connection if the token may join the group of teams.
func (l *loop) openGlobal(p *hub.Peer, r *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	h := &holder{}
	switch token, ok := bearer(r.Authorization); {
	case ok:
		grant, known := l.s.hub.KnownToken(p.RemoteAddr().Addr(), token)
		if !known || !grant.MayJoin(teamsGroup) {
			return nil, l.s.reject(refusedToken)
		}
		h.grant = grant
	case r.Authorization != nil || !l.s.opts.Anonymous:
		return nil, l.s.reject(refusedToken)
	}
	g := &globalConn{loop: l, peer: p, holder: h, origin: originOf(r)}
	// It is not a member of the group of teams, as ANY must not draw it for messages to services.
	p.Identify(hub.Identity{Grant: h.grant, Right: teamsGroup, Name: "global"})
	return g, nil
}

// bearer returns the token of an Authorization field (RFC 6750 section 2.1).
func bearer(field []byte) (string, bool) {
	scheme, token, ok := bytes.Cut(field, []byte(" "))
	if !ok || !strings.EqualFold(string(scheme), "bearer") {
		return "", false
	}
	return string(bytes.TrimLeft(token, " ")), true
}

// originOf returns the scheme and host at which the client reached the hub. A proxy that terminates TLS sets
// X-Forwarded-Proto; of several values, the first is the client's.
func originOf(r *transport.Request) string {
	proto, _, _ := bytes.Cut(r.ForwardedProto, []byte(","))
	switch proto = bytes.ToLower(bytes.TrimSpace(proto)); string(proto) {
	case "https", "wss":
		return "wss://" + string(r.Host)
	}
	return "ws://" + string(r.Host)
}

// teamOf returns the text of the id in a Team connection's path.
func teamOf(path []byte) (string, bool) {
	text, err := url.PathUnescape(string(path[len(teamPath):]))
	if err != nil || !validTeam(rtm.StringID(text)) {
		return "", false
	}
	return text, true
}

// validTeam reports whether the team's messages can have a group.
func validTeam(id rtm.ID) bool {
	text := id.String()
	return text != "" && len(text) <= rtm.MaxIDBytes && intent.CheckGroup(teamPrefix+text) == nil
}

// ticketOf returns the parameter ticket of a query.
func ticketOf(query []byte) []byte {
	for pair := range bytes.SplitSeq(query, []byte("&")) {
		if ticket, ok := bytes.CutPrefix(pair, []byte("ticket=")); ok {
			return ticket
		}
	}
	return nil
}

// openTeam opens a Team connection with a ticket.
func (l *loop) openTeam(p *hub.Peer, r *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	text, ok := teamOf(r.Path)
	if !ok {
		return nil, l.s.reject(refusedPath)
	}
	query := ticketOf(r.Query)
	if query == nil {
		return nil, l.s.reject(refusedNoTicket)
	}
	box, secret, ok := parseTicket(query)
	if !ok {
		return nil, l.s.reject(refusedTicket)
	}
	c := &teamConn{loop: l, peer: p, opened: l.on.Clock()}
	if l.s.issuer(box) == nil {
		if !l.askIssuer(c, box, secret, text) {
			return nil, l.s.reject(refusedBusy)
		}
		return c, nil
	}
	id, grant, why := l.s.redeemHere(secret, text)
	if why != granted {
		return nil, l.s.reject(why)
	}
	c.identify(id, grant)
	return c, nil
}

// onTeamsEvent handles the messages for the group of teams. The first loop updates the store. Each loop ends its own
// connections, so that messages sent to a team before it left are delivered first.
func (l *loop) onTeamsEvent(m *opcodes.Envelope) {
	join := string(m.Event) == eventJoin
	if m.Op != opcodes.Event || !join && string(m.Event) != eventLeft {
		return
	}
	first := l.on.Index() == 0
	if !first && (join || len(l.sockets) == 0) {
		return
	}
	id, ok := teamID(m.Data)
	switch {
	case !ok && first:
		l.bad("an event of the group teams has no valid team_id", string(m.Event))
	case ok && !join:
		l.endTeam(id)
	}
	switch {
	case !ok || !first:
	case !join:
		l.s.store.leave(id)
	case !l.s.store.join(id):
		l.on.Warn("a team was refused: there are too many", "max")
	}
}

// bad counts a malformed event.
func (l *loop) bad(message, event string) {
	l.s.count.badEvents.Add(1)
	l.on.Warn(message, event)
}

// teamID reads the member team_id of an event's data.
func teamID(data []byte) (rtm.ID, bool) {
	var d struct {
		ID rtm.ID `json:"team_id"`
	}
	if json.Unmarshal(data, &d) != nil || !validTeam(d.ID) {
		return rtm.ID{}, false
	}
	return d.ID, true
}

// teamText reads the member text of an event's data, a JSON string.
func teamText(data []byte) (jsontext.Value, bool) {
	var d struct {
		Text jsontext.Value `json:"text"`
	}
	if json.Unmarshal(data, &d) != nil || d.Text.Kind() != '"' {
		return nil, false
	}
	return d.Text, true
}

// endTeam ends this loop's connection of a team that left.
func (l *loop) endTeam(id rtm.ID) {
	if c := l.sockets[id.String()]; c != nil {
		c.left()
	}
}

// storeChanged handles a change of the store. frame is the frame for Global connections; nil after several joins.
func (l *loop) storeChanged(c change, frame *transport.Buffer) {
	before := l.seen
	l.seen = c.seq
	if c.left && !c.heard {
		l.endTeam(c.id)
	} else if t := l.sockets[c.id.String()]; c.left && t != nil {
		t.doubt(l.on.Clock())
	}
	for g := range l.globals {
		g.teamChanged(c, before, frame)
	}
}

// publish sends an event to the group of teams.
func (l *loop) publish(event string, data []byte) {
	l.publishTo(teamsGroup, event, data)
}

func (l *loop) publishTo(group, event string, data []byte) {
	l.on.Publish(message(group, event, data))
}

// message returns an event for a group.
func message(group, event string, data []byte) *opcodes.Message {
	return &opcodes.Message{Op: opcodes.Event, Event: event, Data: data, Target: intent.Group, Group: []byte(group)}
}

// redeemHere redeems a ticket of this instance. The grant has the present rights of the ticket's token; nil: the client
// had no token.
func (s *Service) redeemHere(secret secret, text string) (id rtm.ID, grant *auth.Grant, why refusal) {
	id, grant, why = s.tickets.redeem(secret, text, time.Now())
	if why != granted {
		return id, nil, why
	}
	if grant != nil { // the tokens may have changed since the Global connection was last checked
		var ok bool
		if grant, ok = s.hub.Current(grant); !ok || !grant.MayJoin(teamsGroup) {
			return id, nil, refusedToken
		}
	}
	if !s.store.has(text) {
		why = refusedLeft
	}
	return id, grant, why
}
