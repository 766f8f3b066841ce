package client

import (
	"hash/maphash"
	"sync"
)

// sentSlots is how many messages a sentLog remembers at most.
const sentSlots = 1024

// sentLog remembers the last messages that a Client has written, so that an ERROR that belongs to no call can name event and
// target. It is a hash table without chains: a message replaces an older one in its slot.
type sentLog struct {
	mu    sync.Mutex
	seed  maphash.Seed
	slots []sentMessage // nil before the first message
}

type sentMessage struct {
	id, event string
	to        Intent
}

// add records a message.
func (l *sentLog) add(ca *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots == nil {
		l.seed, l.slots = maphash.MakeSeed(), make([]sentMessage, sentSlots)
	}
	l.slots[maphash.String(l.seed, ca.id)%sentSlots] = sentMessage{ca.id, ca.event, ca.to}
}

// find returns the message with the given id, the zero value for none.
func (l *sentLog) find(id string) sentMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots == nil {
		return sentMessage{}
	}
	if m := l.slots[maphash.String(l.seed, id)%sentSlots]; m.id == id {
		return m
	}
	return sentMessage{}
}
