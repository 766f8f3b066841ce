package client

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/opcodes"
)

// notice is the hub's DRAIN: it asks the client to connect anew and then to leave the connection on which it came.
type notice struct {
	reason   opcodes.DrainReason
	arrived  time.Time
	due      time.Time // when to connect
	deadline time.Time // when the hub disconnects; the zero time for never
}

// maxNotice bounds the times that a hub may give.
const maxNotice = 24 * time.Hour

func parseNotice(data []byte, now time.Time) (notice, error) {
	var w struct {
		AfterMS    int64               `json:"after_ms"`
		DeadlineMS int64               `json:"deadline_ms"`
		Reason     opcodes.DrainReason `json:"reason"`
	}
	if err := json.Unmarshal(data, &w, readOptions); err != nil {
		return notice{}, fmt.Errorf("malformed DRAIN from the hub: %w", err)
	}
	in := func(ms int64) time.Time {
		return now.Add(time.Duration(min(max(ms, 0), maxNotice.Milliseconds())) * time.Millisecond)
	}
	n := notice{reason: w.Reason, arrived: now, due: in(w.AfterMS)}
	if w.DeadlineMS > 0 {
		n.deadline = in(w.DeadlineMS)
	}
	return n, nil
}

// handleDrain notes a DRAIN for run. The last one counts.
func (s *session) handleDrain(w *wireMessage) error {
	if !s.identity.has(opcodes.FeatureDrain.String()) {
		return nil // not asked for: an opcode of another version
	}
	n, err := parseNotice(w.Data, time.Now())
	if err != nil {
		return err
	}
	s.notice.Store(&n)
	signal(s.drain)
	return nil
}

// slotAnew returns how long to wait, besides the usual, before connecting again where the connection ended that a DRAIN was
// about. Whoever could not leave it in time is cut off in the same instant: all wait for as long as their slots told them to,
// so that they come no faster than these would have let them. Slots that are further apart than most, which nobody is to
// wait longer for, are folded into that time: so all come faster, but not at once.
func (s *session) slotAnew(most time.Duration) time.Duration {
	n := s.notice.Load()
	if n == nil || n.optional() || n.reason == opcodes.DrainExpiry {
		return 0
	}
	return n.due.Sub(n.arrived) % max(most, 1)
}

// optional tells whether the client may as well stay: nobody ends the connection.
func (n *notice) optional() bool { return n.deadline.IsZero() }

// leaveBy returns when the connection must be left, shortly before the hub ends it; the zero time for never.
func (n *notice) leaveBy() time.Time {
	if n.deadline.IsZero() {
		return n.deadline
	}
	return n.deadline.Add(-min(n.deadline.Sub(n.arrived)/10, time.Second))
}
