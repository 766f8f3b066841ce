package oidc

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Bounds of the tokens that wait for a fetch. Others are judged by the keys that are known.
const (
	maxWaiting  = 64 // with an unknown key
	maxDoubting = 8  // with a wrong signature by a known key, which every attacker can make
)

// fetch is one attempt to fetch the keys. keys and err are set before done is closed, and not changed after.
type fetch struct {
	done chan struct{}
	keys *keySet // nil if it failed
	err  error
}

func newFetch() *fetch { return &fetch{done: make(chan struct{}), err: errClosed} }

// errClosed is why a fetch that was asked for never began.
var errClosed = errors.New("the verifier is closed")

// refreshed returns keys that were fetched after it was called, or by an attempt that went on then. It returns nil if
// that fails, takes longer than ctx, or may not be tried now.
func (v *Verifier) refreshed(ctx context.Context) *keySet {
	f := v.join()
	if f == nil {
		return nil
	}
	defer v.leave(&v.waiting)
	return f.wait(ctx)
}

// wait returns what was fetched; nil if that failed, or took longer than ctx.
func (f *fetch) wait(ctx context.Context) *keySet {
	select {
	case <-f.done:
		return f.keys
	case <-ctx.Done():
		return nil
	}
}

// join returns the attempt to wait for, one that begins now if none goes on, or nil if the last was too short a time ago.
func (v *Verifier) join() *fetch {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting >= maxWaiting || v.closed {
		return nil
	}
	if v.fetching == nil {
		if v.untilNext() > 0 {
			return nil
		}
		v.begin()
	}
	v.waiting++
	return v.fetching
}

// replaced returns keys that are newer than these: an issuer may replace a key without giving it another name. It waits
// for the next time that keys may be fetched. It returns nil if they are not to be had, or if enough others wait.
func (v *Verifier) replaced(ctx context.Context, keys *keySet) *keySet {
	if now := v.keys.Load(); now != keys {
		return now
	}
	v.mu.Lock()
	if v.doubting >= maxDoubting || v.closed {
		v.mu.Unlock()
		return nil
	}
	if v.fetching == nil {
		if wait := v.untilNext(); wait > 0 {
			f := newFetch()
			v.fetching = f
			time.AfterFunc(wait, func() {
				v.mu.Lock()
				defer v.mu.Unlock()
				if v.fetching == f {
					v.poke()
				}
			})
		} else {
			v.begin()
		}
	}
	f := v.fetching
	v.doubting++
	v.mu.Unlock()
	defer v.leave(&v.doubting)
	return f.wait(ctx)
}

// Refresh fetches the keys now, and reports whether they are others than before. Tokens are judged by them from its
// return on. The error says why they can't be had; those known before stay in use.
func (v *Verifier) Refresh(ctx context.Context) (changed bool, err error) {
	before := v.keys.Load()
	for {
		v.mu.Lock()
		underWay := v.running
		if v.fetching == nil && !v.closed {
			v.begin()
		} else if !underWay {
			v.poke() // it waits for its time
		}
		f := v.fetching
		v.mu.Unlock()
		if f == nil {
			return false, errClosed
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if underWay && f.err != errClosed { // it may have asked before the issuer changed something
			continue
		}
		if f.err != nil {
			return false, f.err
		}
		return before == nil || !before.same(f.keys), nil
	}
}

// untilNext returns how long tokens may not ask for a fetch. mu must be held.
func (v *Verifier) untilNext() time.Duration { return v.times.spacing - v.times.now().Sub(v.begun) }

// begin asks for a fetch at once. mu must be held, and no fetch be asked for.
func (v *Verifier) begin() {
	v.fetching = newFetch()
	v.poke()
}

// poke wakes the goroutine that fetches.
func (v *Verifier) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *Verifier) leave(waiting *int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	*waiting--
}

// run fetches the keys until ctx ends. It is the goroutine that New starts.
func (v *Verifier) run(ctx context.Context) {
	defer v.end()
	failures := 0
	for ctx.Err() == nil {
		if v.fetchOnce(ctx, failures) {
			failures = 0
		} else {
			failures++
		}
		v.pause(ctx, v.pauseAfter(failures))
	}
}

// pauseAfter returns how long to wait after so many failures in a row. It is random, so that the instances of a hub don't
// ask at the same time.
func (v *Verifier) pauseAfter(failures int) time.Duration {
	d := v.times.refresh
	if failures > 0 {
		d = min(v.times.retry<<min(failures-1, 16), v.times.retryMax)
	}
	return d - rand.N(d/4+1)
}

// pause waits for d, for a token that needs keys, or for a change of the file with them.
func (v *Verifier) pause(ctx context.Context, d time.Duration) {
	until := time.NewTimer(d)
	defer until.Stop()
	look := time.NewTicker(v.times.file)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-until.C:
			return
		case <-v.wake:
			return
		case <-look.C:
			if v.source.changed() {
				return
			}
		}
	}
}

// fetchOnce fetches the keys and wakes the tokens that wait. failures is how often in a row that failed before.
func (v *Verifier) fetchOnce(ctx context.Context, failures int) bool {
	v.mu.Lock()
	if v.fetching == nil {
		v.fetching = newFetch()
	}
	f := v.fetching
	v.begun, v.running = v.times.now(), true
	v.mu.Unlock()

	limit, cancel := context.WithTimeout(ctx, v.times.fetch)
	defer cancel()
	keys, err := v.fetchKeys(limit)
	f.keys, f.err = keys, err
	if err == nil {
		v.take(keys, failures)
	} else if ctx.Err() == nil {
		v.failed.Add(1)
		v.logFailure(err, failures)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	select { // by a token that joined this fetch
	case <-v.wake:
	default:
	}
	v.fetching, v.running = nil, false
	close(f.done)
	return err == nil
}

// fetchKeys asks the source for the keys.
func (v *Verifier) fetchKeys(ctx context.Context) (*keySet, error) {
	return v.source.fetch(ctx, v.times.now())
}

// take puts keys in force.
func (v *Verifier) take(keys *keySet, failures int) {
	before := v.keys.Swap(keys)
	v.good.Add(1)
	switch {
	case before == nil:
		v.opts.Log.Info("keys of the issuer of tokens fetched", "issuer", v.opts.Issuer, "keys", len(keys.keys), "skipped", keys.skipped)
	case failures > 0:
		v.opts.Log.Info("keys of the issuer of tokens can be fetched again", "issuer", v.opts.Issuer, "keys", len(keys.keys))
	case !before.same(keys):
		v.opts.Log.Info("keys of the issuer of tokens changed", "issuer", v.opts.Issuer, "keys", len(keys.keys), "skipped", keys.skipped)
	}
}

// logFailure says that the keys could not be fetched, and what that means.
func (v *Verifier) logFailure(err error, failures int) {
	if k := v.keys.Load(); k != nil {
		v.opts.Log.Warn("keys of the issuer of tokens can't be fetched: the last known ones stay in use", "issuer", v.opts.Issuer,
			"error", err, "failures", failures+1, "age", v.times.now().Sub(k.fetched).Round(time.Second))
		return
	}
	v.opts.Log.Warn("keys of the issuer of tokens can't be fetched: none of its tokens can be verified, and their holders are told to try again",
		"issuer", v.opts.Issuer, "error", err, "failures", failures+1)
}

// end wakes the tokens that wait: no more is fetched.
func (v *Verifier) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.fetching != nil {
		close(v.fetching.done)
		v.fetching = nil
	}
}
