// Package memory connects the brokers of one process. A hub of one instance runs on it; several brokers of one Bus form
// a cluster for tests.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
)

// Bus connects the Brokers of one process.
type Bus struct {
	size atomic.Int32 // started instances
	hot  atomic.Int32 // of them, those whose inbox is above its high-water mark

	weights *weights.Table

	mu     sync.RWMutex
	nodes  map[broker.NodeID]*Broker
	groups map[string][]*Broker

	exclusive  sync.Mutex // may be held when mu is taken, not the other way round
	exclusives exclusives

	histories histories
}

// NewBus makes a Bus.
func NewBus() *Bus {
	return &Bus{
		weights: weights.New(), nodes: make(map[broker.NodeID]*Broker), groups: make(map[string][]*Broker),
		exclusives: exclusives{groups: make(map[string]*exclusive)}, histories: histories{groups: make(map[string]*history)},
	}
}

// Broker makes a Broker for one more instance, which joins with Start.
func (b *Bus) Broker() *Broker {
	return &Broker{
		bus: b, quit: make(chan struct{}), lease: broker.NewConstantLease(validity),
		follow: follow{reached: make(map[string]broker.Position), missed: make(map[string]struct{})},
	}
}

// Broker is the broker.Broker of one instance on a Bus. While it is alone there, Publish costs an atomic load.
type Broker struct {
	bus   *Bus
	quit  chan struct{}
	lease *broker.Lease

	// Set by Start.
	self    broker.Node
	handler broker.Handler
	inbox   *inbox
	queries chan inquiry

	retired   bool // guarded by bus.mu
	follow    follow
	status    atomic.Int32
	done      sync.WaitGroup
	published atomic.Uint64
	received  atomic.Uint64
	refused   atomic.Uint64

	appended, repeated, filled, pages, gapsTrimmed atomic.Uint64
}

// The life of a Broker.
const (
	statusNew int32 = iota
	statusStarted
	statusClosed
)

// Start joins the bus. It fails if self.ID is zero, with ErrNodeIDTaken if another instance has it, or if Start or
// Close was called before.
func (m *Broker) Start(_ context.Context, self broker.Node, h broker.Handler) error {
	if self.ID == 0 {
		return errors.New("broker: start: node id is zero")
	}
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nodes[self.ID] != nil {
		return fmt.Errorf("broker: start node %08x: %w", uint32(self.ID), broker.ErrNodeIDTaken)
	}
	if m.status.Load() != statusNew {
		return fmt.Errorf("broker: start node %08x: started or closed before", uint32(self.ID))
	}
	if self.Started.IsZero() {
		self.Started = time.Now()
	}
	self.LastKind = broker.LastKind
	m.self, m.handler = self, h
	m.inbox, m.queries = newInbox(b), make(chan inquiry, broker.MaxPendingQueries)
	b.nodes[self.ID] = m
	m.done.Go(m.deliverLoop)
	m.done.Go(m.answerLoop)
	m.status.Store(statusStarted)
	b.size.Add(1)
	return nil
}

// Publish hands m to the inboxes of the instances concerned before it returns, and calls done within.
func (m *Broker) Publish(msg *broker.Message, done broker.Completion) {
	instances, err := 0, error(nil)
	switch {
	case m.status.Load() != statusStarted:
		err = m.notRunning()
	case m.bus.size.Load() > 1:
		instances, err = m.publish(msg)
	}
	if done != nil {
		done.Published(instances, err)
	}
}

func (m *Broker) notRunning() error {
	if m.status.Load() == statusClosed {
		return broker.ErrClosed
	}
	return broker.ErrNotStarted
}

func (m *Broker) publish(msg *broker.Message) (instances int, err error) {
	b := m.bus
	if msg.Flags&broker.FlagFence != 0 { // behind what others are publishing, and have given to some instances only
		b.mu.Lock()
		//lint:ignore SA2001 an empty section: every publication that had begun is complete.
		b.mu.Unlock()
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var shared *broker.Message
	push := func(to *Broker) {
		if to == m {
			return
		}
		if shared == nil {
			shared = msg.Clone()
			shared.From = m.self.ID
		}
		if to.inbox.push(shared) {
			instances++
		} else {
			err = broker.ErrUnavailable
			m.refused.Add(1)
		}
	}
	switch msg.Kind {
	case broker.KindGlobal:
		for _, to := range b.nodes {
			push(to)
		}
	case broker.KindGroup:
		for _, to := range b.groups[string(msg.Group)] {
			push(to)
		}
	default:
		if to := b.nodes[msg.To]; to != nil && !to.retired {
			push(to)
		}
	}
	if instances > 0 {
		err = nil
	}
	if err == nil {
		m.published.Add(1)
	}
	return instances, err
}

// Subscribe confirms before it returns.
func (m *Broker) Subscribe(group string, confirmed func(error)) {
	err := m.subscribe(group)
	if confirmed != nil {
		confirmed(err)
	}
}

func (m *Broker) subscribe(group string) error {
	b := m.bus
	b.histories.mu.Lock()
	defer b.histories.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.status.Load() != statusStarted {
		return m.notRunning()
	}
	if !slices.Contains(b.groups[group], m) {
		b.groups[group] = append(b.groups[group], m)
		m.follow.begin(group, b.histories.position(group))
	}
	return nil
}

// Unsubscribe takes effect before it returns.
func (m *Broker) Unsubscribe(group string) {
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsubscribe(group, m)
	m.follow.end(group)
}

// unsubscribe needs b.mu.
func (b *Bus) unsubscribe(group string, m *Broker) {
	members := b.groups[group]
	i := slices.Index(members, m)
	switch {
	case i < 0:
	case len(members) == 1:
		delete(b.groups, group)
	default:
		b.groups[group] = slices.Delete(members, i, i+1)
	}
}

// SetMembers takes effect before it returns.
func (m *Broker) SetMembers(group string, n int) {
	b := m.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	if m.status.Load() == statusStarted {
		if n == broker.Watched {
			n = 0
		}
		b.weights.Set(m.self.ID, group, n)
	}
}

// Draw implements Broker.
func (m *Broker) Draw(group []byte, own int, random uint64) (broker.NodeID, bool) {
	if m.bus.size.Load() <= 1 {
		return m.self.ID, own > 0
	}
	return m.bus.weights.Draw(group, m.self.ID, own, random)
}

// Standings implements Broker.
func (m *Broker) Standings(group []byte, dst []broker.Standing) []broker.Standing {
	if m.bus.size.Load() <= 1 {
		return dst
	}
	return m.bus.weights.Standings(group, m.self.ID, dst)
}

// Knows implements Broker: the instances of a bus are of one release.
func (m *Broker) Knows(broker.NodeID, broker.Kind) bool { return true }

// Nodes lists the instances of the bus by id.
func (m *Broker) Nodes() []broker.Node {
	b := m.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	nodes := make([]broker.Node, 0, len(b.nodes))
	for id, other := range b.nodes {
		n := other.self
		n.Clients = b.weights.Count(id, "")
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b broker.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// State is always available between Start and Close.
func (m *Broker) State() broker.State {
	if m.status.Load() != statusStarted {
		return broker.State{Err: m.notRunning().Error()}
	}
	return broker.State{Available: true, Since: m.self.Started}
}

// Close leaves the bus. What others published to this instance before is delivered unless ctx ends first.
func (m *Broker) Close(ctx context.Context) error {
	if !m.leave() {
		return nil
	}
	m.leaveExclusive()
	m.inbox.close()
	ended := make(chan struct{})
	go func() { m.done.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("broker: close node %08x: %w", uint32(m.self.ID), ctx.Err())
	}
}

// Retire implements Broker.
func (m *Broker) Retire(ctx context.Context) error {
	if m.status.Load() != statusStarted {
		return fmt.Errorf("broker: retire: %w", m.notRunning())
	}
	m.bus.mu.Lock() // no publication is under way
	m.retired = true
	m.bus.mu.Unlock()
	passed := make(chan struct{})
	m.inbox.mark(passed)
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("broker: retire: %w", ctx.Err())
	}
}

// leave reports whether this call took m from the bus.
func (m *Broker) leave() bool {
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.status.Swap(statusClosed) != statusStarted {
		return false
	}
	delete(b.nodes, m.self.ID)
	for group := range b.groups {
		b.unsubscribe(group, m)
	}
	b.weights.Drop(m.self.ID)
	b.size.Add(-1)
	for _, other := range b.nodes {
		other.inbox.call(func() { other.handler.NodeGone(m.self) })
	}
	close(m.quit)
	return true
}

// Stats implements StatsSource.
func (m *Broker) Stats() broker.Stats {
	s := broker.Stats{
		Published: m.published.Load(), Received: m.received.Load(), RefusedFull: m.refused.Load(),
		Appended: m.appended.Load(), Repeated: m.repeated.Load(), Filled: m.filled.Load(), PagesRead: m.pages.Load(),
		GapsTrimmed: m.gapsTrimmed.Load(),
	}
	if m.inbox != nil {
		s.InboxBytes = m.inbox.size()
	}
	return s
}
