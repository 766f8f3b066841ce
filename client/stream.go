package client

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// ownIDs is how many of its former ids a client recognizes as its own.
const ownIDs = 8

// stream merges what a Client receives on its connections into one sequence without duplicates.
//
// Without a move it hands messages out as they are read. During a move there are two connections. A message to many
// (GLOBAL, GROUP) arrives on both, a message to one client (DIRECT, ANY) on one of them. They are handed out in the order
// of the old connection, each together with its copy on the new one. What the same sender sent earlier to the new
// connection alone is handed out before. This keeps the order of each sender's messages, unless a sender goes back from
// the new id to the old one.
//
// FENCEs bound the waiting. Each is sent on one connection to the other one. A FENCE that arrives on the new connection
// shows that messages which the old one had received when the FENCE was sent have no copy to come. A FENCE that arrives on
// the old connection shows that nothing can still precede what the new one had received when the FENCE was sent.
type stream struct {
	c    *Client
	seed maphash.Seed
	news chan struct{} // wakes up run; capacity 1
	work chan struct{} // wakes up the pump; capacity 1

	mu        sync.Mutex    // never held while waiting
	pumping   bool          // messages of a move are being handed out
	pumped    chan struct{} // closed when all messages of the last move are handed out
	behind    []delivery    // announcements behind these messages
	mine      []string      // the Client's own ids; only with NoEcho
	recording bool          // messages to many are remembered, because a move is near
	recent    recent
	drops     copies // copies expected on the only connection, or on the old one
	merge            // of the current move
}

// merge is the state of one move.
type merge struct {
	from, to   *side  // the old and the new connection; nil without a move
	dropsTo    copies // copies expected on the new one
	released   int64  // messages of the new connection up to this one can be handed out
	copied     int64  // messages of the old connection up to this one have no copy to come
	waits      int64  // the message of the old connection that waits for its copy
	waitsSince time.Time
	impatient  bool       // a message has waited too long; none waits until the new connection identifies or gets a FENCE
	atEnd      []delivery // announcements behind the last message of the old connection

	ready    bool // the new connection has identified
	joined   bool // everything that the new connection was too late for has arrived on the old one
	stopped  bool // the old connection sends no further message
	switched bool // everything sent on the old connection is published
	clearing bool // requestClear was called
	cleared  bool // everything sent to the old connection before requestClear has arrived
}

func newStream(c *Client) *stream {
	st := &stream{
		c: c, seed: maphash.MakeSeed(), news: make(chan struct{}, 1), work: make(chan struct{}, 1), pumped: make(chan struct{}),
	}
	close(st.pumped)
	return st
}

// signal wakes up the goroutine that waits on ch.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// key identifies a message by its bytes, which are the same for all receivers and include op, id and sender.
func (st *stream) key(m *Message) uint64 { return maphash.Bytes(st.seed, m.Raw) }

// addOwnID adds an id under which the Client sends or is about to send.
func (st *stream) addOwnID(id string) {
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

// startRecording makes the stream remember messages that it hands out, so that their copies on the next connection are
// recognized.
func (st *stream) startRecording() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.recording, st.recent = true, recent{}
}

func (st *stream) stopRecording() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.recording, st.recent = false, recent{}
}

// note remembers a message to many that was handed out.
func (st *stream) note(key uint64) {
	if st.recording && key != 0 {
		st.recent.add(key)
	}
}

// begin starts the merge of two sessions. It must be called before the new session identifies. From then on there may be
// messages to the new one alone, which must precede later messages of the same sender to both.
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

// quiet returns a channel that is closed when all messages of the last move are handed out.
func (st *stream) quiet() <-chan struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.pumped
}

// announce queues an announcement behind the messages of the last move.
func (st *stream) announce(d delivery) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pumping {
		st.behind = appendAnnouncement(st.behind, d, 0)
	} else {
		st.c.inbox.announce(d)
	}
}

// newIdentified records that the new session has identified.
func (st *stream) newIdentified() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ready, st.impatient = true, false
	st.wantFences()
}

// sessionEnded records that a session of the move has ended. The announcements follow the messages of the old connection.
func (st *stream) sessionEnded(s *session, end ...delivery) {
	st.mu.Lock()
	if on := st.sideOf(s); on != nil {
		on.ended, st.atEnd = true, end
	}
	st.mu.Unlock()
	signal(st.work)
}

// receive handles a message that the session has read.
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
	early := on == nil && wait != nil // its connection ended while it waited
	direct := !early && st.c.quitting.Err() == nil && st.admit(on, m)
	st.mu.Unlock()
	if direct {
		s.deliver(m)
	} else {
		signal(st.work)
	}
}

// whatFor returns the session's side of the move, nil without a move, and what its next message must wait for: room on that
// side, or, on a connection opened after the move, the end of the move's messages.
func (st *stream) whatFor(s *session) (on *side, wait <-chan struct{}) {
	switch on = st.sideOf(s); {
	case on != nil && on.full():
		return on, on.room
	case on == nil && st.pumping:
		return nil, st.pumped
	}
	return on, nil
}

// admit drops, holds or admits a message that arrived on one side of a move or on the only connection. It returns true if
// the message is to be handed out at once.
func (st *stream) admit(on *side, m *Message) bool {
	many := m.Intent.toMany()
	if many && slices.Contains(st.mine, m.Sender) {
		return false // an echo from another connection of this client
	}
	var key uint64
	if many && (on != nil || st.recording || !st.drops.empty()) {
		key = st.key(m)
	}
	drops := &st.drops
	if on != nil && on == st.to {
		drops = &st.dropsTo
	}
	if key != 0 && drops.consume(key) {
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

// sideOf returns the session's side of the move; nil if it has none.
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
