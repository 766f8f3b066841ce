package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
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

// joining is an IDENTIFY that waits until the broker has subscribed to the client's groups: answered before, the client
// could miss what is sent after the answer.
type joining struct {
	session *session
	ref     transport.Ref
	groups  []*group
	left    atomic.Int32 // groups that are not subscribed yet, and one for join itself
	failed  atomic.Bool
}

// join makes the client a member of the groups as soon as the broker has subscribed to them.
func (s *session) join(names []string) {
	j := joining{session: s, groups: make([]*group, 0, len(names))}
	r := s.shard.hub.groups
	ready := true
	for _, name := range names {
		g := r.acquire(name, true)
		j.groups = append(j.groups, g)
		ready = ready && g.ready()
	}
	s.phase = phaseJoining
	if ready || s.shard.hub.alone() {
		j.finish()
		return
	}
	waiting := &joining{session: s, ref: s.conn.Ref(), groups: j.groups}
	s.conn.Pause() // what the client sends behind its IDENTIFY waits too
	waiting.left.Store(1)
	for _, g := range waiting.groups {
		waiting.left.Add(1)
		if !g.await(waiting) {
			waiting.left.Add(-1)
		}
	}
	waiting.done(nil)
}

// alone reports whether clients may identify though other instances can't be reached.
func (h *Hub) alone() bool { return h.opts.WithoutBroker && !h.broker.State().Available }

// done notes that one group is subscribed, or can't be. The last one sends the joining back to its loop.
func (j *joining) done(err error) {
	if err != nil {
		j.failed.Store(true)
	}
	if j.left.Add(-1) == 0 && !j.ref.Loop().Post(j) {
		j.session.shard.hub.groups.releaseAll(j.groups)
	}
}

// Deliver implements transport.Mail.
func (j *joining) Deliver(*transport.Loop) {
	c := j.ref.Conn()
	switch {
	case c == nil || j.session.phase != phaseJoining:
		j.session.shard.hub.groups.releaseAll(j.groups)
		return
	case j.failed.Load():
		j.session.shard.hub.groups.releaseAll(j.groups)
		j.session.disconnect(opcodes.TryAgainLater)
		return
	}
	j.finish()
	c.Resume()
}

// Size implements transport.Mail.
func (j *joining) Size() int { return 64 }

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

	if s.kind == 0 {
		s.sendIdentified(now)
	}
	s.enterAll(j.groups)
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

// enterAll makes the session a member of the groups, and a client.
func (s *session) enterAll(groups []*group) {
	h := s.shard.hub
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

// announce tells the other instances how many members a group has here. The lock keeps the last word for the last
// change.
func (h *Hub) announce(g *group) {
	if g.private {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h.broker.SetMembers(g.name, g.offered())
}

// ready reports whether the broker has subscribed to the group.
func (g *group) ready() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == subscribed
}

// releaseAll gives back groups that nobody joined after all.
func (r *registry) releaseAll(groups []*group) {
	for _, g := range groups {
		r.release(g, true)
	}
}
