package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Rebalancing is what a Rebalance is to do.
type Rebalancing struct {
	Over   time.Duration // time over which each instance tells its clients; 0 for the pace of DrainSettings
	AtMost int           // clients that each instance tells at most; 0 for no bound
}

// Rebalanced is what a Rebalance did.
type Rebalanced struct {
	Share   int // clients of the hub's own protocol that an instance keeps
	Nodes   []RebalancedNode
	Missing []string // names of the instances that did not answer in time
}

// RebalancedNode is what one instance does in a rebalance.
type RebalancedNode struct {
	ID       string
	Name     string
	Draining bool          // it leaves service: it has no share, and tells its clients anyway
	Clients  int           // of the hub's own protocol, before
	Told     int           // clients that are told to go
	Over     time.Duration // until the last of them goes
}

// Errors of Rebalance.
var (
	// ErrRebalancing: the clients that an earlier one told to go have not all gone.
	ErrRebalancing = errors.New("a rebalance is going on")
	// ErrSelfDraining: the instance that was asked leaves service.
	ErrSelfDraining = errors.New("this instance is draining")
)

// Rebalance makes the instances that have more than their share of the cluster's clients tell the surplus to connect anew,
// each in a slot of its own: first those that asked for DRAIN, then, by SERVER_RESTART, others. The share is the number of
// all clients of the hub's own protocol, divided by the instances that are not draining, rounded up. Clients of service
// types stay. It returns once the clients have their slots, or when ctx ends; what has begun goes on. Where they connect
// to is not the hub's to decide. The error is one of those above; ErrRebalancing names the instances.
func (h *Hub) Rebalance(ctx context.Context, r Rebalancing) (Rebalanced, error) {
	if h.draining.Load() {
		return Rebalanced{}, ErrSelfDraining
	}
	h.rebalance.asking.Lock() // two at the same time would count the same clients
	defer h.rebalance.asking.Unlock()
	first, cancel := halfOf(ctx)
	defer cancel()
	loads, err := h.askLoads(first, query{Kind: queryLoad})
	if err != nil {
		return Rebalanced{}, err
	}
	if busy := busyNodes(loads); len(busy) > 0 {
		return Rebalanced{}, fmt.Errorf("%w: %s", ErrRebalancing, strings.Join(busy, ", "))
	}
	result := Rebalanced{Share: share(loads)}
	surplus := surpluses(loads, result.Share, r.AtMost)
	told := loads
	if len(surplus) > 0 {
		told, err = h.askLoads(ctx, query{Kind: queryShed, Shed: surplus, Over: r.Over.Milliseconds()})
		if err != nil {
			return Rebalanced{}, err
		}
	}
	for _, n := range h.Nodes() {
		id := NodeName(n.ID)
		_, counted := loads[id]
		if _, done := told[id]; !counted || !done {
			result.Missing = append(result.Missing, n.Name)
		}
	}
	for id, l := range loads {
		result.Nodes = append(result.Nodes, RebalancedNode{
			ID: id, Name: l.Name, Draining: l.Draining, Clients: l.Clients, Told: told[id].Told,
			Over: time.Duration(told[id].Over) * time.Millisecond,
		})
	}
	slices.SortFunc(result.Nodes, func(a, b RebalancedNode) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	return result, nil
}

// halfOf returns a context with half of the time that ctx has left.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	return ctx, func() {}
}

// askLoads collects what the instances say of their clients, by their ids.
func (h *Hub) askLoads(ctx context.Context, q query) (map[string]load, error) {
	loads := make(map[string]load)
	_, err := h.ask(ctx, q, func(a answer) {
		if a.Load != nil { // else it is of an earlier release
			loads[a.Load.Node] = *a.Load
		}
	})
	return loads, err
}

// load is what an instance says of its clients, and of what it does about them.
type load struct {
	Node     string `json:"node"`
	Name     string `json:"name"`
	Clients  int    `json:"clients"`            // of the hub's own protocol
	Draining bool   `json:"draining,omitempty"` // it leaves service
	Busy     bool   `json:"busy,omitempty"`     // it tells clients to go already
	Told     int    `json:"told,omitempty"`     // queryShed: clients that are told to go
	Over     int64  `json:"over_ms,omitempty"`  // queryShed: until the last of them goes
}

// busyNodes returns the names of the instances that tell clients to go already, sorted.
func busyNodes(loads map[string]load) []string {
	var names []string
	for _, l := range loads {
		if l.Busy {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return names
}

// share returns how many clients an instance keeps. The clients of those that leave service will be somewhere too.
func share(loads map[string]load) int {
	clients, instances := 0, 0
	for _, l := range loads {
		clients += l.Clients
		if !l.Draining {
			instances++
		}
	}
	instances = max(instances, 1)
	return (clients + instances - 1) / instances
}

// surpluses returns how many clients each instance has beyond its share, atMost of them if that is not 0.
func surpluses(loads map[string]load, share, atMost int) map[string]int {
	all := make(map[string]int)
	for id, l := range loads {
		n := l.Clients - share
		if atMost > 0 {
			n = min(n, atMost)
		}
		if n > 0 && !l.Draining {
			all[id] = n
		}
	}
	return all
}

// rebalance is this instance's part in a rebalance.
type rebalance struct {
	asking sync.Mutex // held by Rebalance

	mu    sync.Mutex
	stop  context.CancelFunc // ends the goroutine; nil if there was none
	done  chan struct{}      // closed when the goroutine has ended
	ended bool               // there will be no other
}

// busy reports whether clients are being told to go. r.mu must be held.
func (r *rebalance) busy() bool {
	if r.done == nil {
		return false
	}
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// load describes this instance.
func (h *Hub) load() *load {
	clients := 0
	for i := range h.counters {
		clients += int(h.counters[i].types[0].clients.Load())
	}
	h.rebalance.mu.Lock()
	defer h.rebalance.mu.Unlock()
	return &load{
		Node: NodeName(h.node.ID), Name: h.node.Name, Clients: clients, Draining: h.draining.Load(), Busy: h.rebalance.busy(),
	}
}

// shed tells so many clients of this instance to go, over the time given or, where that is 0, at the usual pace. It
// returns when they have their slots; a goroutine goes on until the last one has passed.
func (h *Hub) shed(ctx context.Context, clients int, over time.Duration) (*load, error) {
	l := h.load()
	r := &h.rebalance
	r.mu.Lock()
	defer r.mu.Unlock()
	if clients <= 0 || r.ended || r.busy() {
		return l, nil
	}
	now := time.Now()
	c := h.newShedding(clients, over, now)
	for _, who := range []walkFor{walkMovable, walkUnmovable} {
		if err := c.walk(ctx, who, now); err != nil {
			break // whoever asked waits no longer; who has a slot keeps it
		}
	}
	l.Told = c.claimed()
	span := time.Duration(l.Told) * c.interval
	l.Over = span.Milliseconds()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.stop, r.done = stop, done
	go func() {
		defer close(done)
		h.sayGoodbyes(ctx, now.Add(span))
	}()
	return l, nil
}

// newShedding returns the campaign of a rebalance that begins now.
func (h *Hub) newShedding(clients int, over time.Duration, now time.Time) *campaign {
	c := &campaign{hub: h, reason: opcodes.DrainRebalance, begin: now, limit: clients}
	settings := h.drainSettings.Load()
	switch {
	case over > 0:
		c.interval = over / time.Duration(clients)
		if settings.Rate > 0 && c.interval < rateInterval(settings.Rate) {
			h.warnPace(clients, settings.Rate, over, 0)
		}
	case settings.Rate > 0:
		c.interval = rateInterval(settings.Rate)
	default:
		c.interval = settings.Timeout / time.Duration(clients)
	}
	return c
}

// sayGoodbyes disconnects clients in their slots until the last one has passed and those that move have had time for it,
// or ctx ends.
func (h *Hub) sayGoodbyes(ctx context.Context, last time.Time) {
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for {
		now := time.Now()
		for _, sh := range h.shards {
			sh.loop.Post(task(func() { sh.sayGoodbye(now) }))
		}
		if now.After(last.Add(moveTime)) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// endRebalance ends the goroutine of a rebalance, and lets none begin any more. Clients that were to be disconnected by it
// stay.
func (h *Hub) endRebalance() {
	h.rebalance.mu.Lock()
	defer h.rebalance.mu.Unlock()
	h.rebalance.ended = true
	if h.rebalance.stop != nil {
		h.rebalance.stop()
		<-h.rebalance.done
	}
}
