package client

import "sync"

// delivery is something for the handlers and hooks of a Client: a message, a hook to call, or the end of a connection, or
// the beginning of one.
type delivery struct {
	message *Message
	hook    func()
	lost    error     // for OnDisconnect
	id      *Identity // for OnConnect
}

// inbox holds what is on its way to handlers and hooks, in its order. What is read from a connection waits while it is full.
// What is to be said of connections does not, as a handler may wait for the next one: it goes beyond the bound, where a
// connection that was lost before anybody came to hear of it is not mentioned, so that there is never much of it.
type inbox struct {
	limit int
	room  chan struct{} // tells one who waits that there is room; capacity 1
	more  chan struct{} // tells dispatch that there is something; capacity 1

	mu    sync.Mutex
	items []delivery
}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, room: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}

// add adds d, unless the inbox is full.
func (b *inbox) add(d delivery) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) >= b.limit {
		return false
	}
	b.items = append(b.items, d)
	signal(b.more)
	if len(b.items) < b.limit {
		signal(b.room) // for another one who waits
	}
	return true
}

// announce adds what is to be said of connections.
func (b *inbox) announce(all ...delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range all {
		b.items = appendAnnouncement(b.items, d, b.limit)
	}
	signal(b.more)
}

// take takes out what is to be handled next.
func (b *inbox) take() (d delivery, ok bool) {
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

// appendAnnouncement appends d, which is said of a connection. Beyond the bound, of connections of which nothing else was
// handed over only the first loss and the last connection remain.
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
