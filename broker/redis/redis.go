// Package redis connects the instances of a hub over a Redis server.
package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// Broker is the broker.Broker of one instance over a Redis server.
//
// # Messages
//
// Each message is one PUBLISH to <prefix>:global, <prefix>:group:<name> or <prefix>:node:<id>, to which instances
// subscribe as they need. One connection carries all of them, pipelined, in the order of the Publish calls. A message
// carries its publisher's running number, and an instance delivers only rising numbers. So messages in flight on a
// connection that breaks are sent again, and an instance asks the publishers for what it missed on a broken
// subscription. No message is delivered twice or out of order. A publisher keeps RecentBytes for BufferAge; messages
// lost beyond that are counted in Stats.Missed, as the messages of each channel are numbered, too.
//
// # Instances
//
// Each instance holds a lease, <prefix>:lease:<id>, and publishes that it lives. The others forget it and its members
// when its lease has ended and it has not been heard for as long as a lease lasts. An instance that could not say in time
// that it lives delivers nothing from its old connections: see holding. Member counts are published as they change.
//
// # Faults
//
// Every ProbeInterval a nonce travels through the publisher to the own channel and back through the subscriber. When
// nothing at all is heard for two intervals, all connections are replaced. Messages wait meanwhile, bounded by
// BufferBytes and BufferAge.
type Broker struct {
	opt      Options
	url      redisurl.URL
	names    *names
	log      *slog.Logger
	refusals *ratelog.Logger
	begun    time.Time

	// Made by New, safe for use by any goroutine.
	stats   *counters
	state   *stateKeeper
	weights *weights.Table
	counts  *ownCounts
	holding *holding
	holds   *holds

	// Set by Start, before any goroutine.
	self     broker.Node
	run      uint64
	handler  broker.Handler
	dial     *dialer
	pub      *publisher
	subs     *subscriptions
	recv     *receiver
	peers    *peers
	gathers  *gatherTable
	readers  *readers
	told     *arrivals
	inquired chan inquiry

	heardPushes  resp.Hearing // by the subscriber's connection
	heardReplies resp.Hearing // by the publisher's
	links        atomic.Int64 // made so far
	link         atomic.Pointer[link]
	addr         atomic.Pointer[string]     // of the server that the link leads to
	commands     atomic.Pointer[connection] // of the link
	lastError    atomic.Pointer[error]
	unlogged     atomic.Int64
	probes       probes
	caught       atomic.Int64 // everything published before then has been heard: when the last probe that returned was sent
	completeAt   atomic.Int64 // from then on the other instances are known
	leaseGrace   int64        // instances without a lease are kept until then; owned by manage and leaseLoop
	noWrites     bool         // Redis refuses to write; owned by manage and leaseLoop

	mu      sync.Mutex // of the life: what follows
	status  lifecycle
	stop    context.CancelFunc
	running sync.WaitGroup
}

// lifecycle is the life of a Broker.
type lifecycle uint8

const (
	statusNew lifecycle = iota
	statusStarted
	statusClosed
)

// New makes a Broker; it connects with Start. An error says what is wrong with the URL, without its password.
func New(o Options) (*Broker, error) {
	o = o.withDefaults()
	u, err := redisurl.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	names := newNames(o.Prefix, u)
	var ok bool
	if names.signer, ok = newSigner(o.Secrets, names.channels); !ok {
		return nil, errors.New("broker: no secret to authenticate messages with")
	}
	r := &Broker{
		opt: o, url: u, names: names, log: o.Logger, refusals: ratelog.New(o.Logger), begun: time.Now(),
		stats: &counters{}, state: newStateKeeper(), counts: newOwnCounts(), holding: newHolding(o.LeaseTTL),
	}
	r.holds = newHolds(&r.opt, r.now)
	r.weights = weights.NewRemembering(r.now, o.unheardLimit()+o.writeTimeout())
	return r, nil
}

// now is the time since the Broker was made, in nanoseconds. It goes on while the process is paused.
func (r *Broker) now() int64 { return int64(time.Since(r.begun)) }

// Start implements Broker. Where Redis refuses the credentials, or another instance has self.ID (ErrNodeIDTaken), it
// fails for good: a new Broker is needed.
func (r *Broker) Start(ctx context.Context, self broker.Node, h broker.Handler) error {
	if self.ID == 0 {
		return errors.New("broker: start: node id is zero")
	}
	if self.Started.IsZero() {
		self.Started = time.Now()
	}
	first := make(chan error, 1)
	if err := r.launch(self, h, first); err != nil {
		return err
	}
	var err error
	select {
	case err = <-first:
		if err == nil || !errors.Is(err, broker.ErrNodeIDTaken) && !isHopeless(err) {
			return nil // where Redis is away, State says why
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.shutDown()
	return fmt.Errorf("broker: start node %s: %w", nodeHex(self.ID), err)
}

// launch starts the goroutines.
func (r *Broker) launch(self broker.Node, h broker.Handler, first chan<- error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != statusNew {
		return errors.New("broker: start: started or closed before")
	}
	r.status = statusStarted
	r.self, r.handler, r.run = self, h, newNonce()
	r.assemble()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	r.running.Go(func() { r.manage(ctx, first) })
	r.running.Go(func() { r.watch(ctx) })
	r.running.Go(func() { r.state.run(ctx, h) })
	r.running.Go(func() { r.answerLoop(ctx) })
	for range readerCount {
		r.running.Go(func() { r.readLoop(ctx) })
	}
	return nil
}

// assemble makes the parts that need the identity of this instance.
func (r *Broker) assemble() {
	o := &r.opt
	login := o.Login
	if login == nil {
		login = func() Login { return loginOf(r.url) }
	}
	r.dial = &dialer{url: r.url, login: login, timeout: o.DialTimeout, name: "mastersocket-" + nodeHex(r.self.ID)}
	r.subs = newSubscriptions(r.names, r.self.ID, r.counts, r.now, o.UnsubscribeDelay, o.SubscribeTimeout)
	r.told = newArrivals(r.now, r.subs.comesHere)
	r.readers = newReaders()
	r.pub = &publisher{
		names: r.names, self: r.self.ID, run: r.run, now: r.now, ownsub: r.subs.subscribedTo,
		pressure: r.state.setPressure, stats: r.stats, wake: make(chan struct{}, 1),
		expected: r.expected, barrier: r.newProbe, unreached: func(id broker.NodeID) { r.weights.Suspend(id, o.ProbeInterval) },
		limits: publisherLimits{bytes: o.BufferBytes, recentBytes: o.RecentBytes, age: o.BufferAge, unheard: o.unheardLimit()},
		global: &channelSeq{kind: broker.KindGlobal}, nodes: make(map[broker.NodeID]*channelSeq), groups: make(map[string]*channelSeq),
		resuming: make(map[broker.NodeID]uint64), told: r.told, appends: appends{queues: make(map[string]*appendQueue)},
	}
	r.counts.send, r.counts.onTold, r.counts.urge = r.pub.send, r.subs.countsTold, r.pub.poke
	r.counts.onWatch = func() { r.publishLease(kindHello, 0, r.lease()) }
	r.peers = newPeers(r.weights, r.now, o.ProbeInterval/2, r.askCounts)
	r.recv = &receiver{
		self: r.self.ID, now: r.now, handler: r.handler, subs: r.subs, stats: r.stats,
		alive: r.peers.alive, ask: r.askResume, warn: r.warnOfForgery, origins: make(map[originKey]*origin),
		parseNumber: r.parseNumberedFrame, read: r.readFresh, probe: r.probe, told: r.told,
		sequences: make(map[string]*sequence), filling: make(map[*sequence]struct{}),
		limits: receiverLimits{
			keep: o.BufferAge, fences: max(5*o.ProbeInterval, 15*time.Second), retry: o.ProbeInterval / 2,
			forget: 2*o.BufferAge + time.Minute,
		},
	}
	r.holds.mark = r.subs.mark
	r.subs.behind = r.recv.behind
	r.gathers = &gatherTable{pending: make(map[uint64]*gatherCall)}
	r.inquired = make(chan inquiry, broker.MaxPendingQueries)
}

// started says whether Start was called, and Close was not.
func (r *Broker) started() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.status {
	case statusNew:
		return broker.ErrNotStarted
	case statusClosed:
		return broker.ErrClosed
	}
	return nil
}

// Publish implements Broker. It may be called after Start.
func (r *Broker) Publish(m *broker.Message, done broker.Completion) {
	if err := r.pub.publish(m, done); err != nil && done != nil {
		done.Published(0, err)
	}
}

// Subscribe implements Broker. It may be called after Start. A first member that SetMembers told of before is known
// to the other instances when confirmed is called. Where Unsubscribe comes first, confirmed gets an error.
func (r *Broker) Subscribe(group string, confirmed func(error)) { r.subs.subscribe(group, confirmed) }

// Unsubscribe implements Broker. Messages are no longer delivered; the channel is given up UnsubscribeDelay later.
func (r *Broker) Unsubscribe(group string) {
	r.subs.unsubscribe(group)
	r.told.forget(group)
}

// SetMembers implements Broker. A group's first member is told at once, and so is that it has none; further changes within
// a twentieth of ProbeInterval.
func (r *Broker) SetMembers(group string, n int) { r.counts.set(group, n) }

// Draw implements Broker. While Redis is away it draws this instance where that has members: the others can't be
// reached.
func (r *Broker) Draw(group []byte, own int, random uint64) (broker.NodeID, bool) {
	if own > 0 && !r.state.get().Available {
		return r.self.ID, true
	}
	return r.weights.Draw(group, r.self.ID, own, random)
}

// Standings implements Broker.
func (r *Broker) Standings(group []byte, dst []broker.Standing) []broker.Standing {
	return r.weights.Standings(group, r.self.ID, dst)
}

// Knows implements Broker.
func (r *Broker) Knows(id broker.NodeID, k broker.Kind) bool {
	if r.peers == nil {
		return true
	}
	last, older := (*r.peers.limited.Load())[id]
	return !older || k <= last
}

// Nodes implements Broker. The instances are sorted by id.
func (r *Broker) Nodes() []broker.Node {
	self := r.self
	self.LastKind = broker.LastKind
	_, self.Clients, _ = r.counts.current()
	nodes := []broker.Node{self}
	if r.peers != nil {
		nodes = append(nodes, r.peers.list()...)
	}
	slices.SortFunc(nodes, func(a, b broker.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// State implements Broker.
func (r *Broker) State() broker.State { return r.state.get() }

// Stats implements StatsSource.
func (r *Broker) Stats() broker.Stats {
	s := r.stats.snapshot()
	if r.started() == nil {
		r.pub.fillStats(&s)
	}
	return s
}

// Close implements Broker. What waits is published until ctx ends; then the lease is given up and everything else
// that waits is told ErrClosed. A second Close returns nil at once.
func (r *Broker) Close(ctx context.Context) error {
	r.mu.Lock()
	started := r.status == statusStarted
	r.status = statusClosed
	r.mu.Unlock()
	if !started {
		return nil
	}
	r.pub.close()
	r.subs.close()
	err := r.drain(ctx)
	if bye := r.leave(ctx); err == nil {
		err = bye
	}
	r.shutDown()
	if err != nil {
		return fmt.Errorf("broker: close: %w", err)
	}
	return nil
}

// shutDown ends all goroutines and everything that waits.
func (r *Broker) shutDown() {
	r.mu.Lock()
	r.status = statusClosed
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
	r.subs.close()
	r.holds.close()
	r.pub.giveUp()
	r.told.close()
	r.readers.close()
	r.gathers.close()
}
