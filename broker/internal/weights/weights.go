// Package weights holds how many members each group has on each instance, and draws instances by them.
package weights

import (
	"slices"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// Table knows how many members each group has on each instance, and draws one instance by them. It is safe for use
// by any goroutine; draw allocates nothing.
type Table struct {
	mu     sync.RWMutex
	groups map[string]*groupWeights
	nodes  map[broker.NodeID]map[string]int // the same counts by instance, so that one can be dropped whole
	// suspended are instances that are drawn only where nobody else has a member, until a time. Usually it is empty.
	suspended map[broker.NodeID]time.Time
}

// groupWeights are the counts of one group, none of them zero, but some Expected; counts[i] belongs to nodes[i].
type groupWeights struct {
	nodes  []broker.NodeID
	counts []int
}

func New() *Table {
	return &Table{
		groups: make(map[string]*groupWeights), nodes: make(map[broker.NodeID]map[string]int), suspended: make(map[broker.NodeID]time.Time),
	}
}

// Suspend has node drawn only where nobody else has a member, for some time.
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

// Anybody says whether any instance but self has a member of group, or expects one.
func (w *Table) Anybody(group []byte, self broker.NodeID) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	g := w.groups[string(group)]
	return g != nil && slices.ContainsFunc(g.nodes, func(id broker.NodeID) bool { return id != self })
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

// Count is the number of members that node has in group.
func (w *Table) Count(node broker.NodeID, group string) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return max(w.nodes[node][group], 0)
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
