// Package passage tells whether a message is being handed over from one goroutine to several loops: some may have it, and
// others not yet.
package passage

import (
	"sync"
	"sync/atomic"
)

// Passage is what one goroutine at a time hands messages through, while others wait for its gaps. The zero Passage is
// ready for use.
type Passage struct {
	busy    atomic.Bool
	waiting atomic.Int32 // functions in then

	mu   sync.Mutex
	then []func()
}

// Enter and Leave enclose the handing over of one message. One goroutine at a time calls them.
func (p *Passage) Enter() { p.busy.Store(true) }

// Leave ends what Enter began.
func (p *Passage) Leave() {
	p.busy.Store(false)
	if p.waiting.Load() > 0 {
		p.run()
	}
}

// State is what Await found.
type State uint8

// The states.
const (
	Free  State = iota // no message is being handed over
	Later              // then is called once that is over, on any goroutine
	Full               // too many wait already
)

// MaxWaiting bounds the functions that wait.
const MaxWaiting = 4096

// Await has then called once the message that is being handed over, if there is one, has been.
func (p *Passage) Await(then func()) State {
	if !p.busy.Load() {
		return Free
	}
	p.mu.Lock()
	if len(p.then) >= MaxWaiting {
		p.mu.Unlock()
		return Full
	}
	p.then = append(p.then, then)
	p.waiting.Add(1)
	p.mu.Unlock()
	if !p.busy.Load() { // Leave may not have seen that a function waits
		p.run()
	}
	return Later
}

// run calls what waits.
func (p *Passage) run() {
	p.mu.Lock()
	then := p.then
	p.then = nil
	p.waiting.Store(0)
	p.mu.Unlock()
	for _, f := range then {
		f()
	}
}
