package redis

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
)

// Member counts travel in two forms. A kindDelta tells all instances which counts changed; each has the next version, so
// that a gap shows. A kindCounts is a part of all counts, for an instance that asked with a kindSync. The lease carries
// the version too: an instance that lags behind it asks.
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

// ownCounts are this instance's members by group, and what the other instances have been told of them.
//
// A kindDelta comes back to its sender by the global channel. When this instance reads its own, every instance that
// reads what is published later has read it before; and what was published earlier has been delivered here.
type ownCounts struct {
	changes atomic.Uint64 // calls that changed a count
	firsts  atomic.Uint64 // of them, the last that told of a group's first member
	told    atomic.Uint64 // of them, those in kindDeltas that came back, in order
	send    func(f *frame, done broker.Completion) bool
	onTold  func()
	urge    func() // asks for a flush at once
	onWatch func() // tells the other instances of watched

	mu      sync.Mutex
	members map[string]int
	watched map[string]struct{} // groups with the number Watched
	dirty   map[string]struct{} // changed since the last flush
	version uint64              // of the last kindDelta sent
	taken   uint64              // of the last kindDelta that Redis took
	untold  []flushed           // sent, and not come back
	urgent  bool
	scratch []byte

	answers   uint64                   // answers to kindSync so far
	answering map[broker.NodeID]uint64 // those under way, by the instance that asked
}

// flushed is the last kindDelta of a flush.
type flushed struct {
	version uint64
	changes uint64 // made when it was sent
}

func newOwnCounts() *ownCounts {
	return &ownCounts{members: make(map[string]int), watched: make(map[string]struct{}), answering: make(map[broker.NodeID]uint64), dirty: make(map[string]struct{})}
}

// set records that group has n members here. The other instances are told at once of a group's first member, and that
// it has none any more; they may learn later that the first, where it was expected, has come.
func (c *ownCounts) set(group string, n int) {
	if n == broker.Watched {
		n = 0
		if c.noteWatched(group) {
			c.onWatch()
			c.tellFirst(group) // behind what onWatch sent, and Subscribe waits for it
		}
	}
	if c.setNumber(group, n) {
		c.urge()
	}
}

// noteWatched returns whether the group was not watched before.
func (c *ownCounts) noteWatched(group string) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.watched[group]; ok {
		return false
	}
	c.watched[group] = struct{}{}
	return true
}

// tellFirst has the other instances told of the group at once, as of one with a first member.
func (c *ownCounts) tellFirst(group string) {
	c.mu.Lock()
	c.dirty[group] = struct{}{}
	c.firsts.Store(c.changes.Add(1))
	c.urgent = true
	c.mu.Unlock()
	c.urge()
}

// setNumber returns whether the other instances must learn it at once.
func (c *ownCounts) setNumber(group string, n int) (urgent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n != 0 {
		delete(c.watched, group) // the number says more, and the next lease no less
	}
	n = max(n, broker.Expected)
	old := c.members[group]
	if old == n {
		return false
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
	urgent = (old == 0 || n == 0) && group != "" && !c.urgent
	c.urgent = c.urgent || urgent
	return urgent
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
		if len(c.dirty) == 0 {
			c.untold = append(c.untold, flushed{c.version, c.changes.Load()})
		}
		c.send(&frame{Message: broker.Message{Kind: kindDelta, Payload: b}}, c.takenUpTo(c.version))
	}
}

// takenUpTo returns what notes that Redis took the kindDelta.
func (c *ownCounts) takenUpTo(version uint64) broker.Completion {
	return broker.CompletionFunc(func(_ int, err error) {
		if err == nil {
			c.mu.Lock()
			c.taken = version
			c.mu.Unlock()
		}
	})
}

// cameBack is called with the version of a kindDelta of this instance that was read.
func (c *ownCounts) cameBack(version uint64) {
	c.mu.Lock()
	more := c.setTold(version)
	c.mu.Unlock()
	if more {
		c.onTold()
	}
}

// rejoined is called when the subscriber has a new connection with all its channels. A kindDelta that Redis took before
// may have been lost on the old one.
func (c *ownCounts) rejoined() {
	c.mu.Lock()
	more := c.setTold(c.taken)
	c.mu.Unlock()
	if more {
		c.onTold()
	}
}

// setTold notes that the other instances know the counts of that version, and returns whether they learned more. It
// needs mu.
func (c *ownCounts) setTold(version uint64) (more bool) {
	for len(c.untold) > 0 && c.untold[0].version <= version {
		c.told.Store(c.untold[0].changes)
		c.untold = c.untold[1:]
		more = true
	}
	return more
}

// sendAll tells to everything, as it was at the last flush, so that the next kindDelta follows it. While an answer to it
// is under way, a further request is ignored.
func (c *ownCounts) sendAll(to broker.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, busy := c.answering[to]; busy {
		return
	}
	c.flushLocked()
	parts := c.parts()
	for i, counts := range parts {
		b := binary.BigEndian.AppendUint64(nil, c.version)
		b = binary.BigEndian.AppendUint32(b, uint32(i))
		b = binary.BigEndian.AppendUint32(b, uint32(len(parts)))
		done := broker.Completion(nil)
		if i == len(parts)-1 {
			c.answers++
			c.answering[to] = c.answers
			done = c.answerTaken(to, c.answers)
		}
		c.send(&frame{Message: broker.Message{Kind: kindCounts, To: to, Payload: append(b, counts...)}}, done)
	}
}

// answerTaken returns what notes that Redis took the last part of an answer to the instance to.
func (c *ownCounts) answerTaken(to broker.NodeID, answer uint64) broker.Completion {
	return broker.CompletionFunc(func(int, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.answering[to] == answer {
			delete(c.answering, to)
		}
	})
}

// returned is called when an instance has a new connection: an answer that is under way may be lost.
func (c *ownCounts) returned(id broker.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.answering, id)
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
func (c *ownCounts) current() (version uint64, clients int, watched []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version, c.members[""], slices.Sorted(maps.Keys(c.watched))
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
	askedAt        int64 // or when the last part came
	asked          int   // requests since the last part
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

// takePart takes a kindCounts. It returns true with the last one, when all counts are known.
func (c *peerCounts) takePart(w *weights.Table, node broker.NodeID, b []byte) (complete bool, err error) {
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
