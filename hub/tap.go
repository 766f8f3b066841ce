package hub

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// watchers are those who see the messages of a group on one loop without being members. They are replaced as a whole.
type watchers struct {
	observers []func(*opcodes.Envelope)
	taps      []*Tap
}

// TapOptions say what a Tap shows.
type TapOptions struct {
	Group     string // the messages to this group; empty for those to everybody (GLOBAL)
	Event     string // only those with this event; empty for all
	PerSecond int    // how many of them at most; 1 to MaxTapRate
}

// Bounds of a Tap.
const (
	MaxTapRate   = 500
	tapQueue     = 256     // messages that wait for whoever reads
	tapBytes     = 2 << 20 // their memory
	tapExamine   = 1000    // messages a second that are parsed to know their event
	maxTaps      = 32      // of one hub
	tapSubscribe = time.Second
)

// ErrTooManyTaps: as many are open as there may be.
var ErrTooManyTaps = errors.New("too many tails are open")

// Tap shows a sample of the messages to a group, or to everybody, from the whole cluster. What it costs a loop is bounded,
// however many messages there are, and nothing ever waits for it.
type Tap struct {
	hub   *Hub
	opts  TapOptions
	group *group
	shard *shard

	messages chan []byte
	bytes    atomic.Int64 // of the messages that wait
	seen     atomic.Uint64
	leftOut  atomic.Uint64

	// Owned by the shard's loop.
	show, examine bucket
}

// Tap begins to watch. Close ends it. While the broker is away it shows what is sent on this instance.
func (h *Hub) Tap(ctx context.Context, o TapOptions) (*Tap, error) {
	if o.Group != "" {
		if err := intent.CheckGroup(strings.TrimPrefix(o.Group, "$")); err != nil { // reserved ones too
			return nil, err
		}
	}
	if h.taps.Add(1) > maxTaps {
		h.taps.Add(-1)
		return nil, ErrTooManyTaps
	}
	o.PerSecond = min(max(o.PerSecond, 1), MaxTapRate)
	t := &Tap{
		hub: h, opts: o, messages: make(chan []byte, tapQueue), show: newBucket(o.PerSecond), examine: newBucket(tapExamine),
	}
	if o.Group == "" {
		t.group = h.groups.everyone
	} else {
		t.group = h.groups.acquire(o.Group, nil)
		h.groups.tap(t.group, 1)
	}
	t.shard = h.shards[t.group.busiest()]
	t.group.watch(t.shard.index, func(w *watchers) { w.taps = append(w.taps, t) })
	subscribed := make(tapSubscribed, 1)
	t.group.tell(subscribed)
	timeout := time.NewTimer(tapSubscribe)
	defer timeout.Stop()
	select {
	case <-subscribed:
	case <-timeout.C:
	case <-ctx.Done():
	}
	return t, nil
}

// tapSubscribed learns of the broker's subscription.
type tapSubscribed chan error

func (c tapSubscribed) done(err error) { c <- err }

// Messages are the messages as receivers get them. The channel is never closed.
func (t *Tap) Messages() <-chan []byte { return t.messages }

// Took tells the tap that a message it gave was handled, so that its memory counts no more.
func (t *Tap) Took(message []byte) { t.bytes.Add(-int64(len(message))) }

// Counts returns how many messages passed so far, and how many of those were not shown: beyond the rate, or because
// nobody read.
func (t *Tap) Counts() (seen, leftOut uint64) { return t.seen.Load(), t.leftOut.Load() }

// Close ends the tap.
func (t *Tap) Close() {
	t.group.watch(t.shard.index, func(w *watchers) {
		w.taps = slices.DeleteFunc(w.taps, func(o *Tap) bool { return o == t })
	})
	if t.opts.Group != "" {
		t.hub.groups.tap(t.group, -1)
		t.hub.groups.release(t.group, false)
	}
	t.hub.taps.Add(-1)
}

// look shows the message, or counts it. It is called on the shard's loop.
func (t *Tap) look(sh *shard, b *transport.Buffer) {
	t.seen.Add(1)
	now := sh.loop.Clock()
	if t.opts.Event != "" {
		if !t.examine.take(now) {
			t.leftOut.Add(1)
			return
		}
		if m := sh.parse(b); m == nil || string(m.Event) != t.opts.Event {
			return
		}
	}
	n := int64(len(b.Payload()))
	if !t.show.take(now) || t.bytes.Load()+n > tapBytes {
		t.leftOut.Add(1)
		return
	}
	t.bytes.Add(n)
	select {
	case t.messages <- slices.Clone(b.Payload()):
	default:
		t.bytes.Add(-n)
		t.leftOut.Add(1)
	}
}

// bucket lets so many pass in a second, all of them at once after a silence.
type bucket struct {
	rate  int64 // a second
	level int64 // thousandths of what may pass now
	at    uint32
	begun bool
}

func newBucket(rate int) bucket { return bucket{rate: int64(rate)} }

// take reports whether one may pass, at a time in milliseconds of a clock that wraps.
func (b *bucket) take(now uint32) bool {
	if !b.begun {
		b.begun, b.at, b.level = true, now, b.rate*1000
	}
	passed := min(int64(now-b.at), 1000)
	b.at = now
	b.level = min(b.level+passed*b.rate, b.rate*1000)
	if b.level < 1000 {
		return false
	}
	b.level -= 1000
	return true
}

// watch changes who watches the group on a loop. Any goroutine may call it.
func (g *group) watch(loop int, change func(*watchers)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var next watchers
	if old := g.local[loop].watchers.Load(); old != nil {
		next = watchers{slices.Clone(old.observers), slices.Clone(old.taps)}
	}
	change(&next)
	if len(next.observers) == 0 && len(next.taps) == 0 {
		g.local[loop].watchers.Store(nil)
		return
	}
	g.local[loop].watchers.Store(&next)
}

// busiest returns the loop with the most members, where a message passes anyway.
func (g *group) busiest() int {
	loop := 0
	for i := range g.counts {
		if g.counts[i].Load() > g.counts[loop].Load() {
			loop = i
		}
	}
	return loop
}

// tell has w told, perhaps at once, when the broker's subscription stands, or that it can't be had.
func (g *group) tell(w waiter) {
	g.mu.Lock()
	state := g.state
	if state == subscribing {
		g.waiting = append(g.waiting, w)
	}
	g.mu.Unlock()
	switch state {
	case subscribed:
		w.done(nil)
	case unsubscribed:
		w.done(broker.ErrUnavailable)
	}
}
