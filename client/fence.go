package client

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// How often a session sends FENCEs: the first ones as soon as they are of use, since a move lasts some milliseconds; then
// at a rate that the hub allows: 100 in a second.
const (
	fenceBurst    = 8
	fenceInterval = 25 * time.Millisecond
	// fenceRenewal is after how long one is sent to the old connection that nothing waits for. The hub goes by them: they
	// say that this connection is about to be left, so that it is no good receiver of an ANY from other instances.
	fenceRenewal = 3 * time.Second
	// fencePatience is how long a FENCE may be on its way before another one is tried.
	fencePatience = time.Second
)

// fencePrefix begins the ids of FENCEs, by which an ERROR is known that answers one.
const fencePrefix = "fence:"

// fence is a FENCE on its way to the other connection.
type fence struct {
	id    string
	reach int64 // how many messages had come when it was sent
	at    time.Time
	last  bool // no message was sent behind it over this connection
	clear bool // it was sent after run asked whether the old connection is clear
}

// fences are those that one session has sent in a move. They arrive in the order in which they were sent.
type fences struct {
	onWay []fence
	count int
	last  time.Time // when the last one was sent
	next  time.Time // not before this
}

// sent notes one.
func (f *fences) sent(one fence) {
	one.at = time.Now()
	f.last = one.at
	f.onWay = append(f.onWay, one)
	if f.count++; f.count > fenceBurst {
		f.next = one.at.Add(fenceInterval)
	}
}

// arrived returns the one that has arrived. If one before it was lost it returns that one instead, which claims less.
func (f *fences) arrived() (fence, bool) {
	if len(f.onWay) == 0 {
		return fence{}, false
	}
	one := f.onWay[0]
	f.onWay = f.onWay[1:]
	return one, true
}

// refused forgets the one of that id.
func (f *fences) refused(id string) {
	f.onWay = slices.DeleteFunc(f.onWay, func(one fence) bool { return one.id == id })
	f.next = time.Now().Add(fenceInterval)
}

// due tells whether another one may be sent: one at a time, as long as none is lost.
func (f *fences) due(now time.Time) bool {
	if n := len(f.onWay); n > 0 && now.Sub(f.onWay[n-1].at) < fencePatience {
		return false
	}
	return !now.Before(f.next)
}

// fencing returns the id for a FENCE that the session is about to write, and whom it is for; empty if there is none to write,
// as the move is over or the new connection knows none.
func (st *stream) fencing(s *session, last bool) (id, to string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	on := st.sideOf(s)
	if on == nil {
		return "", ""
	}
	// A writer that was stuck may only now come to what it was told in an earlier move, and told otherwise since.
	st.stopped = st.stopped || last && s.hasStopped()
	if !st.ready {
		return "", "" // the other one can't get any
	}
	id = fencePrefix + uuid.NewString()
	on.fences.sent(fence{
		id: id, reach: on.arrived, last: on == st.from && st.stopped, clear: on == st.to && st.clearing,
	})
	return id, st.other(on).session.identity.ID
}

// fenced takes a FENCE that arrived.
func (st *stream) fenced(s *session, sender string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	defer signal(st.work)
	defer signal(st.news)
	on := st.sideOf(s)
	if on == nil || !st.ready || sender != st.other(on).session.identity.ID {
		return // of somebody else, who may send FENCEs to anybody
	}
	f, ok := st.other(on).fences.arrived()
	switch {
	case !ok:
	case on == st.to:
		st.copied, st.impatient = f.reach, false
		st.dropsTo.forget(f.reach)
		st.switched = st.switched || f.last
	default:
		st.joined, st.cleared = true, st.cleared || f.clear
		st.drops.forget(f.reach)
		on.push(held{n: f.reach})
	}
	st.wantFences()
}

// fenceRefused tells whether the id is that of a FENCE, which the hub has then refused. It is tried again.
func (st *stream) fenceRefused(s *session, id string) bool {
	if !strings.HasPrefix(id, fencePrefix) {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if on := st.sideOf(s); on != nil {
		on.fences.refused(id)
	}
	return true
}

// wantFences asks the sessions for FENCEs where messages wait for one.
func (st *stream) wantFences() {
	if !st.ready {
		return
	}
	now := time.Now()
	f, t := st.from, st.to
	// Over the old connection there is none before the last message that is sent over it.
	waits := len(f.held) > 0 && f.held[0].n == st.waits && st.waits > st.copied
	if st.stopped && (waits || !st.switched) && f.fences.due(now) {
		signal(f.session.fence)
	}
	waits = t.alone > 0 || len(t.held) > 0 && now.Sub(t.held[0].at) > fenceInterval || now.Sub(t.fences.last) > fenceRenewal
	if (waits || !st.joined || st.clearing && !st.cleared) && t.fences.due(now) {
		signal(t.session.fence)
	}
}

// tick looks after what waits for a time to pass.
func (st *stream) tick() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.wantFences()
	signal(st.work)
}

// progress says how far the FENCEs have come.
func (st *stream) progress() (joined, switched, cleared bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.joined, st.switched, st.cleared
}

// clear asks to learn when the old connection has got everything that was sent to it until now.
func (st *stream) clear() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.clearing = true
	st.wantFences()
}
