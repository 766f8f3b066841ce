package hub

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/bucket"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
)

// This file shows operators the messages of one client, or of the clients of one token, wherever these are. An instance that
// is asked for them puts probes on its loops, and takes them off when it has not been asked for some seconds.

// ClientTapOptions say what a ClientTap shows.
type ClientTapOptions struct {
	Client    uuid.UUID // the messages of this client; zero for those of Token
	Token     string    // the messages of all clients with the token of that name
	PerSecond int       // how many of them at most on each instance; 1 to 500
}

const (
	probeLease = 5 * time.Second // after which an instance that was not asked takes its probes off
	maxProbes  = 32              // of one instance
)

// probes are the probes that other instances and this one have asked of this instance. The zero value has none.
type probes struct {
	mu    sync.Mutex
	known map[uint64]*leasedProbe
	ended bool
}

type leasedProbe struct {
	*probe
	expires *time.Timer
}

// probeAsked asks an instance for what its clients sent and got since it was last asked under that id.
type probeAsked struct {
	ID        uint64    `json:"id"`
	Client    uuid.UUID `json:"client"`
	Token     string    `json:"token,omitempty"`
	PerSecond int       `json:"per_second"`
	End       bool      `json:"end,omitempty"` // it will not be asked again
}

// probeFound is the answer.
type probeFound struct {
	Shows    bool           `json:"shows"` // false of an earlier release
	TooMany  bool           `json:"too_many,omitempty"`
	Messages []ProbeMessage `json:"messages,omitempty"`
	Seen     uint64         `json:"seen,omitempty"` // since it was first asked
	LeftOut  uint64         `json:"left_out,omitempty"`
}

var probeQuestion = question[probeAsked, probeFound]{"probe", (*Hub).probeHere}

// ClientTap shows a sample of what one client, or the clients of one token, send and get. One goroutine may use it.
type ClientTap struct {
	hub    *Hub
	asked  probeAsked
	nodes  []broker.NodeID             // nil for all
	counts map[broker.NodeID][2]uint64 // by instance: messages that passed, and those that were not shown
	silent []broker.NodeID             // that did not answer the last time, or are of a release without such taps
}

// ErrNoClientTaps: the instance that the client is on is of a release that can't show its messages.
var ErrNoClientTaps = errors.New("the instance that the client is on is of a release that can't show its messages")

// TapClient begins to watch. Close ends it. The error is ErrTooManyTaps or, of a client, ErrClientNotFound where
// no instance can have it, ErrSilent where the one that can did not answer, or ErrNoClientTaps.
func (h *Hub) TapClient(ctx context.Context, o ClientTapOptions) (*ClientTap, error) {
	t := &ClientTap{hub: h, counts: make(map[broker.NodeID][2]uint64)}
	t.asked = probeAsked{ID: rand.Uint64(), Client: o.Client, Token: o.Token, PerSecond: min(max(o.PerSecond, 1), maxTapRate)}
	if o.Client != uuid.Nil {
		node := clientid.Locate(&o.Client).Node
		if !slices.ContainsFunc(h.broker.Nodes(), func(n broker.Node) bool { return n.ID == node }) {
			return nil, ErrClientNotFound
		}
		t.nodes, t.asked.Token = []broker.NodeID{node}, ""
	}
	if h.taps.Add(1) > maxTaps {
		h.taps.Add(-1)
		return nil, ErrTooManyTaps
	}
	_, err := t.Next(ctx) // so that it watches when this returns
	if err == nil && t.nodes != nil && len(t.counts) == 0 {
		err = ErrNoClientTaps
		if ctx.Err() != nil {
			err = ErrSilent
		}
	}
	if err != nil {
		h.taps.Add(-1)
		return nil, err
	}
	return t, nil
}

// Missing returns the names of the instances that did not answer the last call of Next, or can't show messages of clients.
func (t *ClientTap) Missing() []string { return t.hub.namesOf(t.silent) }

// Next returns the messages since the last call, the oldest first. It waits for other instances until ctx ends; what one has
// that did not answer comes with a later call, unless that comes after probeLease. The error is ErrTooManyTaps or ctx's.
func (t *ClientTap) Next(ctx context.Context) ([]ProbeMessage, error) {
	var all []ProbeMessage
	var without []broker.NodeID
	tooMany := false
	found := func(from broker.NodeID, a probeFound) {
		tooMany = tooMany || a.TooMany
		all = append(all, a.Messages...)
		if !a.Shows {
			without = append(without, from)
			return
		}
		t.counts[from] = [2]uint64{a.Seen, a.LeftOut}
	}
	if t.nodes == nil || t.nodes[0] == t.hub.node.ID {
		own, err := t.hub.probeHere(ctx, t.asked)
		if err != nil {
			return nil, err
		}
		found(t.hub.node.ID, own)
	}
	silent, err := probeQuestion.gather(ctx, t.hub, t.nodes, t.asked, found)
	t.silent = append(silent, without...)
	switch {
	case err != nil && !errors.Is(err, broker.ErrUnavailable):
		return nil, err
	case tooMany:
		return nil, ErrTooManyTaps
	}
	slices.SortStableFunc(all, func(a, b ProbeMessage) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	return all, nil
}

// Counts returns how many messages passed so far, and how many of those were not shown.
func (t *ClientTap) Counts() (seen, leftOut uint64) {
	for _, c := range t.counts {
		seen += c[0]
		leftOut += c[1]
	}
	return seen, leftOut
}

// Close ends the tap. It does not wait for other instances: those that are not told take their probes off by themselves.
func (t *ClientTap) Close() {
	t.asked.End = true
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, _ = t.Next(ctx)
	t.hub.taps.Add(-1)
}

// probeHere answers a question of an instance's tail: with what this instance has seen since the last one. The first question
// of an id begins to watch.
func (h *Hub) probeHere(ctx context.Context, q probeAsked) (probeFound, error) {
	if q.Client != uuid.Nil && h.shardOf(&q.Client) == nil || q.Client == uuid.Nil && q.Token == "" {
		return probeFound{Shows: true}, nil
	}
	if q.End {
		h.endProbe(q.ID)
		return probeFound{Shows: true}, nil
	}
	p, fresh := h.probes.find(h, &q)
	if p == nil {
		return probeFound{Shows: true, TooMany: true}, nil
	}
	if fresh {
		if err := h.onLoops(ctx, func(sh *shard) { sh.setProbe(p, true) }); err != nil {
			h.endProbe(q.ID)
			return probeFound{}, err
		}
	}
	found := probeFound{Shows: true}
	found.Messages, found.Seen, found.LeftOut = p.take()
	return found, nil
}

// find returns the probe of that id, a new one where there is none, or nil where there are too many.
func (a *probes) find(h *Hub, q *probeAsked) (p *probe, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.known[q.ID]; l != nil {
		l.expires.Reset(probeLease)
		return l.probe, false
	}
	if len(a.known) >= maxProbes || a.ended {
		return nil, false
	}
	if a.known == nil {
		a.known = make(map[uint64]*leasedProbe)
	}
	p = &probe{client: q.Client, token: q.Token, show: bucket.New(min(max(q.PerSecond, 1), maxTapRate))}
	a.known[q.ID] = &leasedProbe{p, time.AfterFunc(probeLease, func() { h.endProbe(q.ID) })}
	return p, true
}

// endProbe takes a probe off the loops.
func (h *Hub) endProbe(id uint64) {
	h.probes.mu.Lock()
	l := h.probes.known[id]
	delete(h.probes.known, id)
	h.probes.mu.Unlock()
	if l == nil {
		return
	}
	l.expires.Stop()
	for _, sh := range h.shards {
		sh.loop.Post(task(func() { sh.setProbe(l.probe, false) }))
	}
}

// close ends all probes, and lets none begin.
func (a *probes) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	for _, l := range a.known {
		l.expires.Stop()
	}
	a.known = nil
}
