package hub

import (
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// The bounds of requests.
const (
	maxRequests  = 1024  // open ones of a client
	maxReceivers = 65536 // of one request, by the numbers of members that are known
	maxShares    = 4096  // instances that a request is told of
)

const (
	// closingTime is how long a request that is cancelled, or whose time is over, waits for the last word of the loops and
	// instances that have receivers, in milliseconds.
	closingTime = 250
	// reportTime is how long a request to many waits, once the broker has taken it, for the reports of instances that are not
	// known to have members, in milliseconds. The broker counts live instances only, which report soon.
	reportTime = 1000
	// reportsAgain is after how many milliseconds more the requester's loop looks again whether those that are known to have
	// members still do.
	reportsAgain = 100
)

// requestState is how far a request has come.
type requestState uint8

const (
	requestFree    requestState = iota // the place is not used
	requestOpen                        // answers may come
	requestDrawing                     // an ANY that waits for another member
	requestClosing                     // its receivers are being told that it is over
)

// request is an open request of a client. It belongs to the client's loop.
type request struct {
	t       *tracked // of the last attempt
	session *session
	wider   *wider // what few requests need; nil for none

	uses       uint32 // of the place
	index      uint32 // of the place, from 1
	next, prev uint32 // the client's other requests; next of a free place: the next free one
	chain      uint32 // the next in the bucket
	due        uint32 // loop clock: when it is looked at
	deadline   uint32 // loop clock: when its time is over
	heap       int32  // its place in requests.heap
	began      uint32 // in units of beganUnit

	receivers int32 // of former attempts
	replied   int32
	passed    int32
	here      portion // of its own instance or, of a message to one client, of the instance that it went to

	state  requestState
	target intent.Target
	spread bool // how many instances have it is known
	ended  ending
}

// ending is why a request was closed.
type ending uint8

const (
	endedByItself ending = iota
	endedByTime
	endedByCancel
)

// reason returns why an answer that had not come by then is missing.
func (e ending) reason() string {
	if e == endedByCancel {
		return opcodes.MissingCancelled
	}
	return opcodes.MissingTimeout
}

// portion is what is known of a request's receivers on one instance.
type portion struct {
	node      broker.NodeID
	reports   int32 // that are due
	receivers int32 // reported so far
	done      int32 // parts that are over
	old       bool  // of a release that does not say what becomes of a request
	reported  bool  // another instance has said how many receivers it has
	lost      bool  // the instance is gone
}

// isOver reports whether nothing more is to come from the instance.
func (s *portion) isOver() bool { return !s.old && s.reports == 0 && s.done >= s.receivers }

// wider is what a request needs that goes to several instances, is handed on, or has answers missing.
type wider struct {
	shares   []portion // of other instances
	expected int       // instances that took it, as the broker says
	spreadAt uint32    // loop clock: when it said so
	missing  []opcodes.Missing
	left     int    // missing ones without a place there
	name     []byte // of the group, of an ANY or a message to many

	// Of an ANY that is handed on.
	retry   *transport.Buffer // the message as the first receiver got it; nil where it is not handed on
	had     []uuid.UUID       // clients that passed it
	avoid   []broker.NodeID   // instances without another member
	wait    uint32            // in milliseconds, before it is drawn again
	anyLost bool              // a member got it, or was to, and went
	why     string            // the reason why no member got it at last; empty for none
}

func (r *request) widen() *wider {
	if r.wider == nil {
		r.wider = new(wider)
	}
	return r.wider
}

// requests are the open requests of a loop's clients.
type requests struct {
	shard   *shard
	chunks  []*[requestChunk]request
	free    uint32 // the first free place
	used    uint32 // the highest place that was ever used
	open    int
	buckets []uint32 // by hash of requester and id
	heap    []uint32 // places of requests, by due
	timer   *time.Timer
	armed   bool
	armedAt uint32 // loop clock
}

const requestChunk = 64 // requests that are allocated together

// beganUnit is the resolution of the time that a request takes; 32 bits of it are more than the longest timeout.
const beganUnit = 16 * time.Microsecond

// turnBegan returns when the loop's turn began, in units of beganUnit. To ask the system for the time would cost more.
func (sh *shard) turnBegan() uint32 { return uint32(sh.loop.TurnBegan() / beganUnit) }

// asking returns the loop's open requests, for one to be added.
func (sh *shard) asking() *requests {
	if sh.requests == nil {
		sh.requests = &requests{shard: sh, buckets: make([]uint32, 64)}
	}
	return sh.requests
}

func (q *requests) at(i uint32) *request { return &q.chunks[(i-1)/requestChunk][(i-1)%requestChunk] }

// find returns the open request with that id of the requester; nil for none.
func (q *requests) find(requester *uuid.UUID, hash uint32, id []byte) *request {
	if q == nil {
		return nil
	}
	for i := q.buckets[hash&uint32(len(q.buckets)-1)]; i != 0; {
		r := q.at(i)
		if r.t.hash == hash && r.t.isFor(requester, id) {
			return r
		}
		i = r.chain
	}
	return nil
}

// named returns the request that a handle names; nil if it is settled.
func (q *requests) named(h handle) *request {
	if q == nil || h.index() == 0 || h.index() > q.used {
		return nil
	}
	r := q.at(h.index())
	if r.state == requestFree || r.t.handle != h {
		return nil
	}
	return r
}

// lastAttempt returns the request as this loop has it, of which another one has t; nil if it is settled.
func (q *requests) lastAttempt(t *tracked) *tracked {
	if r := q.named(t.handle); r.hears(t.attempt) {
		return r.t
	}
	return nil
}

// add opens a request of the client. t has everything but the handle.
func (q *requests) add(s *session, t *tracked, timeout time.Duration) *request {
	if q.open++; q.open > len(q.buckets) {
		q.rehash()
	}
	i := q.free
	if i != 0 {
		q.free = q.at(i).next
	} else {
		if int(q.used) == requestChunk*len(q.chunks) {
			q.chunks = append(q.chunks, new([requestChunk]request))
		}
		q.used++
		i = q.used
	}
	r := q.at(i)
	h := q.shard.hub
	clock := q.shard.loop.Clock()
	*r = request{
		t: t, session: s, uses: r.uses + 1, index: i, state: requestOpen, heap: -1,
		deadline: clock + uint32(timeout/time.Millisecond) + 1, began: q.shard.turnBegan(),
	}
	t.handle = newHandle(q.shard.index, r.uses, i)
	b := &q.buckets[t.hash&uint32(len(q.buckets)-1)]
	r.chain, *b = *b, i
	mine := &s.others().requests
	if r.next = mine.first; r.next != 0 {
		q.at(r.next).prev = i
	}
	mine.first = i
	mine.open++
	q.schedule(r, r.deadline)
	h.requestMemory.Add(requestBytes)
	q.shard.count.requests.open.Add(1)
	return r
}

func (q *requests) rehash() {
	q.buckets = make([]uint32, 2*len(q.buckets))
	for i := uint32(1); i <= q.used; i++ {
		if r := q.at(i); r.state != requestFree {
			b := &q.buckets[r.t.hash&uint32(len(q.buckets)-1)]
			r.chain, *b = *b, i
		}
	}
}

// remove forgets a request.
func (q *requests) remove(r *request) {
	link := &q.buckets[r.t.hash&uint32(len(q.buckets)-1)]
	for *link != r.index {
		link = &q.at(*link).chain
	}
	*link = r.chain
	mine := &r.session.others().requests
	if r.next != 0 {
		q.at(r.next).prev = r.prev
	}
	if r.prev != 0 {
		q.at(r.prev).next = r.next
	} else {
		mine.first = r.next
	}
	mine.open--
	q.unschedule(r)
	memory := int64(requestBytes)
	if w := r.wider; w != nil && w.retry != nil {
		memory += int64(len(w.retry.Payload()))
		w.retry.Release()
	}
	q.shard.hub.requestMemory.Add(-memory)
	q.shard.count.requests.open.Add(-1)
	q.open--
	index := r.index
	*r = request{uses: r.uses, next: q.free}
	q.free = index
}

// ownRequests are a client's open requests.
type ownRequests struct {
	first uint32
	open  int32
}

// openRequests returns how many requests of the client are not settled.
func (s *session) openRequests() int { return int(s.extra().requests.open) }

// shareOf returns what is known of the instance, which is added if nothing is; nil if there are too many.
func (r *request) shareOf(node broker.NodeID) *portion {
	if r.here.node == node || r.isToOne() {
		return &r.here
	}
	w := r.widen()
	for i := range w.shares {
		if w.shares[i].node == node {
			return &w.shares[i]
		}
	}
	if len(w.shares) >= maxShares {
		return nil
	}
	w.shares = append(w.shares, portion{node: node, reports: 1})
	return &w.shares[len(w.shares)-1]
}

// eachShare calls f for every instance that the request is on.
func (r *request) eachShare(f func(*portion)) {
	f(&r.here)
	if r.wider != nil {
		for i := range r.wider.shares {
			f(&r.wider.shares[i])
		}
	}
}

// addMissing notes answers that don't come.
func (r *request) addMissing(all ...opcodes.Missing) {
	for _, m := range all {
		if w := r.widen(); len(w.missing) < maxMissing {
			w.missing = append(w.missing, m)
		} else {
			w.left += max(m.Count, 1)
		}
	}
}

// isComplete reports whether no answer can come any more.
func (sh *shard) isComplete(r *request) bool {
	if !r.spread || r.state == requestDrawing {
		return false
	}
	over := true
	r.eachShare(func(s *portion) { over = over && s.isOver() })
	return over && (!r.isUnheard() || sh.loop.Clock()-r.wider.spreadAt >= reportTime)
}

// isUnheard reports whether the request may be on instances of which nothing is known: fewer said how many receivers they
// have than the broker counted, or the broker did not say how many there are.
func (r *request) isUnheard() bool {
	switch w := r.wider; {
	case r.isToOne():
		return false
	case !r.spread:
		return true
	case w == nil:
		return false
	default:
		return w.accounted() < w.expected
	}
}

// accounted returns of how many other instances is known what became of the request there, or that it is not known.
func (w *wider) accounted() (n int) {
	for i := range w.shares {
		if s := &w.shares[i]; s.reported || s.lost || s.old || s.reports > 0 {
			n++
		}
	}
	return n
}

func (r *request) isToOne() bool { return r.target == intent.Direct || r.target == intent.Any }

// hears reports whether news or an answer is about the last attempt of a request that is not settled.
func (r *request) hears(attempt uint8) bool {
	return r != nil && r.t.attempt == attempt && r.state != requestDrawing
}
