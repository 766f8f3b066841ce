package client

import "time"

// How long a message of the old connection waits for its copy on the new one without a FENCE. A longer wait would do more
// harm than a message out of order.
const (
	holdTime     = 3 * time.Second
	identifyHold = time.Second            // before the new connection has identified, while no FENCE can be sent
	fullHold     = 200 * time.Millisecond // while the new side is full, so that its copy can't be read
	pumpTick     = 100 * time.Millisecond
)

// pump hands out the messages of a move until one of its connections has ended and all messages are handed out.
func (st *stream) pump(pumped chan struct{}) {
	defer close(pumped)
	defer st.finish()
	tick := time.NewTicker(pumpTick)
	defer tick.Stop()
	enqueue := func(d delivery) { st.c.enqueue(d, nil) }
	for {
		m, end, over := st.next()
		switch {
		case end != nil:
			st.c.inbox.announce(end...)
			continue
		case m != nil:
			st.c.give(m, enqueue)
			continue
		case over:
			return
		}
		select {
		case <-st.work:
		case <-tick.C: // a wait may be over
		case <-st.c.quitting.Done():
			return
		}
	}
}

// finish ends the pump and hands out the announcements behind its messages.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pumping = false
	st.c.inbox.announce(st.behind...)
	st.behind = nil
}

// next returns the next message or announcements to hand out, if there are any now. over reports that the move has ended.
func (st *stream) next() (m *Message, end []delivery, over bool) {
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
			st.from.removeAt(0)
			continue
		case h.toOne():
			return st.from.removeAt(0), nil, false
		}
		return st.nextOfBoth(h), nil, false
	}
	switch {
	case st.from.ended && st.atEnd != nil:
		end, st.atEnd = st.atEnd, nil
		return nil, end, false
	case st.from.ended && len(st.to.held) > 0:
		return st.nextOfNew(), nil, false
	case st.from.ended:
		st.endMove()
		return nil, nil, true
	case st.to.ended:
		m, over = st.nextOfLost()
	}
	return m, nil, over
}

// nextOfNew returns the first message of the new connection. Nothing can precede it.
func (st *stream) nextOfNew() *Message {
	h := st.to.held[0]
	if h.key != 0 && !st.from.ended {
		st.drops.add(h.key, h.n) // its copy is still to arrive on the old one
	}
	st.note(h.key)
	return st.to.removeAt(0)
}

// nextOfBoth returns the first message of the old connection, h, or a message of the new one that precedes it; nil if that
// is not known yet.
func (st *stream) nextOfBoth(h *held) *Message {
	if at := st.to.copyOf(h.key); at >= 0 {
		if i := st.to.aloneBefore(at, h.m.Sender); i >= 0 {
			return st.to.removeAt(i)
		}
		st.to.removeAt(at)
	} else if h.n > st.copied {
		if st.awaitsCopy(h) {
			return nil
		}
		st.dropsTo.add(h.key, h.n)
	}
	st.note(h.key)
	return st.from.removeAt(0)
}

// awaitsCopy reports whether the first message of the old connection must wait because its copy may still arrive.
func (st *stream) awaitsCopy(h *held) bool {
	most := holdTime
	switch {
	case st.impatient, st.to.ended, st.from.ended && !st.switched: // once switched, every message of the old one has a copy
		return false
	case !st.ready:
		most = identifyHold
	case st.to.full(): // neither the copy nor a FENCE can be read
		most = fullHold
	}
	if st.waits != h.n {
		st.waits, st.waitsSince = h.n, time.Now()
		st.wantFences()
	}
	st.impatient = time.Since(st.waitsSince) >= most
	return !st.impatient
}

// nextOfLost returns the messages that only the new connection got, after it was lost before the old one ended.
func (st *stream) nextOfLost() (m *Message, over bool) {
	for len(st.to.held) > 0 {
		alone := st.to.held[0].toOne()
		if m := st.to.removeAt(0); alone {
			return m, false
		}
	}
	st.merge = merge{}
	st.drops.until = time.Now().Add(lateTime)
	return nil, true
}

// endMove ends a completed move.
func (st *stream) endMove() {
	st.drops = st.dropsTo.leftover(time.Now().Add(lateTime))
	st.merge = merge{}
}
