package client

import (
	"slices"
	"time"
)

// Bounds of what a move holds back of each connection. When they are reached it is not read any more.
const (
	heldMessages = 4096
	heldBytes    = 8 << 20
)

// side is one of the two connections of a move. It is guarded by the stream's mutex.
type side struct {
	session *session
	held    []held
	bytes   int
	alone   int           // held messages that come over this connection alone
	arrived int64         // how many messages came
	room    chan struct{} // tells the reader that held has room; capacity 1
	ended   bool          // nothing more comes
	fences  fences        // sent over this connection
}

// held is a message that waits to be handed out, or, in the queue of the old connection, a FENCE.
type held struct {
	m   *Message // nil for a FENCE
	key uint64   // of a message to many: the same for its copy; else 0
	n   int64    // its number on its connection; of a FENCE: how far it reaches on the other
	at  time.Time
}

func newSide(s *session) *side { return &side{session: s, room: make(chan struct{}, 1)} }

func (h *held) size() int {
	if h.m == nil {
		return 0
	}
	return len(h.m.Raw)
}

// single tells whether the message comes over one connection alone.
func (h *held) single() bool { return h.m != nil && !h.m.Intent.many() }

func (d *side) full() bool { return len(d.held) >= heldMessages || d.bytes >= heldBytes }

func (d *side) push(h held) {
	d.held = append(d.held, h)
	d.bytes += h.size()
	if h.single() {
		d.alone++
	}
}

// remove takes out the message at i.
func (d *side) remove(i int) *Message {
	h := d.held[i]
	if i == 0 {
		d.held[0] = held{}
		d.held = d.held[1:]
	} else {
		d.held = slices.Delete(d.held, i, i+1)
	}
	d.bytes -= h.size()
	if h.single() {
		d.alone--
	}
	signal(d.room)
	return h.m
}

// copyOf returns where the copy of a message to many is held, -1 if it isn't.
func (d *side) copyOf(key uint64) int {
	return slices.IndexFunc(d.held, func(h held) bool { return h.key == key && h.m != nil && !h.single() })
}

// aloneBefore returns where before i the first message of the sender is that came over this connection alone; else -1.
func (d *side) aloneBefore(i int, sender string) int {
	if d.alone == 0 {
		return -1
	}
	return slices.IndexFunc(d.held[:i], func(h held) bool { return h.single() && h.m.Sender == sender })
}
