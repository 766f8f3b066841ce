package redis

import (
	"context"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

// stateKeeper holds the State and the pressure, and reports both to the Handler from one goroutine.
type stateKeeper struct {
	wake chan struct{}

	mu       sync.Mutex
	state    broker.State
	pressure bool
	linked   bool // a link is up, whether or not a probe came back yet
}

func newStateKeeper() *stateKeeper {
	return &stateKeeper{
		wake:  make(chan struct{}, 1),
		state: broker.State{Since: time.Now(), Err: "not connected yet"},
	}
}

func (k *stateKeeper) get() broker.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// setAvailable notes that a round trip succeeded.
func (k *stateKeeper) setAvailable() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.state.Available && k.linked {
		k.state = broker.State{Available: true, Since: time.Now()}
		k.signal()
	}
}

// setAway notes why the broker is not available; a later reason replaces an earlier one.
func (k *stateKeeper) setAway(why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Available {
		k.state.Available, k.state.Since = false, time.Now()
		k.signal()
	}
	k.state.Err = why
}

func (k *stateKeeper) setLinked(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.linked = on
}

func (k *stateKeeper) isLinked() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.linked
}

func (k *stateKeeper) setPressure(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pressure = on
	k.signal()
}

func (k *stateKeeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run reports to h until ctx ends. Pressure is ended before the broker is reported away, and never put on while it is.
func (k *stateKeeper) run(ctx context.Context, h broker.Handler) {
	available, pressed := false, false
	for {
		k.mu.Lock()
		state := k.state
		press := k.pressure && state.Available
		k.mu.Unlock()
		if pressed && !press {
			pressed = false
			h.Pressure(false)
		}
		if state.Available != available {
			available = state.Available
			h.StateChanged(state)
		}
		if press && !pressed {
			pressed = true
			h.Pressure(true)
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			return
		}
	}
}

// silence tells a broken connection from a quiet one. Time counts only while this process runs: a process that was paused
// hears what waited for it before its pause could add up to the limit. Nor does time count while the Handler holds up the
// reader.
type silence struct {
	reads uint64
	spent time.Duration
}

// quietFor takes the time since the last call, and returns for how long nothing was heard, and whether the reader was
// held up.
func (s *silence) quietFor(step time.Duration, h *resp.Hearing) (spent time.Duration, heldUp bool) {
	reads := h.Reads.Load()
	heldUp = reads == s.reads && !h.Waiting.Load()
	if s.spent += step; reads != s.reads || heldUp {
		s.reads, s.spent = reads, 0
	}
	return s.spent, heldUp
}
