package memory

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// histories are the groups with history of a Bus. mu is taken before Bus.mu: a message is numbered and put into all inboxes
// in one step.
type histories struct {
	mu     sync.Mutex
	groups map[string]*history
	swept  time.Time
}

// history is what is kept of a group.
type history struct {
	limits broker.Limits
	epoch  string
	last   uint64
	kept   []kept // by offset without gaps; the last one is last
	bytes  int64
	once   map[string]uint64 // offsets by Once
	onces  []remembered      // of once, oldest first
	used   time.Time
}

// kept is a message, immutable, and when it was appended.
type kept struct {
	broker.Numbered
	at time.Time
}

type remembered struct {
	id string
	at time.Time
}

// keptOverhead is what a message counts beside its group, payload and extra.
const keptOverhead = 100

func keptCost(m *broker.Message) int64 {
	return int64(len(m.Group) + len(m.Payload) + len(m.Extra) + keptOverhead)
}

// of finds or makes the history of a group. It needs mu.
func (h *histories) of(group string) *history {
	g := h.groups[group]
	if g == nil {
		g = &history{epoch: newEpoch(), once: make(map[string]uint64)}
		h.groups[group] = g
	}
	g.used = time.Now()
	return g
}

// newEpoch draws the name of an epoch.
func newEpoch() string { return strconv.FormatUint(rand.Uint64()|1<<63, 36)[:10] }

// position is behind the newest message of a group. It needs mu.
func (h *histories) position(group string) broker.Position {
	if g := h.groups[group]; g != nil {
		return broker.Position{Epoch: g.epoch, Offset: g.last}
	}
	return broker.Position{}
}

// sweepHistories drops what is too old in all groups, once a minute. It needs histories.mu.
func (b *Bus) sweepHistories(now time.Time) {
	h := &b.histories
	if now.Sub(h.swept) < time.Minute {
		return
	}
	h.swept = now
	b.mu.RLock()
	defer b.mu.RUnlock()
	for name, g := range h.groups {
		g.trim(now)
		if len(b.groups[name]) == 0 && now.Sub(g.used) > g.limits.Age+broker.KeepPositions {
			delete(h.groups, name)
		}
	}
}

func (g *history) extent() broker.Extent {
	return broker.Extent{Epoch: g.epoch, First: g.first(), Last: g.last, Bytes: g.bytes}
}

// first is the number of the oldest message that is kept, or would be.
func (g *history) first() uint64 { return g.last + 1 - uint64(len(g.kept)) }

// trim drops what is beyond the limits.
func (g *history) trim(now time.Time) {
	n := 0
	for left := len(g.kept); n < len(g.kept); n, left = n+1, left-1 {
		old := now.Sub(g.kept[n].at) > g.limits.Age
		if !old && (left == 1 || left <= g.limits.Messages && g.bytes <= g.limits.Bytes) {
			break
		}
		g.bytes -= keptCost(&g.kept[n].Message)
	}
	clear(g.kept[:n])
	g.kept = g.kept[n:]
	n = 0
	for n < len(g.onces) && now.Sub(g.onces[n].at) > broker.OnceFor {
		delete(g.once, g.onces[n].id)
		n++
	}
	g.onces = g.onces[n:]
}

// from returns what is kept behind an offset, a page at most.
func (g *history) from(offset uint64) []broker.Numbered {
	if offset >= g.last {
		return nil
	}
	kept := g.kept[max(offset+1, g.first())-g.first():]
	var page []broker.Numbered
	bytes := 0
	for _, k := range kept {
		if bytes += len(k.Message.Payload); bytes > broker.PageBytes && len(page) > 0 {
			break
		}
		page = append(page, k.Numbered)
	}
	return page
}

// appended is the outcome of an append, which is told behind the delivery.
type appended struct {
	offset    uint64
	duplicate bool
	done      broker.AppendCompletion
}

func (a *appended) tell() {
	if a != nil && a.done != nil {
		a.done.Appended(a.offset, a.duplicate, nil)
	}
}

// Append implements Broker. Where this instance has not subscribed to the group, done is called within.
func (m *Broker) Append(msg *broker.Message, a broker.Appending, done broker.AppendCompletion) {
	if m.status.Load() != statusStarted {
		if done != nil {
			done.Appended(0, false, m.notRunning())
		}
		return
	}
	outcome := &appended{done: done}
	if !m.append(msg, a, outcome) {
		outcome.tell()
	}
}

// append returns whether the outcome is told by the goroutine that delivers.
func (m *Broker) append(msg *broker.Message, a broker.Appending, outcome *appended) (later bool) {
	h, now := &m.bus.histories, time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.of(string(msg.Group))
	g.limits = a.Limits
	g.trim(now)
	if offset, known := g.once[a.Once]; known && a.Once != "" {
		outcome.offset, outcome.duplicate = offset, true
		m.repeated.Add(1)
		return false
	}
	g.last++
	n := broker.Numbered{Position: broker.Position{Epoch: g.epoch, Offset: g.last}, Message: *msg.Clone()}
	n.Message.From = m.self.ID
	outcome.offset = g.last
	if a.Once != "" {
		g.once[a.Once] = g.last
		g.onces = append(g.onces, remembered{a.Once, now})
	}
	g.kept = append(g.kept, kept{n, now})
	g.bytes += keptCost(&n.Message)
	g.trim(now)
	m.bus.sweepHistories(now)
	m.appended.Add(1)
	return m.spread(&n, outcome)
}

// spread puts a numbered message into the inboxes. It needs histories.mu.
func (m *Broker) spread(n *broker.Numbered, outcome *appended) (later bool) {
	b := m.bus
	b.mu.RLock()
	defer b.mu.RUnlock()
	group := string(n.Message.Group)
	others := &numbering{at: n.Position}
	for _, to := range b.groups[group] {
		numbered := others
		if to == m {
			numbered = &numbering{n.Position, outcome}
		}
		if to.inbox.put(item{message: &n.Message, numbered: numbered}) {
			later = later || to == m
		} else {
			to.follow.miss(group)
			to.inbox.signal()
		}
	}
	return later
}

// Extent implements Broker. done is called within.
func (m *Broker) Extent(group string, l broker.Limits, done func(broker.Extent, error)) {
	done(m.extent(group, func(g *history) { g.limits = l }))
}

// Purge implements Broker. done is called within.
func (m *Broker) Purge(group string, done func(broker.Extent, error)) {
	done(m.extent(group, func(g *history) {
		clear(g.kept)
		g.kept, g.bytes = nil, 0
	}))
}

func (m *Broker) extent(group string, change func(*history)) (broker.Extent, error) {
	if m.status.Load() != statusStarted {
		return broker.Extent{}, m.notRunning()
	}
	h := &m.bus.histories
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.of(group)
	change(g)
	g.trim(time.Now())
	return g.extent(), nil
}

// Read implements Broker. done is called within.
func (m *Broker) Read(group string, from broker.Position, done func(*broker.Page, error)) {
	if m.status.Load() != statusStarted {
		done(nil, m.notRunning())
		return
	}
	m.pages.Add(1)
	done(m.read(group, from), nil)
}

func (m *Broker) read(group string, from broker.Position) *broker.Page {
	h := &m.bus.histories
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[group]
	if g == nil {
		g = &history{} // nothing, in no epoch
	} else {
		g.trim(time.Now())
	}
	p := &broker.Page{Extent: g.extent()}
	switch {
	case from == broker.Position{}:
	case from.Offset > g.last, from.Epoch != "" && from.Epoch != g.epoch:
		if from.Epoch != "" && from.Epoch != g.epoch {
			from.Offset = 0
		}
		from.Offset = max(g.first()-1, min(from.Offset, g.last))
		p.Gap = &broker.Gap{Reason: broker.GapEpoch, Position: broker.Position{Epoch: g.epoch, Offset: from.Offset}}
	case from.Offset+1 < g.first():
		p.Gap = &broker.Gap{Reason: broker.GapTrimmed, Position: broker.Position{Epoch: g.epoch, Offset: g.first() - 1}}
	}
	p.Messages = g.from(from.Offset)
	return p
}

// follow is how far an instance has got in the groups with history to which it has subscribed.
type follow struct {
	mu      sync.Mutex
	reached map[string]broker.Position
	missed  map[string]struct{} // groups of which a message found no room
}

func (f *follow) begin(group string, at broker.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reached[group] = at
}

func (f *follow) end(group string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.reached, group)
	delete(f.missed, group)
}

func (f *follow) miss(group string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missed[group] = struct{}{}
}

// take returns a group of which something was missed.
func (f *follow) take() (group string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for group = range f.missed {
		delete(f.missed, group)
		return group, true
	}
	return "", false
}

// at returns how far the group has been delivered; ok is false where it is not subscribed any more.
func (f *follow) at(group string) (p broker.Position, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok = f.reached[group]
	return p, ok
}

// reach notes what is to be delivered next. It returns false for what has been, and for a group that is not subscribed any
// more.
func (f *follow) reach(group string, p broker.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, ok := f.reached[group]
	if !ok || p.Offset <= before.Offset {
		return false
	}
	f.reached[group] = p
	return true
}

// deliverNumbered delivers a message in its place. It runs in the goroutine that delivers, as do the following.
func (m *Broker) deliverNumbered(msg *broker.Message, n *numbering) {
	group := string(msg.Group)
	if before, ok := m.follow.at(group); ok && n.at.Offset > before.Offset+1 {
		m.fill(group, n.at.Offset-1)
	}
	if m.follow.reach(group, n.at) {
		m.handler.DeliverNumbered(msg, n.at)
	}
	n.outcome.tell()
}

// fill delivers what was missed of a group, up to an offset.
func (m *Broker) fill(group string, until uint64) {
	for {
		at, ok := m.follow.at(group)
		if !ok || at.Offset >= until {
			return
		}
		p := m.read(group, at)
		if first := p.First; first > at.Offset+1 && m.follow.reach(group, broker.Position{Epoch: p.Epoch, Offset: first - 1}) {
			m.gapsTrimmed.Add(1)
			m.handler.Gap(group, broker.Gap{Reason: broker.GapTrimmed, Position: broker.Position{Epoch: p.Epoch, Offset: first - 1}})
		}
		for i := range p.Messages {
			next := &p.Messages[i]
			if next.Offset <= until && m.follow.reach(group, next.Position) {
				m.filled.Add(1)
				msg := next.Message
				m.handler.DeliverNumbered(&msg, next.Position)
			}
		}
		if len(p.Messages) == 0 {
			return
		}
	}
}

// fillMissed delivers what found no room in the inbox, which is empty now. It returns whether there was something.
func (m *Broker) fillMissed() bool {
	group, ok := m.follow.take()
	if ok {
		m.bus.histories.mu.Lock()
		last := m.bus.histories.position(group).Offset
		m.bus.histories.mu.Unlock()
		m.fill(group, last)
	}
	return ok
}
