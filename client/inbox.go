package client

import "sync"

// delivery is one call of a handler or hook: for a message, an ERROR, the end of a connection, or the beginning of one. One
// with nothing but a mark calls none.
type delivery struct {
	message *Message
	mark    mark // how far the Client is in a group with history once the call has returned
	hook    func()
	lost    error     // for OnDisconnect
	id      *Identity // for OnConnect
}

// inbox is the queue to handlers and hooks. Readers wait while it is full. Announcements (the beginnings and ends of
// connections) do not wait, because a handler may be waiting for the next connection. They may exceed the limit, beyond which
// connections that came and went without a message are merged, so that their number stays small.
type inbox struct {
	limit int
	room  chan struct{} // wakes up a waiting reader; capacity 1
	more  chan struct{} // wakes up dispatch; capacity 1

	mu    sync.Mutex
	items []delivery
}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, room: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}

// add adds d. It returns false if the inbox is full.
func (b *inbox) add(d delivery) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) >= b.limit {
		return false
	}
	b.items = append(b.items, d)
	signal(b.more)
	if len(b.items) < b.limit {
		signal(b.room) // wakes up the next waiting reader
	}
	return true
}

// announce adds announcements, also beyond the limit.
func (b *inbox) announce(all ...delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range all {
		b.items = appendAnnouncement(b.items, d, b.limit)
	}
	signal(b.more)
}

// pop removes and returns the next delivery.
func (b *inbox) pop() (d delivery, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) == 0 {
		return d, false
	}
	d, b.items[0] = b.items[0], delivery{}
	if b.items = b.items[1:]; len(b.items) < b.limit {
		signal(b.room)
	}
	return d, true
}

// appendAnnouncement appends an announcement. Beyond the bound it merges consecutive announcements, so that only the first
// loss and the last connection remain.
func appendAnnouncement(items []delivery, d delivery, bound int) []delivery {
	n := len(items)
	switch {
	case n <= bound:
	case d.id != nil && items[n-1].id != nil:
		items[n-1] = d
		return items
	case d.lost != nil && items[n-1].lost != nil:
		return items
	case d.lost != nil && items[n-1].id != nil && n > bound+1 && items[n-2].lost != nil:
		return items[:n-1]
	}
	return append(items, d)
}
