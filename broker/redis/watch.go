package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// errSilent ends a link on which nothing was heard.
var errSilent = errors.New("no answer from Redis")

// ticksPerProbe is how often watch looks in a ProbeInterval, and maxStep how many ticks it believes to have passed
// since it looked last, when its own goroutine came late.
const (
	ticksPerProbe = 20
	maxStep       = 5
)

// silentLimit is how long nothing at all may be heard on a connection: two intervals and a little.
func (o *Options) silentLimit() time.Duration { return 2*o.ProbeInterval + o.ProbeInterval/4 }

// lostLimit is how long no probe may return where other traffic shows that the broker is there, only slow.
func (o *Options) lostLimit() time.Duration { return 10 * o.ProbeInterval }

// probes are the nonces on their way.
type probes struct {
	mu         sync.Mutex
	next       uint64
	sent       map[uint64]int64 // when each was sent
	unanswered time.Duration    // since the last one returned, while any is on its way
	first      chan struct{}    // closed when the first one since reset returns
}

// issue draws the next nonce.
func (p *probes) issue(now int64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil || len(p.sent) > 64 {
		p.sent = make(map[uint64]int64)
	}
	p.next++
	p.sent[p.next] = now
	return p.next
}

// cameBack forgets the nonce and those before it, and says how long it took.
func (p *probes) cameBack(nonce uint64, now int64) (rtt int64, ok bool) {
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

// unansweredFor takes the time since the last call, and returns for how long no nonce returned that should have.
func (p *probes) unansweredFor(step time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unanswered += step; len(p.sent) == 0 {
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
func (r *Broker) probe() { r.pub.send(r.newProbe(), nil) }

// newProbe returns a frame with a nonce that leaves now.
func (r *Broker) newProbe() *frame {
	payload := binary.BigEndian.AppendUint64(nil, r.probes.issue(r.now()))
	return &frame{Message: broker.Message{Kind: kindProbe, To: r.self.ID, Payload: payload}}
}

// watcher is the state of watch.
type watcher struct {
	link            *link
	last            time.Time
	pushes, replies silence
	down            time.Duration // without a link
	sinceProbe      time.Duration
}

// watch probes the broker and does all else that time brings, until ctx ends.
func (r *Broker) watch(ctx context.Context) {
	every := r.opt.ProbeInterval / ticksPerProbe
	tick := time.NewTicker(every)
	defer tick.Stop()
	w := watcher{last: time.Now()}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		step := min(now.Sub(w.last), maxStep*every)
		w.last = now
		r.watchLink(&w, step)
		if r.state.isLinked() {
			r.counts.flush()
		}
		r.names.signer.refresh()
		r.subs.tick()
		r.holds.tick()
		r.recv.tick()
		r.pub.expire()
		r.told.expire()
		r.readers.expire(r.now())
	}
}

// watchLink ends a silent link and notes one that stays away.
func (r *Broker) watchLink(w *watcher, step time.Duration) {
	l := r.link.Load()
	if l == nil || !r.state.isLinked() {
		w.link = nil
		w.down += step
		if err := r.lastError.Load(); err != nil && w.down >= r.opt.silentLimit() {
			r.state.setAway((*err).Error())
		}
		return
	}
	if l != w.link {
		*w = watcher{link: l, last: w.last}
	}
	w.down = 0
	if w.sinceProbe += step; w.sinceProbe >= r.opt.ProbeInterval {
		w.sinceProbe = 0
		r.probe()
		r.announcePositions()
	}
	pushes, heldUp := w.pushes.quietFor(step, &r.heardPushes)
	replies, _ := w.replies.quietFor(step, &r.heardReplies)
	if heldUp {
		step = 0 // a probe may have come back without having been read
	}
	lost := r.probes.unansweredFor(step)
	if max(pushes, replies) >= r.opt.silentLimit() || lost >= r.opt.lostLimit() {
		r.probes.reset()
		l.cancel(fmt.Errorf("%w: nothing came back for %v", errSilent, max(pushes, replies, lost).Round(time.Millisecond)))
	}
}

// drain waits until everything that waits is published, unless the broker is away.
func (r *Broker) drain(ctx context.Context) error {
	retry := time.NewTicker(time.Millisecond)
	defer retry.Stop()
	for r.pub.pending() {
		if !r.State().Available {
			return fmt.Errorf("messages still waited: %w", broker.ErrUnavailable)
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
func (r *Broker) leave(ctx context.Context) error {
	if !r.state.isLinked() {
		return nil
	}
	r.pub.send(&frame{Message: broker.Message{Kind: kindBye}}, nil)
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	if err := r.drain(ctx); err != nil {
		return err
	}
	c := r.commands.Load()
	if c == nil {
		return nil
	}
	if err := r.leaveHolds(ctx, c); err != nil {
		return err
	}
	return r.releaseLease(ctx, c)
}
