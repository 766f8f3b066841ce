package client

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/client/internal/move"
	"github.com/mastersocket/mastersocket/opcodes"
)

// ownIDs is how many of its former ids a client recognizes as its own.
const ownIDs = 8

// stream merges what a Client receives on its connections into one sequence without duplicates, and executes the actions of
// its [move.Machine]. Without a move it hands messages out as they are read. During a move the pump hands them out.
type stream struct {
	c    *Client
	seed maphash.Seed
	work chan struct{} // wakes up the pump; capacity 1

	mu       sync.Mutex // never held while waiting
	machine  move.Machine
	sessions [2]*session      // of the current move, by move.Side
	room     [2]chan struct{} // wakes up the reader when held messages have room; capacity 1
	ticked   time.Time        // the machine's last tick
	frozen   bool             // Close ends both sessions, which change no more
	pumping  bool             // messages of a move are being handed out
	pumped   chan struct{}    // closed when all messages of the last move are handed out
	behind   []delivery       // announcements behind these messages
	mine     []string         // the Client's own ids; only with NoEcho
}

func newStream(c *Client) *stream {
	st := &stream{
		c: c, seed: maphash.MakeSeed(), work: make(chan struct{}, 1), pumped: make(chan struct{}),
		room: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}, ticked: time.Now(),
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

// key identifies a message by its bytes, which are the same for all receivers and include op, id and sender. It is not 0.
func (st *stream) key(m *Message) uint64 { return max(maphash.Bytes(st.seed, m.Raw), 1) }

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
	st.machine.Record()
}

func (st *stream) stopRecording() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.machine.StopRecording()
}

// begin starts a move between two sessions. It must be called before the new session identifies.
func (st *stream) begin(from, to *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tick()
	st.sessions = [2]*session{from, to}
	st.machine.Begin()
	st.pumping, st.pumped = true, make(chan struct{})
	go st.pump(st.pumped)
}

// newIdentified reports that the new session has identified.
func (st *stream) newIdentified() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tick()
	if st.sessions[move.New].identity.has(opcodes.FeatureDrain.String()) {
		st.machine.Identified()
	} else {
		st.machine.IdentifiedPlain()
	}
	st.perform()
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

// phase returns the phase of the move.
func (st *stream) phase() move.Phase {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.machine.Phase()
}

// paused returns how long sends were paused in the last move.
func (st *stream) paused() time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.machine.Paused()
}

// freeze makes the stream change no session any more, and returns the phase of the move.
func (st *stream) freeze() move.Phase {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.frozen = true
	return st.machine.Phase()
}

// observe reports what run knows of the old connection, and the time.
func (st *stream) observe(c move.Conditions) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tick()
	st.machine.Observe(c)
	st.perform()
	signal(st.work)
}

// longGap is the time between two ticks that shows that this process was paused.
const longGap = time.Second

// tick reports the time to the machine. In a move it leaves out a pause of this process, such as SIGSTOP: what arrived in the
// meantime is still unread.
func (st *stream) tick() {
	now := time.Now()
	elapsed := now.Sub(st.ticked)
	if elapsed > longGap && st.machine.Phase() != move.Single {
		elapsed = moveTick
	}
	st.ticked = now
	st.machine.Tick(elapsed)
}

// receive handles a message that the session has read.
func (st *stream) receive(s *session, m *Message) {
	st.mu.Lock()
	wait := st.whatFor(s)
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
		wait = st.whatFor(s)
	}
	side, moving := st.sideOf(s)
	early := !moving && wait != nil // its connection ended while it waited
	s.dropped = s.dropped || early
	direct := !early && st.c.quitting.Err() == nil && st.admit(side, m)
	st.mu.Unlock()
	if direct {
		s.deliver(m)
	} else {
		signal(st.work)
	}
}

// whatFor returns what the session's next message must wait for: room among the held messages or, on a connection opened
// after the move, the end of the move's messages. It returns nil for nothing.
func (st *stream) whatFor(s *session) <-chan struct{} {
	side, moving := st.sideOf(s)
	switch {
	case moving && st.machine.Full(side):
		return st.room[side]
	case !moving && st.pumping:
		return st.pumped
	}
	return nil
}

// admit hands a message to the machine. It returns true if the message is to be handed out at once.
func (st *stream) admit(side move.Side, m *Message) bool {
	many := m.Intent.toMany() // a HISTORY is to one
	if many && slices.Contains(st.mine, m.Sender) {
		m.Pass()
		return false // an echo from another connection of this client
	}
	msg := move.Message{Sender: m.Sender, ToMany: many, Size: len(m.Raw), Value: m}
	if st.machine.NeedsKey() {
		st.tick()
		if many {
			msg.Key = st.key(m)
		}
	}
	verdict := st.machine.Receive(side, msg)
	if verdict == move.Drop {
		st.c.duties.dropCopy(m)
	}
	st.perform()
	return verdict == move.Deliver
}

// sideOf returns the session's side of the move. It returns false if the session has none.
func (st *stream) sideOf(s *session) (move.Side, bool) {
	if st.machine.Phase() == move.Single || s == nil {
		return move.Old, false
	}
	switch s {
	case st.sessions[move.Old]:
		return move.Old, true
	case st.sessions[move.New]:
		return move.New, true
	}
	return move.Old, false
}
