package client

import "time"

// How long a message of the old connection waits for its copy on the new one, if no FENCE says that there is none. Longer
// waits would do more harm than a message out of order.
const (
	holdTime     = 3 * time.Second
	identifyHold = time.Second            // until the new connection has identified, when no FENCE can be sent
	fullHold     = 200 * time.Millisecond // while as much is held of the new connection as may be
	pumpTick     = 100 * time.Millisecond
)

// pump hands out the messages of a move until its old connection has ended, or its new one, and all are handed out.
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
		case <-tick.C: // what waited may have waited long enough
		case <-st.c.quitting.Done(): // nobody wants them any more
			return
		}
	}
}

// finish ends the pump: what is behind its messages may be handed out now.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pumping = false
	st.c.inbox.announce(st.behind...)
	st.behind = nil
}

// next returns the next message to hand out, or what is to be said of connections, if there is one now. Else over tells
// whether the move is.
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
			st.from.remove(0)
			continue
		case h.single():
			return st.from.remove(0), nil, false
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
	most := holdTime
	switch {
	case st.impatient, st.to.ended, st.from.ended && !st.switched: // once switched, all that the old one got has a copy
		return false
	case !st.ready:
		most = identifyHold
	case st.to.full(): // so that the copy, or the FENCE, can't be read
		most = fullHold
	}
	if st.waits != h.n {
		st.waits, st.waitsSince = h.n, time.Now()
		st.wantFences()
	}
	st.impatient = time.Since(st.waitsSince) >= most
	return !st.impatient
}

// nextOfLost returns what only the new connection got, which was lost before the old one ended.
func (st *stream) nextOfLost() (m *Message, over bool) {
	for len(st.to.held) > 0 {
		alone := st.to.held[0].single()
		if m := st.to.remove(0); alone {
			return m, false
		}
	}
	st.merge = merge{}
	st.drops.until = time.Now().Add(lateTime)
	return nil, true
}

// settle ends a move that came to its end.
func (st *stream) settle() {
	st.drops = st.dropsTo.late(time.Now().Add(lateTime))
	st.merge = merge{}
}
