package client

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Bounds of what a move holds back.
const (
	heldMessages = 4096    // on each of the two connections; then it is not read any more
	heldBytes    = 8 << 20 // likewise
	// holdTime is how long a message of the old connection waits for its copy on the new one if the FENCE does not come
	// that would say that there is none.
	holdTime = 3 * time.Second
	// identifyHold is the same until the new connection has identified, when no FENCE can be sent.
	identifyHold = time.Second
	// fullHold is the same while as much is held of the new connection as may be.
	fullHold = 200 * time.Millisecond
	pumpTick = 100 * time.Millisecond
	// ownIDs is how many of its former ids a client knows again as the sender of messages.
	ownIDs = 8
)

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

	mu         sync.Mutex // never held while anything is waited for
	mine       []string   // ids under which the Client has sent; only with NoEcho
	recording  bool       // messages to many are noted, as a move is near
	recent     recent
	from, to   *side         // the connections of a move, old and new; nil without
	pumped     chan struct{} // closed when the last move's messages are all handed out
	released   int64         // what the new connection got, up to this one, has nothing before it to come
	copied     int64         // what the old connection got, up to this one, has no copy to come
	waits      int64         // the message of the old connection that waits for its copy
	waitsSince time.Time
	isReady    bool   // the new connection has identified
	joined     bool   // everything that the new connection was too late for has come over the old
	switched   bool   // everything that was sent over the old connection is published
	clearing   bool   // run wants to know when the old connection has got all that was sent to it until now
	cleared    bool   // it has
	atEnd      func() // to be called behind the last message of the old connection
	drops      copies // still to come on the only connection, or on the old one
	dropsTo    copies // still to come on the new one
}

// side is one of the two connections of a move.
type side struct {
	session *session
	held    []held
	bytes   int
	alone   int           // held messages that come over this connection alone
	arrived int64         // how many messages came
	room    chan struct{} // tells the reader that held has room; capacity 1
	ended   bool          // nothing more comes
	fences  fences
}

// held is a message that waits to be handed out, or in the queue of the old connection a FENCE.
type held struct {
	m   *Message // nil for a FENCE
	key uint64   // of a message to many: the same for its copy
	n   int64    // its number on its connection; of a FENCE: how far it reaches on the other
	at  time.Time
}

func (h *held) size() int {
	if h.m == nil {
		return 0
	}
	return len(h.m.Raw)
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

// identified notes an id of the Client.
func (st *stream) identified(id string) {
	if !st.c.opts.NoEcho {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
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

// begin makes the stream one of what both sessions receive. to is about to identify: from then on there may be messages
// for it alone, before which what the same sender sends to both must not be handed out.
func (st *stream) begin(from, to *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.from = &side{session: from, room: make(chan struct{}, 1)}
	st.to = &side{session: to, room: make(chan struct{}, 1)}
	st.pumped = make(chan struct{})
	st.released, st.copied, st.waits = 0, 0, 0
	st.isReady, st.joined, st.switched, st.clearing, st.cleared = false, false, false, false, false
	for key := range st.recent.all() {
		st.dropsTo.add(key, 0)
	}
	go st.pump(st.pumped)
}

// ready notes that the new session has identified.
func (st *stream) ready() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.isReady = true
	st.wantFences()
}

// receive takes a message that the session has read.
func (st *stream) receive(s *session, m *Message) {
	st.mu.Lock()
	on := st.sideOf(s)
	for on != nil && on.full() && !s.hasEnded() && st.c.quitting.Err() == nil {
		st.mu.Unlock()
		s.stall(func() {
			select {
			case <-on.room:
			case <-s.ended:
			case <-st.c.quitting.Done():
			}
		})
		st.mu.Lock()
		on = st.sideOf(s)
	}
	direct := st.c.quitting.Err() == nil && st.take(on, m)
	st.mu.Unlock()
	if direct {
		s.deliver(m)
	} else {
		signal(st.work)
	}
}

// take decides about a message that came. It returns true if it is to be handed out at once.
func (st *stream) take(on *side, m *Message) bool {
	var key uint64
	if many := m.Intent.many(); many && (on != nil || st.recording || !st.drops.empty()) {
		key = st.key(m)
	}
	if m.Intent.many() && slices.Contains(st.mine, m.Sender) {
		return false // without the echo of a message that another connection of this client sent
	}
	drops := &st.drops
	if on != nil && on == st.to {
		drops = &st.dropsTo
	}
	if on != nil {
		on.arrived++
	}
	if key != 0 && drops.take(key) {
		return false
	}
	if on == nil {
		if st.recording && key != 0 {
			st.recent.add(key)
		}
		return true
	}
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

func (d *side) full() bool { return len(d.held) >= heldMessages || d.bytes >= heldBytes }

func (d *side) push(h held) {
	d.held = append(d.held, h)
	d.bytes += h.size()
	if h.m != nil && !h.m.Intent.many() {
		d.alone++
	}
}

// remove takes out the message at i.
func (d *side) remove(i int) *Message {
	h := d.held[i]
	if d.held[i] = (held{}); i == 0 {
		d.held = d.held[1:]
	} else {
		d.held = slices.Delete(d.held, i, i+1)
	}
	d.bytes -= h.size()
	if h.m != nil && !h.m.Intent.many() {
		d.alone--
	}
	signal(d.room)
	return h.m
}

// copyOf returns where the copy of a message to many is held, -1 if it isn't.
func (d *side) copyOf(key uint64) int {
	return slices.IndexFunc(d.held, func(h held) bool { return h.key == key && h.m != nil && h.m.Intent.many() })
}

// aloneBefore returns where before i the first message of the sender is that came over this connection alone; else -1.
func (d *side) aloneBefore(i int, sender string) int {
	if d.alone == 0 {
		return -1
	}
	return slices.IndexFunc(d.held[:i], func(h held) bool { return h.m.Sender == sender && !h.m.Intent.many() })
}

// pump hands out the messages of a move until its old connection has ended, or its new one, and all are handed out.
func (st *stream) pump(pumped chan struct{}) {
	defer close(pumped)
	tick := time.NewTicker(pumpTick)
	defer tick.Stop()
	for {
		m, hook, over := st.next()
		switch {
		case hook != nil:
			st.c.enqueueHook(hook)
			continue
		case m != nil:
			st.c.give(m, st.c.enqueue)
			continue
		case over:
			return
		}
		select {
		case <-st.work:
		case <-tick.C: // what waited may have waited long enough
		case <-st.c.quitting.Done(): // nobody wants them any more
			return
		}
	}
}

// next returns the next message to hand out, or hook to call, if there is one now. Else over tells whether the move is.
func (st *stream) next() (m *Message, hook func(), over bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.c.quitting.Err() != nil {
		return nil, nil, true
	}
	for {
		if len(st.to.held) > 0 && st.to.held[0].n <= st.released {
			return st.nextOfNew(), nil, false
		}
		if len(st.from.held) == 0 {
			break
		}
		h := &st.from.held[0]
		switch {
		case h.m == nil:
			st.released = h.n
			st.from.remove(0)
			continue
		case !h.m.Intent.many():
			return st.from.remove(0), nil, false
		}
		return st.nextOfBoth(h), nil, false
	}
	switch {
	case st.from.ended && st.atEnd != nil:
		hook, st.atEnd = st.atEnd, nil
		return nil, hook, false
	case st.from.ended && len(st.to.held) > 0:
		return st.nextOfNew(), nil, false
	case st.from.ended:
		st.settle()
		return nil, nil, true
	case st.to.ended:
		m, over = st.nextOfLost()
	}
	return m, nil, over
}

// nextOfNew returns the first message of the new connection, before which nothing is to come.
func (st *stream) nextOfNew() *Message {
	h := st.to.held[0]
	if h.key != 0 && !st.from.ended {
		st.drops.add(h.key, h.n) // it should have come over the old one
	}
	st.note(h.key)
	return st.to.remove(0)
}

// nextOfBoth returns the first message of the old connection, h, or what comes before it on the new; nil if that can't be
// known yet.
func (st *stream) nextOfBoth(h *held) *Message {
	if at := st.to.copyOf(h.key); at >= 0 {
		if i := st.to.aloneBefore(at, h.m.Sender); i >= 0 {
			return st.to.remove(i)
		}
		st.to.remove(at)
	} else if h.n > st.copied {
		if st.awaitsCopy(h) {
			return nil
		}
		st.dropsTo.add(h.key, h.n)
	}
	st.note(h.key)
	return st.from.remove(0)
}

// awaitsCopy tells whether the first message of the old connection must wait, as its copy may still come.
func (st *stream) awaitsCopy(h *held) bool {
	if st.waits != h.n {
		st.waits, st.waitsSince = h.n, time.Now()
		st.wantFences()
	}
	most := holdTime
	switch {
	case st.to.ended, st.from.ended && !st.switched: // once that is so, all that comes over the old one has a copy
		return false
	case !st.isReady:
		most = identifyHold
	case st.to.full(): // so that the copy, or the FENCE, can't be read
		most = fullHold
	}
	return time.Since(st.waitsSince) < most
}

// note remembers a message to many that was handed out, for a connection to come.
func (st *stream) note(key uint64) {
	if st.recording && key != 0 {
		st.recent.add(key)
	}
}

// nextOfLost returns what only the new connection got, which was lost before the old one ended.
func (st *stream) nextOfLost() (m *Message, over bool) {
	for len(st.to.held) > 0 {
		if m := st.to.remove(0); !m.Intent.many() {
			return m, false
		}
	}
	st.from, st.to, st.dropsTo = nil, nil, copies{}
	st.drops.until = time.Now().Add(lateTime)
	return nil, true
}

// settle ends a move that came to its end.
func (st *stream) settle() {
	st.from, st.to = nil, nil
	st.drops, st.dropsTo = st.dropsTo.late(time.Now().Add(lateTime)), copies{}
}

// ended notes that a session of the move has ended. The hook, if there is one, is called behind what the old one got.
func (st *stream) ended(s *session, hook func()) {
	st.mu.Lock()
	if on := st.sideOf(s); on != nil {
		on.ended, st.atEnd = true, hook
	}
	st.mu.Unlock()
	signal(st.work)
}

// fencing returns the id for a FENCE that the session is about to write, and whom it is for; empty if the move is over.
func (st *stream) fencing(s *session, last bool) (id, to string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	on := st.sideOf(s)
	if on == nil {
		return "", ""
	}
	other := st.to
	if on == st.to {
		other = st.from
	}
	id = fencePrefix + uuid.NewString()
	on.fences.sent(fence{id: id, reach: on.arrived, last: last, clear: on == st.to && st.clearing})
	return id, other.session.identity.ID
}

// fenced takes a FENCE that arrived.
func (st *stream) fenced(s *session, sender string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	defer signal(st.work)
	defer signal(st.news)
	on := st.sideOf(s)
	if on == nil || !st.isReady {
		return
	}
	other := st.to
	if on == st.to {
		other = st.from
	}
	if sender != other.session.identity.ID {
		return // of somebody else, who may send FENCEs to anybody
	}
	f, ok := other.fences.arrived()
	switch {
	case !ok:
	case on == st.to:
		st.copied = f.reach
		st.dropsTo.forget(f.reach)
		st.switched = st.switched || f.last
	default:
		st.joined, st.cleared = true, st.cleared || f.clear
		st.drops.forget(f.reach)
		on.push(held{n: f.reach})
	}
	st.wantFences()
}

// fenceRefused tells whether the id is that of a FENCE, which the hub has then refused. It is tried again.
func (st *stream) fenceRefused(s *session, id string) bool {
	if !strings.HasPrefix(id, fencePrefix) {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if on := st.sideOf(s); on != nil {
		on.fences.refused(id)
	}
	return true
}

// wantFences asks the sessions for FENCEs where messages wait for one.
func (st *stream) wantFences() {
	if st.from == nil || !st.isReady {
		return
	}
	now := time.Now()
	f, t := st.from, st.to
	if len(f.held) > 0 && f.held[0].m != nil && f.held[0].n > st.copied &&
		(f.fences.count < fenceBurst || st.waits == f.held[0].n && now.Sub(st.waitsSince) > fenceInterval) && f.fences.due(now) {
		signal(f.session.fence)
	}
	waits := t.alone > 0 || len(t.held) > 0 && now.Sub(t.held[0].at) > fenceInterval
	if (waits || !st.joined || st.clearing && !st.cleared) && t.fences.due(now) {
		signal(t.session.fence)
	}
}

// tick looks after what waits for a time to pass.
func (st *stream) tick() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.wantFences()
	signal(st.work)
}

// progress says how far the FENCEs have come.
func (st *stream) progress() (joined, switched, cleared bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.joined, st.switched, st.cleared
}

// clear asks to learn when the old connection has got everything that was sent to it until now.
func (st *stream) clear() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.clearing = true
	st.wantFences()
}
