package client

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/client/internal/move"
	"github.com/mastersocket/mastersocket/opcodes"
)

// perform executes the machine's actions.
func (st *stream) perform() {
	for _, a := range st.machine.Actions() {
		s := st.sessions[a.Side]
		switch {
		case a.Kind == move.Doubt:
			st.logDoubt(a)
		case st.frozen:
		case a.Kind == move.SendFence:
			signal(s.fence)
		case a.Kind == move.StopSending:
			s.setMode(waiting)
		case a.Kind == move.StartSending:
			st.use(s)
		case a.Kind == move.Leave:
			s.setMode(leaving)
		case a.Kind == move.End:
			go s.end(endReason(st.machine.Phase(), a.After)) // it waits for the writer, which may wait for st.mu
		}
	}
}

func (st *stream) logDoubt(a move.Action) {
	to := st.sessions[move.New].identity
	if !to.has(opcodes.FeatureDrain.String()) {
		st.c.opts.Logger.Warn("mastersocket: moving without a guarantee against loss: the new instance does not support FENCE",
			"on", a.Side, "node", to.Node)
		return
	}
	st.c.opts.Logger.Warn("mastersocket: moving without a guarantee against loss: no FENCE arrived in time",
		"on", a.Side, "within", a.After)
}

// endReason returns why the machine ends the old connection.
func endReason(p move.Phase, after time.Duration) error {
	if p == move.Stopping {
		return fmt.Errorf("write: still blocked %v after the command to stop sending", after.Round(time.Millisecond))
	}
	return fmt.Errorf("%w for %v after DISCONNECT", ErrSilent, goodbyeTimeout)
}

// use makes a session the one that sends.
func (st *stream) use(s *session) {
	if st.c.identity.Load() != &s.identity {
		st.c.identity.Store(&s.identity)
		st.c.connectHook(s)
	}
	s.setMode(sending)
	st.c.groups.use(s)
}

// ended reports the end of a session of the move. It returns true if messages may be lost; the announcements then follow the
// messages of the old connection.
func (st *stream) ended(s *session, announcements ...delivery) (lost bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.end(s, announcements)
}

func (st *stream) end(s *session, announcements []delivery) (lost bool) {
	side, ok := st.sideOf(s)
	if !ok {
		return false
	}
	if lost = st.machine.Ended(side, announcements); lost {
		st.c.identity.Store(&st.sessions[move.New].identity) // announced behind the old messages
	}
	st.perform()
	signal(st.work)
	return lost
}

// newEnded is ended for the new session, unless the old one has been left. Then it returns false.
func (st *stream) newEnded() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.machine.Phase() == move.Leaving {
		return false
	}
	st.end(st.sessions[move.New], nil)
	return true
}

// stopped reports that a session sends nothing more.
func (st *stream) stopped(s *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if side, ok := st.sideOf(s); ok && side == move.Old {
		st.machine.Stopped()
		st.perform()
	}
}

// fencePrefix begins the ids of FENCEs, so that an ERROR about a FENCE can be recognized.
const fencePrefix = "fence:"

// nextFence returns the id and the receiver of a FENCE that the session is about to write. Both are empty if there is no use for
// one.
func (st *stream) nextFence(s *session) (id, to string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	side, ok := st.sideOf(s)
	id = fencePrefix + uuid.NewString()
	if !ok || !st.machine.FenceSent(side, id) {
		return "", ""
	}
	return id, st.sessions[1-side].identity.ID
}

// fenceArrived handles a FENCE from the hub.
func (st *stream) fenceArrived(s *session, sender string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	side, ok := st.sideOf(s)
	// Any client may send a FENCE to this one. The new session has no id before Joining.
	if !ok || st.machine.Phase() < move.Joining || sender != st.sessions[1-side].identity.ID {
		return
	}
	st.tick()
	st.machine.FenceArrived(side)
	st.perform()
	signal(st.work)
}

// fenceRefused reports whether an ERROR is about a FENCE, which is then sent again.
func (st *stream) fenceRefused(s *session, id string) bool {
	if !strings.HasPrefix(id, fencePrefix) {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if side, ok := st.sideOf(s); ok {
		st.machine.FenceRefused(side, id)
		st.perform()
	}
	return true
}
