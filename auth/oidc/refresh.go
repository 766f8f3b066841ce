package oidc

import (
	"context"
	"math/rand/v2"
	"time"
)

// maxWaiting bounds those who wait for keys to be fetched. Whoever comes then is told to come again.
const maxWaiting = 64

// fetch is one attempt to fetch the keys. keys is set before done is closed, and not changed after.
type fetch struct {
	done chan struct{}
	keys *keySet // nil if it failed
}

func newFetch() *fetch { return &fetch{done: make(chan struct{})} }

// refreshed returns keys that were fetched after it was called, or by an attempt that went on then; nil if that fails,
// takes longer than ctx, or may not be tried now.
func (v *Verifier) refreshed(ctx context.Context) *keySet {
	f := v.join()
	if f == nil {
		return nil
	}
	defer v.leave()
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
		if v.times.now().Sub(v.begun) < v.times.spacing {
			return nil
		}
		v.fetching = newFetch()
		v.wake <- struct{}{} // has room: who takes from it ends what is in v.fetching before there is another
	}
	v.waiting++
	return v.fetching
}

func (v *Verifier) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting--
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

// pauseAfter returns how long to wait after so many failures in a row. The instances of a hub don't ask at the same time.
func (v *Verifier) pauseAfter(failures int) time.Duration {
	d := v.times.refresh
	if failures > 0 {
		d = min(v.times.retry<<min(failures-1, 16), v.times.retryMax)
	}
	return d - rand.N(d/4+1)
}

// pause waits, but not when somebody asks for keys or the file with them changed.
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

// fetchOnce fetches the keys and tells those who wait. failures is how often in a row that failed before.
func (v *Verifier) fetchOnce(ctx context.Context, failures int) bool {
	v.mu.Lock()
	if v.fetching == nil {
		v.fetching = newFetch()
	}
	f := v.fetching
	v.begun = v.times.now()
	v.mu.Unlock()

	limit, cancel := context.WithTimeout(ctx, v.times.fetch)
	defer cancel()
	keys, err := v.fetchKeys(limit)
	if err == nil {
		v.take(keys, failures)
		f.keys = keys
	} else if ctx.Err() == nil {
		v.failed.Add(1)
		v.logFailure(err, failures)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	select { // one who joined while this went on
	case <-v.wake:
	default:
	}
	v.fetching = nil
	close(f.done)
	return err == nil
}

// fetchKeys asks the source for the keys.
func (v *Verifier) fetchKeys(ctx context.Context) (*keySet, error) {
	text, err := v.source.read(ctx)
	if err != nil {
		return nil, err
	}
	return parseKeys(text, v.times.now())
}

// take puts keys in force.
func (v *Verifier) take(keys *keySet, failures int) {
	before := v.keys.Swap(keys)
	v.good.Add(1)
	switch {
	case before == nil:
		v.opts.Log.Info("keys of the issuer of tokens fetched", "issuer", v.opts.Issuer, "keys", len(keys.keys), "passed_over", keys.skipped)
	case failures > 0:
		v.opts.Log.Info("keys of the issuer of tokens can be fetched again", "issuer", v.opts.Issuer, "keys", len(keys.keys))
	case !before.same(keys):
		v.opts.Log.Info("keys of the issuer of tokens changed", "issuer", v.opts.Issuer, "keys", len(keys.keys), "passed_over", keys.skipped)
	}
}

// logFailure says that the keys could not be fetched, and what that means. It is not said more often than it is tried.
func (v *Verifier) logFailure(err error, failures int) {
	if k := v.keys.Load(); k != nil {
		v.opts.Log.Warn("keys of the issuer of tokens can't be fetched: those known are used", "issuer", v.opts.Issuer,
			"error", err, "failures", failures+1, "age", v.times.now().Sub(k.fetched).Round(time.Second))
		return
	}
	v.opts.Log.Warn("keys of the issuer of tokens can't be fetched: none of its tokens can be verified, and their holders are told to try again",
		"issuer", v.opts.Issuer, "error", err, "failures", failures+1)
}

// end tells those who wait that no more is fetched.
func (v *Verifier) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.fetching != nil {
		close(v.fetching.done)
		v.fetching = nil
	}
}
