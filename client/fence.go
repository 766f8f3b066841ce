package client

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The rate of a session's FENCEs. The first ones are sent as soon as they are useful, because a move takes milliseconds; the
// following ones at a rate well below the hub's limit of 100 per second.
const (
	fenceBurst    = 8
	fenceInterval = 25 * time.Millisecond
	// fenceRenewal is the longest time between two FENCEs to the old connection. They tell the hub that the client is about
	// to leave that connection, so that other instances don't draw it for an ANY.
	fenceRenewal = 3 * time.Second
	// fencePatience is how long a FENCE may be on its way before the session sends another one.
	fencePatience = time.Second
)

// fencePrefix begins the ids of FENCEs, so that an ERROR about a FENCE can be recognized.
const fencePrefix = "fence:"

// fence is a FENCE on its way to the other connection.
type fence struct {
	id    string
	reach int64 // how many messages had arrived when it was sent
	at    time.Time
	last  bool // no message follows it on this connection
	clear bool // it was sent after requestClear
}

// fences tracks the FENCEs that one session has sent in a move. They arrive in the order in which they were sent.
type fences struct {
	onWay []fence
	count int
	last  time.Time // when the last one was sent
	next  time.Time // not before this
}

// sent records a FENCE.
func (f *fences) sent(one fence) {
	one.at = time.Now()
	f.last = one.at
	f.onWay = append(f.onWay, one)
	if f.count++; f.count > fenceBurst {
		f.next = one.at.Add(fenceInterval)
	}
}

// arrived returns the FENCE that has arrived. If an earlier one was lost, it returns the earlier one, whose reach is smaller
// and therefore safe.
func (f *fences) arrived() (fence, bool) {
	if len(f.onWay) == 0 {
		return fence{}, false
	}
	one := f.onWay[0]
	f.onWay = f.onWay[1:]
	return one, true
}

// refused removes the FENCE with the given id.
func (f *fences) refused(id string) {
	f.onWay = slices.DeleteFunc(f.onWay, func(one fence) bool { return one.id == id })
	f.next = time.Now().Add(fenceInterval)
}

// due reports whether another FENCE may be sent. Only one is on its way at a time, unless one is lost.
func (f *fences) due(now time.Time) bool {
	if n := len(f.onWay); n > 0 && now.Sub(f.onWay[n-1].at) < fencePatience {
		return false
	}
	return !now.Before(f.next)
}

// sendingStopped records that a session sends no further messages.
func (st *stream) sendingStopped(s *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	// A writer that was blocked may execute a command of an earlier move, which run has revoked since.
	if st.sideOf(s) != nil && s.hasStopped() {
		st.stopped = true
	}
}

// nextFence returns the id and the receiver of a FENCE that the session is about to write. Both are empty if the move is over
// or the new connection can't get FENCEs.
func (st *stream) nextFence(s *session) (id, to string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	on := st.sideOf(s)
	if on == nil {
		return "", ""
	}
	if !st.ready {
		return "", ""
	}
	id = fencePrefix + uuid.NewString()
	on.fences.sent(fence{
		id: id, reach: on.arrived, last: on == st.from && st.stopped, clear: on == st.to && st.clearing,
	})
	return id, st.other(on).session.identity.ID
}

// fenceArrived handles a FENCE from the hub.
func (st *stream) fenceArrived(s *session, sender string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	defer signal(st.work)
	defer signal(st.news)
	on := st.sideOf(s)
	if on == nil || !st.ready || sender != st.other(on).session.identity.ID {
		return // from another client: any client may send a FENCE to this one
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

// fenceRefused reports whether an ERROR is about a FENCE, which is then sent again.
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

// wantFences makes the sessions send FENCEs if messages wait for them.
func (st *stream) wantFences() {
	if !st.ready {
		return
	}
	now := time.Now()
	f, t := st.from, st.to
	// The old connection sends FENCEs only behind its last message.
	waits := len(f.held) > 0 && f.held[0].n == st.waits && st.waits > st.copied
	if st.stopped && (waits || !st.switched) && f.fences.due(now) {
		signal(f.session.fence)
	}
	waits = t.alone > 0 || len(t.held) > 0 && now.Sub(t.held[0].at) > fenceInterval || now.Sub(t.fences.last) > fenceRenewal
	if (waits || !st.joined || st.clearing && !st.cleared) && t.fences.due(now) {
		signal(t.session.fence)
	}
}

// tick checks the timeouts.
func (st *stream) tick() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.wantFences()
	signal(st.work)
}

// progress returns which stages the FENCEs have confirmed.
func (st *stream) progress() (joined, switched, cleared bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.joined, st.switched, st.cleared
}

// requestClear asks for a FENCE that confirms that everything sent to the old connection so far has arrived.
func (st *stream) requestClear() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.clearing = true
	st.wantFences()
}
