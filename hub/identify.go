package hub

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// identify handles an IDENTIFY.
func (s *session) identify(e *opcodes.Envelope) {
	if s.phase != phaseStranger {
		s.disconnect(opcodes.AlreadyIdentified)
		return
	}
	id, err := opcodes.ParseIdentify(e.Data)
	if errors.Is(err, opcodes.ErrIdentifyPayload) {
		s.disconnect(opcodes.InvalidPayload)
		return
	}
	// The token is looked up whatever else is wrong, so that the time tells nothing.
	h := s.shard.hub
	grant, ok := h.tokens.Authenticate(id.Token)
	if !ok && err == nil && h.verifications.takes(id.Token) {
		s.verify(id)
		return
	}
	subject := ""
	if id.Token == "" && (err == nil || errors.Is(err, opcodes.ErrIdentifyNoToken)) {
		var c Credential
		c, ok = h.AuthenticateCertificate(s.conn.PeerCertificate())
		grant, subject, err = c.Grant, c.Subject, nil
		s.expires = unixSeconds(c.Expires)
	}
	if err != nil || !ok || !mayJoinAll(grant, id.Groups) {
		s.disconnect(opcodes.IdentifyFailed)
		return
	}
	s.accept(grant, &id, subject)
}

// accept makes the client, who may do what grant says, a member of its groups. subject is whom its token or certificate is
// about, where that is known.
func (s *session) accept(grant *auth.Grant, id *opcodes.Identification, subject string) {
	s.grant = grant
	s.features = id.Features
	s.noEcho = !id.Echo
	if id.Name != "" || id.Version != "" || len(id.Meta) > 0 || subject != "" {
		s.about = &about{name: id.Name, version: id.Version, meta: id.Meta, subject: subject}
	}
	s.join(id.Groups)
}

// mayJoinAll reports whether all names are those of groups that the holder of the grant may join.
func mayJoinAll(g *auth.Grant, names []string) bool {
	for _, name := range names {
		if intent.CheckGroup(name) != nil || !g.MayJoin(name) {
			return false
		}
	}
	return len(names) > 0
}

// finish answers the IDENTIFY and makes the client a member, in this order: what is sent to it comes behind the answer.
func (j *joining) finish() {
	s, h := j.session, j.session.shard.hub
	if s.grant != nil { // anybody may be a client of a service type that asks for no token
		s.conn.Trust()
	}
	now := time.Now()
	s.since = uint32(now.Unix())
	s.id = newClientID(location{h.node.ID, s.shard.index, s.conn.Slot()})
	s.limit = newLimiter(s.grant)

	if s.features != 0 {
		s.conn.Unpace() // it is not the original client
	}
	if s.kind == 0 {
		s.sendIdentified(now)
	}
	s.enterAll(j)
	if ctx := context.Background(); h.log.Enabled(ctx, slog.LevelDebug) {
		h.log.LogAttrs(ctx, slog.LevelDebug, "client identified", slog.String("client", s.id.String()),
			slog.String("token", s.tokenName()), slog.Any("groups", s.groupNames()))
	}
	if p := s.peer(); p != nil {
		if p.identified = true; p.handler != nil { // else Open is not over
			p.handler.Identified()
		}
	}
}

// sendIdentified answers the client's IDENTIFY.
func (s *session) sendIdentified(now time.Time) {
	h := s.shard.hub
	b := transport.AllocBuffer(identifiedBytes + 6*len(h.node.Name))
	b.Seal(opcodes.AppendIdentified(b.Room(), opcodes.Identified{
		ID:              s.id,
		Ping:            h.opts.PingInterval,
		Node:            h.node.Name,
		SessionStarted:  now,
		MaxMessageBytes: h.opts.Transport.MaxMessageBytes,
		Features:        s.features,
	}))
	s.conn.Send(b)
	b.Release()
}

// enterAll makes the session a member of j's groups, and a client.
func (s *session) enterAll(j *joining) {
	h, groups := s.shard.hub, j.groups
	s.shard.removeStranger(s)
	if s.kind == 0 {
		s.everyone = s.enter(h.groups.everyone)
	} else {
		s.everyone = s.enter(h.groups.foreign)
	}
	if len(groups) > 0 {
		s.first = s.enter(groups[0])
	}
	if len(groups) > 1 {
		more := make([]place, 0, len(groups)-1)
		s.more = &more
		for _, g := range groups[1:] {
			more = append(more, s.enter(g))
		}
	}
	s.phase = phaseIdentified
	s.shard.count.types[s.kind].clients.Add(1)
	if s.features.Has(opcodes.FeatureDrain) {
		s.shard.count.movable.Add(1)
	}
	h.announce(s.everyone.group)
	for _, g := range groups {
		g.forget(j)
		h.announce(g)
	}
}

// tokenName returns the name of the client's token, empty if it showed none.
func (s *session) tokenName() string {
	if s.grant == nil {
		return ""
	}
	return s.grant.Name
}

// newLimiter returns the limit on the messages of one connection, or nil if the grant sets none.
func newLimiter(g *auth.Grant) *rate.Limiter {
	if g == nil || g.Rate <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(g.Rate), max(g.Burst, 1))
}

// identifiedBytes is the room for the answer to an IDENTIFY without the instance's name.
const identifiedBytes = 256

// leaveAll takes the client out of all its groups.
func (s *session) leaveAll() {
	s.quit(s.everyone)
	if s.first.group != nil {
		s.leave(s.first)
	}
	if s.more != nil {
		for _, p := range *s.more {
			s.leave(p)
		}
	}
	s.shard.count.types[s.kind].clients.Add(-1)
	if s.features.Has(opcodes.FeatureDrain) {
		s.shard.count.movable.Add(-1)
	}
}

func (s *session) leave(p place) {
	s.quit(p)
	s.shard.hub.groups.release(p.group, true)
}

// quit is exit, of which other instances are told.
func (s *session) quit(p place) {
	s.exit(p)
	if s.departing {
		p.group.departing[s.shard.index].Add(-1)
	}
	s.shard.hub.announce(p.group)
}

// announce tells the other instances how many members a group has here. The lock keeps the last word for the last change.
func (h *Hub) announce(g *group) {
	if g.private {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h.broker.SetMembers(g.name, g.standing())
}
