package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// RedisOptions configure a Redis. Only URL is required; every zero value stands for its default.
type RedisOptions struct {
	// URL says where Redis is:
	//
	//	redis://[user[:password]@]host[:6379][/database]
	//	rediss://…                                                      the same over TLS
	//	unix:///path/to/socket[?db=database]
	//	redis+sentinel://[user[:password]@]host[:26379][,host…]/master[/database]
	//	    [?sentinel_username=…&sentinel_password=…]                  the hosts are Sentinels
	//	redis+cluster://[user[:password]@]host[:6379][,host…]           the hosts are nodes of a Redis Cluster
	//
	// and rediss+sentinel, rediss+cluster over TLS, where skip_verify=true accepts any certificate. User and password
	// are percent-encoded. A cluster uses sharded pub/sub, which needs Redis 7; sharded=false does without, and must
	// then be given to every instance. All of a hub's channels live on one node of a cluster, which keeps the order
	// of messages whole: a cluster gives a hub its failover, not the sum of the nodes' throughput.
	URL string
	// Prefix tells the hubs that share a Redis apart: every channel and key begins with it. Default "ms".
	Prefix string
	// TLS is used by the rediss forms; nil means the system's roots.
	TLS *tls.Config

	BufferBytes int           // published messages that wait, and what a resend may take; default 16 MiB
	BufferAge   time.Duration // how long one waits before it is given up; default 30 s
	RecentBytes int           // sent messages kept for instances that missed them; default 8 MiB

	ProbeInterval    time.Duration // between round trips through Redis; two silent ones mean away; default 1 s
	LeaseTTL         time.Duration // of an instance that is not heard of; default 3 s
	DialTimeout      time.Duration // of connecting, and again of the handshake and each command; default 2 s
	SubscribeTimeout time.Duration // until Subscribe is answered with ErrUnavailable; default 5 s
	UnsubscribeDelay time.Duration // from Unsubscribe until the channel is given up; default 1 s

	AnswerBytes int          // the largest answer to a Gather; default 16 MiB
	Logger      *slog.Logger // nil: nothing is logged
}

func (o RedisOptions) withDefaults() RedisOptions {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	setInt := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	set(&o.BufferAge, 30*time.Second)
	set(&o.ProbeInterval, time.Second)
	set(&o.LeaseTTL, 3*o.ProbeInterval)
	set(&o.DialTimeout, 2*time.Second)
	set(&o.SubscribeTimeout, 5*time.Second)
	set(&o.UnsubscribeDelay, time.Second)
	setInt(&o.BufferBytes, 16<<20)
	setInt(&o.RecentBytes, 8<<20)
	setInt(&o.AnswerBytes, 16<<20)
	if o.Prefix == "" {
		o.Prefix = "ms"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// writeTimeout bounds one write; a silent broker is noticed long before.
func (o *RedisOptions) writeTimeout() time.Duration { return max(5*o.ProbeInterval, 5*time.Second) }

// Redis is the Broker of one instance over a Redis server.
//
// # Messages
//
// Each message is one PUBLISH on a connection of its own, in the order of the Publish calls, pipelined: to
// <prefix>:global, <prefix>:group:<name> or <prefix>:node:<id>, to which instances subscribe as they need. A message
// carries its publisher's running number, and an instance delivers only rising numbers: so what was in flight when a
// connection broke is simply sent again, and an instance whose subscription broke asks the publishers for what it
// missed. What is lost all the same (a publisher keeps RecentBytes) is counted in Stats.Missed, as each channel's
// messages are numbered too. That the same happens twice, or out of order, is ruled out.
//
// # Instances
//
// Each instance holds a lease, <prefix>:lease:<id>, and is forgotten with all its members when that ends. Members
// are told to all instances as they change.
//
// # Faults
//
// Every ProbeInterval a nonce travels through the publisher to the own channel and back through the subscriber. When
// nothing at all is heard for two intervals, all connections are made anew, however healthy they look. Messages wait
// meanwhile, bounded by BufferBytes and BufferAge.
type Redis struct {
	opt    RedisOptions
	target *target
	names  *names
	log    *slog.Logger
	begun  time.Time

	// Made by NewRedis, safe for use by any goroutine.
	stats   *counters
	state   *stateKeeper
	weights *weights
	counts  *ownCounts

	// Set by Start, before any goroutine.
	self     Node
	run      uint64
	handler  Handler
	dial     *dialer
	pub      *publisher
	subs     *subscriptions
	recv     *receiver
	peers    *peers
	gathers  *gathers
	inquired chan inquiry

	heardPushes  hearing      // by the subscriber's connection
	heardReplies hearing      // by the publisher's
	links        atomic.Int64 // made so far
	link         atomic.Pointer[link]
	commands     atomic.Pointer[redisConn] // of the link
	lastError    atomic.Pointer[error]
	unlogged     atomic.Int64
	probes       probes
	leaseGrace   int64 // instances without a lease are kept until then; owned by manage

	mu      sync.Mutex // of the life: what follows
	status  redisStatus
	stop    context.CancelFunc
	running sync.WaitGroup
}

// redisStatus is the life of a Redis.
type redisStatus uint8

const (
	redisNew redisStatus = iota
	redisStarted
	redisClosed
)

// NewRedis makes a Broker; it connects with Start. An error says what is wrong with the URL, without its password.
func NewRedis(o RedisOptions) (*Redis, error) {
	o = o.withDefaults()
	t, err := parseTarget(o.URL, o.TLS)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return &Redis{
		opt: o, target: t, names: newNames(o.Prefix, t), log: o.Logger, begun: time.Now(),
		stats: &counters{}, state: newStateKeeper(), weights: newWeights(), counts: newOwnCounts(),
	}, nil
}

// now is the time since the Broker was made, in nanoseconds. It goes on while the process is paused.
func (r *Redis) now() int64 { return int64(time.Since(r.begun)) }

// Start implements Broker. Where Redis refuses the credentials, or another instance has self.ID (ErrNodeIDTaken), it
// fails for good: a new Redis is needed.
func (r *Redis) Start(ctx context.Context, self Node, h Handler) error {
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
		if err == nil || !errors.Is(err, ErrNodeIDTaken) && !isHopeless(err) {
			return nil // where Redis is away, State says why
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.shutDown()
	return fmt.Errorf("broker: start node %s: %w", nodeHex(self.ID), err)
}

// launch starts the goroutines.
func (r *Redis) launch(self Node, h Handler, first chan<- error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != redisNew {
		return errors.New("broker: start: started or closed before")
	}
	r.status = redisStarted
	r.self, r.handler, r.run = self, h, newNonce()
	r.assemble()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	r.running.Go(func() { r.manage(ctx, first) })
	r.running.Go(func() { r.watch(ctx) })
	r.running.Go(func() { r.state.run(ctx, h) })
	r.running.Go(func() { r.answerLoop(ctx) })
	return nil
}

// assemble makes the parts that need to know who this instance is.
func (r *Redis) assemble() {
	o := &r.opt
	r.dial = &dialer{target: r.target, timeout: o.DialTimeout, name: "mastersocket-" + nodeHex(r.self.ID)}
	r.subs = newSubscriptions(r.names, r.self.ID, r.counts, r.now, o.UnsubscribeDelay, o.SubscribeTimeout)
	r.pub = &publisher{
		names: r.names, self: r.self.ID, run: r.run, now: r.now, ownsub: r.subs.subscribedTo,
		pressure: r.state.setPressure, stats: r.stats, wake: make(chan struct{}, 1),
		expected: r.expected, unreached: func(id NodeID) { r.weights.suspend(id, o.ProbeInterval) },
		limits:   publisherLimits{bytes: o.BufferBytes, recentBytes: o.RecentBytes, age: o.BufferAge, unheard: min(o.BufferAge, 2*o.LeaseTTL)},
		nodeSeqs: make(map[NodeID]uint64), groupSeqs: make(map[string]*groupSeq),
		resuming: make(map[NodeID]uint64),
	}
	r.counts.send, r.counts.onTold, r.counts.urge = r.pub.send, r.subs.countsTold, r.pub.poke
	r.peers = newPeers(r.weights, r.now, o.ProbeInterval/2, r.askCounts)
	r.recv = &receiver{
		self: r.self.ID, now: r.now, handler: r.handler, subs: r.subs, stats: r.stats,
		alive: r.peers.alive, ask: r.askResume, origins: make(map[originKey]*origin),
		limits: receiverLimits{
			wait: max(5*o.ProbeInterval, 5*time.Second), retry: o.ProbeInterval / 2, forget: 2*o.BufferAge + time.Minute,
		},
	}
	r.gathers = &gathers{pending: make(map[uint64]*gathering)}
	r.inquired = make(chan inquiry, maxPendingQueries)
}

// started says whether Start was called, and Close was not.
func (r *Redis) started() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.status {
	case redisNew:
		return errNotStarted
	case redisClosed:
		return ErrClosed
	}
	return nil
}

// Publish implements Broker. It may be called after Start.
func (r *Redis) Publish(m *Message, done Completion) {
	if err := r.pub.publish(m, done); err != nil && done != nil {
		done.Published(0, err)
	}
}

// Subscribe implements Broker. It may be called after Start. A first member that SetMembers told of before is known
// to the other instances when confirmed is called. Where Unsubscribe comes first, confirmed gets an error.
func (r *Redis) Subscribe(group string, confirmed func(error)) { r.subs.subscribe(group, confirmed) }

// Unsubscribe implements Broker. Messages are no longer delivered; the channel is given up UnsubscribeDelay later.
func (r *Redis) Unsubscribe(group string) { r.subs.unsubscribe(group) }

// SetMembers implements Broker. A group's first member is told at once, and so is that it has none; further changes within
// a twentieth of ProbeInterval.
func (r *Redis) SetMembers(group string, n int) { r.counts.set(group, n) }

// Draw implements Broker. While Redis is away it draws this instance where that has members: the others can't be
// reached.
func (r *Redis) Draw(group []byte, own int, random uint64) (NodeID, bool) {
	if own > 0 && !r.state.get().Available {
		return r.self.ID, true
	}
	return r.weights.draw(group, r.self.ID, own, random)
}

// Nodes implements Broker. The instances are sorted by id.
func (r *Redis) Nodes() []Node {
	self := r.self
	_, self.Clients = r.counts.current()
	nodes := []Node{self}
	if r.peers != nil {
		nodes = append(nodes, r.peers.list()...)
	}
	sortNodes(nodes)
	return nodes
}

// State implements Broker.
func (r *Redis) State() State { return r.state.get() }

// Stats implements StatsSource.
func (r *Redis) Stats() Stats {
	s := r.stats.snapshot()
	if r.started() == nil {
		r.pub.fillStats(&s)
	}
	return s
}

// Close implements Broker. What waits is published until ctx ends; then the lease is given up and everything else
// that waits is told ErrClosed. A second Close returns nil at once.
func (r *Redis) Close(ctx context.Context) error {
	r.mu.Lock()
	started := r.status == redisStarted
	r.status = redisClosed
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
func (r *Redis) shutDown() {
	r.mu.Lock()
	r.status = redisClosed
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
	r.subs.close()
	r.pub.end()
	r.gathers.close()
}
