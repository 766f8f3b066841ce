package hub

import (
	"sync"
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
	// graceTime is how long a request to many waits, once the broker has taken it, for instances that it doesn't know to have
	// members, in milliseconds.
	graceTime = 100
	// leftTime is the same for instances that were known to have members, and have none any more.
	leftTime = 1000
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

func (h *Hub) beganNow() uint32 { return uint32(time.Since(h.started) / beganUnit) }

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
		deadline: clock + uint32(timeout/time.Millisecond) + 1, began: h.beganNow(),
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
func (s *session) openRequests() int {
	if !s.hasOthers() {
		return 0
	}
	return int(s.rest.requests.open)
}

// Times. heap is ordered by due, on the loop's clock, which stands still with the loop: what arrived meanwhile is read before
// a request is judged.

func earlier(a, b uint32) bool { return int32(a-b) < 0 }

// schedule has the request looked at when the loop's clock shows due.
func (q *requests) schedule(r *request, due uint32) {
	r.due = due
	if r.heap < 0 {
		r.heap = int32(len(q.heap))
		q.heap = append(q.heap, r.index)
	}
	q.fix(int(r.heap))
	q.arm()
}

func (q *requests) unschedule(r *request) {
	i, last := int(r.heap), len(q.heap)-1
	q.heap[i] = q.heap[last]
	q.at(q.heap[i]).heap = int32(i)
	q.heap = q.heap[:last]
	if i < last {
		q.fix(i)
	}
	r.heap = -1
}

// fix moves the request at i to where it belongs.
func (q *requests) fix(i int) {
	swap := func(a, b int) {
		q.heap[a], q.heap[b] = q.heap[b], q.heap[a]
		q.at(q.heap[a]).heap, q.at(q.heap[b]).heap = int32(a), int32(b)
	}
	for i > 0 && earlier(q.at(q.heap[i]).due, q.at(q.heap[(i-1)/2]).due) {
		swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q.heap); c++ {
			if earlier(q.at(q.heap[c]).due, q.at(q.heap[least]).due) {
				least = c
			}
		}
		if least == i {
			return
		}
		swap(i, least)
		i = least
	}
}

// arm has the loop woken for the request that is due first.
func (q *requests) arm() {
	if len(q.heap) == 0 || q.armed && !earlier(q.at(q.heap[0]).due, q.armedAt) {
		return
	}
	q.armed, q.armedAt = true, q.at(q.heap[0]).due
	wait := time.Duration(max(int32(q.armedAt-q.shard.loop.Clock()), 0)) * time.Millisecond
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, func() { q.shard.loop.Post(wakeRequests{q}) })
		return
	}
	q.timer.Reset(wait)
}

// wakeRequests is the mail of the timer.
type wakeRequests struct{ q *requests }

// Deliver implements transport.Mail: it looks at the requests that are due.
func (w wakeRequests) Deliver(*transport.Loop) {
	q := w.q
	q.armed = false
	now := q.shard.loop.Clock()
	for len(q.heap) > 0 && !earlier(now, q.at(q.heap[0]).due) {
		r := q.at(q.heap[0])
		if r.state != requestClosing && !earlier(now, r.deadline) || r.state == requestClosing {
			r.due = now + closingTime // unless what follows says otherwise
			q.fix(0)
			q.shard.overdue(r)
			continue
		}
		q.schedule(r, r.deadline)
		q.shard.proceed(r)
	}
	q.arm()
}

// Size implements transport.Mail.
func (wakeRequests) Size() int { return 0 }

// overdue handles a request whose time is over, or that has waited for the last word long enough.
func (sh *shard) overdue(r *request) {
	if r.state == requestClosing {
		sh.settle(r)
		return
	}
	sh.closeRequest(r, endedByTime)
}

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
	if !over || r.isToOne() || r.wider == nil || r.wider.expected == 0 {
		return over
	}
	reported := 0
	for i := range r.wider.shares {
		if r.wider.shares[i].reported {
			reported++
		}
	}
	return reported >= r.wider.expected || sh.loop.Clock()-r.wider.spreadAt >= graceTime
}

func (r *request) isToOne() bool { return r.target == intent.Direct || r.target == intent.Any }

// proceed settles the request if it is complete, or says when to look at it again.
func (sh *shard) proceed(r *request) {
	switch {
	case r.state == requestDrawing:
		sh.handOn(r)
	case sh.isComplete(r):
		sh.settle(r)
	case r.state == requestOpen && r.spread && !r.isToOne():
		sh.awaitReports(r)
	}
}

// awaitReports gives up waiting for instances that did not report, and have no members any more, once graceTime has passed
// since the broker took the request.
func (sh *shard) awaitReports(r *request) {
	w := r.wider
	if w == nil || w.expected == 0 {
		return
	}
	if until := w.spreadAt + graceTime; earlier(sh.loop.Clock(), until) {
		if earlier(until, r.due) {
			sh.requests.schedule(r, until)
		}
		return
	}
	known := sh.standings(r)
	waits := false
	for i := range w.shares {
		s := &w.shares[i]
		if s.reports > 0 && !s.reported && !s.old {
			if sh.loop.Clock()-w.spreadAt >= leftTime && !holds(known, s.node) {
				s.reports, s.receivers = 0, max(s.receivers, s.done)
			} else {
				waits = true
			}
		}
	}
	if sh.isComplete(r) {
		sh.settle(r)
	} else if again := sh.loop.Clock() + graceTime; waits && earlier(again, r.deadline) {
		sh.requests.schedule(r, again)
	}
}

// standings returns the other instances that are known to have members of the request's group.
func (sh *shard) standings(r *request) []broker.Standing {
	sh.known = sh.hub.broker.Standings(r.wider.name, sh.known[:0])
	return sh.known
}

func holds(known []broker.Standing, node broker.NodeID) bool {
	for i := range known {
		if known[i].Node == node {
			return true
		}
	}
	return false
}

// hears reports whether news or an answer is about the last attempt of a request that is not settled.
func (r *request) hears(attempt uint8) bool {
	return r != nil && r.t.attempt == attempt && r.state != requestDrawing
}

// answered handles a REPLY of a receiver: it gives it to the requester and returns true, or drops it if the request is settled.
func (sh *shard) answered(v vouch, requester, sender *uuid.UUID, node broker.NodeID, b *transport.Buffer) bool {
	r := sh.requests.named(v.handle)
	if !r.hears(v.attempt) || r.t.requester != *requester {
		sh.count.drop(DropLate)
		return false
	}
	given := sh.give(r.session, sender, b, nil)
	if r = sh.requests.named(v.handle); r == nil || !v.final { // its client may just have been disconnected
		return given
	}
	if s := r.shareOf(node); s != nil {
		if r.isToOne() {
			s.receivers, s.reports = 1, 0 // also where the broker could not tell
		}
		s.done++
		r.replied++
	}
	sh.proceed(r)
	return given
}

// Deliver implements transport.Mail.
func (n *news) Deliver(*transport.Loop) {
	sh := n.shard
	if n.kind == newsCancel {
		sh.receiveCancel(n)
		return
	}
	r := sh.requests.named(n.handle)
	if !r.hears(n.attempt) {
		return
	}
	s := r.shareOf(n.node)
	if s == nil {
		return
	}
	switch n.kind {
	case newsReport:
		sh.reported(r, s, n.receivers)
	case newsOver:
		sh.partsOver(r, s, n)
	}
}

// reported handles how many receivers the request has on one loop here, or on another instance.
func (sh *shard) reported(r *request, s *portion, receivers int) {
	switch {
	case r.isToOne():
		s.receivers, s.reports = int32(receivers), 0 // it was taken for 1
	case s.node == sh.hub.node.ID:
		s.reports--
		s.receivers += int32(receivers)
	case s.reported:
		return
	default:
		s.reports, s.reported = 0, true
		s.receivers = int32(receivers)
	}
	sh.proceed(r)
}

// partsOver handles parts that are over without an answer.
func (sh *shard) partsOver(r *request, s *portion, n *news) {
	if n.none {
		m := opcodes.Missing{Node: sh.nodeName(n.node), Reason: opcodes.MissingNotDelivered}
		if r.isToOne() {
			sh.notDelivered(r, m, n.node)
		} else {
			r.addMissing(m) // and a report follows
		}
		return
	}
	s.done += int32(n.passed + n.gone)
	r.passed += int32(n.passed)
	sh.count.requests.passed.Add(uint64(n.passed))
	r.addMissing(n.missing...)
	if w := r.wider; w != nil {
		w.left += max(n.gone-len(n.missing), 0)
		w.anyLost = w.anyLost || n.gone > 0
	}
	if r.isHandedOn() && !n.begun {
		if n.passed > 0 {
			r.wider.had = append(r.wider.had, n.by)
		}
		sh.handOn(r)
		return
	}
	sh.proceed(r)
}

// isHandedOn reports whether another member is to get the request if its receiver does not answer.
func (r *request) isHandedOn() bool {
	return r.state == requestOpen && r.wider != nil && r.wider.retry != nil
}

// notDelivered handles that a message to one client did not reach any.
func (sh *shard) notDelivered(r *request, m opcodes.Missing, node broker.NodeID) {
	r.here.receivers, r.here.done = 0, 0
	if r.isHandedOn() {
		if node != 0 {
			r.wider.avoid = append(r.wider.avoid, node)
		}
		r.wider.why = m.Reason
		r.t.attempt-- // no client had it
		// A member was there a moment ago, unless those that are there have all had it.
		r.wider.anyLost = r.wider.anyLost || m.Reason != opcodes.MissingUnavailable && len(r.wider.had) == 0
		sh.handOn(r)
		return
	}
	r.addMissing(m)
	sh.proceed(r)
}

// instanceLost handles that another instance is gone.
func (sh *shard) instanceLost(node broker.NodeID, name string) {
	q := sh.requests
	if q == nil {
		return
	}
	for i := uint32(1); i <= q.used; i++ {
		r := q.at(i)
		if r.state == requestFree || r.state == requestDrawing {
			continue
		}
		if r.isToOne() {
			r.here.node = r.t.node // an ANY may have been drawn again
		}
		if r.here.node == node {
			sh.shareLost(r, &r.here, name)
			continue
		}
		if r.wider == nil {
			continue
		}
		for j := range r.wider.shares {
			if s := &r.wider.shares[j]; s.node == node {
				sh.shareLost(r, s, name)
				break
			}
		}
	}
}

// shareLost ends what is left of a request's receivers on an instance that is gone.
func (sh *shard) shareLost(r *request, s *portion, name string) {
	left := s.receivers - s.done
	if s.isOver() {
		return
	}
	s.done, s.reports, s.old = s.receivers, 0, false
	r.addMissing(opcodes.Missing{Node: name, Reason: opcodes.MissingInstance, Count: int(left)})
	r.wider.anyLost = true
	if r.isHandedOn() && left > 0 && r.replied == 0 {
		sh.handOn(r)
		return
	}
	sh.proceed(r)
}

// closeRequest tells everywhere that the answer is not wanted any more, and waits a little for what is on its way.
func (sh *shard) closeRequest(r *request, why ending) {
	drawing := r.state == requestDrawing
	r.state, r.ended = requestClosing, why
	if drawing {
		sh.settle(r)
		return
	}
	sh.cancelEverywhere(r, why.reason(), false)
	if sh.isComplete(r) {
		sh.settle(r)
		return
	}
	sh.requests.schedule(r, sh.loop.Clock()+closingTime)
}

// cancelEverywhere tells the receivers that the answer is not wanted any more. What that makes of the parts on this loop is
// noted at once.
func (sh *shard) cancelEverywhere(r *request, reason string, silent bool) {
	if count, missing := sh.cancelParts(r.t, reason); count > 0 {
		r.here.done += int32(count)
		r.addMissing(missing...)
		r.wider.left += count - len(missing)
	}
	n := news{kind: newsCancel, handle: r.t.handle, attempt: r.t.attempt, node: sh.hub.node.ID, reason: reason, silent: silent}
	r.eachShare(func(s *portion) {
		switch {
		case s.node == 0 || s.isOver() || s.old:
		case s.node != sh.hub.node.ID:
			sh.hub.publishNews(s.node, &n)
		default:
			for _, other := range sh.hub.shards {
				if other != sh {
					c := n
					c.shard = other
					sh.loop.Forward(other.loop, &c)
				}
			}
		}
	})
}

// dropRequests forgets the requests of a client that goes.
func (s *session) dropRequests() {
	if !s.hasOthers() {
		return
	}
	for s.rest.requests.first != 0 {
		sh := s.shard
		r := sh.requests.at(s.rest.requests.first)
		if r.state == requestOpen {
			sh.cancelEverywhere(r, opcodes.MissingCancelled, true)
		}
		sh.requests.remove(r)
	}
}

// settle tells the requester what became of its request, and forgets it.
func (sh *shard) settle(r *request) {
	s, to, id := r.settlement(sh), r.session, r.t.id
	sh.count.requests.settled(r.outcome(&s), time.Duration(sh.hub.beganNow()-r.began)*beganUnit)
	sh.requests.remove(r)
	if f := to.foreign(); f != nil {
		f.settled(id, &s)
		return
	}
	b := transport.AllocBuffer(opcodes.SettledSize(id, &s))
	b.Seal(opcodes.AppendSettled(b.Room(), id, &s))
	to.conn.Send(b)
	b.Release()
}

// settlement returns what became of the request.
func (r *request) settlement(sh *shard) opcodes.Settlement {
	r.eachShare(func(s *portion) {
		s.receivers = max(s.receivers, s.done) // of an instance that did not say how many it has
		left := s.receivers - s.done
		switch {
		case s.node == 0:
		case s.old:
			r.addMissing(opcodes.Missing{Node: sh.nodeName(s.node), Reason: opcodes.MissingOldRelease})
		case left > 0:
			r.addMissing(opcodes.Missing{Node: sh.nodeName(s.node), Reason: r.ended.reason(), Count: int(left)})
		case s.reports > 0:
			r.addMissing(opcodes.Missing{Node: sh.nodeName(s.node), Reason: opcodes.MissingOutcomeUnknown})
		}
	})
	if w := r.wider; w != nil && w.why != "" && r.passed+r.replied == 0 && len(w.missing) == 0 {
		r.addMissing(opcodes.Missing{Reason: w.why})
	}
	out := opcodes.Settlement{Receivers: int(r.receivers), Replied: int(r.replied), Passed: int(r.passed)}
	r.eachShare(func(s *portion) { out.Receivers += int(s.receivers) })
	if r.wider != nil {
		out.Missing, out.More = r.wider.missing, r.wider.left
	}
	return out
}

// outcome returns how a request that is settled ended.
func (r *request) outcome(s *opcodes.Settlement) RequestOutcome {
	switch {
	case s.Receivers > 0 && s.Replied == s.Receivers, r.isToOne() && s.Replied > 0:
		return RequestAnswered
	case r.ended == endedByCancel:
		return RequestCancelled
	case r.ended == endedByTime:
		return RequestTimedOut
	case s.Replied > 0:
		return RequestAnsweredInPart
	case s.Receivers == 0:
		return RequestUndelivered
	}
	return RequestUnanswered
}

// nodeName returns an instance's name.
func (sh *shard) nodeName(node broker.NodeID) string { return nameIn(sh.hub.broker.Nodes(), node) }

// outcomes hear what the broker, and the loops, made of a request's message. One belongs to one message.
type requestHearer struct {
	shard   *shard
	handle  handle
	attempt uint8
	toOne   bool

	others int
	acked  int
	code   opcodes.ErrorCode
}

var requestHearers = sync.Pool{New: func() any { return new(requestHearer) }}

// hearOf returns the feedback of a message of the request.
func (sh *shard) hearOf(r *request) *feedback {
	o := requestHearers.Get().(*requestHearer)
	*o = requestHearer{shard: sh, handle: r.t.handle, attempt: r.t.attempt, toOne: r.isToOne()}
	return newFeedback(o)
}

// hear implements hearer.
func (o *requestHearer) hear(f *feedback) {
	o.others, o.acked, o.code = f.others, f.acked, f.code
	if o.toOne && o.code == "" || !o.shard.loop.Post(o) { // a message to one client was taken to arrive
		requestHearers.Put(o)
	}
}

// Size implements transport.Mail.
func (o *requestHearer) Size() int { return 64 }

// Deliver implements transport.Mail.
func (o *requestHearer) Deliver(*transport.Loop) {
	sh := o.shard
	if r := sh.requests.named(o.handle); r.hears(o.attempt) {
		if o.toOne {
			sh.failed(r, o.code)
		} else {
			sh.published(r, o)
		}
	}
	requestHearers.Put(o)
}

// reasonOfCode returns why a request is missing an answer whose message was refused with that code.
func reasonOfCode(code opcodes.ErrorCode) string {
	switch code {
	case opcodes.CodeBrokerUnavailable:
		return opcodes.MissingUnavailable
	case opcodes.CodeOutcomeUnknown:
		return opcodes.MissingOutcomeUnknown
	}
	return opcodes.MissingNotDelivered
}

// failed handles that a message to one client did not arrive, or perhaps not.
func (sh *shard) failed(r *request, code opcodes.ErrorCode) {
	if code == opcodes.CodeOutcomeUnknown { // an answer may come yet
		r.here.receivers, r.here.reports = 0, 1
		return
	}
	sh.notDelivered(r, opcodes.Missing{Reason: reasonOfCode(code)}, r.t.node)
}

// published handles that the broker has taken a message to many, or has not.
func (sh *shard) published(r *request, o *requestHearer) {
	r.spread = true
	if r.wider != nil || o.others > 0 {
		w := r.widen()
		w.expected, w.spreadAt = o.others, sh.loop.Clock()
	}
	switch {
	case o.code == opcodes.CodeOutcomeUnknown:
		r.addMissing(opcodes.Missing{Reason: opcodes.MissingOutcomeUnknown})
	case o.code == opcodes.CodeBrokerUnavailable:
		r.addMissing(opcodes.Missing{Reason: opcodes.MissingUnavailable})
		r.forgetUnreported()
	case o.others == 0:
		if o.code != "" {
			r.addMissing(opcodes.Missing{Reason: reasonOfCode(o.code)})
		}
		r.forgetUnreported()
	}
	sh.proceed(r)
}

// forgetUnreported forgets the instances that the message did not reach.
func (r *request) forgetUnreported() {
	if r.wider == nil {
		return
	}
	for i := range r.wider.shares {
		if s := &r.wider.shares[i]; !s.reported {
			s.reports, s.old = 0, false
		}
	}
}
