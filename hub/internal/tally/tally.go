// Package tally counts what becomes of single messages: of those whose sender waits for a receipt.
package tally

import (
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// Sum is what an instance did with a message.
type Sum struct {
	Clients int `json:"clients"` // receivers that it was queued for
	Closing int `json:"closing"` // receivers that were being disconnected
}

// Count is a Sum to which several loops add. A nil Count counts nothing. Any goroutine may use it.
type Count struct {
	Complete         func()       // called once all parts are added, by the Add that adds the last one; nil for nothing
	parts            atomic.Int32 // that are still to be added
	clients, closing atomic.Int32
}

// Expect announces one more Add.
func (c *Count) Expect() {
	if c != nil {
		c.parts.Add(1)
	}
}

// Add adds one part.
func (c *Count) Add(clients, closing int) {
	if c == nil {
		return
	}
	c.clients.Add(int32(clients))
	c.closing.Add(int32(closing))
	if c.parts.Add(-1) == 0 && c.Complete != nil {
		c.Complete()
	}
}

// Sum returns the sum, and whether all parts are in it.
func (c *Count) Sum() (s Sum, complete bool) {
	complete = c.parts.Load() == 0
	return Sum{int(c.clients.Load()), int(c.closing.Load())}, complete
}

// Size is how many messages a Book remembers. Their senders ask for them within some 10 ms.
const Size = 16384

// Book keeps the Counts of the last Size messages by their senders, each of which sends one message. The zero Book is
// empty. Any goroutine may use it.
type Book struct {
	mu       sync.Mutex
	bySender map[uuid.UUID]*Count
	senders  []uuid.UUID // at most Size: a ring, in the order of their messages
	next     int
}

// Open returns the Count of the sender's message, for one Add. An ANY that is drawn again has the Count that it had.
func (b *Book) Open(sender *uuid.UUID) *Count {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bySender == nil {
		b.bySender = make(map[uuid.UUID]*Count)
	}
	c := b.bySender[*sender]
	if c == nil {
		c = new(Count)
		b.bySender[*sender] = c
		if len(b.senders) < Size {
			b.senders = append(b.senders, *sender)
		} else {
			delete(b.bySender, b.senders[b.next])
			b.senders[b.next] = *sender
			b.next = (b.next + 1) % Size
		}
	}
	c.Expect()
	return c
}

// Find returns the Sum of the sender's message; nil for no message, or an incomplete Sum.
func (b *Book) Find(sender *uuid.UUID) *Sum {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.bySender[*sender]
	if c == nil {
		return nil
	}
	if sum, complete := c.Sum(); complete {
		return &sum
	}
	return nil
}
