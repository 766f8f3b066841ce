package client

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

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

// perform executes the machine's actions.
func (st *stream) perform() {
	for _, a := range st.machine.Actions() {
		s := st.sessions[a.Side]
		switch {
		case a.Kind == move.Doubt:
			st.logDoubt(a)
		case st.frozen:
		case a.Kind == move.SendFence:
			signal(s.fence)
		case a.Kind == move.StopSending:
			s.setMode(waiting)
		case a.Kind == move.StartSending:
			st.use(s)
		case a.Kind == move.Leave:
			s.setMode(leaving)
		case a.Kind == move.End:
			go s.end(endReason(st.machine.Phase(), a.After)) // it waits for the writer, which may wait for st.mu
		}
	}
}

func (st *stream) logDoubt(a move.Action) {
	to := st.sessions[move.New].identity
	if !to.has(opcodes.FeatureDrain.String()) {
		st.c.opts.Logger.Warn("mastersocket: moving without a guarantee against loss: the new instance does not support FENCE",
			"on", a.Side, "node", to.Node)
		return
	}
	st.c.opts.Logger.Warn("mastersocket: moving without a guarantee against loss: no FENCE arrived in time",
		"on", a.Side, "within", a.After)
}

// endReason returns why the machine ends the old connection.
func endReason(p move.Phase, after time.Duration) error {
	if p == move.Stopping {
		return fmt.Errorf("write: still blocked %v after the command to stop sending", after.Round(time.Millisecond))
	}
	return fmt.Errorf("%w for %v after DISCONNECT", ErrSilent, goodbyeTimeout)
}

// use makes a session the one that sends.
func (st *stream) use(s *session) {
	if st.c.identity.Load() != &s.identity {
		st.c.identity.Store(&s.identity)
		st.c.connectHook(s)
	}
	s.setMode(sending)
}

// ended reports the end of a session of the move. It returns true if messages may be lost; the announcements then follow the
// messages of the old connection.
func (st *stream) ended(s *session, announcements ...delivery) (lost bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.end(s, announcements)
}

func (st *stream) end(s *session, announcements []delivery) (lost bool) {
	side, ok := st.sideOf(s)
	if !ok {
		return false
	}
	if lost = st.machine.Ended(side, announcements); lost {
		st.c.identity.Store(&st.sessions[move.New].identity) // announced behind the old messages
	}
	st.perform()
	signal(st.work)
	return lost
}

// newEnded is ended for the new session, unless the old one has been left. Then it returns false.
func (st *stream) newEnded() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.machine.Phase() == move.Leaving {
		return false
	}
	st.end(st.sessions[move.New], nil)
	return true
}

// stopped reports that a session sends nothing more.
func (st *stream) stopped(s *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if side, ok := st.sideOf(s); ok && side == move.Old {
		st.machine.Stopped()
		st.perform()
	}
}

// fencePrefix begins the ids of FENCEs, so that an ERROR about a FENCE can be recognized.
const fencePrefix = "fence:"

// nextFence returns the id and the receiver of a FENCE that the session is about to write. Both are empty if there is no use for
// one.
func (st *stream) nextFence(s *session) (id, to string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	side, ok := st.sideOf(s)
	id = fencePrefix + uuid.NewString()
	if !ok || !st.machine.FenceSent(side, id) {
		return "", ""
	}
	return id, st.sessions[1-side].identity.ID
}

// fenceArrived handles a FENCE from the hub.
func (st *stream) fenceArrived(s *session, sender string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	side, ok := st.sideOf(s)
	// Any client may send a FENCE to this one. The new session has no id before Joining.
	if !ok || st.machine.Phase() < move.Joining || sender != st.sessions[1-side].identity.ID {
		return
	}
	st.tick()
	st.machine.FenceArrived(side)
	st.perform()
	signal(st.work)
}

// fenceRefused reports whether an ERROR is about a FENCE, which is then sent again.
func (st *stream) fenceRefused(s *session, id string) bool {
	if !strings.HasPrefix(id, fencePrefix) {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if side, ok := st.sideOf(s); ok {
		st.machine.FenceRefused(side, id)
		st.perform()
	}
	return true
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
	many := m.Intent.toMany()
	if many && slices.Contains(st.mine, m.Sender) {
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

// pumpTick is how often the pump checks the timeouts of held messages.
const pumpTick = 100 * time.Millisecond

// pump hands out the messages of a move until one of its connections has ended and all messages are handed out.
func (st *stream) pump(pumped chan struct{}) {
	defer close(pumped)
	defer st.finish()
	tick := time.NewTicker(pumpTick)
	defer tick.Stop()
	enqueue := func(d delivery) { st.c.enqueue(d, nil) }
	for {
		next, over := st.next()
		switch v := next.(type) {
		case []delivery:
			st.c.inbox.announce(v...)
			continue
		case *Message:
			st.c.give(v, enqueue)
			continue
		}
		if over {
			return
		}
		select {
		case <-st.work:
		case <-tick.C:
		case <-st.c.quitting.Done():
			return
		}
	}
}

// next returns the next message or announcements to hand out; nil if there are none now. over reports that the move has ended.
func (st *stream) next() (next any, over bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.c.quitting.Err() != nil {
		return nil, true
	}
	st.tick()
	m, ok := st.machine.Next()
	st.perform()
	signal(st.room[move.Old])
	signal(st.room[move.New])
	if !ok {
		return nil, st.machine.Phase() == move.Single
	}
	return m.Value, false
}

// finish ends the pump and hands out the announcements behind its messages.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pumping = false; st.machine.Phase() == move.Single {
		st.sessions = [2]*session{}
	}
	st.c.inbox.announce(st.behind...)
	st.behind = nil
}
