package hub

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// A ServiceType is a foreign protocol: it has paths and frames of its own, and its connections take part in the hub as
// clients. They are members of the groups that the service type names, get DIRECT by id, and send like any other, but
// are not among those whom GLOBAL, and ANY without a group, are for: a message that only a client of the hub's own
// protocol can understand would be lost on them.
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

// PeerHandler gives the frames of one foreign connection their meaning.
type PeerHandler interface {
	// Receive handles one complete message of the client. b is valid, and may be overwritten, during the call only.
	Receive(binary bool, b []byte)
	// Deliver hands over an EVENT or REPLY that the hub routed to the client. m is valid during the call only. What it
	// does to the hub (Publish, Disconnect, …) takes effect after the delivery.
	Deliver(m *opcodes.Envelope) Outcome
	// Identified is called when the client has become a member of the groups that it was identified with: nothing that
	// is sent to them from now on is missed.
	Identified()
	// Sweep is called about once a second while the connection is open, for deadlines.
	Sweep()
	// Farewell returns the last message for a client that the hub disconnects for that reason, or nil. The caller takes
	// over the reference.
	Farewell(r opcodes.Reason) *transport.Buffer
	// Closed is the last call. The client is in no group any more.
	Closed()
}

// Outcome is what became of a message handed to a PeerHandler.
type Outcome uint8

// The outcomes.
const (
	Taken   Outcome = iota // queued for the client
	Ignored                // it means nothing in the client's protocol; an ANY goes to somebody else
	Refused                // the client can't be sent it any more; an ANY goes to somebody else
)

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
	// Meter has metrics of its own. Any goroutine may call it.
	Meter interface {
		Metrics() []Metric
	}
)

// Metric is a count, or a gauge, of a service type. Its name is published as mastersocket_<type>_<name>.
type Metric struct {
	Name    string
	Help    string
	Counter bool // it only ever grows; else a gauge
	Value   float64
}

// maxTypes is how many service types there can be, the hub's own included.
const maxTypes = 8

// ServiceLoop is what a service type uses of the hub on one loop. Its methods, save Hub, Index and Post, may be called on
// the loop's goroutine only.
type ServiceLoop struct {
	shard *shard
	kind  uint8
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

// Observe has each message that is sent to the group handed to f, on this loop, without anybody being a member: an
// observer is not drawn by ANY and not listed. It may be called in Attach only. m is valid during the call only. As in
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
	l.shard.agent.kind = l.kind
	l.shard.agent.publishAndHear(m, f)
}

// Post runs f on the loop's goroutine, soon. It returns false if the hub is closed. Any goroutine may call it.
func (l *ServiceLoop) Post(f func()) bool { return l.shard.loop.Post(task(f)) }

// task is a function as mail.
type task func()

// Deliver implements transport.Mail.
func (t task) Deliver(*transport.Loop) { t() }

// Size implements transport.Mail.
func (task) Size() int { return 64 }

// Loops returns the number of the hub's loops.
func (h *Hub) Loops() int { return len(h.shards) }

// KnownToken returns what the holder of the token may do, and whether it is one of those in the tokens' table. It never
// blocks, and takes no token that an issuer signed; see [Hub.Authenticate].
func (h *Hub) KnownToken(token string) (*auth.Grant, bool) { return h.tokens.Authenticate(token) }

// Current returns what the holder of the token of an earlier grant may do now, and whether the token is still in force.
func (h *Hub) Current(old *auth.Grant) (*auth.Grant, bool) { return h.tokens.Current(old) }

// attachServices makes the service types' parts on each loop. Nothing runs yet.
func (h *Hub) attachServices() error {
	if len(h.opts.Services) >= maxTypes {
		return fmt.Errorf("%d service types: want less than %d", len(h.opts.Services), maxTypes)
	}
	for i, t := range h.opts.Services {
		for _, sh := range h.shards {
			sh.services = append(sh.services, t.Attach(&ServiceLoop{sh, uint8(i + 1)}))
		}
	}
	return nil
}

// typeName returns the name of a kind of client.
func (h *Hub) typeName(kind uint8) string {
	if kind == 0 {
		return TypeService
	}
	return h.opts.Services[kind-1].Name()
}

// serviceEndpoint opens the connections of a service type.
type serviceEndpoint struct {
	hub  *Hub
	kind uint8
}

// serviceFor returns the endpoint of the service type that serves the path, or nil.
func (h *Hub) serviceFor(path []byte) transport.Endpoint {
	for i, t := range h.opts.Services {
		if t.Serves(path) {
			return serviceEndpoint{h, uint8(i + 1)}
		}
	}
	return nil
}

// Open implements transport.Endpoint.
func (e serviceEndpoint) Open(c *transport.Conn, r *transport.Request) (transport.Session, *transport.Rejection) {
	sh := e.hub.shards[c.Loop().Index()]
	p := &Peer{}
	s := &session{shard: sh, conn: c, kind: e.kind, about: &about{peer: p}}
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
	handler, rejection := sh.services[e.kind-1].Open(p, r)
	if rejection != nil {
		if s.phase != phaseOver {
			s.over(opcodes.NoReason)
		}
		return nil, rejection
	}
	p.handler = handler
	if p.identified {
		handler.Identified()
	}
	return s, nil
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

// senderOf returns the sender of messages on this loop with that id: a client, or the loop's agent; nil if it is gone.
func (sh *shard) senderOf(id *uuid.UUID) *session {
	if sh.agent.id == *id {
		return &sh.agent
	}
	if p := sh.publishing[*id]; p != nil {
		return &p.session
	}
	return sh.client(id)
}
