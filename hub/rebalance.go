package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/hub/internal/pace"
	"github.com/mastersocket/mastersocket/opcodes"
)

// RebalanceOptions bound a rebalance.
type RebalanceOptions struct {
	Over   time.Duration // time over which each instance tells its clients; 0 for the pace of DrainSettings
	AtMost int           // clients that each instance tells at most; 0 for no bound
}

// Rebalance is the result of a rebalance.
type Rebalance struct {
	Share       int             `json:"share" doc:"Clients that an instance keeps: the clients of all instances, divided by the number of instances that do not drain, rounded up."`
	Told        int             `json:"told" doc:"Clients of all instances that are told to move."`
	OverSeconds float64         `json:"over_seconds" doc:"Seconds until the last of them is told."`
	Nodes       []RebalanceNode `json:"nodes" nullable:"false"`
	Missing     []string        `json:"missing" nullable:"false" doc:"Instances that did not answer in time. Their clients are not counted; whether they take part is unknown."`
}

// RebalanceNode is what one instance does in a rebalance.
type RebalanceNode struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Clients  int    `json:"clients" doc:"Identified clients of the hub's own protocol before the rebalance."`
	Told     int    `json:"told" doc:"Clients of this instance that are told to move."`
	Draining bool   `json:"draining" doc:"The instance drains: it has no share, and clients that leave for the drain are not counted in told."`
}

// Errors of Rebalance.
var (
	// ErrRebalancing: the clients that an earlier one told to go have not all gone.
	ErrRebalancing = errors.New("a rebalance is going on")
	// ErrSelfDraining: the instance that was asked leaves service.
	ErrSelfDraining = errors.New("this instance is draining")
)

// Rebalance makes the instances that have more than their share of the cluster's clients tell the surplus to connect
// again, each in a slot of its own: first those that asked for DRAIN, then, by SERVER_RESTART, others. The share is the number of
// all clients of the hub's own protocol, divided by the instances that are not draining, rounded up. Clients of service
// types stay. It returns once the clients have their slots, or when ctx ends; what has begun goes on. Where they connect
// to is not the hub's to decide. The error is one of those above; ErrRebalancing names the instances.
func (h *Hub) Rebalance(ctx context.Context, o RebalanceOptions) (Rebalance, error) {
	if h.draining.Load() {
		return Rebalance{}, ErrSelfDraining
	}
	h.rebalancing.Lock() // two at the same time would count the same clients
	defer h.rebalancing.Unlock()
	first, cancel := halfOf(ctx)
	defer cancel()
	loads, err := askLoads(first, h, loadQuestion, struct{}{})
	if err != nil {
		return Rebalance{}, err
	}
	if busy := busyNodes(loads); len(busy) > 0 {
		return Rebalance{}, fmt.Errorf("%w: %s", ErrRebalancing, strings.Join(busy, ", "))
	}
	result := Rebalance{Share: share(loads), Nodes: make([]RebalanceNode, 0, len(loads)), Missing: []string{}}
	surplus := surpluses(loads, result.Share, o.AtMost)
	told := loads
	if len(surplus) > 0 {
		told, err = askLoads(ctx, h, shedQuestion, shedAsked{surplus, o.Over.Milliseconds()})
		if err != nil {
			return Rebalance{}, err
		}
	}
	for _, n := range h.Nodes() {
		id := n.ID.String()
		_, counted := loads[id]
		if _, done := told[id]; !counted || !done {
			result.Missing = append(result.Missing, n.Name)
		}
	}
	for id, l := range loads {
		done := told[id]
		result.Nodes = append(result.Nodes, RebalanceNode{id, l.Name, l.Clients, done.Told, l.Draining})
		result.Told += done.Told
		result.OverSeconds = max(result.OverSeconds, (time.Duration(done.Over) * time.Millisecond).Seconds())
	}
	slices.SortFunc(result.Nodes, func(a, b RebalanceNode) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
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
func askLoads[Q any](ctx context.Context, h *Hub, k question[Q, loadFound], q Q) (map[string]load, error) {
	loads := make(map[string]load)
	_, err := k.ask(ctx, h, q, func(a loadFound) {
		if a.Load != nil { // else it is of an earlier release
			loads[a.Load.Node] = *a.Load
		}
	})
	return loads, err
}

// shedAsked tells instances how many clients each is to tell to go.
type shedAsked struct {
	Clients map[string]int `json:"shed,omitempty"`    // by the instances' ids
	Over    int64          `json:"over_ms,omitempty"` // the time over which they do; 0 for the usual pace
}

// loadFound is an instance's answer to loadQuestion and shedQuestion.
type loadFound struct {
	Load *load `json:"load,omitempty"`
}

var (
	loadQuestion = question[struct{}, loadFound]{"load", (*Hub).loadHere}
	shedQuestion = question[shedAsked, loadFound]{"shed", (*Hub).shedHere}
)

// loadHere says how many clients this instance has.
func (h *Hub) loadHere(context.Context, struct{}) (loadFound, error) { return loadFound{h.load()}, nil }

// shedHere tells as many clients of this instance to go as q says.
func (h *Hub) shedHere(ctx context.Context, q shedAsked) (loadFound, error) {
	l, err := h.shed(ctx, q.Clients[h.node.ID.String()], time.Duration(q.Over)*time.Millisecond)
	return loadFound{l}, err
}

// load is what an instance says of its clients, and of what it does about them.
type load struct {
	Node     string `json:"node"`
	Name     string `json:"name"`
	Clients  int    `json:"clients"`            // of the hub's own protocol
	Draining bool   `json:"draining,omitempty"` // it leaves service
	Busy     bool   `json:"busy,omitempty"`     // it tells clients to go already
	Told     int    `json:"told,omitempty"`     // answer to shedQuestion: clients that are told to go
	Over     int64  `json:"over_ms,omitempty"`  // answer to shedQuestion: until the last of them goes
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

// busy reports whether clients are being told to go. r.mu must be held.
func (r *shedding) busy() bool {
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
	h.shedding.mu.Lock()
	defer h.shedding.mu.Unlock()
	return &load{
		Node: h.node.ID.String(), Name: h.node.Name, Clients: clients, Draining: h.draining.Load(), Busy: h.shedding.busy(),
	}
}

// shed tells so many clients of this instance to go, over the time given or, where that is 0, at the usual pace. It
// returns when they have their slots; a goroutine goes on until the last one has passed.
func (h *Hub) shed(ctx context.Context, clients int, over time.Duration) (*load, error) {
	l := h.load()
	r := &h.shedding
	r.mu.Lock()
	defer r.mu.Unlock()
	if clients <= 0 || r.ended || r.busy() {
		return l, nil
	}
	now := time.Now()
	c := h.newShedding(clients, over, now)
	for _, which := range []selection{movableClients, unmovableClients} {
		if err := c.assignAll(ctx, which, now); err != nil {
			break // the asker waits no longer; the clients that have slots keep them
		}
	}
	l.Told = c.claimed()
	span := time.Duration(l.Told) * c.interval
	l.Over = span.Milliseconds()
	h.Record(LogRebalance, "BEGUN", fmt.Sprintf("%d clients are told to go, over %v", l.Told, span), "")
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
		if settings.Rate > 0 && c.interval < pace.OfRate(settings.Rate) {
			h.warnPace(clients, settings.Rate, over, 0)
		}
	case settings.Rate > 0:
		c.interval = pace.OfRate(settings.Rate)
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
		if now.After(last.Add(pace.MoveTime)) {
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
	h.shedding.mu.Lock()
	defer h.shedding.mu.Unlock()
	h.shedding.ended = true
	if h.shedding.stop != nil {
		h.shedding.stop()
		<-h.shedding.done
	}
}
