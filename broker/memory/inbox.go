package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mastersocket/mastersocket/broker"
)

// The bounds of an instance's inbox on a Bus, in bytes.
const (
	inboxLimit = 16 << 20
	inboxHigh  = inboxLimit / 2
	inboxLow   = inboxLimit / 8

	messageOverhead = 160 // what a message costs beside its group and payload
)

// inbox is what was published to one instance and not delivered yet, in order and bounded in bytes.
type inbox struct {
	bus  *Bus
	wake chan struct{} // holds a token when there may be something to do

	mu     sync.Mutex
	items  []item
	bytes  int // of items and of what is being delivered
	hot    bool
	closed bool
	passed chan struct{} // closed when all items that are there have been delivered; nil for none
}

// item is a message, immutable and shared with other inboxes, or a call between two of them.
type item struct {
	message  *broker.Message
	numbered *numbering // nil for a message without a number
	call     func()
}

// numbering is what a message with a number has beside the message.
type numbering struct {
	at      broker.Position
	outcome *appended // nil at others than its publisher
}

func newInbox(b *Bus) *inbox { return &inbox{bus: b, wake: make(chan struct{}, 1)} }

// push reports whether there was room. It needs b.mu, for reading at least.
func (q *inbox) push(m *broker.Message) bool { return q.put(item{message: m}) }

func (q *inbox) put(next item) bool {
	m := next.message
	q.mu.Lock()
	cost := messageCost(m)
	if q.closed || q.bytes+cost > inboxLimit {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, next)
	q.bytes += cost
	turned := !q.hot && q.bytes > inboxHigh
	q.hot = q.hot || turned
	q.mu.Unlock()
	q.signal()
	if turned && q.bus.hot.Add(1) == 1 {
		q.bus.signalAll()
	}
	return true
}

// call has f called once everything that is in the inbox now has been delivered. Where the inbox is closed it is not.
func (q *inbox) call(f func()) {
	q.mu.Lock()
	if !q.closed {
		q.items = append(q.items, item{call: f})
	}
	q.mu.Unlock()
	q.signal()
}

func messageCost(m *broker.Message) int {
	return len(m.Group) + len(m.Payload) + len(m.Extra) + messageOverhead
}

// take returns all items at once, which the caller owns; spare is reused for the next ones.
func (q *inbox) take(spare []item) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	clear(spare)
	q.items = spare[:0]
	return items
}

// delivered gives back the room of one message.
func (q *inbox) delivered(m *broker.Message) {
	q.mu.Lock()
	q.bytes -= messageCost(m)
	turned := q.hot && q.bytes < inboxLow
	q.hot = q.hot && !turned
	q.mu.Unlock()
	if turned && q.bus.hot.Add(-1) == 0 {
		q.bus.mu.RLock()
		defer q.bus.mu.RUnlock()
		q.bus.signalAll()
	}
}

// mark closes passed once everything that is in the inbox now has been delivered.
func (q *inbox) mark(passed chan struct{}) {
	q.mu.Lock()
	q.passed = passed
	q.mu.Unlock()
	q.signal()
}

// pass closes what mark gave, where nothing is left.
func (q *inbox) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.passed != nil && len(q.items) == 0 {
		close(q.passed)
		q.passed = nil
	}
}

func (q *inbox) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *inbox) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

func (q *inbox) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// signalAll lets every instance compare the pressure that it reported with the bus's. It needs b.mu.
func (b *Bus) signalAll() {
	for _, m := range b.nodes {
		m.inbox.signal()
	}
}

// deliverLoop is the one goroutine that calls Deliver and Pressure.
func (m *Broker) deliverLoop() {
	var items []item
	var msg broker.Message
	pressed := false
	for {
		if hot := m.bus.hot.Load() > 0; hot != pressed {
			pressed = hot
			m.handler.Pressure(hot)
		}
		items = m.inbox.take(items)
		for _, next := range items {
			if next.call != nil {
				next.call()
				continue
			}
			msg = *next.message
			m.received.Add(1)
			if next.numbered == nil {
				m.handler.Deliver(&msg)
			} else {
				m.deliverNumbered(&msg, next.numbered)
			}
			m.inbox.delivered(next.message)
		}
		if len(items) > 0 || m.fillMissed() {
			continue
		}
		m.inbox.pass()
		select {
		case <-m.inbox.wake:
		case <-m.quit:
			if m.inbox.size() == 0 {
				return
			}
		}
	}
}

type inquiry struct {
	query  []byte
	answer chan<- reply // has room for every answer
}

type reply struct {
	from broker.NodeID
	data []byte
}

// answerLoop is the one goroutine that calls Answer.
func (m *Broker) answerLoop() {
	for {
		select {
		case q := <-m.queries:
			q.answer <- reply{m.self.ID, m.handler.Answer(q.query)}
		case <-m.quit:
			return
		}
	}
}

// Gather implements Broker.
func (m *Broker) Gather(
	ctx context.Context, among []broker.NodeID, query []byte, each func(broker.NodeID, []byte),
) ([]broker.NodeID, error) {
	if m.status.Load() != statusStarted {
		return nil, fmt.Errorf("broker: gather: %w", m.notRunning())
	}
	ctx, cancel := context.WithTimeout(ctx, broker.GatherTimeout)
	defer cancel()
	pending, answers, asked := m.ask(among, query)
	for range asked {
		select {
		case a := <-answers:
			delete(pending, a.from)
			each(a.from, a.data)
		case <-ctx.Done():
			return slices.Sorted(maps.Keys(pending)), nil
		case <-m.quit:
			return slices.Sorted(maps.Keys(pending)), fmt.Errorf("broker: gather: %w", broker.ErrClosed)
		}
	}
	return slices.Sorted(maps.Keys(pending)), nil
}

// ask sends query to the instances among, or to every other one where that is nil. It returns those that owe an answer,
// and how many of them are on the bus.
func (m *Broker) ask(among []broker.NodeID, query []byte) (pending map[broker.NodeID]struct{}, answers chan reply, asked int) {
	b := m.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	if among == nil {
		among = slices.Collect(maps.Keys(b.nodes))
	}
	pending, answers = make(map[broker.NodeID]struct{}), make(chan reply, len(among))
	for _, id := range among {
		if id == m.self.ID {
			continue
		}
		pending[id] = struct{}{}
		other := b.nodes[id]
		if other == nil {
			continue
		}
		asked++
		select {
		case other.queries <- inquiry{append([]byte(nil), query...), answers}:
		default:
		}
	}
	return pending, answers, asked
}
