package move

import (
	"slices"
	"time"
)

// The bounds of what a move holds back of each connection. Beyond them the owner must not read the connection.
const (
	heldMessages = 4096
	heldBytes    = 8 << 20
)

// side is one of the two connections of a move.
type side struct {
	held    []held
	bytes   int
	alone   int   // held messages that arrive on this connection alone
	arrived int64 // how many messages have arrived
	ended   bool  // no further message arrives
	fences  fences
}

// held is a message that waits to be handed out. The queue of the old connection may also have FENCEs and a mark.
type held struct {
	Message
	fence bool
	mark  bool
	n     int64 // the message's number on its connection; of a FENCE: its reach on the other connection
	at    time.Duration
}

// toOne reports whether the message arrives on one connection alone.
func (h *held) toOne() bool { return !h.fence && !h.mark && !h.ToMany }

func (d *side) full() bool { return len(d.held) >= heldMessages || d.bytes >= heldBytes }

func (d *side) push(h held) {
	d.held = append(d.held, h)
	d.bytes += h.Size
	if h.toOne() {
		d.alone++
	}
}

// removeAt removes and returns the message at i.
func (d *side) removeAt(i int) Message {
	h := d.held[i]
	if i == 0 {
		d.held[0] = held{}
		d.held = d.held[1:]
	} else {
		d.held = slices.Delete(d.held, i, i+1)
	}
	d.bytes -= h.Size
	if h.toOne() {
		d.alone--
	}
	return h.Message
}

// copyOf returns the index of the copy of a message to many; -1 for none.
func (d *side) copyOf(key uint64) int {
	return slices.IndexFunc(d.held, func(h held) bool { return h.ToMany && h.Key == key })
}

// aloneBefore returns the index of the sender's first message before i that arrived on this connection alone; -1 for none.
func (d *side) aloneBefore(i int, sender string) int {
	if d.alone == 0 {
		return -1
	}
	return slices.IndexFunc(d.held[:i], func(h held) bool { return h.toOne() && h.Sender == sender })
}
