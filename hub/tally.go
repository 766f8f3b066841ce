package hub

import (
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/transport"
)

// tally is what an instance did with a message that somebody waits to hear of.
type tally struct {
	Clients int `json:"clients"` // for whom it was queued
	Closing int `json:"closing"` // that were being disconnected
}

// running is a tally to which several loops add. A nil one counts nothing.
type running struct {
	left             atomic.Int32 // loops that have yet to say
	clients, closing atomic.Int32
}

// begin expects one more end.
func (r *running) begin() {
	if r != nil {
		r.left.Add(1)
	}
}

// end adds what one loop did.
func (r *running) end(clients, closing int) {
	if r == nil {
		return
	}
	r.clients.Add(int32(clients))
	r.closing.Add(int32(closing))
	r.left.Add(-1)
}

// result returns the sum, and whether it is complete.
func (r *running) result() (tally, bool) {
	complete := r.left.Load() == 0
	return tally{int(r.clients.Load()), int(r.closing.Load())}, complete
}

// receipts are the tallies of messages from other instances. The zero receipts are empty.
type receipts struct {
	mu    sync.Mutex
	bySID map[uuid.UUID]*running
	ring  [maxReceipts]uuid.UUID // the senders, in the order of their messages
	next  int
}

// maxReceipts is how many messages are remembered. Who published them asks within a second.
const maxReceipts = 1024

// start begins the tally of a message if its sender is one that asks. The caller must call end once.
func (r *receipts) start(sender *uuid.UUID) *running {
	if locate(sender).slot != publisherSlot {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bySID == nil {
		r.bySID = make(map[uuid.UUID]*running)
	}
	t := r.bySID[*sender]
	if t == nil { // else an ANY that is drawn again
		t = new(running)
		delete(r.bySID, r.ring[r.next])
		r.bySID[*sender] = t
		r.ring[r.next] = *sender
		r.next = (r.next + 1) % maxReceipts
	}
	t.begin()
	return t
}

// tally returns what is known of the message of that sender; nil for nothing, or not everything yet.
func (r *receipts) tally(sender uuid.UUID) *tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.bySID[sender]
	if t == nil {
		return nil
	}
	if sum, complete := t.result(); complete {
		return &sum
	}
	return nil
}

// deliverCounted is deliver for a message that somebody waits to hear of, which no client of the hub is the sender of.
func (sh *shard) deliverCounted(g *group, b *transport.Buffer, t *running) int {
	own, foreign, closing := 0, 0, 0
	sh.beginDelivery()
	for _, s := range g.local[sh.index].list {
		switch {
		case s.kind != 0:
			switch sh.deliverForeign(s, b) {
			case Taken:
				foreign++
			case Refused:
				closing++
			}
		case s.conn.Send(b):
			own++
		default:
			closing++
			sh.count.drop(DropClosing)
		}
	}
	receivers := len(g.local[sh.index].list) + sh.observed(g, b)
	sh.endDelivery()
	sh.count.types[0].deliveries.Add(uint64(own))
	t.end(own+foreign, closing)
	return receivers
}
