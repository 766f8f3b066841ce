package client

import (
	"slices"
	"time"
)

// The bounds of what a move holds back of each connection. Beyond them the connection is not read.
const (
	heldMessages = 4096
	heldBytes    = 8 << 20
)

// side is one of the two connections of a move. It is guarded by the stream's mutex.
type side struct {
	session *session
	held    []held
	bytes   int
	alone   int           // held messages that arrive on this connection alone
	arrived int64         // how many messages have arrived
	room    chan struct{} // wakes up the reader when held has room; capacity 1
	ended   bool          // no further message arrives
	fences  fences        // sent on this connection
}

// held is a message that waits to be handed out, or a FENCE in the queue of the old connection.
type held struct {
	m   *Message // nil for a FENCE
	key uint64   // of a message to many, the same as of its copy; else 0
	n   int64    // its number on its connection; of a FENCE: its reach on the other connection
	at  time.Time
}

func newSide(s *session) *side { return &side{session: s, room: make(chan struct{}, 1)} }

func (h *held) size() int {
	if h.m == nil {
		return 0
	}
	return len(h.m.Raw)
}

// toOne reports whether the message arrives on one connection alone.
func (h *held) toOne() bool { return h.m != nil && !h.m.Intent.toMany() }

func (d *side) full() bool { return len(d.held) >= heldMessages || d.bytes >= heldBytes }

func (d *side) push(h held) {
	d.held = append(d.held, h)
	d.bytes += h.size()
	if h.toOne() {
		d.alone++
	}
}

// removeAt removes and returns the message at i.
func (d *side) removeAt(i int) *Message {
	h := d.held[i]
	if i == 0 {
		d.held[0] = held{}
		d.held = d.held[1:]
	} else {
		d.held = slices.Delete(d.held, i, i+1)
	}
	d.bytes -= h.size()
	if h.toOne() {
		d.alone--
	}
	signal(d.room)
	return h.m
}

// copyOf returns the index of the copy of a message to many; -1 for none.
func (d *side) copyOf(key uint64) int {
	return slices.IndexFunc(d.held, func(h held) bool { return h.key == key && h.m != nil && !h.toOne() })
}

// aloneBefore returns the index of the sender's first message before i that arrived on this connection alone; -1 for none.
func (d *side) aloneBefore(i int, sender string) int {
	if d.alone == 0 {
		return -1
	}
	return slices.IndexFunc(d.held[:i], func(h held) bool { return h.toOne() && h.m.Sender == sender })
}
