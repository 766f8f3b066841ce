package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bus connects instances within one process. The product runs on one when it is a single instance; several brokers
// of one Bus form a cluster, as tests want it.
type Bus struct {
	size atomic.Int32 // started instances
	hot  atomic.Int32 // of them, those whose inbox is above its high-water mark

	weights *weights

	mu     sync.RWMutex
	nodes  map[NodeID]*Memory
	groups map[string][]*Memory
}

// NewMemory makes a Bus.
func NewMemory() *Bus {
	return &Bus{weights: newWeights(), nodes: make(map[NodeID]*Memory), groups: make(map[string][]*Memory)}
}

// Broker makes a Broker for one more instance, which joins with Start.
func (b *Bus) Broker() *Memory { return &Memory{bus: b, quit: make(chan struct{})} }

// Memory is the Broker of one instance on a Bus. While it is alone there, Publish costs an atomic load.
type Memory struct {
	bus  *Bus
	quit chan struct{}

	// Set by Start.
	self    Node
	handler Handler
	inbox   *inbox
	queries chan memoryQuery

	retired   bool // guarded by bus.mu
	status    atomic.Int32
	done      sync.WaitGroup
	published atomic.Uint64
	received  atomic.Uint64
	refused   atomic.Uint64
}

// The life of a Memory.
const (
	memoryNew int32 = iota
	memoryStarted
	memoryClosed
)

var errNotStarted = errors.New("broker not started")

// Start joins the bus. It fails if self.ID is zero, with ErrNodeIDTaken if another instance has it, or if Start or
// Close was called before.
func (m *Memory) Start(_ context.Context, self Node, h Handler) error {
	if self.ID == 0 {
		return errors.New("broker: start: node id is zero")
	}
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nodes[self.ID] != nil {
		return fmt.Errorf("broker: start node %08x: %w", uint32(self.ID), ErrNodeIDTaken)
	}
	if m.status.Load() != memoryNew {
		return fmt.Errorf("broker: start node %08x: started or closed before", uint32(self.ID))
	}
	if self.Started.IsZero() {
		self.Started = time.Now()
	}
	m.self, m.handler = self, h
	m.inbox, m.queries = newInbox(b), make(chan memoryQuery, maxPendingQueries)
	b.nodes[self.ID] = m
	m.done.Go(m.deliverLoop)
	m.done.Go(m.answerLoop)
	m.status.Store(memoryStarted)
	b.size.Add(1)
	return nil
}

// Publish hands m to the inboxes of the instances concerned before it returns, and calls done within.
func (m *Memory) Publish(msg *Message, done Completion) {
	instances, err := 0, error(nil)
	switch {
	case m.status.Load() != memoryStarted:
		err = m.notRunning()
	case m.bus.size.Load() > 1:
		instances, err = m.publish(msg)
	}
	if done != nil {
		done.Published(instances, err)
	}
}

func (m *Memory) notRunning() error {
	if m.status.Load() == memoryClosed {
		return ErrClosed
	}
	return errNotStarted
}

func (m *Memory) publish(msg *Message) (instances int, err error) {
	b := m.bus
	if msg.Flags&FlagFence != 0 { // behind what others are publishing, and have given to some instances only
		b.mu.Lock()
		//lint:ignore SA2001 nothing is to be done while nobody publishes.
		b.mu.Unlock()
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var shared *Message
	push := func(to *Memory) {
		if to == m {
			return
		}
		if shared == nil {
			shared = msg.clone(m.self.ID)
		}
		if to.inbox.push(shared) {
			instances++
		} else {
			err = ErrUnavailable
			m.refused.Add(1)
		}
	}
	switch msg.Kind {
	case KindGlobal:
		for _, to := range b.nodes {
			push(to)
		}
	case KindGroup:
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

// clone copies m and the memory that it points to, as published by from.
func (m *Message) clone(from NodeID) *Message {
	c := *m
	c.From = from
	buf := append(append(make([]byte, 0, len(m.Group)+len(m.Payload)), m.Group...), m.Payload...)
	c.Group, c.Payload = buf[:len(m.Group):len(m.Group)], buf[len(m.Group):]
	return &c
}

// Subscribe confirms before it returns.
func (m *Memory) Subscribe(group string, confirmed func(error)) {
	err := m.subscribe(group)
	if confirmed != nil {
		confirmed(err)
	}
}

func (m *Memory) subscribe(group string) error {
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.status.Load() != memoryStarted {
		return m.notRunning()
	}
	if !slices.Contains(b.groups[group], m) {
		b.groups[group] = append(b.groups[group], m)
	}
	return nil
}

// Unsubscribe takes effect before it returns.
func (m *Memory) Unsubscribe(group string) {
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsubscribe(group, m)
}

// unsubscribe needs b.mu.
func (b *Bus) unsubscribe(group string, m *Memory) {
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
func (m *Memory) SetMembers(group string, n int) {
	b := m.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	if m.status.Load() == memoryStarted {
		b.weights.set(m.self.ID, group, n)
	}
}

// Draw implements Broker.
func (m *Memory) Draw(group []byte, own int, random uint64) (NodeID, bool) {
	if m.bus.size.Load() <= 1 {
		return m.self.ID, own > 0
	}
	return m.bus.weights.draw(group, m.self.ID, own, random)
}

// Nodes lists the instances of the bus by id.
func (m *Memory) Nodes() []Node {
	b := m.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	nodes := make([]Node, 0, len(b.nodes))
	for id, other := range b.nodes {
		n := other.self
		n.Clients = b.weights.count(id, "")
		nodes = append(nodes, n)
	}
	sortNodes(nodes)
	return nodes
}

// State is always available between Start and Close.
func (m *Memory) State() State {
	if m.status.Load() != memoryStarted {
		return State{Err: m.notRunning().Error()}
	}
	return State{Available: true, Since: m.self.Started}
}

// Close leaves the bus. What others published to this instance before is delivered unless ctx ends first.
func (m *Memory) Close(ctx context.Context) error {
	if !m.leave() {
		return nil
	}
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
func (m *Memory) Retire(ctx context.Context) error {
	if m.status.Load() != memoryStarted {
		return fmt.Errorf("broker: retire: %w", m.notRunning())
	}
	m.bus.mu.Lock() // nobody is publishing
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
func (m *Memory) leave() bool {
	b := m.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.status.Swap(memoryClosed) != memoryStarted {
		return false
	}
	delete(b.nodes, m.self.ID)
	for group := range b.groups {
		b.unsubscribe(group, m)
	}
	b.weights.drop(m.self.ID)
	b.size.Add(-1)
	close(m.quit)
	return true
}

// Stats implements StatsSource.
func (m *Memory) Stats() Stats {
	s := Stats{Published: m.published.Load(), Received: m.received.Load(), RefusedFull: m.refused.Load()}
	if m.inbox != nil {
		s.InboxBytes = m.inbox.size()
	}
	return s
}

func sortNodes(nodes []Node) {
	slices.SortFunc(nodes, func(a, b Node) int { return int(int64(a.ID) - int64(b.ID)) })
}
