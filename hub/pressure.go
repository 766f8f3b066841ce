package hub

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/transport"
)

// This file slows down clients that send faster than their receivers take, before these are disconnected as slow consumers.
//
// If a receiver of its message has more than half of its send queue full, a client waits: nothing is read from it until
// less than a quarter is full, but not longer than holdTime. After that the receiver holds no sender until its queue is
// short, and is disconnected if it grows on. So a receiver that takes less than a quarter of a send queue in holdTime slows
// no sender down for longer, and one that has stalled before its queue was half full never does. Each sender waits for what
// it sends itself: others to the same receiver go on.
//
// Receivers on other loops are found out late: what is on the way to them is bounded by marks. A client sends one after
// each eighth of a send queue to other loops, and waits if it has sent as much again before the mark has visited them all.
//
// Clients of other instances are not slowed down, nor are service types and callers of Publish.
const (
	holdTime   = time.Second
	stallTime  = holdTime / 4 // a receiver to which nothing has left for so long holds no sender
	maxWaiting = 4096         // senders that wait for clients of one loop
)

// Units of what sessions keep.
const (
	markUnit = 256     // bytes
	holdUnit = 6       // the bits by which a time in milliseconds is shifted
	maxAhead = 1 << 15 // units
)

// markAfter is how many units a client sends to other loops between two marks: twice as much, and half of a send queue,
// are less than a send queue.
func (h *Hub) markAfter() int {
	return min(max(h.opts.Transport.SendQueueBytes/8/markUnit, 16), maxAhead)
}

// isBehind reports whether more than half of a receiver's send queue is full.
func (s *session) isBehind() bool {
	return s.conn.QueueLoad() > s.shard.hub.opts.Transport.SendQueueBytes/2
}

// press makes the sender of that id, if it is a client of this instance, wait for s, whose loop is the caller's.
func (sh *shard) press(from *uuid.UUID, s *session) {
	to := sh.hub.shardOf(from)
	switch {
	case to == nil, clientid.Locate(from).Slot >= clientid.PublisherSlot, s.spent, len(sh.waiting) >= maxWaiting:
		return
	case !s.holds && s.conn.Stalled() >= stallTime:
		return
	}
	if _, ok := sh.waiting[*from]; ok {
		return
	}
	if sh.waiting == nil {
		sh.waiting = make(map[uuid.UUID]*session)
	}
	sh.waiting[*from] = s
	if !s.holds {
		s.holds, s.heldAt = true, uint16(sh.loop.Clock()>>holdUnit)
		s.conn.NotifyBelow(sh.hub.opts.Transport.SendQueueBytes / 4)
	}
	sh.count.held.Add(1)
	sh.onClient(to, *from, (*session).wait)
}

// relieved notes that the backlog is short again.
func (s *session) relieved() {
	s.spent = false
	s.shard.resumeSenders(s)
}

// checkHold releases the senders that have waited for s long enough.
func (s *session) checkHold() {
	held := uint16(s.shard.loop.Clock()>>holdUnit) - s.heldAt
	if s.holds && time.Duration(held)<<holdUnit*time.Millisecond >= holdTime {
		s.spent = true
		s.shard.resumeSenders(s)
	}
}

// resumeSenders lets the senders go on that wait for s.
func (sh *shard) resumeSenders(s *session) {
	if !s.holds {
		return
	}
	s.holds = false
	for id, r := range sh.waiting {
		if r == s {
			delete(sh.waiting, id)
			sh.onClient(sh.hub.shardOf(&id), id, (*session).goOn)
		}
	}
}

// onClient calls f for the client of that id on its loop, that of to, if it is still there.
func (sh *shard) onClient(to *shard, id uuid.UUID, f func(*session)) {
	if to == sh {
		if s := sh.client(&id); s != nil {
			f(s)
		}
		return
	}
	to.loop.Post(task(func() {
		if s := to.client(&id); s != nil {
			f(s)
		}
	}))
}

// wait stops reading from the client until as many calls of goOn.
func (s *session) wait() {
	if s.waits++; s.waits == 1 {
		s.conn.Pause()
	}
}

func (s *session) goOn() {
	if s.waits--; s.waits == 0 {
		s.conn.Resume()
	}
}

// mark is what visits the other loops behind a client's messages.
type mark struct {
	from  *shard
	id    uuid.UUID
	loops atomic.Int32 // that are still to be visited
}

// sentAcross counts bytes that the client has sent to other loops.
func (s *session) sentAcross(bytes int) {
	s.ahead = uint16(min(int(s.ahead)+bytes/markUnit+1, maxAhead))
	switch {
	case int(s.ahead) < s.shard.hub.markAfter():
	case !s.marks:
		s.sendMark()
	case !s.full:
		s.full = true
		s.wait()
	}
}

func (s *session) sendMark() {
	sh := s.shard
	s.marks, s.ahead = true, 0
	m := &mark{from: sh, id: s.id}
	m.loops.Store(int32(len(sh.hub.shards) - 1))
	for _, other := range sh.hub.shards {
		if other != sh {
			sh.loop.Forward(other.loop, markVisit{m, other})
		}
	}
}

// markVisit is a mark that visits a loop.
type markVisit struct {
	mark  *mark
	shard *shard
}

// Deliver implements transport.Mail.
func (v markVisit) Deliver(*transport.Loop) {
	if v.mark.loops.Add(-1) == 0 {
		v.shard.onClient(v.mark.from, v.mark.id, (*session).marked)
	}
}

// Size implements transport.Mail.
func (markVisit) Size() int { return 64 }

// marked notes that the client's mark has visited all loops.
func (s *session) marked() {
	s.marks = false
	if s.full {
		s.full = false
		s.goOn()
	}
}
