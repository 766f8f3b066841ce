package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Positions keeps how far a program has handled groups with history, over its restarts. [PositionsFile] is one. A Client calls
// its methods one at a time.
type Positions interface {
	// Load returns the positions, by group; none where none was kept yet. Connect calls it once, and returns its error.
	Load(ctx context.Context) (map[string]Position, error)
	// Save keeps these positions in the place of all that were kept. It must not change the map.
	Save(ctx context.Context, all map[string]Position) error
}

// loadPositions returns what Options.Positions has kept.
func (o *Options) loadPositions(ctx context.Context) (map[string]Position, error) {
	if o.Positions == nil {
		return nil, nil
	}
	all, err := o.Positions.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load positions: %w", err)
	}
	if err := checkPositions(all); err != nil {
		return nil, fmt.Errorf("load positions: %w", err)
	}
	return all, nil
}

// keeper saves positions. Its fields belong to its goroutine, apart from the channel and told.
type keeper struct {
	c     *Client
	ctx   context.Context // ends when nothing is waited for any more
	stop  context.CancelFunc
	done  chan struct{} // closed when all is saved or can't be
	err   error         // of the last time; set before done is closed
	dirty bool
	told  atomic.Bool // an error waits for OnPositionsError
}

// keepPositions begins to save positions.
func (c *Client) keepPositions() {
	k := &c.keeper
	k.c, k.done = c, make(chan struct{})
	k.ctx, k.stop = context.WithCancel(context.Background())
	if c.opts.Positions == nil {
		close(k.done)
		return
	}
	go k.run()
}

// run saves what was handled until the last handler has returned.
func (k *keeper) run() {
	defer close(k.done)
	for {
		var again <-chan time.Time // after a failure
		if k.dirty {
			again = time.After(k.c.opts.PositionsEvery)
		}
		select {
		case <-k.c.progress.changed:
			k.dirty = true
		case <-again:
		case <-k.c.dispatched:
			k.last()
			return
		}
		if err := k.save(); err != nil {
			k.report(err)
		}
		select {
		case <-time.After(k.c.opts.PositionsEvery):
		case <-k.c.dispatched:
			k.last()
			return
		}
	}
}

// last saves what is not saved when the last handler has returned.
func (k *keeper) last() {
	select {
	case <-k.c.progress.changed:
		k.dirty = true
	default:
	}
	if !k.dirty {
		return
	}
	if k.err = k.save(); k.err != nil {
		k.c.alarm.Error("mastersocket: positions are not saved", "error", k.err)
	}
}

func (k *keeper) save() error {
	ctx, cancel := context.WithTimeout(k.ctx, k.c.opts.WriteTimeout)
	defer cancel()
	err := k.c.opts.Positions.Save(ctx, k.c.progress.all())
	k.dirty = err != nil
	return err
}

// report tells of an error. Where the hook has not returned since the last one, that one stands for both.
func (k *keeper) report(err error) {
	hook := k.c.opts.OnPositionsError
	if hook == nil {
		k.c.alarm.Error("mastersocket: positions can't be saved; trying again", "error", err)
		return
	}
	if k.told.Swap(true) {
		return
	}
	k.c.inbox.announce(delivery{hook: func() {
		k.told.Store(false)
		hook(err)
	}})
}
