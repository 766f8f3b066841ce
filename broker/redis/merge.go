package redis

import (
	"slices"

	"github.com/google/uuid"
)

// After a broken connection an instance has what it missed from several sources: each publisher sends its plain messages
// again, and the numbered ones of each group are read from its stream. A merge delivers all of them in an order in which
// Redis may have passed them on:
//
//   - the numbered messages of a group by number, and the plain ones of a publisher by its count;
//   - a numbered message behind all plain ones of its publisher with lower counts, as its batch was sent behind them;
//   - any message of a client behind the numbered ones of that client with lower counts, as the hub has waited for their
//     completions.
//
// All of these hold for the true order, so that there is always a message which may go next. A merge begins when a
// connection breaks, and delivers nothing until all groups have been read and a probe has returned behind that. It ends when nothing waits any more, and no
// live publisher has still to answer; at the latest after limits.fences, or with more than maxMergeBytes. What waits
// then is delivered, and the order between the sources is not kept for what comes later. Without groups with history
// there is none.
type merge struct {
	begun   int64                  // when the connection was complete
	late    bool                   // nothing is waited for any more
	marked  int64                  // when a probe was asked for behind the last page that was read; zero: none was
	caught  bool                   // what Redis had passed on when that page was read has come
	groups  map[*sequence]struct{} // with numbered messages that wait
	origins map[*origin]struct{}   // with plain messages that wait
	numbers map[author]*tally      // of the numbered messages that wait
	bytes   int                    // of these
}

// author is a client at one process of an instance.
type author struct {
	at     originKey
	sender uuid.UUID
}

// tally is the counts that the publisher gave to an author's numbered messages.
type tally struct {
	counts []uint64
	mixed  bool // they don't rise
}

// waitingMessage is a plain message that waits for its turn.
type waitingMessage struct {
	heldMessage
	sender uuid.UUID
}

// Bounds of a merge.
const (
	maxMergeBytes  = 32 << 20
	queuedOverhead = 256 // of a numbered message that waits, beside its payload
)

func newMerge() *merge {
	return &merge{
		groups: make(map[*sequence]struct{}), origins: make(map[*origin]struct{}), numbers: make(map[author]*tally),
	}
}

func (q *queued) author() author {
	return author{originKey{q.message.From, q.by.run}, q.message.Sender}
}

// add notes q, which was queued.
func (m *merge) add(s *sequence, q *queued) {
	m.groups[s] = struct{}{}
	m.bytes += len(q.message.Payload) + queuedOverhead
	if q.gap != 0 || q.message.Sender == (uuid.UUID{}) {
		return
	}
	t := m.numbers[q.author()]
	if t == nil {
		t = &tally{}
		m.numbers[q.author()] = t
	}
	n := len(t.counts)
	t.mixed = t.mixed || n > 0 && q.by.pubSeq < t.counts[n-1]
	t.counts = append(t.counts, q.by.pubSeq)
}

// remove notes that q waits no more.
func (m *merge) remove(q *queued) {
	m.bytes -= len(q.message.Payload) + queuedOverhead
	t := m.numbers[q.author()]
	if q.gap != 0 || t == nil {
		return
	}
	if i := slices.Index(t.counts, q.by.pubSeq); i == 0 {
		t.counts = t.counts[1:]
	} else if i > 0 {
		t.counts = slices.Delete(t.counts, i, i+1)
	}
	if len(t.counts) == 0 {
		delete(m.numbers, q.author())
	}
}

// drop notes that nothing that s has queued will be delivered.
func (m *merge) drop(s *sequence) {
	for i := range s.fill.queue.Len() {
		q := s.fill.queue.At(i)
		m.remove(&q)
	}
	delete(m.groups, s)
}

// behind reports whether a numbered message of a that waits precedes one of a with that count.
func (m *merge) behind(a author, pubSeq uint64) bool {
	t := m.numbers[a]
	if t == nil {
		return false
	}
	if t.mixed {
		slices.Sort(t.counts)
		t.mixed = false
	}
	return t.counts[0] < pubSeq
}

// pass delivers a plain message at once, or has it wait for the next mergeOn. raw is its wire form.
func (r *receiver) pass(o *origin, f *frame, raw []byte) {
	if r.merge == nil {
		r.take(o, f)
		return
	}
	o.waiting.PushBack(waitingMessage{heldMessage{f.pubSeq, slices.Clone(raw)}, f.Sender})
	r.merge.origins[o] = struct{}{}
	if o.waitingBytes += len(raw); o.waitingBytes > maxHeldBytes {
		for o.waiting.Len() > 0 {
			r.takeWaiting(o)
		}
	}
}

// takeWaiting delivers the first of the plain messages that wait.
func (r *receiver) takeWaiting(o *origin) {
	w, _ := o.waiting.PopFront()
	o.waitingBytes -= len(w.raw)
	var f frame
	if w.pubSeq <= o.last {
		r.stats.duplicates.Add(1)
	} else if parseFrame(w.raw, &f) == nil { // it was parsed before
		r.take(o, &f)
	}
	if o.waiting.Len() > 0 {
		return
	}
	if r.merge != nil {
		delete(r.merge.origins, o)
	}
	if b := o.positions; b != nil {
		o.positions = nil
		_ = r.countLost(o, b) // it was read before
	}
}

// newest returns the highest count of the messages that were taken, or wait.
func (o *origin) newest() uint64 {
	if n := o.waiting.Len(); n > 0 {
		return max(o.last, o.waiting.At(n-1).pubSeq)
	}
	return o.last
}

// isAwaited reports whether the publisher is expected to send what was missed.
func (r *receiver) isAwaited(o *origin, now int64) bool {
	return o.recovery != nil && now-o.recovery.begun < int64(r.limits.fences) && r.alive(o.key.node)
}

// isBlocked reports whether the first numbered message of s must wait.
func (r *receiver) isBlocked(s *sequence, now int64) bool {
	q := s.fill.queue.At(0)
	if q.gap != 0 {
		return false
	}
	a := q.author()
	if o := r.origins[a.at]; o != nil {
		if o.waiting.Len() > 0 && o.waiting.At(0).pubSeq < q.by.pubSeq {
			return true
		}
		if !r.merge.late && o.newest() < q.by.pubSeq && r.isAwaited(o, now) {
			return true
		}
	}
	return r.merge.behind(a, q.by.pubSeq)
}

// mergeFor begins a merge where f's publisher is asked for plain messages that precede f. It needs mu.
func (r *receiver) mergeFor(f *frame, now int64) {
	if r.rejoined == 0 || now-r.rejoined >= rejoinWindow+int64(r.limits.fences) || f.From == r.self {
		return
	}
	o := r.origins[originKey{f.From, f.run}]
	if o == nil && now-r.rejoined < rejoinWindow {
		o = r.origin(f, now)
	}
	if r.merge == nil && o != nil && o.newest() < f.pubSeq && r.isAwaited(o, now) {
		r.merge = newMerge()
		r.merge.begun, r.merge.marked, r.merge.caught = now, now, true // nothing is read for it
	}
}

// mergeOn delivers what may go, and ends the merge where nothing more is to come. It needs mu.
func (r *receiver) mergeOn() {
	m := r.merge
	if m == nil || r.away {
		return
	}
	now := r.now()
	m.late = m.late || now-m.begun >= int64(r.limits.fences) || m.bytes > maxMergeBytes
	if !m.late && (!r.isLoaded() || !r.hasCaughtUp(now)) {
		return
	}
	for r.mergeRound(now) || m.late && r.mergeForced() {
	}
	if !m.late && (len(m.groups)+len(m.origins) > 0 || r.isAnyAwaited(now)) {
		return
	}
	r.merge = nil
	for s := range r.filling {
		r.endFill(s)
	}
	r.releaseFences()
}

// hasCaughtUp reports whether all has come that Redis had passed on when the last page was read: the page may have
// messages that come behind others on the connection.
func (r *receiver) hasCaughtUp(now int64) bool {
	if m := r.merge; m.marked == 0 {
		m.marked = now
		r.probe()
	}
	return r.merge.caught
}

// caughtUp is called when a probe has returned that was sent then.
func (r *receiver) caughtUp(sent int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.merge; m != nil && m.marked != 0 && sent >= m.marked {
		m.caught = true
		r.mergeOn()
	}
}

// isLoaded reports whether all that was missed of groups with history has been read.
func (r *receiver) isLoaded() bool {
	for s := range r.filling {
		if !s.fill.loaded {
			return false
		}
	}
	return true
}

func (r *receiver) isAnyAwaited(now int64) bool {
	for _, o := range r.origins {
		if r.isAwaited(o, now) {
			return true
		}
	}
	return false
}

// mergeRound delivers of each source what may go, and reports whether there was any.
func (r *receiver) mergeRound(now int64) (any bool) {
	m := r.merge
	for s := range m.groups {
		for s.fill.queue.Len() > 0 && !r.isBlocked(s, now) {
			r.deliverFirst(s)
			any = true
		}
		if s.fill.queue.Len() == 0 {
			delete(m.groups, s)
		}
	}
	for o := range m.origins {
		for o.waiting.Len() > 0 {
			w := o.waiting.At(0)
			if m.behind(author{o.key, w.sender}, w.pubSeq) {
				break
			}
			r.takeWaiting(o)
			any = true
		}
	}
	return any
}

// mergeForced delivers one message out of its turn, and reports whether there was one. Only messages that don't come from
// a hub wait for each other in a circle.
func (r *receiver) mergeForced() bool {
	for s := range r.merge.groups {
		r.deliverFirst(s)
		return true
	}
	for o := range r.merge.origins {
		r.takeWaiting(o)
		return true
	}
	return false
}

// countLostBehind is countLost behind what waits.
func (r *receiver) countLostBehind(o *origin, positions []byte) error {
	if o.waiting.Len() == 0 {
		return r.countLost(o, positions)
	}
	o.positions = slices.Clone(positions)
	return eachPosition(positions, func(position) {})
}
