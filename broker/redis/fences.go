package redis

// A message with FlagFence must not be delivered before any message that another instance had published before it. One
// server passes messages on in the order in which it got them, so a connection that holds needs nothing more. After a
// broken one, missed messages are asked for from each publisher by itself and come in any order. Messages with
// FlagFence are set aside until all have come, but wait neither for an instance that is taken for dead nor for longer
// than limits.fences. No other message waits for them, as they may be late.

// maxFences bounds the messages set aside. Further ones are lost, and counted.
const maxFences = 4096

// mayMiss returns whether messages may have been missed that are yet to come. It needs mu.
func (r *receiver) mayMiss() bool {
	if r.away {
		return true
	}
	now := r.now()
	return r.merge != nil || r.isFilling(now) || r.isAnyAwaited(now)
}

// setAside keeps f until no message may be missing. It needs mu.
func (r *receiver) setAside(f *frame) {
	if len(r.fences) >= maxFences {
		r.stats.missed.Add(1)
		return
	}
	r.fences = append(r.fences, f.Clone())
}

// releaseFences delivers the messages set aside if no message may be missing. It needs mu.
func (r *receiver) releaseFences() {
	if len(r.fences) == 0 && len(r.waiting) == 0 || r.mayMiss() {
		return
	}
	for _, m := range r.fences {
		r.handler.Deliver(m)
	}
	r.fences = nil
	waiting := r.waiting
	r.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// behind calls f once no message that was published before may be missing, from the goroutine that delivers or while
// that delivers nothing.
func (r *receiver) behind(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mayMiss() {
		r.waiting = append(r.waiting, f)
		return
	}
	f()
}
