package hub

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/bucket"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/internal/attempts"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

func init() { uuid.EnableRandPool() } // ids of events without an allocation and a system call each

// MaxLoops is how many loops a client's id has room for.
const MaxLoops = clientid.MaxLoops

// New starts a hub that listens nowhere yet, and joins the cluster. Close ends it.
func New(ctx context.Context, o Options) (*Hub, error) {
	if o.Transport.Loops < 1 || o.Transport.Loops > MaxLoops {
		return nil, fmt.Errorf("start hub: %d loops: want 1 to %d", o.Transport.Loops, MaxLoops)
	}
	if o.MaxGroups == 0 {
		o.MaxGroups = DefaultMaxGroups
	}
	if o.PresenceMembers == 0 {
		o.PresenceMembers = DefaultPresenceMembers
	}
	h := &Hub{
		opts: o, log: o.Log, tokens: o.Tokens, broker: o.Broker, started: time.Now(),
		reached: make(chan struct{}, 1), synchronized: make(chan struct{}), answerBytes: answerBytes,
		attempts: attempts.New(), requestSeed: maphash.MakeSeed(),
	}
	h.SetDrain(o.Drain)
	h.verifications.open(o.Verifier)
	h.inquiries.open(h)
	h.groups = newRegistry(o.Broker, o.Transport.Loops)
	h.parts = []changePart{plainGroups{}, watchedGroups{}, exclusiveGroups{}, groupsWithHistory{}}
	h.chronicles.set(o.History)
	h.counters = make([]counters, o.Transport.Loops)
	h.fixed = newFixedMessages()
	server, err := transport.NewServer(o.Transport)
	if err != nil {
		return nil, fmt.Errorf("start hub: %w", err)
	}
	h.server = server
	for i, l := range server.Loops() {
		c := &h.counters[i]
		h.shards = append(h.shards, &shard{
			hub: h, loop: l, index: i, count: c, random: newRandom(), refusals: bucket.New(refusalsRecorded),
		})
	}
	services, err := h.attachServices(o.Services)
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("start hub: %w", err)
	}
	h.endpoint = endpoints(endpoint{h}, services)
	if err := h.joinCluster(ctx); err != nil {
		server.Close()
		return nil, fmt.Errorf("start hub: %w", err)
	}
	h.startSynchronizing()
	return h, nil
}

// startSynchronizing starts the goroutine that tells service types when other instances can be reached. Close ends it.
func (h *Hub) startSynchronizing() {
	ctx, cancel := context.WithCancel(context.Background())
	h.stopSync = cancel
	if h.broker.State().Available {
		h.othersReached()
	}
	go h.synchronize(ctx, h.synchronizers())
}

// joinCluster starts the broker under a node id of its own.
func (h *Hub) joinCluster(ctx context.Context) error {
	h.node = broker.Node{ID: clientid.NewNode(), Name: h.opts.NodeName, Version: h.opts.Version, Address: h.opts.Address, Started: h.started}
	for _, sh := range h.shards {
		for _, a := range sh.agents {
			a.id = clientid.New(clientid.Location{Node: h.node.ID, Loop: sh.index, Slot: clientid.AgentSlot})
		}
	}
	if err := h.broker.Start(ctx, h.node, remote{h, newRandom(), newSelections()}); err != nil {
		return err
	}
	h.joined.Store(true)
	h.groups.subscribeObserved()
	return nil
}

// SetHistory puts rules about groups with history in force. What has a number already stays as it is.
func (h *Hub) SetHistory(rules []HistoryRule) { h.chronicles.set(rules) }

func newRandom() *rand.Rand {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails: crypto/rand
	return rand.New(rand.NewChaCha8(seed))
}

func newFixedMessages() fixedMessages {
	f := fixedMessages{
		ping: transport.NewMessage([]byte(opcodes.PingMessage)),
		pong: transport.NewMessage([]byte(opcodes.PongMessage)),
	}
	f.frame = transport.NewPing()
	for _, r := range opcodes.Reasons() {
		f.disconnect[r] = transport.NewMessage(opcodes.AppendDisconnect(nil, r))
	}
	return f
}

// ListenWebSocket serves addr ("host:port"): the master socket protocol on the paths / and /socket, and the service types
// on theirs.
func (h *Hub) ListenWebSocket(ctx context.Context, addr string) (net.Addr, error) {
	return h.server.ListenWebSocket(ctx, addr, h.endpoint)
}

// ListenWebSocketTLS is ListenWebSocket over TLS. config is called for each connection; see
// [transport.Server.ListenWebSocketTLS].
func (h *Hub) ListenWebSocketTLS(ctx context.Context, addr string, config func() *tls.Config) (net.Addr, error) {
	return h.server.ListenWebSocketTLS(ctx, addr, config, h.endpoint)
}

// endpoints returns the function that says which protocol is spoken on a path.
func endpoints(own transport.Endpoint, services []*serviceEndpoint) func(path []byte) transport.Endpoint {
	return func(path []byte) transport.Endpoint {
		switch string(path) {
		case "/", "/socket":
			return own
		}
		for _, s := range services {
			if s.serves(path) {
				return s.served
			}
		}
		return nil
	}
}

// ListenTCP serves the master socket protocol over plain TCP on addr.
func (h *Hub) ListenTCP(ctx context.Context, addr string) (net.Addr, error) {
	return h.server.ListenTCP(ctx, addr, endpoint{h})
}

// Ready returns nil if the hub may be sent traffic, or the reason why not.
func (h *Hub) Ready() error {
	if h.draining.Load() {
		return ErrDraining
	}
	if h.opts.WithoutBroker {
		return nil
	}
	if s := h.broker.State(); !s.Available {
		return fmt.Errorf("broker unavailable since %s: %s", s.Since.UTC().Format(time.RFC3339), s.Err)
	}
	return nil
}

// Close ends all connections without a notice, leaves the cluster, and waits until everything has ended or ctx does. Until
// then, messages to this instance's clients are refused with NO_RECEIVER.
func (h *Hub) Close(ctx context.Context) error {
	h.stopSync()
	<-h.synchronized
	h.endRebalance()
	h.retire(ctx)
	h.server.Close()
	for _, t := range h.opts.Services {
		if c, ok := t.(Closer); ok {
			c.Close()
		}
	}
	h.claims.releaseService()
	h.verifications.close()
	h.inquiries.close()
	h.probes.close()
	if err := h.broker.Close(ctx); err != nil {
		return fmt.Errorf("close hub: %w", err)
	}
	return nil
}

const (
	// retireTimeout bounds retire: senders that wait for an answer from here can do without it, rather than the process
	// wait for a broker that hangs.
	retireTimeout = time.Second
	// retireTurns is how many turns of the loops it takes at most to answer what has come for a client.
	retireTurns = 3
)

// retire ends what the broker brings for this instance alone, and has what has come handled: a message that finds no
// receiver here is sent back to its sender's instance, which would be impossible once the loops have ended.
func (h *Hub) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	if err := h.broker.Retire(ctx); err != nil {
		h.log.Warn("some senders may not be told that this instance's clients are gone", "error", err)
	}
	for range retireTurns {
		if h.onLoops(ctx, func(*shard) {}) != nil {
			return
		}
	}
}
