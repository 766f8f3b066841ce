package client

import (
	"maps"
	"sync"

	"github.com/mastersocket/mastersocket/intent"
)

// progress is how far a Client is in groups with history.
type progress struct {
	changed chan struct{} // wakes up keep for what was handled; capacity 1

	mu sync.Mutex
	of map[string]*place
}

// place is how far a Client is in one group. Messages are received when they are queued for their handlers, and handled when
// these have returned.
type place struct {
	received, handled Position
	epoch             string  // of the messages that come next
	gap               history // the last one
}

// mark is a place with the position that a delivery leads to.
type mark struct {
	place *place // nil for a delivery that has nothing to do with groups with history
	at    Position
}

func newProgress(begin, kept map[string]Position) *progress {
	p := &progress{changed: make(chan struct{}, 1), of: make(map[string]*place)}
	all := maps.Clone(begin)
	if all == nil {
		all = make(map[string]Position)
	}
	maps.Copy(all, kept)
	for group, at := range all {
		p.of[group] = &place{received: at, handled: at, epoch: at.Epoch}
	}
	return p
}

// position returns what was handled of a group.
func (p *progress) position(group string) (Position, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.of[group]; at != nil {
		return at.handled, true
	}
	return Position{}, false
}

// all returns what was handled of all groups.
func (p *progress) all() map[string]Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]Position, len(p.of))
	for group, at := range p.of {
		all[group] = at.handled
	}
	return all
}

// from returns from where on groups are to be recovered; nil if none of them is.
func (p *progress) from(groups []string) (all map[string]Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, group := range groups {
		if at := p.of[group]; at != nil {
			if all == nil {
				all = make(map[string]Position)
			}
			all[group] = at.received
		}
	}
	return all
}

// leave forgets groups that the Client is not in any more.
func (p *progress) leave(groups []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, group := range groups {
		delete(p.of, group)
	}
	signal(p.changed)
}

// join notes where the Client has joined a group, unless it begins somewhere else there.
func (p *progress) join(group string, to Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch at := p.of[group]; {
	case at == nil:
		p.of[group] = &place{received: to, handled: to, epoch: to.Epoch}
		signal(p.changed)
	case at.epoch == "":
		at.epoch = to.Epoch
	}
}

// next returns an empty delivery of the message, or of what a HISTORY says, with the mark that it leads to. It returns false for
// what was received before.
func (p *progress) next(m *Message) (d delivery, wanted bool) {
	switch {
	case m.history != nil:
		return p.nextHistory(m.history)
	case m.Offset == 0 || m.Intent.Target != intent.Group:
		return delivery{}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.of[m.Intent.Identifier]
	if at == nil {
		return delivery{}, true
	}
	return delivery{mark: mark{at, Position{at.epoch, m.Offset}}}, m.Offset > at.received.Offset
}

// nextHistory is next for a HISTORY. The two connections of a move may tell the same, and the second one late.
func (p *progress) nextHistory(h *history) (d delivery, wanted bool) {
	if h.joined {
		p.join(h.group, h.Position)
		return delivery{}, true
	}
	if h.live {
		p.join(h.group, h.Position)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.of[h.group]
	switch {
	case at == nil:
		return delivery{}, h.gap != ""
	case h.gap == gapEpoch:
		wanted = *h != at.gap
	default:
		wanted = h.Offset >= at.received.Offset && (h.gap == "" || *h != at.gap)
	}
	if wanted && h.gap != "" {
		at.gap = *h
	}
	return delivery{mark: mark{at, h.Position}}, wanted
}

// gapEpoch is the reason of a gap that takes back what was received.
const gapEpoch = "EPOCH"

// received notes that a delivery is queued for its handlers.
func (p *progress) received(to mark) {
	if to.place == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	to.place.received, to.place.epoch = to.at, to.at.Epoch
}

// handled notes that the handlers of a delivery have returned.
func (p *progress) handled(to mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to.place.handled != to.at {
		to.place.handled = to.at
		signal(p.changed)
	}
}
