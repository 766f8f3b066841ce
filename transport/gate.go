package transport

import (
	"sync/atomic"
)

// Gate stops a server from reading what its clients send, so that TCP makes them wait, while something further down
// can't keep up: a loop's inbox, or the broker. It is open until the first Hold and again after the last Release.
// Its methods may be called from any goroutine.
type Gate struct {
	holds atomic.Int32
	loops []*Loop
}

// Hold closes the gate until a matching Release.
func (g *Gate) Hold() { g.holds.Add(1) }

// Release undoes one Hold; the last one lets every loop read again.
func (g *Gate) Release() {
	if g.holds.Add(-1) != 0 {
		return
	}
	for _, l := range g.loops {
		l.wake()
	}
}

// Closed reports whether there is a Hold without its Release.
func (g *Gate) Closed() bool { return g.holds.Load() > 0 }
