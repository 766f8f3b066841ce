package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/turns"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

func init() { uuid.EnableRandPool() } // ids of events without an allocation and a system call each

// Options configure a Hub.
type Options struct {
	Transport       transport.Options
	PingInterval    time.Duration // silence after which a client is asked whether it is there
	IdentifyTimeout time.Duration // from the handshake to IDENTIFY
	NodeName        string        // shown to clients and operators
	Version         string        // of the software
	Tokens          *auth.Store
	Verifier        Verifier // of tokens that are not in Tokens; nil for none. The caller ends it after the hub
	Broker          broker.Broker
	// WithoutBroker lets clients identify while the broker is away. They reach the clients of this instance at once, and
	// those of others when it is back. Otherwise they are told to try again later.
	WithoutBroker bool
	Services      []ServiceType // foreign protocols, less than 8
	Drain         DrainSettings // until SetDrain
	Log           *slog.Logger
}

// Hub is one instance. Its methods may be called from any goroutine.
type Hub struct {
	opts     Options
	log      *slog.Logger
	tokens   *auth.Store
	broker   broker.Broker
	node     broker.Node
	server   *transport.Server
	shards   []*shard
	counters []counters
	groups   *registry
	fixed    fixedMessages
	started  time.Time
	draining atomic.Bool
	random   *rand.Rand // of the broker's goroutine
	turns    turns.Window
	receipts receipts
	taps     atomic.Int32 // open ones

	verifications verifications
	incoming      incoming

	drainSettings atomic.Pointer[DrainSettings]
	drain         atomic.Pointer[campaign] // the last Drain; nil before
	rebalance     rebalance

	answerBytes int // bound of an answer to another instance; less in tests

	reached      chan struct{} // the broker became available
	synchronized chan struct{} // closed when the goroutine that tells the service types so has ended
	stopSync     context.CancelFunc
}

// fixedMessages are the messages that are the same for everybody, built once.
type fixedMessages struct {
	ping, pong *transport.Buffer
	frame      *transport.Buffer // a ping of WebSocket itself, for the clients of service types
	disconnect [opcodes.NumReasons]*transport.Buffer
}

// MaxLoops is how many loops a client's id has room for.
const MaxLoops = 256

// New starts a hub that listens nowhere yet, and joins the cluster. Close ends it.
func New(ctx context.Context, o Options) (*Hub, error) {
	if o.Transport.Loops < 1 || o.Transport.Loops > MaxLoops {
		return nil, fmt.Errorf("start hub: %d loops: want 1 to %d", o.Transport.Loops, MaxLoops)
	}
	h := &Hub{
		opts: o, log: o.Log, tokens: o.Tokens, broker: o.Broker, started: time.Now(), random: newRandom(),
		reached: make(chan struct{}, 1), synchronized: make(chan struct{}), answerBytes: answerBytes,
	}
	h.SetDrain(o.Drain)
	h.verifications.start(o.Verifier)
	h.groups = newRegistry(h, o.Transport.Loops)
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
			hub: h, loop: l, index: i, count: c, random: newRandom(), losses: losses{c},
		})
	}
	if err := h.attachServices(); err != nil {
		server.Close()
		return nil, fmt.Errorf("start hub: %w", err)
	}
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
	h.node = broker.Node{ID: newNodeID(), Name: h.opts.NodeName, Version: h.opts.Version, Started: h.started}
	for _, sh := range h.shards {
		sh.agent = session{shard: sh, phase: phaseIdentified, id: newClientID(location{h.node.ID, sh.index, agentSlot})}
	}
	if err := h.broker.Start(ctx, h.node, remote{h}); err != nil {
		return err
	}
	h.groups.subscribeObserved()
	return nil
}

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
	return h.server.ListenWebSocket(ctx, addr, h.route())
}

// ListenWebSocketTLS is ListenWebSocket over TLS. config returns what is in force, for each connection anew; see
// [transport.Server.ListenWebSocketTLS].
func (h *Hub) ListenWebSocketTLS(ctx context.Context, addr string, config func() *tls.Config) (net.Addr, error) {
	return h.server.ListenWebSocketTLS(ctx, addr, config, h.route())
}

// route returns what says which protocol is spoken on a path.
func (h *Hub) route() func(path []byte) transport.Endpoint {
	e := endpoint{h}
	return func(path []byte) transport.Endpoint {
		switch string(path) {
		case "/", "/socket":
			return e
		}
		return h.serviceFor(path)
	}
}

// ListenTCP serves the master socket protocol over plain TCP on addr.
func (h *Hub) ListenTCP(ctx context.Context, addr string) (net.Addr, error) {
	return h.server.ListenTCP(ctx, addr, endpoint{h})
}

// Node describes this instance.
func (h *Hub) Node() broker.Node { return h.node }

// ErrDraining: the hub is leaving service.
var ErrDraining = errors.New("draining: clients are told to connect elsewhere")

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

// Close ends all connections without further words, leaves the cluster, and waits until everything has ended or ctx
// does. Who addresses a client of this instance meanwhile is told that it is not there.
func (h *Hub) Close(ctx context.Context) error {
	h.stopSync()
	<-h.synchronized
	h.endRebalance()
	h.retire(ctx)
	h.server.Close()
	h.verifications.close()
	if err := h.broker.Close(ctx); err != nil {
		return fmt.Errorf("close hub: %w", err)
	}
	return nil
}

const (
	// retireTimeout bounds retire: whoever waits for an answer from here can do without it rather than the process can
	// wait for a broker that hangs.
	retireTimeout = time.Second
	// retireTurns is how many turns of the loops it takes at most to answer what has come for a client.
	retireTurns = 3
)

// retire has everything for this instance alone end elsewhere, and what has come handled: a message that finds nobody
// here is given back to its sender's instance, which it could not be any more once the loops have ended.
func (h *Hub) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	if err := h.broker.Retire(ctx); err != nil {
		h.log.Warn("not everybody may be told that this instance's clients are gone", "error", err)
	}
	for range retireTurns {
		if h.onLoops(ctx, func(*shard) {}) != nil {
			return
		}
	}
}
