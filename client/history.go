package client

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Position is a place in a group with history: behind the message with the number Offset, as that was in the epoch.
type Position struct {
	Epoch  string `json:"epoch,omitempty"` // empty: of what is kept, everything behind Offset
	Offset uint64 `json:"offset"`          // 0: before the first message
}

// FromNow is the Offset in [Options.Recover] of a group of which nothing from before the connection is wanted.
const FromNow = math.MaxUint64

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

// Position returns how far the Client has received a group of [Options.Recover].
func (c *Client) Position(group string) (Position, bool) {
	c.positions.mu.Lock()
	defer c.positions.mu.Unlock()
	p := c.positions.of[group]
	if p == nil || !p.known {
		return Position{}, false
	}
	return p.Position, true
}

// positions are how far a Client has received the groups of Options.Recover.
type positions struct {
	mu sync.Mutex
	of map[string]*place
}

// place is how far a Client has received a group.
type place struct {
	Position
	known bool
}

func newPositions(from map[string]Position) *positions {
	p := &positions{of: make(map[string]*place)}
	for group, at := range from {
		if at.Offset == FromNow {
			p.of[group] = &place{}
		} else {
			p.of[group] = &place{at, true}
		}
	}
	return p
}

// recoverable returns from where on the groups of an IDENTIFY are to be recovered.
func (p *positions) recoverable(data *identify) map[string]Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all map[string]Position
	for group, at := range p.of {
		if at.known && (group == data.Group || slices.Contains(data.Groups, group)) {
			if all == nil {
				all = make(map[string]Position)
			}
			all[group] = at.Position
		}
	}
	return all
}

// joined notes where the hub let the Client join groups.
func (p *positions) joined(at map[string]Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for group, at := range at {
		switch known := p.of[group]; {
		case known == nil:
		case !known.known:
			known.Position, known.known = at, true
		case known.Epoch == "":
			known.Epoch = at.Epoch
		}
	}
}

// received notes a message.
func (p *positions) received(m *Message) {
	if m.Offset == 0 || m.Intent.Target != Group(m.Intent.Identifier).Target {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.of[m.Intent.Identifier]; at != nil && m.Offset > at.Offset {
		at.Offset, at.known = m.Offset, true
	}
}

// moved notes what a HISTORY says.
func (p *positions) moved(group string, to Position, gap bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.of[group]; at != nil && (gap || to.Offset >= at.Offset) {
		at.Position, at.known = to, true
	}
}

// handleHistory handles a HISTORY.
func (s *session) handleHistory(w *wireMessage) error {
	var data struct {
		Group string `json:"group"`
		Position
		Gap *struct {
			Reason string `json:"reason"`
		} `json:"gap"`
	}
	if err := json.Unmarshal(w.Data, &data, readOptions); err != nil {
		return fmt.Errorf("malformed HISTORY from the hub: %w", err)
	}
	s.c.positions.moved(data.Group, data.Position, data.Gap != nil)
	if hook := s.c.opts.OnGap; data.Gap != nil && hook != nil {
		gap := Gap{data.Group, data.Gap.Reason, data.Position}
		s.enqueue(delivery{hook: func() { hook(gap) }})
	}
	return nil
}

// checkRecover checks the groups of Options.Recover.
func (o *Options) checkRecover() error {
	for group, at := range o.Recover {
		if group != o.Group && !slices.Contains(o.Groups, group) {
			return fmt.Errorf("recover %.50q: the group is not among Group and Groups", group)
		}
		if at.Offset > opcodes.MaxOffset && at.Offset != FromNow {
			return fmt.Errorf("recover %.50q: no offset is so large", group)
		}
	}
	if len(o.Recover) > 0 && len(o.Groups) >= identifyGroups {
		return fmt.Errorf("recover: with more than %d groups", identifyGroups)
	}
	return nil
}
