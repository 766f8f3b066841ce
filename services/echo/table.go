package echo

import (
	"bytes"
	"iter"
)

// wait is a message whose sender waits for its ok.
type wait struct {
	conn   *conn
	key    uint64
	hash   uint64
	text   []byte // owned, reused
	passes int    // how often it was passed on

	next, previous         *wait // with the same hash
	nextOfConn, lastOfConn *wait // of the same connection
}

// table finds the waits for a text. It reuses waits, so a message costs no allocation.
type table struct {
	byHash map[uint64]*wait
	bytes  int   // of all texts
	free   *wait // linked by next
	spare  int   // length of free
}

// Bounds of the memory kept for reuse.
const (
	maxSpare     = 1024
	maxSpareText = 1024
)

func newTable() table { return table{byHash: make(map[uint64]*wait)} }

// add adds a wait of c for the text, which it copies.
func (t *table) add(c *conn, hash uint64, text []byte) *wait {
	w := t.free
	if w != nil {
		t.free = w.next
		t.spare--
	} else {
		w = new(wait)
	}
	*w = wait{conn: c, key: newKey(), hash: hash, text: append(w.text[:0], text...), next: t.byHash[hash]}
	if w.next != nil {
		w.next.previous = w
	}
	t.byHash[hash] = w
	t.bytes += len(text)
	return w
}

// remove removes w, which must not be used afterwards.
func (t *table) remove(w *wait) {
	switch {
	case w.previous != nil:
		w.previous.next = w.next
	case w.next != nil:
		t.byHash[w.hash] = w.next
	default:
		delete(t.byHash, w.hash)
	}
	if w.next != nil {
		w.next.previous = w.previous
	}
	text := w.text
	t.bytes -= len(text)
	*w = wait{}
	if t.spare < maxSpare && cap(text) <= maxSpareText {
		w.text, w.next = text, t.free
		t.free = w
		t.spare++
	}
}

// all returns the waits for the text. The current one may be removed during the iteration.
func (t *table) all(hash uint64, text []byte) iter.Seq[*wait] {
	return func(yield func(*wait) bool) {
		for w := t.byHash[hash]; w != nil; {
			next := w.next
			if bytes.Equal(w.text, text) && !yield(w) {
				return
			}
			w = next
		}
	}
}
