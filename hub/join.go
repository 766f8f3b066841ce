package hub

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file makes a connection a client. Answered before the broker has subscribed to its groups, the client could miss
// what is sent after the answer. So it waits until then.
//
// Other instances know already that it is expected, if it is a group's first member here, and draw it for an ANY where no
// group has another. The ANY waits with it: back with its sender, it could be drawn again only if that has sent nothing
// since.

// join makes the connection a client, with what c asks for, as soon as the broker has subscribed to its groups.
func (s *session) join(c *change) {
	h := s.shard.hub
	if s.grant != nil {
		subject := ""
		if s.about != nil {
			subject = s.about.subject
		}
		if s.limit = h.holders.add(s.grant, subject, h.opts.Transport.MaxMessageBytes); s.limit == nil {
			s.disconnect(opcodes.TryAgainLater)
			return
		}
	}
	s.id = clientid.New(clientid.Location{Node: h.node.ID, Loop: s.shard.index, Slot: s.conn.Slot()}) // claims need it
	c.op, c.session, c.ref = opcodes.Identify, s, s.conn.Ref()
	if c.check() != nil {
		s.disconnect(opcodes.IdentifyFailed)
		return
	}
	s.phase = phaseJoining
	if c.acquire() {
		c.identified()
		s.shard.keepChange(c)
		return
	}
	s.conn.Pause() // what the client sends behind its IDENTIFY waits too
	c.paused = true
}

// identified ends an IDENTIFY whose groups are subscribed, or can't be, or whose client has gone.
func (c *change) identified() {
	s := c.session
	c.over = true
	switch {
	case c.ref.Conn() == nil || s.phase != phaseJoining:
		c.release()
	case c.failed.Load():
		c.release()
		s.disconnect(opcodes.TryAgainLater)
	case c.check() != nil:
		c.release()
		s.disconnect(opcodes.IdentifyFailed)
	default:
		s.joined(c)
		if c.paused {
			s.conn.Resume()
			s.shard.giveHeld(s)
		}
	}
}

// Deliver implements transport.Mail: what the change needs has come, or can't be had.
func (c *change) Deliver(*transport.Loop) {
	switch {
	case c.over:
	case c.op == opcodes.Identify:
		c.identified()
	default:
		c.settle()
	}
}

// granted are the features that this release has.
const granted = opcodes.FeatureErrors | opcodes.FeatureAcks | opcodes.FeatureDrain | opcodes.FeatureGroups |
	opcodes.FeaturePresence | opcodes.FeatureExclusive | opcodes.FeatureRequests | opcodes.FeatureHistory

// accept makes the client, which may do what grant says, a member of its groups. subject is that of its token or
// certificate, empty where it is unknown.
func (s *session) accept(grant *auth.Grant, id *opcodes.Identification, subject string) {
	s.grant = grant
	if s.kind == 0 {
		s.features = id.Features & granted
	}
	if s.features.Has(opcodes.FeatureGroups) {
		s.weight = uint8(id.Weight)
	}
	s.noEcho = !id.Echo
	if s.label(labels{name: id.Name, version: id.Version, meta: id.Meta, subject: subject}); s.about != nil {
		s.about.native = true
	}
	c := s.shard.newChange()
	c.asked = opcodes.Change{Groups: id.Groups, Weight: opcodes.KeepWeight}
	if s.features.Has(opcodes.FeaturePresence) {
		c.asked.Watch = id.Watch
		if id.Replaces != uuid.Nil {
			s.replace(id.Replaces)
		}
	}
	c.asked.Exclusive = id.Exclusive
	c.asked.Recover = id.Recover
	s.join(c)
}

// newChange returns an empty change for an IDENTIFY.
func (sh *shard) newChange() *change {
	c := sh.change
	if sh.change = nil; c == nil {
		c = new(change)
	}
	return c
}

// keepChange keeps a change that waited for nothing for newChange. An exclusive group refers to its change for longer.
func (sh *shard) keepChange(c *change) {
	if c.asked.Exclusive == nil {
		*c = change{}
		sh.change = c
	}
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

// joined answers the IDENTIFY and makes the client what it asked for, in this order: what is sent to it comes behind the
// answer.
func (s *session) joined(c *change) {
	h := s.shard.hub
	if s.grant != nil { // a service type may ask for no token
		s.conn.Trust()
	}
	now := time.Now()
	s.since = uint32(now.Unix())
	if s.features != 0 {
		s.conn.Unpace() // it is not the original client
	}
	if s.kind == 0 {
		a := &s.shard.changed
		for _, p := range h.parts {
			p.answer(c, a)
		}
		s.sendIdentified(now, a)
		*a = opcodes.Changed{}
	}
	for _, p := range h.parts {
		p.enter(c)
	}
	s.recordConnected(now)
	if ctx := context.Background(); h.log.Enabled(ctx, slog.LevelDebug) {
		h.log.LogAttrs(ctx, slog.LevelDebug, "client identified", slog.String("client", s.id.String()),
			slog.String("token", s.tokenName()), slog.Any("groups", s.groupNames()))
	}
	if p := s.foreign(); p != nil {
		p.identified()
	}
}

// identifiedBytes is the room for the answer to an IDENTIFY without the instance's name.
const identifiedBytes = 256

// sendIdentified answers the client's IDENTIFY. a says what became of the members that are also those of SUBSCRIBE.
func (s *session) sendIdentified(now time.Time, a *opcodes.Changed) {
	h := s.shard.hub
	a.Groups = nil // it knows them
	b := transport.AllocBuffer(identifiedBytes + 6*len(h.node.Name) + opcodes.ChangedSize(a))
	b.Seal(opcodes.AppendIdentified(b.Room(), opcodes.Identified{
		ID:              s.id,
		Ping:            h.opts.PingInterval,
		Node:            h.node.Name,
		SessionStarted:  now,
		MaxMessageBytes: h.opts.Transport.MaxMessageBytes,
		Features:        s.features,
		Watch:           a.Watch,
		Holds:           a.Holds,
		Joined:          a.Joined,
	}))
	s.conn.Send(b)
	b.Release()
}
