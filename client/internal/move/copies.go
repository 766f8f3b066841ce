package move

import (
	"iter"
	"time"
)

const (
	// maxCopies is the most messages that are remembered to recognize their copies.
	maxCopies = 1 << 16
	// lateTime is how long they are remembered after a move.
	lateTime = time.Minute
)

// recent is a ring of the keys of the last messages to many that were handed out.
type recent struct {
	keys []uint64
	at   int // index of the oldest key once keys is full
}

func (r *recent) add(key uint64) {
	if len(r.keys) < maxCopies {
		r.keys = append(r.keys, key)
		return
	}
	r.keys[r.at] = key
	r.at = (r.at + 1) % maxCopies
}

// all yields the keys from the oldest to the newest.
func (r *recent) all() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := range r.keys {
			if !yield(r.keys[(r.at+i)%len(r.keys)]) {
				return
			}
		}
	}
}

// copies counts messages whose copies are expected on a connection and dropped there. It counts each message as often as it
// was handed out, because a sender may send the same message several times.
type copies struct {
	byKey map[uint64][]int64 // the numbers of the messages, ascending
	order []copied           // oldest first; includes consumed ones
	until time.Duration      // when they expire; 0 means never
}

type copied struct {
	key uint64
	n   int64
}

// add adds the message with number n. Numbers must not descend.
func (c *copies) add(key uint64, n int64) {
	if c.byKey == nil {
		c.byKey = make(map[uint64][]int64)
	}
	c.byKey[key] = append(c.byKey[key], n)
	if c.order = append(c.order, copied{key, n}); len(c.order) > maxCopies {
		c.dropFirst()
	}
}

// consume reports whether a copy of the message is expected, and removes it.
func (c *copies) consume(key uint64, now time.Duration) bool {
	if c.empty() {
		return false
	}
	if c.until != 0 && now > c.until {
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

// forget removes the messages up to number n, whose copies can't arrive any more.
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

// leftover returns the remaining copies at the end of a move. They expire at until, or with the next move's first FENCE.
func (c *copies) leftover(until time.Duration) copies {
	left := copies{until: until}
	for _, one := range c.order {
		if all := c.byKey[one.key]; len(all) > 0 && all[0] == one.n {
			c.removeFirst(one.key)
			left.add(one.key, 0)
		}
	}
	return left
}
