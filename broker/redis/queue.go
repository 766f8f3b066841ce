package redis

import (
	"errors"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/arena"
	"github.com/mastersocket/mastersocket/broker/internal/deque"
)

// The publisher's measures.
const (
	entryOverhead = 160     // bytes that a waiting message costs beside its command
	windowBytes   = 1 << 20 // sent and not answered, at most
	writeBytes    = 64 << 10
)

// publisher is the queue of everything that this instance publishes, in three stretches: messages that wait, messages
// sent and not answered, and messages answered lately, which are kept for instances that missed them.
//
// Messages of the Handler go by the data lane and are numbered. Messages between brokers go by the control lane, which is
// always served first. Nothing in the control lane depends on its place among the data, with one exception: a message
// resent precedes all data sent after it, which the lane's precedence ensures.
type publisher struct {
	names     *names
	self      broker.NodeID
	run       uint64
	now       func() int64                                                                   // nanoseconds since the Broker was made
	ownsub    func(kind broker.Kind, group []byte, sent int64) bool                          // whether this instance is among the receivers of its own message
	pressure  func(on bool)                                                                  // called with mu held
	expected  func(kind broker.Kind, to broker.NodeID, group []byte, sent int64) expectation // called with mu held
	barrier   func() *frame                                                                  // makes a kindProbe that leaves now; called with mu held
	unreached func(broker.NodeID)                                                            // an instance did not take what was sent to it; called with mu held
	limits    publisherLimits
	stats     *counters
	told      *arrivals
	wake      chan struct{} // holds a token when a writer that waits has something to do

	mu            sync.Mutex
	arena         arena.Arena
	spare         []*entry
	control, data deque.Deque[*entry] // waiting
	inflight      deque.Deque[*entry]
	recent        deque.Deque[*entry]
	bytes         int // of data, waiting and in flight
	controlBytes  int // the same of control
	inflightBytes int
	recentBytes   int
	open          int                      // recent messages with an open fate
	doubts        deque.Deque[doubt]       // of those, the ones of which Redis counts more receivers than expected
	barrierOut    bool                     // a barrier is under way
	resuming      map[broker.NodeID]uint64 // the request of each instance that is being answered
	appends       appends
	scratch       []byte
	pubSeq        uint64
	global        *channelSeq
	nodes         map[broker.NodeID]*channelSeq
	groups        map[string]*channelSeq
	nextSweep     int64
	unannounced   []*channelSeq // with positions that wait to be told
	idle          bool          // the writer waits for wake
	high          bool          // above the high-water mark
	closed        bool          // for the Handler's messages
	ended         bool          // for everything
}

type publisherLimits struct {
	bytes       int // of data waiting or in flight
	recentBytes int
	age         time.Duration // of a message that waits, or is kept
	unheard     time.Duration // of a message with an open fate
}

// entry is one command.
type entry struct {
	buf     []byte // the whole command, in block
	block   *arena.Block
	frame   int    // where the message begins in buf
	pubSeq  uint64 // zero in the control lane
	chanSeq uint64 // zero: it does not count
	channel *channelSeq
	kind    broker.Kind
	to      broker.NodeID
	queued  int64
	sent    int64             // when it was last sent; zero: never
	resent  bool              // it was sent before, on a connection that broke
	batch   *batch            // of an append; the rest is then empty but for sent
	had     bool              // an instance asked for it and was sent it
	struck  bool              // no instance may deliver it any more
	heard   int               // receivers that Redis counted, while that number is in doubt; zero: it is not
	done    broker.Completion // nil once it was told
}

func (e *entry) cost() int       { return len(e.buf) + entryOverhead }
func (e *entry) message() []byte { return e.buf[e.frame : len(e.buf)-2] }
func (e *entry) group() []byte {
	m := e.message()
	return m[headerFixed : headerFixed+int(m[7])]
}

var errGroupName = errors.New("broker: publish: the group's name is longer than 255 bytes")

// outcome is a Completion to be called without locks held.
type outcome struct {
	done      broker.Completion
	instances int
	err       error
}

func report(outcomes []outcome) {
	for _, o := range outcomes {
		if o.done != nil {
			o.done.Published(o.instances, o.err)
		}
	}
}

// publish queues a message of the Handler. An error is the outcome.
func (p *publisher) publish(m *broker.Message, done broker.Completion) error {
	f := frame{Message: *m, run: p.run}
	f.From = p.self
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.stats.refusedClosed.Add(1)
		return broker.ErrClosed
	}
	need := p.names.commandLen(&f) + entryOverhead
	if p.bytes+need > p.limits.bytes {
		p.stats.refusedFull.Add(1)
		return broker.ErrUnavailable
	}
	if len(f.Group) > maxGroupLen {
		return errGroupName
	}
	p.pubSeq++
	f.pubSeq = p.pubSeq
	channel := p.countOnChannel(&f)
	e, err := p.newEntry(&f, done)
	if err != nil {
		return err
	}
	e.channel, e.chanSeq = channel, f.chanSeq
	p.stats.published.Add(1)
	p.bytes += e.cost()
	p.data.PushBack(e)
	if !p.high && p.bytes > p.limits.bytes/2 {
		p.high = true
		p.pressure(true)
	}
	p.signal()
	return nil
}

// send queues a message between brokers. It returns false only where the Broker was closed.
func (p *publisher) send(f *frame, done broker.Completion) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queueControl(f, done)
}

func (p *publisher) queueControl(f *frame, done broker.Completion) bool {
	if p.ended {
		return false
	}
	f.From, f.run = p.self, p.run
	e, err := p.newEntry(f, done)
	if err != nil {
		return false
	}
	p.controlBytes += e.cost()
	p.control.PushBack(e)
	p.signal()
	return true
}

func (p *publisher) spareEntry() (e *entry) {
	last := len(p.spare) - 1
	if last < 0 {
		return new(entry)
	}
	e, p.spare = p.spare[last], p.spare[:last]
	return e
}

func (p *publisher) newEntry(f *frame, done broker.Completion) (*entry, error) {
	e := p.spareEntry()
	buf, block := p.arena.Take(p.names.commandLen(f))
	command, at, err := p.names.appendCommand(buf, f)
	if err != nil {
		p.arena.Release(block)
		return nil, err
	}
	*e = entry{
		buf: command, block: block, frame: at, pubSeq: f.pubSeq, kind: f.Kind, to: f.To, queued: p.now(), done: done,
	}
	return e, nil
}

// free ends an entry's life.
func (p *publisher) free(e *entry) {
	p.arena.Release(e.block)
	*e = entry{}
	if len(p.spare) < 1024 {
		p.spare = append(p.spare, e)
	}
}

// The bounds of the counts. One that was not used for long, or is one too many, begins again from 1, which receivers
// recognize.
const (
	maxGroupCounts = 1 << 16
	maxNodeCounts  = 1 << 12
	countIdle      = int64(10 * time.Minute)
)

// countOnChannel numbers f on its channel and returns the count, or nil where no instance is expected to get f.
func (p *publisher) countOnChannel(f *frame) *channelSeq {
	now := p.now()
	if x := p.expected(f.Kind, f.To, f.Group, now); x.none() && x.complete {
		return nil
	}
	ch := p.countOf(f)
	ch.n++
	ch.used = now
	f.chanSeq = ch.n
	return ch
}

// countOf returns the count of the channel that f goes to.
func (p *publisher) countOf(f *frame) *channelSeq {
	switch f.Kind {
	case broker.KindGlobal:
		return p.global
	case broker.KindGroup:
		ch := p.groups[string(f.Group)]
		if ch == nil {
			sweepCounts(p.groups, maxGroupCounts, p.now())
			ch = &channelSeq{kind: broker.KindGroup, group: string(f.Group)}
			p.groups[ch.group] = ch
		}
		return ch
	}
	ch := p.nodes[f.To]
	if ch == nil {
		sweepCounts(p.nodes, maxNodeCounts, p.now())
		ch = &channelSeq{kind: broker.KindDirect, to: f.To}
		p.nodes[f.To] = ch
	}
	return ch
}

// sweepCounts makes room for one more count where there are limit: it forgets those that were not used for long, and
// some others if that is not enough.
func sweepCounts[K comparable](counts map[K]*channelSeq, limit int, now int64) {
	if len(counts) < limit {
		return
	}
	forgetIdle(counts, now)
	for k := range counts {
		if len(counts) <= limit*15/16 {
			return
		}
		delete(counts, k)
	}
}

// forgetIdle forgets the counts that were not used for long.
func forgetIdle[K comparable](counts map[K]*channelSeq, now int64) {
	for k, ch := range counts {
		if now-ch.used > countIdle {
			delete(counts, k)
		}
	}
}

// poke wakes the writer where it waits.
func (p *publisher) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal()
}

// signal wakes the writer where it waits. It needs mu.
func (p *publisher) signal() {
	if !p.idle {
		return
	}
	p.idle = false
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
