package bridge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// What ends a team's life, as the cause of its context.
var (
	errLeft     = errors.New("the team has left")
	errGoodbye  = errors.New("the server said goodbye")
	errShutdown = errors.New("the bridge ends")
)

// phase is what a team's goroutine is doing.
type phase int32

const (
	phaseGone       phase = iota // the team has left
	phaseWaiting                 // for the Global connection, its turn, or the next attempt
	phaseConnecting              // asked for its connection, or dialing
	phaseConnected
)

var phaseNames = [...]string{"gone", "waiting", "connecting", "connected"}

// team is one team that was ever announced.
type team struct {
	// Fixed.
	id    rtm.ID
	to    client.Intent
	toErr error // why to can't be used

	lane *lane // in the outbox

	messages, props atomic.Uint64
	connects        atomic.Uint64
	phase           atomic.Int32
	since           atomic.Int64 // Unix time in ns of the last change of phase
	lastFailure     atomic.Pointer[Reason]

	// Owned by the team's goroutine.
	refusals  int    // team.connects refused, one after the other, on one Global connection
	refusedOn uint64 // the number of that one

	// Guarded by teams.mu.
	present   bool
	announced uint64 // the number of the Global connection on which it was announced last
	running   bool   // it has a goroutine
	listed    bool   // it is in teams.left
	leftAt    time.Time
	life      context.Context // ends when the team leaves
	end       context.CancelCauseFunc
}

func (t *team) setPhase(p phase) {
	t.phase.Store(int32(p))
	t.since.Store(time.Now().UnixNano())
}

func (t *team) connected() bool { return phase(t.phase.Load()) == phaseConnected }

// stat is what a healthcheck is answered with.
func (t *team) stat() rtm.Stat {
	// props first: it must never be the greater.
	props := t.props.Load()
	return rtm.Stat{ID: t.id, Connected: t.connected(), MessageCount: t.messages.Load(), PropsCount: props}
}

// teams holds all teams that were ever announced, up to a bound.
type teams struct {
	b *Bridge

	mu    sync.Mutex
	life  context.Context // of all of them
	byID  map[rtm.ID]*team
	order []*team // by first announcement
	left  []*team // that left, each once, about by when; some may have come back

	running sync.WaitGroup
}

// join notes that a team is there, announced on the n-th Global connection, and starts its goroutine.
func (ts *teams) join(id rtm.ID, n uint64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.life.Err() != nil {
		return
	}
	t := ts.byID[id]
	if t == nil {
		if t = ts.add(id); t == nil {
			ts.b.badInput(badTooManyTeams, "")
			return
		}
	}
	t.announced = n
	if t.present {
		ts.b.counts.bad.add(badRepeatedJoin) // which is no fault: joins are idempotent
		return
	}
	t.present = true
	t.life, t.end = context.WithCancelCause(ts.life)
	if t.running {
		return // it finds its new life when it has ended the old one
	}
	t.running = true
	ts.running.Go(func() { ts.b.runTeam(t) })
}

// add makes room for a new team, if it must by forgetting the one that left first, and adds it.
func (ts *teams) add(id rtm.ID) *team {
	if len(ts.byID) >= ts.b.opts.MaxTeams && !ts.evict() {
		return nil
	}
	t := &team{id: id, lane: newLane()}
	t.to, t.toErr = ts.b.template.intent(id)
	ts.byID[id] = t
	ts.order = append(ts.order, t)
	return t
}

func (ts *teams) evict() bool {
	for len(ts.left) > 0 {
		t := ts.left[0]
		ts.left = ts.left[1:]
		t.listed = false
		if t.present || t.running { // it is listed again when it has left again
			continue
		}
		delete(ts.byID, t.id)
		ts.b.counts.evicted.Add(1)
		if len(ts.order) > 2*len(ts.byID)+16 {
			ts.tidy()
		}
		return true
	}
	return false
}

// tidy removes forgotten teams from order.
func (ts *teams) tidy() {
	kept := make([]*team, 0, len(ts.byID))
	for _, t := range ts.order {
		if ts.byID[t.id] == t {
			kept = append(kept, t)
		}
	}
	ts.order = kept
}

// leave notes that a team has left. Its goroutine closes its connection and tells the hub.
func (ts *teams) leave(id rtm.ID) (known bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byID[id]
	if t == nil || !t.present {
		return false
	}
	ts.gone(t)
	return true
}

// presumeLeft has the team leave, unless it was announced on the n-th Global connection.
func (ts *teams) presumeLeft(t *team, n uint64) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if !t.present || t.announced == n {
		return false
	}
	ts.gone(t)
	return true
}

// gone ends the team's life.
func (ts *teams) gone(t *team) {
	t.present, t.leftAt = false, time.Now()
	t.end(errLeft)
}

// again ends a life of the team. It returns false when there is no next one, and then the team's goroutine must end.
func (ts *teams) again(t *team, ended context.Context) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.present && t.life != ended {
		return true
	}
	t.running = false
	t.setPhase(phaseGone)
	if !t.listed {
		t.listed = true
		ts.left = append(ts.left, t)
	}
	return false
}

// lifeOf returns the team's present life.
func (ts *teams) lifeOf(t *team) context.Context {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return t.life
}

func (ts *teams) presence(t *team) (present bool, leftAt time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return t.present, t.leftAt
}

// all returns every team that is remembered, in the order of their first announcement.
func (ts *teams) all() []*team {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.tidy()
	return append([]*team(nil), ts.order...)
}

// stats returns the answer to a healthcheck.
func (ts *teams) stats() []rtm.Stat {
	all := ts.all()
	stats := make([]rtm.Stat, len(all))
	for i, t := range all {
		stats[i] = t.stat()
	}
	return stats
}
