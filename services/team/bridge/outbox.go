package bridge

import (
	"context"
	"errors"
	"sync"
)

// event is what is to be told to the hub.
type event struct {
	team *team // nil for events of no team
	name string
	data []byte // JSON; nil for none
}

// eventOverhead is the memory of an event besides its data.
const eventOverhead = 96

func (e *event) size() int { return eventOverhead + len(e.data) }

// lane is the part of the outbox that one team has; guarded by outbox.mu.
type lane struct {
	events  []event
	head    int // index of the oldest
	waiting bool
	wake    chan struct{} // signalled when a waiting pusher should look again; capacity 1
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

// outbox holds the events that wait for the hub: bounded in number and bytes, with a share for each team. Events of one
// team leave in their order. While the hub is there a pusher waits for room; while it is away the oldest give way.
type outbox struct {
	most, mostBytes, mostOfTeam int
	dropped                     func(e event) // told of each event that gave way; called with the lock held

	mu      sync.Mutex
	order   []*lane // whose turn it is, the oldest first: one entry for each event
	first   int     // index of the oldest in order
	bytes   int
	away    bool    // the hub is away
	again   bool    // the hub came back: teams are to be announced
	blocked []*lane // those with a pusher that waits for room of the whole
	closed  bool

	more chan struct{} // signalled when pop should look again; capacity 1
}

func newOutbox(o *Options, dropped func(event)) *outbox {
	return &outbox{
		most: o.Queue, mostBytes: o.QueueBytes, mostOfTeam: o.TeamQueue, dropped: dropped,
		away: true, more: make(chan struct{}, 1),
	}
}

// errOutbox: the event can't be queued any more.
var errOutbox = errors.New("the outbox is closed")

// push queues e in the lane. While the hub is there it waits for room, until ctx ends.
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

// tryPush queues e if there is room, or room can be made.
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
		old := l.pop() // the turn of the one that gives way is taken by the next of the team, and so on
		o.bytes -= old.size()
		o.dropped(old)
	} else {
		for o.len() >= o.most || o.bytes+e.size() > o.mostBytes && o.len() > 0 {
			if !o.away {
				o.blocked = append(o.blocked, l)
				return false, nil
			}
			o.dropped(o.take())
		}
		o.order = append(o.order, l)
	}
	l.push(e)
	o.bytes += e.size()
	for o.bytes > o.mostBytes && o.len() > 1 {
		o.dropped(o.take())
	}
	o.signal()
	return true, nil
}

// len is the number of events that wait.
func (o *outbox) len() int { return len(o.order) - o.first }

// take removes the oldest event. There must be one.
func (o *outbox) take() event {
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
	// One event makes room for one. Who is woken may have given up meanwhile; so at the end all look.
	for len(o.blocked) > 0 {
		poke(o.blocked[0].wake)
		o.blocked = o.blocked[1:]
		if o.len() > 0 {
			break
		}
	}
	return e
}

// compact gives back memory of turns that are over.
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

// next is what pop returned.
type next uint8

const (
	nextEvent    next = iota
	nextAnnounce      // the hub came back
	nextEnd           // closed and empty, or the context ended
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
	case o.again:
		o.again = false
		return e, nextAnnounce, true
	case o.len() > 0:
		return o.take(), nextEvent, true
	case o.closed:
		return e, nextEnd, true
	}
	return e, 0, false
}

// hubIs tells whether the hub is there, and lets all who wait look again.
func (o *outbox) hubIs(there bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.again = !there, there
	o.signal()
	if there {
		return
	}
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

// close lets pop end once it is empty. What is pushed later is refused.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

// sizes returns how much waits.
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
