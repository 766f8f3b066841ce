package redis

// A message with FlagFence must not be delivered before anything that other instances had published when it was
// published. One server hands messages on in the order in which it got them, so that on a connection that holds nothing
// has to be done for it. After a broken one, what was missed is asked for from each publisher by itself, and comes in any
// order: until all of it has come, such messages are set aside. Nothing waits for them meanwhile, as they may be late.

// maxFences is how many of them are set aside. What is more is lost, and counted.
const maxFences = 4096

// mayMiss reports whether messages may have been missed that are yet to come. It needs mu.
func (r *receiver) mayMiss() bool {
	if r.away {
		return true
	}
	for _, o := range r.origins {
		if o.recovery != nil {
			return true
		}
	}
	return false
}

// setAside keeps f until nothing may be missing any more. It needs mu.
func (r *receiver) setAside(f *frame) {
	if len(r.fences) >= maxFences {
		r.stats.missed.Add(1)
		return
	}
	r.fences = append(r.fences, f.Clone())
}

// releaseFences delivers what was set aside if nothing may be missing any more. It needs mu.
func (r *receiver) releaseFences() {
	if len(r.fences) == 0 || r.mayMiss() {
		return
	}
	for _, m := range r.fences {
		r.handler.Deliver(m)
	}
	r.fences = nil
}
