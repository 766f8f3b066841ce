package redis

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/deque"
)

// receiver delivers other instances' messages to the Handler, each at most once and in its publisher's order: a message
// is delivered only if its number is higher than those of all messages delivered before from the same publisher. No
// other rule decides about order and duplicates, whatever connections broke.
//
// Messages may have been missed on a broken subscriber's connection. On the new one receiver asks each publisher for
// what it sent since the last message delivered. Until the publisher says that this was all, messages of that publisher
// are held back, as some of those asked for precede them. Where groups have a history, a merge decides which
// message is next.
//
// A publisher may itself be away at that moment, even for so long that its lease ends. It has what it sent for all that,
// so the recovery stays open for as long as it keeps messages (limits.keep), and goes on when it is heard again.
type receiver struct {
	self    broker.NodeID
	now     func() int64
	handler broker.Handler
	subs    *subscriptions
	stats   *counters
	alive   func(broker.NodeID) bool              // whether the instance is live
	ask     func(o *origin, request, last uint64) // sends a kindResume
	warn    func(what string, from broker.NodeID) // logs it; nil: nothing is logged
	limits  receiverLimits

	// Of groups with history: see sequence.
	parseNumber func(raw []byte, f *frame) error
	read        func(group string, from broker.Position, done func(*broker.Page, []publication, error)) // calls done later, with mu free
	probe       func()                                                                                  // sends one that returns to caughtUp
	told        *arrivals
	joins       atomic.Int64 // connections that were complete

	mu       sync.Mutex // held during Deliver: only the reader and its link wait for it
	origins  map[originKey]*origin
	away     bool              // the connection is broken, or its successor not complete
	fences   []*broker.Message // with FlagFence, set aside
	waiting  []func()          // wait like these
	rejoined int64             // when the last broken connection was replaced; zero: none was
	nextTick int64
	dropped  map[originKey]struct{} // publishers that were forgotten; at most maxOrigins

	sequences     map[string]*sequence
	filling       map[*sequence]struct{} // those with a fill
	merge         *merge                 // nil: messages are delivered as they come
	turn          queued                 // the one that is being delivered
	nextSequences int64
}

type receiverLimits struct {
	keep   time.Duration // of a recovery without an answer
	fences time.Duration // of a recovery for which messages with FlagFence wait
	retry  time.Duration // between two requests, at first
	forget time.Duration // after the last message of an instance that isn't live
}

// originKey is one process that publishes. A node id alone may be drawn again.
type originKey struct {
	node broker.NodeID
	run  uint64
}

// origin is one publisher. It outlives the lease: a process that was paused may come back and send again what it had no
// answer to.
type origin struct {
	key      originKey
	last     uint64 // the highest pubSeq that was taken
	lastAt   int64
	parted   bool      // it said that it leaves
	again    bool      // it was forgotten before: what came of it then is not known
	recovery *recovery // nil: nothing is missing

	waiting      deque.Deque[waitingMessage] // for the merge
	waitingBytes int
	positions    []byte // to be counted behind them; nil: none
}

// recovery is the wait for messages that may have been missed.
type recovery struct {
	request  uint64
	begun    int64
	deadline int64
	asked    int // requests sent
	nextAsk  int64
	held     []heldMessage
	first    uint64 // the lowest number in held
	bytes    int
}

// heldMessage is the wire form of a message that waits for those before it.
type heldMessage struct {
	pubSeq uint64
	raw    []byte
}

// Bounds of the receiver's memory.
const (
	maxOrigins   = 4096
	maxHeldBytes = 8 << 20 // per publisher
	rejoinWindow = int64(5 * time.Second)
)

// data takes a message from its channel. raw is its wire form.
func (r *receiver) data(f *frame, raw []byte, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origin(f, now)
	if !r.plausible(o, f, now) {
		return
	}
	o.lastAt = now
	switch {
	case f.pubSeq <= o.newest():
		r.stats.duplicates.Add(1)
	case o.recovery != nil:
		r.hold(o, f.pubSeq, raw)
	default:
		r.pass(o, f, raw)
		r.mergeOn()
	}
	r.tickLocked(o.lastAt)
}

// origin finds or makes what is known of f's publisher. One that is heard of first soon after a broken connection
// may have sent more, which is asked for.
func (r *receiver) origin(f *frame, now int64) *origin {
	key := originKey{f.From, f.run}
	o := r.origins[key]
	if o == nil {
		o = r.newOrigin(key)
		if r.rejoined != 0 && now-r.rejoined < rejoinWindow {
			r.recover(o)
			r.askFor(o)
		}
	}
	return o
}

func (r *receiver) newOrigin(key originKey) *origin {
	if len(r.origins) >= maxOrigins {
		r.forgetOldest()
	}
	o := &origin{key: key, lastAt: r.now()}
	_, o.again = r.dropped[key]
	r.origins[key] = o
	return o
}

// take delivers a message that is not a duplicate and counts what is missing before it.
func (r *receiver) take(o *origin, f *frame) {
	o.last = f.pubSeq
	sub, want, gen := r.subs.channelOf(f)
	if sub != nil {
		r.countMissed(o, f, sub, gen)
	}
	// Without a member left the message has no receiver here. The publisher of one with Extra waits to hear that.
	if !want && len(f.Extra) == 0 || f.Flags&flagStruck != 0 {
		return
	}
	r.stats.received.Add(1)
	if f.Flags&broker.FlagFence != 0 && r.mayMiss() {
		r.setAside(f)
		return
	}
	r.handler.Deliver(&f.Message)
}

func (r *receiver) countMissed(o *origin, f *frame, sub *subscription, gen uint32) {
	if f.chanSeq == 0 {
		return
	}
	sub.startSeen(gen)
	if last, ok := sub.seen[o]; ok && f.chanSeq > last+1 {
		r.stats.missed.Add(f.chanSeq - last - 1)
	}
	sub.seen[o] = f.chanSeq
}

// hold keeps a message back until the recovery has ended.
func (r *receiver) hold(o *origin, pubSeq uint64, raw []byte) {
	rec := o.recovery
	if len(rec.held) == 0 || pubSeq < rec.first {
		rec.first = pubSeq
	}
	rec.held = append(rec.held, heldMessage{pubSeq, bytes.Clone(raw)})
	rec.bytes += len(raw)
	if rec.bytes > maxHeldBytes && len(rec.held) > 1 { // one message of any size may wait
		r.stats.unresumed.Add(1)
		r.finish(o)
	}
}

// connected is called before the first message of a connection that replaces a broken one. live are the instances that
// may have published meanwhile; so may those known from before.
func (r *receiver) connected(live []originKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejoined = r.now()
	for _, key := range live {
		if r.origins[key] == nil {
			r.newOrigin(key)
		}
	}
	for _, o := range r.origins {
		if !o.parted {
			r.recover(o)
		}
	}
}

func (r *receiver) recover(o *origin) {
	now := r.now()
	o.recovery = &recovery{request: rand.Uint64(), begun: now, deadline: now + int64(r.limits.keep)}
}

// joined is called once every channel is subscribed on the new connection, so that later messages arrive by themselves,
// and the publisher has a connection too.
func (r *receiver) joined() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
	if r.merge != nil {
		r.merge.begun = r.now()
	}
	r.sequencesJoined()
	for _, o := range r.origins {
		if o.recovery != nil && r.alive(o.key.node) {
			r.askFor(o)
		}
	}
}

// returned is called when a publisher has a new connection. A request that was sent before may be lost.
func (r *receiver) returned(key originKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.origins[key]; o != nil && o.recovery != nil && !r.away {
		o.recovery.asked = 0
		r.askFor(o)
	}
}

// askFor sends a request. The time to the next one doubles, up to sixteen times the first.
func (r *receiver) askFor(o *origin) {
	rec := o.recovery
	rec.nextAsk = r.now() + int64(r.limits.retry)<<min(rec.asked, 4)
	rec.asked++
	r.ask(o, rec.request, o.last)
}

// recovered takes a message that was asked for; raw is its wire form. One that was sent after a message that is held
// back waits too: it may be the publisher's next one to this instance, but need not.
func (r *receiver) recovered(from originKey, request uint64, inner *frame, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origins[from]
	if o == nil || o.recovery == nil || o.recovery.request != request {
		return
	}
	now := r.now()
	o.recovery.deadline, o.recovery.nextAsk = now+int64(r.limits.keep), now+int64(r.limits.retry)
	switch {
	case !r.plausible(o, inner, now):
	case inner.pubSeq <= o.newest():
		r.stats.duplicates.Add(1)
	case len(o.recovery.held) > 0 && inner.pubSeq > o.recovery.first:
		r.hold(o, inner.pubSeq, raw)
	default:
		r.stats.recovered.Add(1)
		r.pass(o, inner, raw)
		r.mergeOn()
	}
}

// recoveryEnded is called when everything that was asked for has come, as far as the publisher still had it. positions
// show what it had not.
func (r *receiver) recoveryEnded(from originKey, request uint64, positions []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origins[from]
	if o == nil || o.recovery == nil || o.recovery.request != request {
		return nil
	}
	r.finish(o)
	return r.countLostBehind(o, positions)
}

// finish delivers the messages that were held, in order. Gaps are counted as they are taken.
func (r *receiver) finish(o *origin) {
	held := o.recovery.held
	o.recovery = nil
	slices.SortFunc(held, func(a, b heldMessage) int { return cmp.Compare(a.pubSeq, b.pubSeq) })
	var f frame
	for _, h := range held {
		switch {
		case h.pubSeq <= o.newest():
			r.stats.duplicates.Add(1)
		case parseFrame(h.raw, &f) == nil: // it was parsed before it was held
			r.pass(o, &f, h.raw)
		}
	}
	r.mergeOn()
	r.releaseFences()
}

// parted is called after the last message of a publisher that leaves: there is nothing to wait for.
func (r *receiver) parted(key originKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origins[key]
	if o == nil {
		return
	}
	o.parted = true
	if o.recovery != nil {
		r.finish(o)
	}
}

// tick asks again, gives up waiting, and forgets. While a message is being delivered it does nothing: data does the
// same when its time has come.
func (r *receiver) tick() {
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.tickLocked(r.now())
	}
}

// tickEvery is the time between two ticks that do something, in nanoseconds.
const tickEvery = int64(20 * time.Millisecond)

func (r *receiver) tickLocked(now int64) {
	if now < r.nextTick {
		return
	}
	r.nextTick = now + tickEvery
	r.tickSequences(now)
	r.mergeOn()
	for _, o := range r.origins {
		if o.recovery != nil && !r.away {
			r.tickRecovery(o, now)
		}
		if now-o.lastAt > int64(r.limits.forget) && !r.alive(o.key.node) {
			r.forget(o)
		}
	}
	r.releaseFences()
}

func (r *receiver) tickRecovery(o *origin, now int64) {
	rec := o.recovery
	if now <= rec.deadline && now <= rec.nextAsk {
		return
	}
	switch alive := r.alive(o.key.node); {
	case now > rec.deadline:
		if alive {
			r.stats.unresumed.Add(1)
		}
		r.finish(o)
	case alive:
		r.askFor(o)
	}
}

// disconnected is called after the last message of a connection. What was held back will come again: until it does,
// time must not make anything of it.
func (r *receiver) disconnected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away, r.merge = true, nil
	r.sequencesAway()
	if len(r.filling) > 0 {
		r.merge = newMerge()
	}
	for _, o := range r.origins {
		o.recovery, o.positions = nil, nil
		o.waiting, o.waitingBytes = deque.Deque[waitingMessage]{}, 0
	}
}

// forgetOldest makes room for one more origin.
func (r *receiver) forgetOldest() {
	var oldest *origin
	for _, o := range r.origins {
		if oldest == nil || o.lastAt < oldest.lastAt {
			oldest = o
		}
	}
	if oldest != nil {
		r.forget(oldest)
	}
}

func (r *receiver) forget(o *origin) {
	for o.waiting.Len() > 0 {
		r.takeWaiting(o)
	}
	if r.dropped == nil || len(r.dropped) >= maxOrigins {
		r.dropped = make(map[originKey]struct{})
	}
	r.dropped[o.key] = struct{}{}
	delete(r.origins, o.key)
	r.subs.forget(o)
}
