package client

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// ownIDs is how many of its former ids a client knows again as the sender of messages.
const ownIDs = 8

// stream is what a Client receives: one sequence of messages, each once, over whichever connection it comes.
//
// Without a move it hands messages out as they are read. While the Client moves there are two connections. A message to
// many (GLOBAL, GROUP) comes over both, one to a single client (DIRECT, ANY) over one of them. They are handed out in the
// order of the old connection, each together with its copy on the new one; and before it, what the new connection alone
// got from the same sender earlier. So no sender's messages change their order, as long as a sender doesn't go back from
// the new connection to the old.
//
// FENCEs bound the waiting, each sent over one of the connections to the other. One that arrives on the new says that
// messages which the old had got when it was sent have no copy to come. One that arrives on the old says that what the
// new had got when it was sent has nothing before it to come.
type stream struct {
	c    *Client
	seed maphash.Seed
	news chan struct{} // tells run that something happened; capacity 1
	work chan struct{} // the same to the pump; capacity 1

	mu        sync.Mutex    // never held while anything is waited for
	pumping   bool          // messages of a move are being handed out
	pumped    chan struct{} // closed when the last move's messages are all handed out
	behind    []delivery    // what is to be said of connections behind these
	mine      []string      // ids under which the Client has sent; only with NoEcho
	recording bool          // messages to many are noted, as a move is near
	recent    recent
	drops     copies // still to come on the only connection, or on the old one
	merge            // of the current move
}

// merge is the state of a move.
type merge struct {
	from, to   *side  // the connections, old and new; nil without a move
	dropsTo    copies // still to come on the new one
	released   int64  // what the new connection got, up to this one, has nothing before it to come
	copied     int64  // what the old connection got, up to this one, has no copy to come
	waits      int64  // the message of the old connection that waits for its copy
	waitsSince time.Time
	impatient  bool       // one has waited too long; none does until the new connection identifies, or gets a FENCE
	atEnd      []delivery // what is to be said of connections behind the last message of the old one

	ready    bool // the new connection has identified
	joined   bool // everything that the new connection was too late for has come over the old
	stopped  bool // the last message over the old connection has been sent
	switched bool // everything that was sent over the old connection is published
	clearing bool // run wants to know when the old connection has got all that was sent to it until now
	cleared  bool // it has
}

func newStream(c *Client) *stream {
	st := &stream{
		c: c, seed: maphash.MakeSeed(), news: make(chan struct{}, 1), work: make(chan struct{}, 1), pumped: make(chan struct{}),
	}
	close(st.pumped)
	return st
}

// signal tells whoever waits on ch.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// key identifies a message: the hub delivers the same bytes to all its receivers, op, id and sender among them.
func (st *stream) key(m *Message) uint64 { return maphash.Bytes(st.seed, m.Raw) }

// identified notes an id of the Client, under which it sends or may send soon.
func (st *stream) identified(id string) {
	if !st.c.opts.NoEcho {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.mine = slices.DeleteFunc(st.mine, func(known string) bool { return known == id })
	if st.mine = append(st.mine, id); len(st.mine) > ownIDs {
		st.mine = st.mine[1:]
	}
}

// record makes the stream note what it hands out from now on, so that copies of it are known on a connection to come.
func (st *stream) record(on bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.recording, st.recent = on, recent{}
}

// note remembers a message to many that was handed out, for a connection to come.
func (st *stream) note(key uint64) {
	if st.recording && key != 0 {
		st.recent.add(key)
	}
}

// begin makes the stream one of what both sessions receive. to is about to identify: from then on there may be messages
// for it alone, before which what the same sender sends to both must not be handed out.
func (st *stream) begin(from, to *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.merge = merge{from: newSide(from), to: newSide(to)}
	for key := range st.recent.all() {
		st.dropsTo.add(key, 0)
	}
	st.pumping, st.pumped = true, make(chan struct{})
	go st.pump(st.pumped)
}

// quiet returns a channel that is closed when the messages of the last move are all handed out.
func (st *stream) quiet() <-chan struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.pumped
}

// announce says something of connections, behind the messages of the last move.
func (st *stream) announce(d delivery) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pumping {
		st.behind = appendAnnouncement(st.behind, d, 0)
	} else {
		st.c.inbox.announce(d)
	}
}

// identifiedNew notes that the new session has identified.
func (st *stream) identifiedNew() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ready, st.impatient = true, false
	st.wantFences()
}

// ended notes that a session of the move has ended. What is to be said of that is said behind what the old one got.
func (st *stream) ended(s *session, end ...delivery) {
	st.mu.Lock()
	if on := st.sideOf(s); on != nil {
		on.ended, st.atEnd = true, end
	}
	st.mu.Unlock()
	signal(st.work)
}

// receive takes a message that the session has read.
func (st *stream) receive(s *session, m *Message) {
	st.mu.Lock()
	on, wait := st.whatFor(s)
	for wait != nil && !s.hasEnded() && st.c.quitting.Err() == nil {
		st.mu.Unlock()
		s.stall(func() {
			select {
			case <-wait:
			case <-s.ended:
			case <-st.c.quitting.Done():
			}
		})
		st.mu.Lock()
		on, wait = st.whatFor(s)
	}
	early := on == nil && wait != nil // and its connection is gone
	direct := !early && st.c.quitting.Err() == nil && st.take(on, m)
	st.mu.Unlock()
	if direct {
		s.deliver(m)
	} else {
		signal(st.work)
	}
}

// whatFor returns the side of a move that the session is, nil without a move, and what a message over it has to wait for, if
// anything: room, or, over a connection made since, all that is before it.
func (st *stream) whatFor(s *session) (on *side, wait <-chan struct{}) {
	switch on = st.sideOf(s); {
	case on != nil && on.full():
		return on, on.room
	case on == nil && st.pumping:
		return nil, st.pumped
	}
	return on, nil
}

// take decides about a message that came, over a side of a move or the only connection. It returns true if it is to be
// handed out at once.
func (st *stream) take(on *side, m *Message) bool {
	many := m.Intent.many()
	if many && slices.Contains(st.mine, m.Sender) {
		return false // sent over another connection of this client, which wants no echo
	}
	var key uint64
	if many && (on != nil || st.recording || !st.drops.empty()) {
		key = st.key(m)
	}
	drops := &st.drops
	if on != nil && on == st.to {
		drops = &st.dropsTo
	}
	if key != 0 && drops.take(key) {
		return false
	}
	if on == nil {
		st.note(key)
		return true
	}
	on.arrived++
	on.push(held{m: m, key: key, n: on.arrived, at: time.Now()})
	st.wantFences()
	return false
}

// sideOf returns the side of a move that the session is, nil without a move.
func (st *stream) sideOf(s *session) *side {
	switch {
	case st.from != nil && st.from.session == s:
		return st.from
	case st.to != nil && st.to.session == s:
		return st.to
	}
	return nil
}

// other returns the other side of a move.
func (st *stream) other(on *side) *side {
	if on == st.to {
		return st.from
	}
	return st.to
}
