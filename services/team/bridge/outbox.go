package bridge

import (
	"context"
	"errors"
	"sync"
)

// event is an event for the hub.
type event struct {
	team *team // nil for events that belong to no team
	name string
	data []byte // JSON; nil for none
}

// eventOverhead is the memory of an event besides its data, in bytes.
const eventOverhead = 96

func (e *event) size() int { return eventOverhead + len(e.data) }

// lane holds one team's events in the outbox; guarded by outbox.mu.
type lane struct {
	events  []event
	head    int // index of the oldest
	waiting bool
	wake    chan struct{} // wakes a waiting pusher to try again; capacity 1
}

func newLane() *lane { return &lane{wake: make(chan struct{}, 1)} }

func (l *lane) len() int { return len(l.events) - l.head }

func (l *lane) push(e event) { l.events = append(l.events, e) }

func (l *lane) pop() event {
	e := l.events[l.head]
	l.events[l.head] = event{}
	if l.head++; l.head == len(l.events) {
		l.events, l.head = nil, 0 // an idle team holds no memory
	} else if l.head > 64 && l.head*2 > len(l.events) {
		n := copy(l.events, l.events[l.head:])
		clear(l.events[n:])
		l.events, l.head = l.events[:n], 0
	}
	return e
}

// outbox is a queue of events for the hub, bounded in number and bytes, with a bound per team. It keeps the order of
// each team's events. While the hub is connected a pusher waits for room; while the hub is away the oldest events are
// dropped.
type outbox struct {
	most, mostBytes, mostOfTeam int
	dropped                     func(e event) // called for each dropped event, with mu held

	mu       sync.Mutex
	order    []*lane // one entry per event, the oldest first: the lane to pop from
	first    int     // index of the oldest in order
	bytes    int
	away     bool    // the hub is away
	announce bool    // the hub came back: pop returns nextAnnounce next
	blocked  []*lane // lanes whose pusher waits for room in the whole outbox
	closed   bool

	more chan struct{} // wakes pop to try again; capacity 1
}

func newOutbox(o *Options, dropped func(event)) *outbox {
	return &outbox{
		most: o.Queue, mostBytes: o.QueueBytes, mostOfTeam: o.TeamQueue, dropped: dropped,
		away: true, more: make(chan struct{}, 1),
	}
}

// errOutbox is the error of push after close.
var errOutbox = errors.New("the outbox is closed")

// push queues e in the lane. While the hub is connected it waits for room until ctx ends.
func (o *outbox) push(ctx context.Context, l *lane, e event) error {
	for {
		if done, err := o.tryPush(l, e); done {
			return err
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryPush queues e if there is room, or if dropping is allowed.
func (o *outbox) tryPush(l *lane, e event) (done bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true, errOutbox
	}
	if l.len() >= o.mostOfTeam {
		if !o.away {
			l.waiting = true
			return false, nil
		}
		old := l.pop() // the team's next event takes over its entry in order
		o.bytes -= old.size()
		o.dropped(old)
	} else {
		for o.len() >= o.most || o.bytes+e.size() > o.mostBytes && o.len() > 0 {
			if !o.away {
				o.blocked = append(o.blocked, l)
				return false, nil
			}
			o.dropped(o.popOldest())
		}
		o.order = append(o.order, l)
	}
	l.push(e)
	o.bytes += e.size()
	for o.bytes > o.mostBytes && o.len() > 1 {
		o.dropped(o.popOldest())
	}
	o.signal()
	return true, nil
}

// len returns the number of queued events.
func (o *outbox) len() int { return len(o.order) - o.first }

// popOldest removes the oldest event. There must be one.
func (o *outbox) popOldest() event {
	l := o.order[o.first]
	o.order[o.first] = nil
	o.first++
	o.compact()
	e := l.pop()
	o.bytes -= e.size()
	if l.waiting && l.len() < o.mostOfTeam {
		l.waiting = false
		poke(l.wake)
	}
	// One removed event makes room for one pusher. A woken pusher may have given up; when the outbox is empty all are
	// woken.
	for len(o.blocked) > 0 {
		poke(o.blocked[0].wake)
		o.blocked = o.blocked[1:]
		if o.len() > 0 {
			break
		}
	}
	return e
}

// compact frees the memory of consumed entries.
func (o *outbox) compact() {
	switch {
	case o.len() == 0 && cap(o.order) > 4096:
		o.order, o.first = nil, 0
	case o.len() == 0:
		o.order, o.first = o.order[:0], 0
	case o.first > 1024 && o.first*2 > len(o.order):
		n := copy(o.order, o.order[o.first:])
		clear(o.order[n:])
		o.order, o.first = o.order[:n], 0
	}
}

// next is the kind of a result of pop.
type next uint8

const (
	nextEvent    next = iota
	nextAnnounce      // the hub came back
	nextEnd           // closed and empty, or the context has ended
)

// pop waits for the next event.
func (o *outbox) pop(ctx context.Context) (event, next) {
	for {
		e, what, ok := o.tryPop()
		if ok {
			return e, what
		}
		select {
		case <-o.more:
		case <-ctx.Done():
			return event{}, nextEnd
		}
	}
}

func (o *outbox) tryPop() (e event, what next, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.announce:
		o.announce = false
		return e, nextAnnounce, true
	case o.len() > 0:
		return o.popOldest(), nextEvent, true
	case o.closed:
		return e, nextEnd, true
	}
	return e, 0, false
}

// hubConnected notes that the hub is connected: teams must be announced, and a full queue makes pushers wait.
func (o *outbox) hubConnected() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.announce = false, true
	o.signal()
}

// hubLost notes that the hub is away: pushers wait no longer, the oldest events are dropped instead.
func (o *outbox) hubLost() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.announce = true, false
	o.signal()
	for _, l := range o.blocked {
		poke(l.wake)
	}
	o.blocked = nil
	for _, l := range o.order[o.first:] {
		if l.waiting {
			l.waiting = false
			poke(l.wake)
		}
	}
}

// close makes pop return nextEnd once the outbox is empty. Later pushes fail.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

// sizes returns the number of queued events and their memory in bytes.
func (o *outbox) sizes() (events, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.len(), o.bytes
}

func (o *outbox) signal() { poke(o.more) }

// poke signals a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
