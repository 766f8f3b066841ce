package redis

import "time"

// Bounds of a publisher's numbers. Without a secret any program that may publish on the hub's channels can forge them. A
// number far above the true ones would make the receiver take all that follows for duplicates.
const (
	numberSlack = 1 << 20 // more messages than a publisher keeps to send again
	numberRate  = 1e7     // messages in a second, more than an instance publishes
)

// plausible reports whether f can have its numbers: those of a channel are no higher than its publisher's, and those of a
// publisher grow no faster than it can publish. It logs and counts one that can't. A number far below the last one shows
// that the last one was forged: the publisher's own numbers count from there. mu must be held.
func (r *receiver) plausible(o *origin, f *frame, now int64) bool {
	elapsed := time.Duration(max(now-o.lastAt, 0)).Seconds()
	switch {
	case f.chanSeq > f.pubSeq, o.last != 0 && f.pubSeq > o.last && float64(f.pubSeq-o.last) > numberSlack+elapsed*numberRate:
		r.stats.corrupt.Add(1)
		r.report("a message with a number that its instance can't have reached is ignored", o)
		return false
	case f.pubSeq+numberSlack < o.last && f.pubSeq+numberSlack > f.pubSeq:
		r.report("the numbers of an instance were forged: the next ones count again", o)
		o.last = f.pubSeq - 1
		r.subs.forget(o)
	}
	return true
}

func (r *receiver) report(what string, o *origin) {
	if r.warn != nil {
		r.warn(what, o.key.node)
	}
}
