package redis

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
)

// peers are the other live instances, with their member counts. An instance is live while it has a lease in Redis or
// was heard within the time of a lease, until it says that it leaves.
type peers struct {
	weights *weights.Table
	now     func() int64
	retry   int64                    // between two requests for the same counts
	sync    func(node broker.NodeID) // asks node for its counts

	// Copies for readers that can't wait for mu.
	live     atomic.Pointer[map[broker.NodeID]bool]        // the keys of nodes
	gone     atomic.Pointer[map[broker.NodeID]int64]       // when an instance went, for the last rememberGone
	watchers atomic.Pointer[map[string]int]                // how many instances watch a group
	older    atomic.Int32                                  // instances that don't say which groups they watch
	limited  atomic.Pointer[map[broker.NodeID]broker.Kind] // the last kind that instances of earlier releases know
	unsynced atomic.Bool                                   // whether the counts of an instance are unknown, or may be old

	mu     sync.Mutex
	nodes  map[broker.NodeID]*peer
	parted map[uint64]int64 // when a process said that it leaves, by its run, for the last rememberGone
	change chan struct{}    // closed and replaced when something changed
}

// rememberGone is for how long peers remember instances that went.
const rememberGone = int64(time.Minute)

type peer struct {
	broker.Node
	run     uint64
	minor   int // the minor version of the wire form that it knows
	heardAt int64
	watched []string
	counts  peerCounts
	behind  int64 // since when the lease has been ahead of counts; zero: it isn't
}

func newPeers(w *weights.Table, now func() int64, retry time.Duration, sync func(broker.NodeID)) *peers {
	p := &peers{
		weights: w, now: now, retry: int64(retry), sync: sync,
		nodes: make(map[broker.NodeID]*peer), parted: make(map[uint64]int64), change: make(chan struct{}),
	}
	p.live.Store(&map[broker.NodeID]bool{})
	p.gone.Store(&map[broker.NodeID]int64{})
	p.watchers.Store(&map[string]int{})
	p.limited.Store(&map[broker.NodeID]broker.Kind{})
	return p
}

// seen takes a lease that was read from Redis, and returns whether the instance is new. What is published is signed where the
// instances share a secret, and what is read is not: an address that is read says nothing, since what belongs to clients is
// sent there.
func (p *peers) seen(id broker.NodeID, value []byte) (added bool, err error) {
	run, l, err := decodeLease(value)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.Address = ""
	if n := p.nodes[id]; n != nil && n.run == run {
		l.Address = n.Address
	}
	_, added = p.note(id, run, l)
	return added, nil
}

// heard takes a lease that the instance itself published, and returns whether the instance is new.
func (p *peers) heard(id broker.NodeID, value []byte) (added bool, err error) {
	run, l, err := decodeLease(value)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n, added := p.note(id, run, l)
	if n != nil {
		n.heardAt = p.now()
	}
	return added, nil
}

// returned is called when an instance has a new connection. A request for its counts that was sent before may be lost.
func (p *peers) returned(id broker.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[id]; n != nil {
		n.counts.askedAt, n.counts.asked = 0, 0
		if !n.counts.known {
			p.ask(n)
		}
	}
}

// note brings the instance up to date with a lease. It returns nil for a process that said that it leaves. It needs mu.
func (p *peers) note(id broker.NodeID, run uint64, l lease) (n *peer, added bool) {
	if _, parted := p.parted[run]; parted {
		return nil, false
	}
	n = p.nodes[id]
	if added = n == nil || n.run != run; added {
		n = &peer{run: run}
		p.nodes[id] = n
		p.weights.Drop(id)
	}
	n.Node = broker.Node{ID: id, Name: l.Name, Version: l.Version, Address: l.Address, Started: l.Started, Clients: l.Clients}
	n.LastKind = max(broker.KindReturned, broker.Kind(min(l.Kinds, int(broker.LastKind))))
	n.minor = l.Minor
	if !slices.Equal(n.watched, l.Watched) || added {
		n.watched = l.Watched
		p.changed()
	}
	p.compare(n, l.Counts)
	return n, added
}

// compare asks n for its counts where those known are of another version than its lease says, and not only because
// the news is still under way. It needs mu.
func (p *peers) compare(n *peer, version uint64) {
	now := p.now()
	switch {
	case !n.counts.known:
		p.ask(n)
	case n.counts.version >= version:
		n.behind = 0
	case n.behind == 0:
		n.behind = now
	case now-n.behind > p.retry:
		p.ask(n)
	}
}

// ask asks n for its counts, unless an answer may still come. The time between two requests doubles, up to sixteen times
// the first. It needs mu.
func (p *peers) ask(n *peer) {
	now := p.now()
	c := &n.counts
	if c.askedAt != 0 && now-c.askedAt < p.retry<<min(max(c.asked-1, 0), 4) {
		return
	}
	c.askedAt = now
	c.asked++
	p.sync(n.ID)
}

// delta takes a kindDelta.
func (p *peers) delta(id broker.NodeID, run uint64, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil || n.run != run {
		return nil // its lease will be seen soon, and its counts asked for
	}
	ok, err := n.counts.delta(p.weights, id, b)
	if !ok {
		if n.counts.known {
			n.counts.known = false
			p.changed()
		}
		p.ask(n)
	}
	return err
}

// takeCounts takes a kindCounts.
func (p *peers) takeCounts(id broker.NodeID, run uint64, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil || n.run != run {
		return nil
	}
	n.counts.askedAt, n.counts.asked = p.now(), 1
	complete, err := n.counts.takePart(p.weights, id, b)
	if complete {
		p.changed()
	}
	return err
}

// part forgets an instance of which the process run said that it leaves, and returns whether it was known.
func (p *peers) part(id broker.NodeID, run uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for run, at := range p.parted {
		if now-at > rememberGone {
			delete(p.parted, run)
		}
	}
	p.parted[run] = now
	n := p.nodes[id]
	if n == nil || n.run != run {
		return false
	}
	p.remove(id)
	return true
}

// dropUnheard forgets an instance without a lease that was not heard in the time since, and returns whether it did.
func (p *peers) dropUnheard(id broker.NodeID, since int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[id]; n == nil || n.heardAt > since {
		return false
	}
	p.remove(id)
	return true
}

// remove forgets an instance. It needs mu.
func (p *peers) remove(id broker.NodeID) {
	now := p.now()
	gone := map[broker.NodeID]int64{id: now}
	for other, at := range *p.gone.Load() {
		if now-at < rememberGone && other != id {
			gone[other] = at
		}
	}
	p.gone.Store(&gone)
	delete(p.nodes, id)
	p.weights.Drop(id)
	p.changed()
}

// changed tells that nodes or what is known of one changed. It needs mu.
func (p *peers) changed() {
	live, unsynced := make(map[broker.NodeID]bool, len(p.nodes)), false
	watchers, older := make(map[string]int), int32(0)
	limited := make(map[broker.NodeID]broker.Kind)
	for id, n := range p.nodes {
		live[id] = true
		unsynced = unsynced || !n.counts.known
		for _, group := range n.watched {
			watchers[group]++
		}
		if n.minor == 0 {
			older++
		}
		if n.LastKind < broker.LastKind {
			limited[id] = n.LastKind
		}
	}
	p.limited.Store(&limited)
	p.watchers.Store(&watchers)
	p.older.Store(older)
	p.unsynced.Store(unsynced)
	p.live.Store(&live)
	close(p.change)
	p.change = make(chan struct{})
}

// outdated is called when news of the counts may have been missed. All are asked for; until they come, those known before
// stand.
func (p *peers) outdated() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		n.counts.known, n.counts.askedAt, n.counts.asked = false, 0, 0
		p.ask(n)
	}
	p.changed()
}

func (p *peers) alive(id broker.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nodes[id] != nil
}

// name is what the instance calls itself, empty if it isn't known.
func (p *peers) name(id broker.NodeID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[id]; n != nil {
		return n.Name
	}
	return ""
}

// ids lists the instances.
func (p *peers) ids() []broker.NodeID {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]broker.NodeID, 0, len(p.nodes))
	for id := range p.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (p *peers) keys() []originKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := make([]originKey, 0, len(p.nodes))
	for id, n := range p.nodes {
		keys = append(keys, originKey{id, n.run})
	}
	return keys
}

// list describes the instances.
func (p *peers) list() []broker.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	nodes := make([]broker.Node, 0, len(p.nodes)+1)
	for id, n := range p.nodes {
		node := n.Node
		if n.counts.known {
			node.Clients = p.weights.Count(id, "")
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// synced returns whether the counts of all instances are known, and else a channel that is closed at a change.
func (p *peers) synced() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if !n.counts.known {
			return false, p.change
		}
	}
	return true, nil
}
