//go:build linux

package hubtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// churn connects, stays for a moment and leaves, until ctx ends. The last visit ends gracefully.
func (r *run) churn(ctx context.Context, part int) error {
	rng := r.rng(1000 + part)
	for i := 0; ctx.Err() == nil; i++ {
		if err := r.visit(ctx, rng, fmt.Sprintf("visitor-%d.%d", part, i), part); err != nil {
			return err
		}
	}
	return nil
}

// visit is one connection of up to 200 ms.
func (r *run) visit(ctx context.Context, rng *rand.Rand, name string, part int) error {
	c, err := r.join(context.WithoutCancel(ctx), part, ClientOptions{
		Name: name, Groups: r.someGroups(rng), OnArrival: func(int, int, string) { r.arrivals.Add(1) },
	})
	if err != nil {
		return err
	}
	stay := time.NewTimer(time.Duration(rng.IntN(200)) * time.Millisecond)
	defer stay.Stop()
	select {
	case <-ctx.Done():
	case <-stay.C:
	case <-c.done:
		return c.Err()
	}
	if rng.IntN(2) == 0 {
		c.Cut()
		return nil
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	return c.Leave(leaving)
}

// shift connects, and joins and leaves groups until ctx ends.
func (r *run) shift(ctx context.Context, part int) error {
	rng := r.rng(2000 + part)
	c, err := r.join(context.WithoutCancel(ctx), part, ClientOptions{
		Name: fmt.Sprintf("shifter-%d", part), Groups: []string{"shifters"}, Changes: true, OnArrival: func(int, int, string) { r.arrivals.Add(1) },
	})
	if err != nil {
		return err
	}
	in := make(map[string]bool)
	for ctx.Err() == nil {
		group := groupName(rng.IntN(r.Groups))
		change := c.Subscribe
		if in[group] {
			change = c.Unsubscribe
		}
		changing, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		err := change(changing, group)
		if cancel(); err != nil {
			return err
		}
		in[group] = !in[group]
		pause := time.NewTimer(time.Duration(5+rng.IntN(20)) * time.Millisecond) // within what a client may name in a second
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	return c.Leave(leaving)
}

// budget bounds the deliveries under way.
type budget struct {
	mu    sync.Mutex
	cond  *sync.Cond
	free  int
	bound bool
}

func newBudget(n int) *budget {
	b := &budget{free: n, bound: n >= 0}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// acquire waits until the budget is not exhausted, then takes n, even if that exceeds it.
func (b *budget) acquire(ctx context.Context, n int) error {
	if !b.bound || n == 0 {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.cond.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.free <= 0 {
		if ctx.Err() != nil {
			return errors.Join(errors.New("too many deliveries are under way"), context.Cause(ctx))
		}
		b.cond.Wait()
	}
	b.free -= n
	return nil
}

func (b *budget) release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free += n; b.free > 0 {
		b.cond.Broadcast()
	}
}
