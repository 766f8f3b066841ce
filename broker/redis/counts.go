package redis

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
)

// Member counts travel in two forms. A kindDelta tells all instances which counts changed; each has the next version,
// so that who missed one knows it. A kindCounts is a part of all counts, for who asked with a kindSync. The lease
// carries the version too: whoever lags behind it asks.
//
//	kindDelta:  version 8, then counts
//	kindCounts: version 8, part 4, parts 4, then counts
//
// where a count is the length of the group's name as a uvarint, the name, and the members, or Expected, as a varint.
const (
	deltaFixed  = 8
	countsFixed = 16
	countsChunk = 64 << 10 // a message with counts is closed beyond this size
)

// ownCounts are this instance's members by group, and what others have been told of them.
type ownCounts struct {
	changes atomic.Uint64 // calls that changed a count
	firsts  atomic.Uint64 // of them, the last that told of a group's first member
	told    atomic.Uint64 // of them, those that others have been told of, in order
	send    func(f *frame, done broker.Completion) bool
	onTold  func()
	urge    func() // asks for a flush at once

	mu      sync.Mutex
	members map[string]int
	dirty   map[string]struct{} // changed since the last flush
	version uint64              // of the last kindDelta sent
	urgent  bool
	scratch []byte
}

func newOwnCounts() *ownCounts {
	return &ownCounts{members: make(map[string]int), dirty: make(map[string]struct{})}
}

// set records that group has n members here. A group's first member is told to others at once, and so is that it has none
// any more: that the first has come, where it was expected, they may learn later.
func (c *ownCounts) set(group string, n int) {
	n = max(n, broker.Expected)
	c.mu.Lock()
	old := c.members[group]
	if old == n {
		c.mu.Unlock()
		return
	}
	if n == 0 {
		delete(c.members, group)
	} else {
		c.members[group] = n
	}
	c.dirty[group] = struct{}{}
	change := c.changes.Add(1)
	if old == 0 && group != "" {
		c.firsts.Store(change)
	}
	urge := (old == 0 || n == 0) && group != "" && !c.urgent
	c.urgent = c.urgent || urge
	c.mu.Unlock()
	if urge {
		c.urge()
	}
}

// flushUrgent sends what changed if some of it can't wait for the next flush, and says whether it did.
func (c *ownCounts) flushUrgent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.urgent {
		return false
	}
	c.flushLocked()
	return true
}

// flush sends what changed.
func (c *ownCounts) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

func (c *ownCounts) flushLocked() {
	c.urgent = false
	for len(c.dirty) > 0 {
		c.version++
		b := binary.BigEndian.AppendUint64(c.scratch[:0], c.version)
		for group := range c.dirty {
			if len(b) > countsChunk {
				break
			}
			b = appendCount(b, group, c.members[group])
			delete(c.dirty, group)
		}
		c.scratch = b
		c.send(&frame{Message: broker.Message{Kind: kindDelta, Payload: b}}, c.toldUpTo())
	}
}

// toldUpTo returns what notes that a kindDelta was taken, where it was the last of its flush.
func (c *ownCounts) toldUpTo() broker.Completion {
	if len(c.dirty) > 0 {
		return nil
	}
	changes := c.changes.Load()
	return broker.CompletionFunc(func(_ int, err error) {
		if err == nil {
			c.told.Store(changes)
			c.onTold()
		}
	})
}

// sendAll tells to everything, as it was at the last flush, so that the next kindDelta follows it.
func (c *ownCounts) sendAll(to broker.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
	parts := c.parts()
	for i, counts := range parts {
		b := binary.BigEndian.AppendUint64(nil, c.version)
		b = binary.BigEndian.AppendUint32(b, uint32(i))
		b = binary.BigEndian.AppendUint32(b, uint32(len(parts)))
		c.send(&frame{Message: broker.Message{Kind: kindCounts, To: to, Payload: append(b, counts...)}}, nil)
	}
}

// parts encodes all counts in pieces of bounded size, at least one.
func (c *ownCounts) parts() [][]byte {
	parts, b := [][]byte(nil), []byte(nil)
	for group, n := range c.members {
		if len(b) > countsChunk {
			parts, b = append(parts, b), nil
		}
		b = appendCount(b, group, n)
	}
	return append(parts, b)
}

// current is what the lease says.
func (c *ownCounts) current() (version uint64, clients int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version, c.members[""]
}

func appendCount(b []byte, group string, n int) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(group))), group...)
	return binary.AppendVarint(b, int64(n))
}

var errCounts = errors.New("malformed member counts")

// maxCount bounds what is believed of one instance's members in a group, so that sums can't overflow.
const maxCount = 1 << 40

// eachCount reads counts and calls each for them.
func eachCount(b []byte, each func(group string, n int)) error {
	for len(b) > 0 {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) || size > maxGroupLen {
			return errCounts
		}
		group := string(b[k : k+int(size)])
		b = b[k+int(size):]
		n, k := binary.Varint(b)
		if k <= 0 || n < broker.Expected || n > maxCount {
			return errCounts
		}
		b = b[k:]
		each(group, int(n))
	}
	return nil
}

// peerCounts is what this instance knows of another's counts.
type peerCounts struct {
	known          bool // counts at version are in the weights, and no news was missed since
	version        uint64
	partial        map[string]int // of the parts come so far, of partialVersion
	next           uint32
	partialVersion uint64
	askedAt        int64
}

// delta applies a kindDelta. It returns false where one before it was missed.
func (c *peerCounts) delta(w *weights.Table, node broker.NodeID, b []byte) (ok bool, err error) {
	if len(b) < deltaFixed {
		return true, errCounts
	}
	version := binary.BigEndian.Uint64(b)
	if c.known && version <= c.version {
		return true, nil
	}
	if !c.known || version != c.version+1 {
		return false, nil
	}
	c.version = version
	return true, eachCount(b[deltaFixed:], func(group string, n int) { w.Set(node, group, n) })
}

// part takes a kindCounts. It returns true with the last one, when all counts are known.
func (c *peerCounts) part(w *weights.Table, node broker.NodeID, b []byte) (complete bool, err error) {
	if len(b) < countsFixed {
		return false, errCounts
	}
	be := binary.BigEndian
	version, part, parts := be.Uint64(b), be.Uint32(b[8:]), be.Uint32(b[12:])
	if c.known && version < c.version {
		return false, nil
	}
	if part == 0 {
		c.partial, c.next, c.partialVersion = make(map[string]int), 0, version
	}
	if part != c.next || version != c.partialVersion || c.partial == nil {
		return false, nil // an earlier part is missing or this one came twice
	}
	if err := eachCount(b[countsFixed:], func(group string, n int) { c.partial[group] = n }); err != nil {
		return false, err
	}
	if c.next++; c.next < parts {
		return false, nil
	}
	w.Replace(node, c.partial)
	c.known, c.version, c.partial = true, version, nil
	return true, nil
}
