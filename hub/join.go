package hub

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// joining is a client that waits until the broker has subscribed to its groups: answered before, the client could miss what
// is sent after the answer.
//
// Other instances know already that it is expected, if it is a group's first member here, and draw it for an ANY where no
// group has another. The ANY waits with it: back with its sender, it could be drawn again only if that has sent nothing
// since.
type joining struct {
	session *session
	ref     transport.Ref
	groups  []*group
	left    atomic.Int32 // subscriptions that are not confirmed yet, and one for join itself
	failed  atomic.Bool
}

// join makes the client a member of the groups as soon as the broker has subscribed to them.
func (s *session) join(names []string) {
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
	r := h.groups
	groups := make([]*group, 0, len(names))
	ready := true
	for _, name := range names {
		g := r.expect(name, s)
		groups = append(groups, g)
		ready = ready && g.ready()
	}
	s.phase = phaseJoining
	if ready || h.isolated() {
		s.joined(groups)
		return
	}
	s.conn.Pause() // what the client sends behind its IDENTIFY waits too
	j := &joining{session: s, ref: s.conn.Ref(), groups: groups}
	j.left.Store(int32(len(groups)) + 1)
	for _, g := range groups {
		g.await(j)
	}
	j.subscribed(nil)
}

// subscribed implements waiter. The last call sends the joining back to its loop.
func (j *joining) subscribed(err error) {
	if err != nil {
		j.failed.Store(true)
	}
	if j.left.Add(-1) == 0 && !j.ref.Loop().Post(j) { // the hub is closed, and what it held with it
		j.cancel()
	}
}

// Deliver implements transport.Mail.
func (j *joining) Deliver(*transport.Loop) {
	c, s := j.ref.Conn(), j.session
	switch {
	case c == nil || s.phase != phaseJoining:
		j.cancel()
	case j.failed.Load():
		j.cancel()
		s.disconnect(opcodes.TryAgainLater)
	default:
		s.joined(j.groups)
		c.Resume()
		s.shard.giveHeld(s)
	}
}

// Size implements transport.Mail.
func (j *joining) Size() int { return 64 }

// cancel gives back the groups of a client that does not join them.
func (j *joining) cancel() {
	r := j.session.shard.hub.groups
	for _, g := range j.groups {
		g.forget(j.session)
		r.announce(g) // the other members may all be about to leave, so that other instances know of this one alone
		r.dismiss(g)
	}
}

// granted are the features that this release has.
const granted = opcodes.FeatureErrors | opcodes.FeatureAcks | opcodes.FeatureDrain

// accept makes the client, which may do what grant says, a member of its groups. subject is that of its token or
// certificate, empty where it is unknown.
func (s *session) accept(grant *auth.Grant, id *opcodes.Identification, subject string) {
	s.grant = grant
	if s.kind == 0 {
		s.features = id.Features & granted
	}
	s.noEcho = !id.Echo
	if id.Name != "" || id.Version != "" || len(id.Meta) > 0 || subject != "" || s.about != nil {
		s.about = &about{name: id.Name, version: id.Version, meta: id.Meta, subject: subject, foreign: s.foreign(), native: true}
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

// joined answers the IDENTIFY and makes the client a member of the groups, in this order: what is sent to it comes behind
// the answer.
func (s *session) joined(groups []*group) {
	h := s.shard.hub
	if s.grant != nil { // a service type may ask for no token
		s.conn.Trust()
	}
	now := time.Now()
	s.since = uint32(now.Unix())
	s.id = clientid.New(clientid.Location{Node: h.node.ID, Loop: s.shard.index, Slot: s.conn.Slot()})

	if s.features != 0 {
		s.conn.Unpace() // it is not the original client
	}
	if s.kind == 0 {
		s.sendIdentified(now)
	}
	s.enterAll(groups)
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
