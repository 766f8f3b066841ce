package hub

import (
	"errors"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/internal/handshake"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// RequestService is a ServiceType whose paths also take HTTP requests that ask for no upgrade. Its LoopServices implement
// [RequestLoop].
type RequestService interface {
	// LoopFor returns the index of the loop that a request belongs to, an upgrade or not; -1 if any loop may handle it. Any
	// loop may call it. r is valid during the call only.
	LoopFor(r *transport.Request) int
}

// BodyLimiter is a RequestService whose requests may be larger than a message.
type BodyLimiter interface {
	// MaxBodyBytes returns the size of the largest content of a request.
	MaxBodyBytes() int
}

// RequestLoop is the share of one loop of a RequestService.
type RequestLoop interface {
	// Serve handles a request: x.Respond answers it, in the call or later.
	Serve(x *transport.Exchange)
}

// requestEndpoint is the endpoint of a service type that takes requests.
type requestEndpoint struct {
	transport.Endpoint
	loops   []RequestLoop
	loopFor func(r *transport.Request) int
	maxBody int
}

// LoopFor implements transport.HTTPEndpoint.
func (e *requestEndpoint) LoopFor(r *transport.Request) int { return e.loopFor(r) }

// MaxBodyBytes implements transport.BodyLimiter.
func (e *requestEndpoint) MaxBodyBytes() int { return e.maxBody }

// Serve implements transport.HTTPEndpoint.
func (e *requestEndpoint) Serve(x *transport.Exchange) { e.loops[x.Loop().Index()].Serve(x) }

// Handler returns what LoopService.Open returned for the connection; nil if it was turned away before.
func (p *Peer) Handler() PeerHandler { return p.handler }

// IsDetached reports whether the connection has no socket: see [transport.Conn.Detached].
func (p *Peer) IsDetached() bool { return p.session.conn.Detached() }

// Slot returns the connection's slot in the table of its loop.
func (p *Peer) Slot() uint32 { return p.session.conn.Slot() }

// Fetch hands what is queued for a detached connection to f: see [transport.Conn.Take].
func (p *Peer) Fetch(limit int, f func(b *transport.Buffer) (more bool)) int {
	return p.session.conn.Take(limit, f)
}

// Bring hands a detached connection a message that its client brought by a request: see [transport.Conn.Receive].
func (p *Peer) Bring(binary bool, b []byte) bool { return p.session.conn.Receive(binary, b) }

// TakeOver gives a detached connection the socket of another one of its loop: see [transport.Conn.TakeOver].
func (p *Peer) TakeOver(from *Peer) {
	if p.IsOpen() && from.IsOpen() {
		p.session.conn.TakeOver(from.session.conn)
	}
}

// IdentifyAs makes the connection a client of the hub as an IDENTIFY with those data does: the token decides, also about
// what is sent (MaySend), and the client is in the groups that it names. PeerHandler.Identified follows. A refusal ends the
// connection, with PeerHandler.Farewell.
func (p *Peer) IdentifyAs(data []byte) { p.session.identify(data) }

// IdentifyCaller makes the connection a client of the hub with the rights of the caller, in no group. It counts as one of the
// connections of the caller's token. PeerHandler.Identified follows; a refusal ends the connection, with
// PeerHandler.Farewell.
func (p *Peer) IdentifyCaller(c *Caller) {
	s := p.session
	if s.phase != phaseStranger {
		return
	}
	s.grant = c.credential.Grant
	s.expires = unixSeconds(c.credential.Expires)
	s.label(labels{subject: c.credential.Subject})
	s.join(&change{asked: opcodes.Change{Weight: opcodes.KeepWeight}, trusted: true})
}

// ErrTooManyRequests: see Peer.Ask.
var ErrTooManyRequests = errors.New("too many requests are open, or this one has too many receivers")

// Ask sends message, an EVENT with expect as a client of the hub's own protocol sends it, as a request of the client, whose
// handler is a [RequestSender]. The rights and limits are those of the caller that it was identified with. Settled may be
// called before Ask returns. Unless the error is nil it was not sent: that is one of those of [Hub.Publish], or
// ErrTooManyRequests.
func (p *Peer) Ask(c *Caller, message []byte) error {
	s, sh := p.session, p.session.shard
	if s.phase != phaseIdentified {
		return ErrClosed
	}
	e := &sh.scan
	if err := e.Scan(message); err != nil {
		return err
	}
	x, err := e.Expectation()
	switch {
	case err != nil:
		return err
	case len(message) > sh.hub.opts.Transport.MaxMessageBytes:
		return ErrTooBig
	case sh.hub.server.Gate().Closed():
		return ErrBusy
	case !c.limits.allows(len(message)):
		return ErrRateLimited
	case e.Op != opcodes.Event || !s.grant.MaySend(e.Target, e.Identifier):
		sh.count.drop(DropForbidden)
		return ErrForbidden
	}
	id := e.PlainID()
	hash := uint32(sh.hub.hashRequest(&s.id, id))
	if code := s.refusal(e, id, hash, x.Retry); code != "" {
		sh.count.drop(dropOf(code))
		return ErrTooManyRequests
	}
	b := transport.AllocBuffer(opcodes.DeliverySize(e))
	b.Seal(opcodes.AppendDelivery(b.Room(), e, uuid.Nil, s.id))
	s.sendRequest(e, id, hash, &x, b)
	b.Release()
	return nil
}

// ChangeGroupsAs changes the client's groups as a SUBSCRIBE or UNSUBSCRIBE of its own does, which op says: its token decides. done
// is called once on the loop, perhaps before ChangeGroupsAs returns: with nil when nothing is missed that is sent to the
// groups from then on, or nothing more arrives; or with the reason why nothing was changed. The client has to be identified
// with IdentifyAs.
func (p *Peer) ChangeGroupsAs(op opcodes.Op, groups []string, done func(*ChangeError)) {
	s := p.session
	if s.phase != phaseIdentified {
		done(&ChangeError{Code: opcodes.CodeNoReceiver})
		return
	}
	s.ask(&change{op: op, asked: opcodes.Change{Groups: groups, Weight: opcodes.KeepWeight}, hear: done}, max(len(groups), 1))
}

// MaySend reports whether the client's token allows it to send to that target, for Group and Any with the group's name.
func (p *Peer) MaySend(t intent.Target, group []byte) bool {
	s := p.session
	return s.phase == phaseIdentified && s.grant != nil && s.grant.MaySend(t, group)
}

// IsAdmin reports whether the client's token has admin rights.
func (p *Peer) IsAdmin() bool {
	s := p.session
	return s.phase == phaseIdentified && s.grant != nil && s.grant.Admin == auth.AdminFull
}

// PublishAndHear is Publish, and calls f as [ServiceLoop.PublishAndHear] does.
func (p *Peer) PublishAndHear(m *opcodes.Message, f func(instances int, code opcodes.ErrorCode)) {
	s := p.session
	if s.phase == phaseIdentified {
		s.shard.publishAs(&s.sender, s, m, &posted{s.shard.loop, f})
	}
}

// posted hears what became of a message, and calls f with it on a loop.
type posted struct {
	loop *transport.Loop
	f    func(instances int, code opcodes.ErrorCode)
}

// hear implements hearer.
func (p *posted) hear(f *feedback) {
	instances, code := f.acked, f.code
	p.loop.Post(task(func() { p.f(instances, code) }))
}

// Origins returns which web pages may connect.
func (h *Hub) Origins() *handshake.OriginPolicy { return h.opts.Transport.Origins }

// MaxMessageBytes returns the size of the largest message that a client may send, in bytes.
func (h *Hub) MaxMessageBytes() int { return h.opts.Transport.MaxMessageBytes }
