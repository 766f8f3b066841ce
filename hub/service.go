package hub

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// A ServiceType is a foreign protocol: it has paths and frames of its own, and its connections take part in the hub as
// clients. They are members of the groups that the service type names, get DIRECT by id, and send like any other. GLOBAL,
// and ANY without a group, are not for them: a message that only a client of the hub's own protocol can understand would
// be lost on them, unless the type is [Universal].
type ServiceType interface {
	// Name is the type's name in metrics and lists: a short word, unique among the types.
	Name() string
	// Serves reports whether connections to the path are the type's. Any goroutine may call it.
	Serves(path []byte) bool
	// Attach is called once for each loop before anything else. What it returns, and what that creates, is called on
	// the goroutine of this loop alone, and needs no locks. Its methods must not block.
	Attach(l *ServiceLoop) LoopService
}

// LoopService is a service type's share of one loop.
type LoopService interface {
	// Open is called for each new connection when its handshake proved valid, and returns what handles it, or the reason
	// to refuse it. What it sends leaves behind the answer to the handshake. r is valid during the call only.
	Open(p *Peer, r *transport.Request) (PeerHandler, *transport.Rejection)
}

// A ServiceType may also implement the following interfaces.
type (
	// Answerer answers what other instances ask with [Hub.Ask]. Any goroutine may call it. A nil answer is an empty one.
	Answerer interface {
		Answer(query []byte) []byte
	}
	// Synchronizer keeps state that all instances share. Synchronize is called by a goroutine of its own whenever this
	// instance came to reach the others, for the first time or again, once its observers miss nothing. ctx ends with the
	// hub.
	Synchronizer interface {
		Synchronize(ctx context.Context)
	}
	// Closer has goroutines of its own. [Hub.Close] calls Close once, when all connections and loops have ended; it returns
	// when the goroutines have.
	Closer interface {
		Close()
	}
	// Meter has metrics of its own. Any goroutine may call it.
	Meter interface {
		Metrics() []Metric
	}
	// Universal has connections that understand any message of the hub: GLOBAL, and ANY without a group, are for them too.
	Universal interface {
		Universal()
	}
)

// Metric is a count, or a gauge, of a service type. Its name is published as mastersocket_<type>_<name>.
type Metric struct {
	Name    string
	Help    string
	Counter bool // it only ever grows; else a gauge
	Value   float64
}

// ServiceLoop is what a service type uses of the hub on one loop. Its methods, save Hub, Index and Post, may be called on
// the loop's goroutine only.
type ServiceLoop struct {
	shard    *shard
	agent    *sender // of what the service type sends itself, on this loop
	endpoint *serviceEndpoint
}

// Hub returns the hub.
func (l *ServiceLoop) Hub() *Hub { return l.shard.hub }

// Index returns the loop's place among the hub's loops, from 0. It is less than [Hub.Loops].
func (l *ServiceLoop) Index() int { return l.shard.index }

// Log returns the hub's log. What strangers can cause belongs into [transport.Options].Log, see Warn.
func (l *ServiceLoop) Log() *slog.Logger { return l.shard.hub.log }

// Warn logs what a stranger can cause: one line a second for each message and cause, which must come from fixed sets.
func (l *ServiceLoop) Warn(message, cause string, attrs ...slog.Attr) {
	l.shard.hub.opts.Transport.Log.Warn(message, cause, attrs...)
}

// Clock returns the loop's clock in milliseconds; it wraps after 49 days.
func (l *ServiceLoop) Clock() uint32 { return l.shard.loop.Clock() }

// Observe has each message that is sent to the group handed to f, on this loop, without a member: an observer is not drawn
// by ANY and not listed. It may be called in Attach only. m is valid during the call only. As in
// [PeerHandler].Deliver, what f does to the hub takes effect after the delivery.
func (l *ServiceLoop) Observe(group string, f func(m *opcodes.Envelope)) {
	l.shard.hub.groups.observe(group, l.shard.index, f)
}

// Publish routes a message that the service type itself sends, without a client.
func (l *ServiceLoop) Publish(m *opcodes.Message) { l.PublishAndHear(m, nil) }

// PublishAndHear is Publish, and calls f once when it is known what became of the message: how many instances it was
// handed to, or why to none, with the code that a client would get in an ERROR. While an instance that should have it may
// come back that waits. f is called on the loop's goroutine, after PublishAndHear has returned, and not at all if the hub
// is closed before.
func (l *ServiceLoop) PublishAndHear(m *opcodes.Message, f func(instances int, code opcodes.ErrorCode)) {
	if f == nil {
		l.shard.publishAs(l.agent, nil, m, nil)
		return
	}
	l.shard.publishAs(l.agent, nil, m, &posted{l.shard.loop, f})
}

// Delivery returns a number that is the same for all calls of PeerHandler.Deliver on the loop that are for one message, and
// another one for the next message: what is made of a message can be kept for its other receivers.
func (l *ServiceLoop) Delivery() uint64 { return l.shard.deferral.deliveries }

// Post runs f on the loop's goroutine, soon. It returns false if the hub is closed. Any goroutine may call it.
func (l *ServiceLoop) Post(f func()) bool { return l.shard.loop.Post(task(f)) }

// Call finds out who shows the token or, where that is empty, the certificate, nil for none. f is called once on the loop:
// before Call returns or, where an issuer's signature has to be verified, later. Its error is one of those of
// [Hub.Authenticate]. from is the address that the token came from.
func (l *ServiceLoop) Call(from netip.Addr, token string, certificate *x509.Certificate, f func(*Caller, error)) {
	l.shard.call(from, token, certificate, f)
}

// attachServices makes the service types' parts on each loop, and returns the endpoints of their connections. Nothing runs
// yet.
func (h *Hub) attachServices(types []ServiceType) ([]*serviceEndpoint, error) {
	if len(types) >= maxTypes {
		return nil, fmt.Errorf("%d service types: want less than %d", len(types), maxTypes)
	}
	h.typeNames, h.universal = []string{ownType}, []bool{true}
	var endpoints []*serviceEndpoint
	for i, t := range types {
		e := &serviceEndpoint{hub: h, kind: uint8(i + 1), serves: t.Serves}
		e.requests, _ = t.(RequestService)
		for _, sh := range h.shards {
			agent := &sender{kind: e.kind}
			sh.agents = append(sh.agents, agent)
			e.loops = append(e.loops, t.Attach(&ServiceLoop{sh, agent, e}))
		}
		_, universal := t.(Universal)
		h.typeNames, h.universal = append(h.typeNames, t.Name()), append(h.universal, universal)
		e.served = e.asEndpoint()
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

// serviceEndpoint opens the connections of a service type.
type serviceEndpoint struct {
	hub    *Hub
	kind   uint8
	serves func(path []byte) bool
	loops  []LoopService

	requests RequestService     // nil where the type takes upgrades alone
	served   transport.Endpoint // what the transport asks for a connection
}

// Open implements transport.Endpoint.
func (e *serviceEndpoint) Open(c *transport.Conn, r *transport.Request) (transport.Session, *transport.Rejection) {
	sh := e.hub.shards[c.Loop().Index()]
	p := &Peer{}
	s := &session{sender: sender{kind: e.kind}, shard: sh, conn: c, about: &about{labels: unlabelled, foreign: p}, weight: opcodes.DefaultWeight}
	p.session = s
	sh.addStranger(s)
	switch {
	case c.Excess():
		s.disconnect(opcodes.TryAgainLater)
		return s, nil
	case e.hub.draining.Load():
		s.disconnect(opcodes.ServerRestart)
		return s, nil
	}
	handler, rejection := e.loops[sh.index].Open(p, r)
	if rejection != nil {
		if s.phase != phaseOver {
			s.end(opcodes.NoReason)
		}
		return nil, rejection
	}
	p.opened(handler)
	return s, nil
}

// OpenDetached opens a connection without a socket for the client that sent x: LoopService.Open is asked for its handler. The
// carrier brings to the client what is queued for it.
func (l *ServiceLoop) OpenDetached(x *transport.Exchange, carrier transport.Carrier) (*Peer, *transport.Rejection) {
	sh := l.shard
	c, rejection := sh.loop.OpenDetached(x, l.endpoint, carrier)
	if rejection != nil {
		return nil, rejection
	}
	s, _ := c.Session().(*session)
	p, _ := s.foreign().(*Peer)
	return p, nil
}

// asEndpoint returns what the transport asks for a connection.
func (e *serviceEndpoint) asEndpoint() transport.Endpoint {
	if e.requests == nil {
		return e
	}
	r := &requestEndpoint{Endpoint: e, loopFor: e.requests.LoopFor, maxBody: e.hub.opts.Transport.MaxMessageBytes}
	if limiter, ok := e.requests.(BodyLimiter); ok {
		r.maxBody = limiter.MaxBodyBytes()
	}
	for _, l := range e.loops {
		if rl, ok := l.(RequestLoop); ok {
			r.loops = append(r.loops, rl)
		}
	}
	return r
}

// serviceAsked is what a service type asks itself on another instance.
type serviceAsked struct {
	Name    string `json:"name"` // the type's
	Payload []byte `json:"payload,omitempty"`
}

// serviceFound is the answer.
type serviceFound struct {
	Payload []byte `json:"payload,omitempty"`
}

var serviceQuestion = question[serviceAsked, serviceFound]{"service", (*Hub).serviceHere}

// Ask asks the service type of that name on every other instance, and calls each for one answer at a time until all
// have answered or ctx ends. missing names the instances that did not.
func (h *Hub) Ask(ctx context.Context, service string, query []byte, each func(node string, answer []byte)) (missing []string, err error) {
	known := h.broker.Nodes()
	silent, err := serviceQuestion.askOthers(ctx, h, serviceAsked{service, query}, func(from broker.NodeID, a serviceFound) {
		each(nameIn(known, from), a.Payload)
	})
	if err != nil {
		return nil, err
	}
	return h.namesOf(silent), nil
}

// serviceHere answers what another instance asked a service type here.
func (h *Hub) serviceHere(_ context.Context, q serviceAsked) (serviceFound, error) {
	i := slices.IndexFunc(h.opts.Services, func(t ServiceType) bool { return t.Name() == q.Name })
	if i < 0 {
		return serviceFound{}, nil
	}
	if t, ok := h.opts.Services[i].(Answerer); ok {
		return serviceFound{t.Answer(q.Payload)}, nil
	}
	return serviceFound{}, nil
}

// synchronizers returns the service types that want to know when other instances can be reached.
func (h *Hub) synchronizers() []Synchronizer {
	var all []Synchronizer
	for _, t := range h.opts.Services {
		if s, ok := t.(Synchronizer); ok {
			all = append(all, s)
		}
	}
	return all
}

// othersReached notes that other instances can be reached, from now or again.
func (h *Hub) othersReached() {
	select {
	case h.reached <- struct{}{}:
	default: // the goroutine that hears of it has yet to look
	}
}

// synchronize tells the service types each time that the broker became available, until ctx ends; not before their
// observers hear what others send, since what happens between an answer and that would be missed.
func (h *Hub) synchronize(ctx context.Context, all []Synchronizer) {
	defer close(h.synchronized)
	select {
	case <-h.groups.listening:
	case <-ctx.Done():
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.reached:
			for _, s := range all {
				s.Synchronize(ctx)
			}
		}
	}
}
