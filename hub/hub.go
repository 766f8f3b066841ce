package hub

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/journal"
	"github.com/mastersocket/mastersocket/hub/internal/passage"
	"github.com/mastersocket/mastersocket/hub/internal/tally"
	"github.com/mastersocket/mastersocket/hub/internal/turns"
	"github.com/mastersocket/mastersocket/internal/attempts"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// Hub is one instance. Its methods may be called from any goroutine.
type Hub struct {
	opts       Options
	log        *slog.Logger
	claims     claims     // to exclusive groups
	chronicles chronicles // rules about groups with history
	tokens     *auth.Store
	broker     broker.Broker
	node       broker.Node
	server     *transport.Server
	endpoint   func(path []byte) transport.Endpoint // that serves a path; nil for none
	typeNames  []string                             // of the service types, the hub's own first
	universal  []bool                               // by the same index: GLOBAL is for its clients
	shards     []*shard
	counters   []counters
	groups     *registry
	parts      []changePart // of changes of a client's groups, in the order in which they are carried out
	fixed      fixedMessages
	started    time.Time
	draining   atomic.Bool
	joined     atomic.Bool // the cluster: node is set, and the broker started
	turns      turns.Window
	receipts   tally.Book      // of messages of other instances whose senders wait for them
	inquiries  inquiries       // about messages whose senders here wait for them
	incoming   passage.Passage // of messages of other instances
	taps       atomic.Int32    // open ones
	probes     probes          // of this instance, for taps of clients and tokens on any
	journal    journal.Journal // the event log

	requestSeed   maphash.Seed
	requestMemory atomic.Int64 // of open requests and of parts in them, in bytes

	attempts      *attempts.Limiter // of failed ones to authenticate, at all doors
	verifications verifications
	holders       holders // of tokens
	callers       callers // holders that send without being clients

	operator      atomic.Pointer[Operator]
	drainSettings atomic.Pointer[DrainSettings]
	drains        atomic.Int64 // calls of Drain
	rebalancing   sync.Mutex   // held by Rebalance
	shedding      shedding

	answerBytes int // bound of an answer to another instance; less in tests

	reached      chan struct{} // the broker became available
	synchronized chan struct{} // closed when the goroutine that tells the service types so has ended
	stopSync     context.CancelFunc
}

// shedding is the goroutine that tells clients of this instance to go in a rebalance, one at a time.
type shedding struct {
	mu    sync.Mutex
	stop  context.CancelFunc // ends the goroutine; nil if there was none
	done  chan struct{}      // closed when the goroutine has ended
	ended bool               // there will be no other
}

// fixedMessages are the messages that are the same for all clients, built once.
type fixedMessages struct {
	ping, pong *transport.Buffer
	frame      *transport.Buffer // a ping of WebSocket itself, for the clients of service types
	disconnect [opcodes.NumReasons]*transport.Buffer
}

// ErrDraining: the hub is leaving service.
var ErrDraining = errors.New("draining: clients are told to connect elsewhere")

// Node describes this instance.
func (h *Hub) Node() broker.Node { return h.node }

// Loops returns the number of the hub's loops.
func (h *Hub) Loops() int { return len(h.shards) }

// Alone reports whether this is the only instance, so that its clients can't go to another. While the broker is away that
// is unknown, and Alone returns false.
func (h *Hub) Alone() bool { return h.broker.State().Available && len(h.broker.Nodes()) <= 1 }

// ReachesOthers reports whether there are other instances, and the broker is available to reach them.
func (h *Hub) ReachesOthers() bool { return h.broker.State().Available && len(h.broker.Nodes()) > 1 }

// isolated reports whether clients may identify though other instances can't be reached.
func (h *Hub) isolated() bool { return h.opts.WithoutBroker && !h.broker.State().Available }

// now returns the time since the start in milliseconds. It wraps after 49 days.
func (h *Hub) now() uint32 { return uint32(h.server.Clock() / time.Millisecond) }

// shardOf returns the shard of the loop that a client id names, or nil if there is no such loop here.
func (h *Hub) shardOf(id *uuid.UUID) *shard {
	if at := clientid.Locate(id); at.Node == h.node.ID && at.Loop < len(h.shards) {
		return h.shards[at.Loop]
	}
	return nil
}

// countOf returns the count of a message from another instance, for one more part; nil if its sender does not ask for it.
func (h *Hub) countOf(sender *uuid.UUID) *tally.Count {
	if clientid.Locate(sender).Slot != clientid.PublisherSlot {
		return nil
	}
	return h.receipts.Open(sender)
}

// onLoops runs f for each shard on its loop, and returns when that is done or ctx ends.
func (h *Hub) onLoops(ctx context.Context, f func(*shard)) error {
	done := make(chan struct{}, len(h.shards)) // room for all: no loop waits for a caller that gave up
	for _, sh := range h.shards {
		if !sh.loop.Post(task(func() { f(sh); done <- struct{}{} })) {
			done <- struct{}{}
		}
	}
	return receiveAll(ctx, done, len(h.shards))
}

// receiveAll waits for n receptions, or until ctx ends.
func receiveAll(ctx context.Context, done <-chan struct{}, n int) error {
	for range n {
		if _, err := receive(ctx, done); err != nil {
			return err
		}
	}
	return nil
}

// receive waits for a value, or until ctx ends.
func receive[T any](ctx context.Context, from <-chan T) (v T, err error) {
	select {
	case v = <-from:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}

// nameIn returns the name of an instance among nodes, or its id.
func nameIn(nodes []broker.Node, id broker.NodeID) string {
	i := slices.IndexFunc(nodes, func(n broker.Node) bool { return n.ID == id })
	if i < 0 || nodes[i].Name == "" {
		return id.String()
	}
	return nodes[i].Name
}
