package redis

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
)

// peers are the other instances that hold a lease, with their member counts.
type peers struct {
	weights *weights.Table
	now     func() int64
	retry   int64                    // between two requests for the same counts
	sync    func(node broker.NodeID) // asks node for its counts

	// For who can't wait for mu: the keys of nodes, and whether the counts of some are not known, or may be old.
	live     atomic.Pointer[map[broker.NodeID]bool]
	unsynced atomic.Bool

	mu     sync.Mutex
	nodes  map[broker.NodeID]*peer
	change chan struct{} // closed and replaced when something changed
}

type peer struct {
	broker.Node
	run    uint64
	counts peerCounts
	behind int64 // since when the lease has been ahead of counts; zero: it isn't
}

func newPeers(w *weights.Table, now func() int64, retry time.Duration, sync func(broker.NodeID)) *peers {
	p := &peers{
		weights: w, now: now, retry: int64(retry), sync: sync,
		nodes: make(map[broker.NodeID]*peer), change: make(chan struct{}),
	}
	p.live.Store(&map[broker.NodeID]bool{})
	return p
}

// seen takes a lease, and returns whether the instance is new.
func (p *peers) seen(id broker.NodeID, value []byte) (added bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seenLocked(id, value)
}

// heard is seen for a lease that came from the instance itself. Only now can it hear a request for its counts: one that
// was sent before may have been lost.
func (p *peers) heard(id broker.NodeID, value []byte) (added bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[id]; n != nil {
		n.counts.askedAt = 0
	}
	return p.seenLocked(id, value)
}

func (p *peers) seenLocked(id broker.NodeID, value []byte) (added bool, err error) {
	run, l, err := decodeLease(value)
	if err != nil {
		return false, err
	}
	n := p.nodes[id]
	if added = n == nil || n.run != run; added {
		n = &peer{run: run}
		p.nodes[id] = n
		p.weights.Drop(id)
		p.changed()
	}
	n.Node = broker.Node{ID: id, Name: l.Name, Version: l.Version, Started: l.Started, Clients: l.Clients}
	p.compare(n, l.Counts)
	return added, nil
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

func (p *peers) ask(n *peer) {
	now := p.now()
	if n.counts.askedAt != 0 && now-n.counts.askedAt < p.retry {
		return
	}
	n.counts.askedAt = now
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
		p.ask(n)
	}
	return err
}

// part takes a kindCounts.
func (p *peers) part(id broker.NodeID, run uint64, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil || n.run != run {
		return nil
	}
	complete, err := n.counts.part(p.weights, id, b)
	if complete {
		p.changed()
	}
	return err
}

// remove forgets an instance, and returns whether it was there. A run of zero stands for any.
func (p *peers) remove(id broker.NodeID, run uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil || run != 0 && n.run != run {
		return false
	}
	delete(p.nodes, id)
	p.weights.Drop(id)
	p.changed()
	return true
}

// changed tells that nodes or what is known of one changed. It needs mu.
func (p *peers) changed() {
	live, unsynced := make(map[broker.NodeID]bool, len(p.nodes)), false
	for id, n := range p.nodes {
		live[id] = true
		unsynced = unsynced || !n.counts.known
	}
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
		n.counts.known, n.counts.askedAt = false, 0
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
