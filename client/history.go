package client

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Position is a place in a group with history: behind the message with the number Offset, as that was in the epoch.
type Position struct {
	Epoch  string `json:"epoch,omitempty"` // empty: of what is kept, everything behind Offset
	Offset uint64 `json:"offset"`          // 0: before the first message
}

// Gap tells that messages of a group with history are missing, before those that its handlers get next.
type Gap struct {
	Group string
	// Reason is why: TRIMMED, they are not kept any more; EPOCH, what was received behind Position is void, as the hub's
	// Redis lost it; UNAVAILABLE, they could not be read.
	Reason string
	Position
}

// WithOnce sets the message's id, and has a group with history take a message with that id once within 2 minutes: sending it
// again is safe. The id must be unique in the group.
func WithOnce(id string) SendOption {
	return func(ca *call) {
		ca.id = id
		ca.members += `,"once":true`
	}
}

// Offset returns the number that a message to a group with history got, once Wait has returned; 0 for any other message.
func (r *Receipt) Offset() uint64 { return r.ca.offset }

// Position returns how far the Client has handled a group with history: behind the last message whose handlers have returned.
// It returns false for other groups.
func (c *Client) Position(group string) (Position, bool) { return c.progress.position(group) }

// history is what a HISTORY says, or an answer of a group that was joined.
type history struct {
	group string
	Position
	joined bool   // it is an answer
	live   bool   // the Client has everything up to here
	gap    string // the reason; empty for none
}

// handleHistory handles a HISTORY.
func (s *session) handleHistory(w *wireMessage) error {
	var data struct {
		Group string `json:"group"`
		Position
		Live bool `json:"live"`
		Gap  *struct {
			Reason string `json:"reason"`
		} `json:"gap"`
	}
	if err := json.Unmarshal(w.Data, &data, readOptions); err != nil {
		return fmt.Errorf("malformed HISTORY from the hub: %w", err)
	}
	h := &history{group: data.Group, Position: data.Position, live: data.Live && s.c.groups.has(data.Group)}
	if data.Gap != nil {
		h.gap = data.Gap.Reason
	}
	s.receiveHistory(h)
	return nil
}

// receiveHistory gives h its place among the messages.
func (s *session) receiveHistory(h *history) {
	s.c.stream.receive(s, &Message{Op: opcodes.History, client: s.c, history: h})
}

// tellJoined handles the positions in answers.
func (s *session) tellJoined(all []map[string]Position) {
	for _, positions := range all {
		for group, at := range positions {
			s.receiveHistory(&history{group: group, Position: at, joined: true})
		}
	}
}

// joinedEarly handles the positions in an answer before start. In a move they wait for it: the old connection's messages may
// be behind them.
func (s *session) joinedEarly(positions map[string]Position) {
	if s.replaces != "" {
		s.joined = append(s.joined, positions)
		return
	}
	for group, at := range positions {
		s.c.progress.join(group, at)
	}
}

// checkHistory checks the options of groups with history.
func (o *Options) checkHistory() error {
	if o.NoHistory && (o.Recover != nil || o.Positions != nil) {
		return fmt.Errorf("NoHistory with Recover or Positions")
	}
	return checkPositions(o.Recover)
}

// checkPositions checks positions that don't come from the hub.
func checkPositions(all map[string]Position) error {
	for group, at := range all {
		switch {
		case intent.CheckGroup(group) != nil:
			return fmt.Errorf("position in %.50q: %w", group, intent.CheckGroup(group))
		case at.Offset > opcodes.MaxOffset:
			return fmt.Errorf("position in %.50q: no offset is so large", group)
		case len(at.Epoch) > opcodes.MaxEpochBytes:
			return fmt.Errorf("position in %.50q: no epoch is so long", group)
		}
	}
	return nil
}
