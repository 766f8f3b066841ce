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

// Causes for the end of a team's life.
var (
	errLeft     = errors.New("the team has left")
	errGoodbye  = errors.New("the server said goodbye")
	errShutdown = errors.New("the bridge ends")
)

// phase is the state of a team's goroutine.
type phase int32

const (
	phaseGone       phase = iota // the team has left
	phaseWaiting                 // for the Global connection, its turn, or the next attempt
	phaseConnecting              // asked for its connection, or dialing
	phaseConnected
)

var phaseNames = [...]string{"gone", "waiting", "connecting", "connected"}

// team is a team that has been announced.
type team struct {
	// Fixed.
	id    rtm.ID
	to    client.Intent
	toErr error // why to is unusable

	lane *lane // in the outbox

	messages, props atomic.Uint64
	connects        atomic.Uint64
	phase           atomic.Int32
	since           atomic.Int64 // Unix time in ns of the last change of phase
	lastFailure     atomic.Pointer[Reason]

	// Owned by the team's goroutine.
	refusals  int    // consecutive refusals on one Global connection
	refusedOn uint64 // number of that Global connection

	// Guarded by teams.mu.
	present   bool
	announced uint64 // number of the Global connection of the last announcement
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

// stat returns the entry for a healthcheck answer.
func (t *team) stat() rtm.Stat {
	// props first: it must not exceed the number of messages.
	props := t.props.Load()
	return rtm.Stat{ID: t.id, Connected: t.connected(), MessageCount: t.messages.Load(), PropsCount: props}
}

// teams holds all announced teams, at most MaxTeams.
type teams struct {
	b *Bridge

	mu    sync.Mutex
	life  context.Context // parent of all lives
	byID  map[rtm.ID]*team
	order []*team // by first announcement
	left  []*team // teams that left, once each, roughly by time; some may be back

	running sync.WaitGroup
}

// join notes an announcement on the n-th Global connection, and starts the team's goroutine.
func (ts *teams) join(id rtm.ID, n uint64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.life.Err() != nil {
		return
	}
	t := ts.byID[id]
	if t == nil {
		if t = ts.create(id); t == nil {
			ts.b.badInput(badTooManyTeams, "")
			return
		}
	}
	t.announced = n
	if t.present {
		ts.b.counts.bad.add(badRepeatedJoin) // counted, though harmless: joins are idempotent
		return
	}
	t.present = true
	t.life, t.end = context.WithCancelCause(ts.life)
	if t.running {
		return // its goroutine finds the new life after ending the old one
	}
	t.running = true
	ts.running.Go(func() { ts.b.runTeam(t) })
}

// create adds a new team; at MaxTeams it first forgets the team that left earliest. It returns nil if there is no room.
func (ts *teams) create(id rtm.ID) *team {
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
		if t.present || t.running { // it is listed again when it leaves again
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

// leave notes that a team has left. Its goroutine closes the connection and queues the event.
func (ts *teams) leave(id rtm.ID) (known bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byID[id]
	if t == nil || !t.present {
		return false
	}
	ts.endLife(t)
	return true
}

// presumeLeft ends the team's life, unless it was announced on the n-th Global connection.
func (ts *teams) presumeLeft(t *team, n uint64) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if !t.present || t.announced == n {
		return false
	}
	ts.endLife(t)
	return true
}

// endLife ends the team's life.
func (ts *teams) endLife(t *team) {
	t.present, t.leftAt = false, time.Now()
	t.end(errLeft)
}

// nextLife reports whether the team has another life after ended. If not, the team's goroutine must end.
func (ts *teams) nextLife(t *team, ended context.Context) bool {
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

// list returns every remembered team, in the order of first announcement.
func (ts *teams) list() []*team {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.tidy()
	return append([]*team(nil), ts.order...)
}

// stats returns the answer to a healthcheck.
func (ts *teams) stats() []rtm.Stat {
	all := ts.list()
	stats := make([]rtm.Stat, len(all))
	for i, t := range all {
		stats[i] = t.stat()
	}
	return stats
}
