// Package weights holds how many members each group has on each instance, and draws instances by them.
package weights

import (
	"slices"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/deque"
)

// Table knows how many members each group has on each instance, and draws an instance by them. Any goroutine may use
// it. Draw allocates nothing.
type Table struct {
	now  func() int64 // nanoseconds; nil: departures are not remembered
	keep int64        // how long a departure is remembered, in nanoseconds

	mu     sync.RWMutex
	groups map[string]*groupWeights
	nodes  map[broker.NodeID]map[string]int // the same counts by instance, so that one can be dropped whole
	// suspended are instances that are drawn only where no other has a member, until a time. Usually it is empty.
	suspended  map[broker.NodeID]time.Time
	departures deque.Deque[departure] // of the last keep, in order
}

// departure is that an instance lost its last member of a group.
type departure struct {
	node  broker.NodeID
	group string
	at    int64
}

// groupWeights are the counts of one group, none of them zero, but some Expected; counts[i] belongs to nodes[i].
type groupWeights struct {
	nodes  []broker.NodeID
	counts []int
}

// New makes an empty Table that doesn't remember departures.
func New() *Table { return NewRemembering(nil, 0) }

// NewRemembering makes an empty Table that remembers for the time keep which instances had members. now is a clock in
// nanoseconds.
func NewRemembering(now func() int64, keep time.Duration) *Table {
	return &Table{
		now: now, keep: int64(keep),
		groups: make(map[string]*groupWeights), nodes: make(map[broker.NodeID]map[string]int),
		suspended: make(map[broker.NodeID]time.Time),
	}
}

// Suspend has node drawn, for the time d, only where no other instance has a member.
func (w *Table) Suspend(node broker.NodeID, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for id, until := range w.suspended {
		if now.After(until) {
			delete(w.suspended, id)
		}
	}
	w.suspended[node] = now.Add(d)
}

// isSuspended needs mu.
func (w *Table) isSuspended(node broker.NodeID) bool {
	until, ok := w.suspended[node]
	return ok && time.Now().Before(until)
}

// Holders returns how many instances other than self have members of group, or expect one. Where none does, left is how
// many had one at the time since or later.
func (w *Table) Holders(group []byte, self broker.NodeID, since int64) (n, left int) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if g := w.groups[string(group)]; g != nil {
		n = len(g.nodes)
		if slices.Contains(g.nodes, self) {
			n--
		}
	}
	if n > 0 {
		return n, 0
	}
	var seen []broker.NodeID
	for i := w.departures.Len() - 1; i >= 0; i-- {
		d := w.departures.At(i)
		if d.at < since {
			break
		}
		if d.node != self && d.group == string(group) && !slices.Contains(seen, d.node) {
			seen = append(seen, d.node)
		}
	}
	return 0, len(seen)
}

// depart notes that node has no members of group any more, and forgets departures that are too old. It needs mu.
func (w *Table) depart(node broker.NodeID, group string) {
	if w.now == nil {
		return
	}
	now := w.now()
	for w.departures.Len() > 0 && now-w.departures.At(0).at > w.keep {
		w.departures.PopFront()
	}
	w.departures.PushBack(departure{node, group, now})
}

// Set records that node has n members of group, or expects one.
func (w *Table) Set(node broker.NodeID, group string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setLocked(node, group, n)
}

func (w *Table) setLocked(node broker.NodeID, group string, n int) {
	g := w.groups[group]
	if g == nil {
		if n == 0 {
			return
		}
		g = &groupWeights{}
		w.groups[group] = g
	}
	g.set(node, n)
	if n == 0 && w.nodes[node][group] != 0 {
		w.depart(node, group)
	}
	if len(g.nodes) == 0 {
		delete(w.groups, group)
	}
	w.setOfNode(node, group, n)
}

func (w *Table) setOfNode(node broker.NodeID, group string, n int) {
	if n == 0 {
		delete(w.nodes[node], group)
		return
	}
	if w.nodes[node] == nil {
		w.nodes[node] = make(map[string]int)
	}
	w.nodes[node][group] = n
}

// Replace puts counts in the place of all that is known of node. It takes counts over.
func (w *Table) Replace(node broker.NodeID, counts map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for group := range w.nodes[node] {
		if counts[group] == 0 {
			w.setLocked(node, group, 0)
		}
	}
	for group, n := range counts {
		w.setLocked(node, group, n)
	}
}

// Drop forgets node.
func (w *Table) Drop(node broker.NodeID) {
	w.Replace(node, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.nodes, node)
}

// Has says whether node has members of group, or expects one.
func (w *Table) Has(node broker.NodeID, group string) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.nodes[node][group] != 0
}

// Count is the number of members that node has in group.
func (w *Table) Count(node broker.NodeID, group string) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return max(w.nodes[node][group], 0)
}

// Standings appends the instances other than self that have members of group, or expect one, to dst.
func (w *Table) Standings(group []byte, self broker.NodeID, dst []broker.Standing) []broker.Standing {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if g := w.groups[string(group)]; g != nil {
		for i, node := range g.nodes {
			if node != self {
				dst = append(dst, broker.Standing{Node: node, Members: g.counts[i]})
			}
		}
	}
	return dst
}

// Draw picks an instance with a probability proportional to its members in group, where self has own, whatever w
// says of it, or any instance that expects some. It returns false if there is none either.
func (w *Table) Draw(group []byte, self broker.NodeID, own int, random uint64) (broker.NodeID, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	own = max(own, 0)
	g := w.groups[string(group)]
	if g == nil {
		return self, own > 0
	}
	if len(w.suspended) > 0 {
		if node, ok := g.drawFrom(self, own, random, w.isSuspended); ok {
			return node, true
		}
	}
	if node, ok := g.drawFrom(self, own, random, nil); ok {
		return node, true
	}
	return g.drawExpecting(self, random)
}

// drawExpecting draws among the instances that expect a member.
func (g *groupWeights) drawExpecting(self broker.NodeID, random uint64) (node broker.NodeID, ok bool) {
	n := uint64(0)
	for i := range g.nodes {
		if g.nodes[i] == self || g.counts[i] != broker.Expected {
			continue
		}
		if n++; random%n == 0 { // not quite evenly, which does no harm for some milliseconds
			node, ok = g.nodes[i], true
		}
	}
	return node, ok
}

// drawFrom draws among the members of g. It leaves out the instances for which avoid, where not nil, returns true.
func (g *groupWeights) drawFrom(self broker.NodeID, own int, random uint64, avoid func(broker.NodeID) bool) (broker.NodeID, bool) {
	leftOut := func(node broker.NodeID) bool { return node == self || avoid != nil && avoid(node) }
	total := own
	for i, node := range g.nodes {
		if !leftOut(node) {
			total += max(g.counts[i], 0)
		}
	}
	if total == 0 {
		return 0, false
	}
	at := int(random % uint64(total))
	if at < own {
		return self, true
	}
	at -= own
	for i, node := range g.nodes {
		if leftOut(node) {
			continue
		}
		if at < g.counts[i] {
			return node, true
		}
		at -= max(g.counts[i], 0)
	}
	return 0, false // only where a suspension ended meanwhile: otherwise at is less than the sum
}

func (g *groupWeights) set(node broker.NodeID, n int) {
	for i := range g.nodes {
		if g.nodes[i] != node {
			continue
		}
		g.counts[i] = n
		if n == 0 {
			last := len(g.nodes) - 1
			g.nodes[i], g.counts[i] = g.nodes[last], g.counts[last]
			g.nodes, g.counts = g.nodes[:last], g.counts[:last]
		}
		return
	}
	if n != 0 {
		g.nodes, g.counts = append(g.nodes, node), append(g.counts, n)
	}
}
