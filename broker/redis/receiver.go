package redis

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// receiver brings what other instances published to the Handler, each message at most once and in its publisher's
// order: a message is delivered only if its number is higher than that of every message delivered before from the
// same publisher. Nothing else decides about order and duplicates, whatever connections broke.
//
// When the subscriber's connection was broken, messages may have been missed. On the new one receiver asks each
// publisher for what it sent since the last message that was delivered. Until the publisher says that this was all,
// messages that arrive on the channels are held back, as some of those asked for precede them.
type receiver struct {
	self    broker.NodeID
	now     func() int64
	handler broker.Handler
	subs    *subscriptions
	stats   *counters
	alive   func(broker.NodeID) bool              // whether it has a lease
	ask     func(o *origin, request, last uint64) // sends a kindResume
	limits  receiverLimits

	mu       sync.Mutex // held during Deliver, so never waited for by anybody but the reader and its link
	origins  map[originKey]*origin
	away     bool              // the connection is broken, or its successor not complete
	fences   []*broker.Message // with FlagFence, set aside
	rejoined int64             // when the last broken connection was replaced; zero: none was
	nextTick int64

	goneMu sync.Mutex
	ended  []broker.NodeID // instances whose lease ended, until the next tick
}

type receiverLimits struct {
	wait   time.Duration // for what was asked for
	retry  time.Duration
	forget time.Duration // after the last message of an instance without a lease
}

// originKey is one process that publishes. A node id alone could be drawn again.
type originKey struct {
	node broker.NodeID
	run  uint64
}

// origin is what is known of one publisher. It outlives the lease: a process that was paused may come back and send
// again what it had no answer to.
type origin struct {
	key      originKey
	last     uint64 // the highest pubSeq that was taken
	lastAt   int64
	recovery *recovery
}

// recovery is the wait for messages that may have been missed.
type recovery struct {
	request  uint64
	asked    bool
	deadline int64
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
func (r *receiver) data(f *frame, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origin(f)
	switch {
	case f.pubSeq <= o.last:
		r.stats.duplicates.Add(1)
	case o.recovery != nil:
		r.hold(o, f.pubSeq, raw)
	default:
		r.take(o, f)
	}
	r.tickLocked(o.lastAt)
}

// origin finds or makes what is known of f's publisher. One that is heard of first soon after a broken connection
// may have sent more, which is asked for.
func (r *receiver) origin(f *frame) *origin {
	key := originKey{f.From, f.run}
	o := r.origins[key]
	if o == nil {
		o = r.newOrigin(key)
		if r.rejoined != 0 && r.now()-r.rejoined < rejoinWindow {
			r.recover(o)
			r.askFor(o)
		}
	}
	o.lastAt = r.now()
	return o
}

func (r *receiver) newOrigin(key originKey) *origin {
	if len(r.origins) >= maxOrigins {
		r.forgetOldest()
	}
	o := &origin{key: key, lastAt: r.now()}
	r.origins[key] = o
	return o
}

// take delivers a message that is not a duplicate and counts what is missing before it.
func (r *receiver) take(o *origin, f *frame) {
	o.last = f.pubSeq
	sub, want, gen := r.subs.channelOf(f)
	if sub == nil {
		return // the last member has left
	}
	r.countMissed(o, f, sub, gen)
	if !want || f.Flags&flagStruck != 0 {
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
	if sub.seen == nil || sub.seenGen != gen {
		sub.seen, sub.seenGen = make(map[*origin]uint64), gen
	}
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
	if rec.bytes > maxHeldBytes {
		r.stats.unresumed.Add(1)
		r.finish(o)
	}
}

// connected is called before the first message of a connection that replaces a broken one; live are the instances
// that may have published meanwhile.
func (r *receiver) connected(live []originKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejoined = r.now()
	for _, key := range live {
		o := r.origins[key]
		if o == nil {
			o = r.newOrigin(key)
		}
		r.recover(o)
	}
}

func (r *receiver) recover(o *origin) {
	o.recovery = &recovery{request: rand.Uint64(), deadline: r.now() + int64(r.limits.wait)}
}

// joined is called once every channel is subscribed on the new connection, so that what is sent from now on arrives by
// itself, and the publisher has one too.
func (r *receiver) joined() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
	for _, o := range r.origins {
		if o.recovery != nil {
			r.askFor(o)
		}
	}
}

func (r *receiver) askFor(o *origin) {
	now := r.now()
	if !o.recovery.asked {
		o.recovery.asked, o.recovery.deadline = true, now+int64(r.limits.wait)
	}
	o.recovery.nextAsk = now + int64(r.limits.retry)
	r.ask(o, o.recovery.request, o.last)
}

// recovered takes a message that was asked for; raw is its wire form. One that was sent after a message that is held
// back must wait too: it may be the publisher's next one to this instance, but need not.
func (r *receiver) recovered(from originKey, request uint64, inner *frame, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origins[from]
	if o == nil || o.recovery == nil || o.recovery.request != request {
		return
	}
	now := r.now()
	o.recovery.deadline, o.recovery.nextAsk = now+int64(r.limits.wait), now+int64(r.limits.retry)
	switch {
	case inner.pubSeq <= o.last:
		r.stats.duplicates.Add(1)
	case len(o.recovery.held) > 0 && inner.pubSeq > o.recovery.first:
		r.hold(o, inner.pubSeq, raw)
	default:
		r.stats.recovered.Add(1)
		r.take(o, inner)
	}
}

// recoveryEnded ends a recovery: everything that was asked for has come, as far as the publisher still had it.
func (r *receiver) recoveryEnded(from originKey, request uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.origins[from]; o != nil && o.recovery != nil && o.recovery.request == request {
		r.finish(o)
	}
}

// finish delivers what was held, in order. Gaps in it are counted as it is taken.
func (r *receiver) finish(o *origin) {
	held := o.recovery.held
	o.recovery = nil
	slices.SortFunc(held, func(a, b heldMessage) int { return cmp.Compare(a.pubSeq, b.pubSeq) })
	var f frame
	for _, h := range held {
		switch {
		case h.pubSeq <= o.last:
			r.stats.duplicates.Add(1)
		case parseFrame(h.raw, &f) == nil: // it was parsed before it was held
			r.take(o, &f)
		}
	}
	r.releaseFences()
}

// tick asks again, gives up waiting, and forgets. While a message is being delivered it does nothing: data does the
// same when its time has come.
func (r *receiver) tick() {
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.tickLocked(r.now())
	}
}

// tickEvery is how often tick is worth its while, in nanoseconds.
const tickEvery = int64(20 * time.Millisecond)

func (r *receiver) tickLocked(now int64) {
	if now < r.nextTick {
		return
	}
	r.nextTick = now + tickEvery
	ended := r.takeEnded()
	for key, o := range r.origins {
		if o.recovery != nil {
			if slices.Contains(ended, key.node) {
				r.finish(o)
			} else {
				r.tickRecovery(o, now)
			}
		}
		if now-o.lastAt > int64(r.limits.forget) && !r.alive(key.node) {
			r.forget(o)
		}
	}
	r.releaseFences()
}

func (r *receiver) tickRecovery(o *origin, now int64) {
	switch rec := o.recovery; {
	case now > rec.deadline:
		r.stats.unresumed.Add(1)
		r.finish(o)
	case rec.asked && now > rec.nextAsk:
		r.askFor(o)
	}
}

// disconnected is called after the last message of a connection. What was held back will come again: until it does,
// time must not make anything of it.
func (r *receiver) disconnected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	for _, o := range r.origins {
		o.recovery = nil
	}
}

// gone ends, with the next tick, the wait for an instance whose lease ended.
func (r *receiver) gone(node broker.NodeID) {
	r.goneMu.Lock()
	defer r.goneMu.Unlock()
	r.ended = append(r.ended, node)
}

func (r *receiver) takeEnded() []broker.NodeID {
	r.goneMu.Lock()
	defer r.goneMu.Unlock()
	ended := r.ended
	r.ended = nil
	return ended
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
	delete(r.origins, o.key)
	r.subs.forget(o)
}
