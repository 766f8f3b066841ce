package client

import (
	"iter"
	"time"
)

const (
	// maxCopies bounds how many messages are remembered of which another copy may come.
	maxCopies = 1 << 16
	// lateTime is how long they are remembered after a move.
	lateTime = time.Minute
)

// recent is the last messages to many that were handed out, by their keys.
type recent struct {
	keys []uint64
	at   int // of the oldest, once keys has its full length
}

func (r *recent) add(key uint64) {
	if len(r.keys) < maxCopies {
		r.keys = append(r.keys, key)
		return
	}
	r.keys[r.at] = key
	r.at = (r.at + 1) % maxCopies
}

// all yields the keys, the oldest first.
func (r *recent) all() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := range r.keys {
			if !yield(r.keys[(r.at+i)%len(r.keys)]) {
				return
			}
		}
	}
}

// copies are messages of which another copy may come on a connection, where it is dropped: as many of each as were handed
// out, so that a sender may send the same message several times.
type copies struct {
	byKey map[uint64][]int64 // numbers, rising
	order []copied           // the oldest first; some are taken already
	until time.Time          // the zero time: for as long as they are not forgotten
}

type copied struct {
	key uint64
	n   int64
}

// add notes a message, which was the connection's nth: numbers must not fall.
func (c *copies) add(key uint64, n int64) {
	if c.byKey == nil {
		c.byKey = make(map[uint64][]int64)
	}
	c.byKey[key] = append(c.byKey[key], n)
	if c.order = append(c.order, copied{key, n}); len(c.order) > maxCopies {
		c.dropFirst()
	}
}

// take tells whether a copy of the message was to come, which then is no more.
func (c *copies) take(key uint64) bool {
	if c.empty() {
		return false
	}
	if !c.until.IsZero() && time.Now().After(c.until) {
		*c = copies{}
		return false
	}
	if len(c.byKey[key]) == 0 {
		return false
	}
	c.removeFirst(key)
	return true
}

func (c *copies) empty() bool { return len(c.byKey) == 0 }

// forget drops those up to the nth: their copies can't come any more.
func (c *copies) forget(n int64) {
	for len(c.order) > 0 && c.order[0].n <= n {
		c.dropFirst()
	}
}

func (c *copies) dropFirst() {
	first := c.order[0]
	c.order = c.order[1:]
	if all := c.byKey[first.key]; len(all) > 0 && all[0] == first.n {
		c.removeFirst(first.key)
	}
}

func (c *copies) removeFirst(key uint64) {
	if all := c.byKey[key]; len(all) > 1 {
		c.byKey[key] = all[1:]
	} else {
		delete(c.byKey, key)
	}
}

// late returns those that are left at the end of a move, for a while, or until the next move's first FENCE.
func (c *copies) late(until time.Time) copies {
	left := copies{until: until}
	for _, one := range c.order {
		if all := c.byKey[one.key]; len(all) > 0 && all[0] == one.n {
			c.removeFirst(one.key)
			left.add(one.key, 0)
		}
	}
	return left
}
