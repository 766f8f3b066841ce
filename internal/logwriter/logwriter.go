// Package logwriter decouples a program from the reader of its log: lines wait in a bounded buffer, a goroutine writes
// them, and lines that don't fit are dropped and counted. A slow or missing reader slows nothing down.
package logwriter

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxBytes bounds the lines that wait.
const maxBytes = 1 << 20

// Writer is an io.Writer that never blocks. Any goroutine may use it. Close ends its goroutine.
type Writer struct {
	out  io.Writer
	wake chan struct{} // holds a token when something waits
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	waiting bytes.Buffer
	dropped int
	closed  bool
}

// New returns a Writer in front of out.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write queues a copy of one line, or drops it if too much waits. It never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed || w.waiting.Len()+len(line) > maxBytes:
		w.dropped++
	default:
		if w.dropped > 0 {
			fmt.Fprintf(&w.waiting, "%d log lines were dropped here: they were not read fast enough\n", w.dropped)
			w.dropped = 0
		}
		w.waiting.Write(line)
	}
	w.signal()
	return len(line), nil
}

// signal wakes the goroutine.
func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes what waits until Close.
func (w *Writer) run() {
	defer close(w.done)
	var taken bytes.Buffer
	for range w.wake {
		w.mu.Lock()
		taken, w.waiting = w.waiting, taken
		closed := w.closed
		w.mu.Unlock()
		_, _ = w.out.Write(taken.Bytes()) // there is no other place to report it
		taken.Reset()
		if taken.Cap() > maxBytes/8 {
			taken = bytes.Buffer{}
		}
		if closed {
			return
		}
	}
}

// Close writes what waits, for as long as patience allows, and ends the goroutine. Lines written later are dropped. It
// returns false if a stuck reader left lines unwritten; the goroutine then ends with the process.
func (w *Writer) Close(patience time.Duration) bool {
	w.mu.Lock()
	w.closed = true
	w.signal()
	w.mu.Unlock()
	select {
	case <-w.done:
		return true
	case <-time.After(patience):
		return false
	}
}
