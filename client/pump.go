package client

import (
	"time"

	"github.com/mastersocket/mastersocket/client/internal/move"
)

// pumpTick is how often the pump checks the timeouts of held messages.
const pumpTick = 100 * time.Millisecond

// pump hands out the messages of a move until one of its connections has ended and all messages are handed out.
func (st *stream) pump(pumped chan struct{}) {
	defer close(pumped)
	defer st.finish()
	tick := time.NewTicker(pumpTick)
	defer tick.Stop()
	enqueue := func(d delivery) bool { return st.c.enqueue(d, nil) }
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
	for _, copied := range st.machine.Dropped() {
		if c, ok := copied.Value.(*Message); ok {
			st.c.duties.dropCopy(c)
		}
	}
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
