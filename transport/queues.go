package transport

import (
	"cmp"
	"slices"
)

// The unsent messages of all connections together are bounded by Options.SendQueueTotal, in bytes of memory: a message
// that waits for many receivers of a loop counts once there. When they pass it, connections are ended, those with the
// largest backlogs first.

// holdBytes is what a message in a queue takes beside its own memory.
const holdBytes = 96

// worst is how many connections one search for the largest backlogs finds.
const worst = 64

// boundQueues ends connections of this loop if all queues are beyond their bound together, and this loop's beyond its
// share. It reports whether it ended one. The largest backlogs go until an eighth of the share is free, so that the
// search is not repeated for each message.
func (l *Loop) boundQueues() bool {
	share := l.srv.opts.SendQueueTotal / len(l.srv.loops)
	if l.out.kept <= share || !l.queuesFull() {
		return false
	}
	for _, c := range l.largestBacklogs() {
		if l.out.kept <= share-share/8 {
			break
		}
		l.srv.countAs("connection ended to free memory", causeQueues, fromAttr(c.RemoteAddr())...)
		l.report(c, QueuesFull)
	}
	return true
}

// queuesFull reports whether the queues of all loops are beyond their bound. Those of other loops count as of the end of
// their last turns.
func (l *Loop) queuesFull() bool {
	sum := l.out.kept
	for _, o := range l.srv.loops {
		if o != l {
			sum += int(o.public.kept.Load())
		}
	}
	return sum > l.srv.opts.SendQueueTotal
}

// largestBacklogs returns the open connections with the largest backlogs, the largest first.
func (l *Loop) largestBacklogs() []*Conn {
	found := make([]*Conn, 0, worst+1)
	bySize := func(a, b *Conn) int { return cmp.Compare(b.tx.bytes, a.tx.bytes) }
	for slot := range l.table.slots() {
		c := l.table.at(slot)
		if c.state != stateOpen || c.tx == nil || c.tx.bytes == 0 || len(found) == worst && c.tx.bytes <= found[worst-1].tx.bytes {
			continue
		}
		at, _ := slices.BinarySearchFunc(found, c, bySize)
		found = slices.Insert(found, at, c)
		found = found[:min(len(found), worst)]
	}
	return found
}
