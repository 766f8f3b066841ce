package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errSilent ends a link on which nothing was heard.
var errSilent = errors.New("Redis is silent")

// ticksPerProbe is how often watch looks in a ProbeInterval.
const ticksPerProbe = 20

// The limits of silence, in ticks: two intervals and a little for all of a connection, and more for a probe alone
// where other traffic shows that the broker is there, only slow.
const (
	silentTicks = 2*ticksPerProbe + ticksPerProbe/4
	lostTicks   = 10 * ticksPerProbe
)

// probes are the nonces on their way.
type probes struct {
	mu         sync.Mutex
	next       uint64
	sent       map[uint64]int64 // when each was sent
	unanswered int              // ticks since the last one returned, while any is on its way
	first      chan struct{}    // closed when the first one since reset returns
}

// send draws the next nonce.
func (p *probes) send(now int64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil || len(p.sent) > 64 {
		p.sent = make(map[uint64]int64)
	}
	p.next++
	p.sent[p.next] = now
	return p.next
}

// returned forgets the nonce and those before it, and says how long it took.
func (p *probes) returned(nonce uint64, now int64) (rtt int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent, ok := p.sent[nonce]
	p.unanswered = 0
	if ok && p.first != nil {
		close(p.first)
		p.first = nil
	}
	for n := range p.sent {
		if n <= nonce {
			delete(p.sent, n)
		}
	}
	return now - sent, ok
}

// tick returns for how many ticks no nonce returned that should have.
func (p *probes) tick() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unanswered++; len(p.sent) == 0 {
		p.unanswered = 0
	}
	return p.unanswered
}

// reset forgets all nonces: they went by connections that are gone. The channel that it returns is closed when the
// next one returns.
func (p *probes) reset() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.sent)
	p.unanswered, p.first = 0, make(chan struct{})
	return p.first
}

// probe sends a nonce. It overtakes all messages that wait.
func (r *Redis) probe() {
	nonce := r.probes.send(r.now())
	payload := binary.BigEndian.AppendUint64(nil, nonce)
	r.pub.send(&frame{Message: Message{Kind: kindProbe, To: r.self.ID, Payload: payload}}, nil)
}

// watcher is the state of watch.
type watcher struct {
	link            *link
	pushes, replies silence
	down            int // ticks without a link
	sinceProbe      int // ticks
}

// watch probes the broker and does all else that time brings, until ctx ends.
func (r *Redis) watch(ctx context.Context) {
	tick := time.NewTicker(r.opt.ProbeInterval / ticksPerProbe)
	defer tick.Stop()
	var w watcher
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.watchLink(&w)
		if r.state.isLinked() {
			r.counts.flush()
		}
		r.subs.tick()
		r.recv.tick()
		r.pub.expire()
	}
}

// watchLink ends a silent link and notes one that stays away.
func (r *Redis) watchLink(w *watcher) {
	l := r.link.Load()
	if l == nil || !r.state.isLinked() {
		w.link = nil
		if w.down++; w.down == silentTicks {
			if err := r.lastError.Load(); err != nil {
				r.state.setAway((*err).Error())
			}
		}
		return
	}
	if l != w.link {
		*w = watcher{link: l}
	}
	w.down = 0
	if w.sinceProbe++; w.sinceProbe >= ticksPerProbe {
		w.sinceProbe = 0
		r.probe()
	}
	pushes, replies := w.pushes.tick(r.heardPushes.Load()), w.replies.tick(r.heardReplies.Load())
	lost := r.probes.tick()
	if pushes >= silentTicks || replies >= silentTicks || lost >= lostTicks {
		silent := time.Duration(max(pushes, replies, lost)) * r.opt.ProbeInterval / ticksPerProbe
		l.cancel(fmt.Errorf("%w: no probe came back for %v", errSilent, silent))
	}
}

// drain waits until everything that waits is published.
func (r *Redis) drain(ctx context.Context) error {
	retry := time.NewTicker(time.Millisecond)
	defer retry.Stop()
	for r.pub.pending() {
		if !r.state.isLinked() {
			return fmt.Errorf("messages still waited: %w", ErrUnavailable)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("messages still waited: %w", ctx.Err())
		}
	}
	return nil
}

// leave tells the others that this instance goes, and gives its lease up. Where that can't be done they find out by
// themselves.
func (r *Redis) leave(ctx context.Context) error {
	if !r.state.isLinked() {
		return nil
	}
	r.pub.send(&frame{Message: Message{Kind: kindBye}}, nil)
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	if err := r.drain(ctx); err != nil {
		return err
	}
	c := r.commands.Load()
	if c == nil {
		return nil
	}
	return r.releaseLease(ctx, c)
}
