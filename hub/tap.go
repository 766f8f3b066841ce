package hub

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/hub/internal/bucket"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/transport"
)

// TapOptions say what a Tap shows.
type TapOptions struct {
	Group     string // the messages to this group; empty for those to everybody (GLOBAL)
	Event     string // only those with this event; empty for all
	PerSecond int    // how many of them at most; 1 to 500
}

// Bounds of a Tap.
const (
	maxTapRate   = 500
	tapExamine   = 1000 // messages a second that are parsed to know their event
	maxTaps      = 32   // of one hub
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
	show, examine bucket.Bucket
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
	o.PerSecond = min(max(o.PerSecond, 1), maxTapRate)
	t := &Tap{
		hub: h, opts: o, messages: make(chan []byte, tapQueue), show: bucket.New(o.PerSecond), examine: bucket.New(tapExamine),
	}
	if o.Group == "" {
		t.group = h.groups.everyone
	} else {
		t.group = h.groups.keep(o.Group)
	}
	t.shard = h.shards[t.group.busiest()]
	t.group.watch(t.shard.index, func(w *watchers) { w.taps = append(w.taps, t) })
	confirmed := make(confirmation, 1)
	t.group.await(confirmed)
	ctx, cancel := context.WithTimeout(ctx, tapSubscribe)
	defer cancel()
	_, _ = receive(ctx, confirmed)
	return t, nil
}

// confirmation is what the broker says of a subscription.
type confirmation chan error

// subscribed implements waiter.
func (c confirmation) subscribed(err error) { c <- err }

// Messages are the messages as receivers get them. The channel is never closed.
func (t *Tap) Messages() <-chan []byte { return t.messages }

// Took tells the tap that a message it gave was handled, so that its memory counts no more.
func (t *Tap) Took(message []byte) { t.bytes.Add(-int64(len(message))) }

// Counts returns how many messages passed so far, and how many of those were not shown: beyond the rate, or not read
// in time.
func (t *Tap) Counts() (seen, leftOut uint64) { return t.seen.Load(), t.leftOut.Load() }

// Close ends the tap.
func (t *Tap) Close() {
	t.group.watch(t.shard.index, func(w *watchers) {
		w.taps = slices.DeleteFunc(w.taps, func(o tap) bool { return o == t })
	})
	if t.opts.Group != "" {
		t.hub.groups.release(t.group)
	}
	t.hub.taps.Add(-1)
}

// look implements tap: it shows the message, or counts it.
func (t *Tap) look(now uint32, b *transport.Buffer, p parser) {
	t.seen.Add(1)
	if t.opts.Event != "" {
		if !t.examine.Take(now) {
			t.leftOut.Add(1)
			return
		}
		if m := p.parse(b); m == nil || string(m.Event) != t.opts.Event {
			return
		}
	}
	n := int64(len(b.Payload()))
	if !t.show.Take(now) || t.bytes.Load()+n > tapBytes {
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
