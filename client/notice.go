package client

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/opcodes"
)

// notice is a DRAIN: the hub asks the client to open another connection and then to leave this one.
type notice struct {
	reason   opcodes.DrainReason
	arrived  time.Time
	due      time.Time // when to open the other connection
	deadline time.Time // when the hub disconnects; zero for never
}

// maxNotice is the longest accepted time in a DRAIN.
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

// handleDrain records a DRAIN for run. It replaces earlier ones.
func (s *session) handleDrain(w *wireMessage) error {
	if !s.identity.has(opcodes.FeatureDrain.String()) {
		return nil // an unknown opcode without the feature
	}
	n, err := parseNotice(w.Data, time.Now())
	if err != nil {
		return err
	}
	s.notice.Store(&n)
	signal(s.drain)
	return nil
}

// reconnectDelay returns the additional wait before a reconnect if the connection ended after a DRAIN. At the deadline the
// hub disconnects all remaining clients at once. Each waits for its slot again, so that they don't reconnect faster than
// their slots allow. Slots beyond most are folded into it by modulo, which keeps the clients spread.
func (s *session) reconnectDelay(most time.Duration) time.Duration {
	n := s.notice.Load()
	if n == nil || n.optional() || n.reason == opcodes.DrainExpiry {
		return 0
	}
	return n.due.Sub(n.arrived) % max(most, 1)
}

// optional reports whether the client may stay, because the hub does not end the connection.
func (n *notice) optional() bool { return n.deadline.IsZero() }

// leaveBy returns when the connection must be left, shortly before the hub ends it; zero for never.
func (n *notice) leaveBy() time.Time {
	if n.deadline.IsZero() {
		return n.deadline
	}
	return n.deadline.Add(-min(n.deadline.Sub(n.arrived)/10, time.Second))
}
