package hub

import "time"

// This file orders a loop's requests by when each is looked at, on the loop's clock. The clock stands still with the loop: what
// arrived meanwhile is read before a request is judged.

func earlier(a, b uint32) bool { return int32(a-b) < 0 }

// schedule has the request looked at when the loop's clock shows due.
func (q *requests) schedule(r *request, due uint32) {
	r.due = due
	if r.heap < 0 {
		r.heap = int32(len(q.heap))
		q.heap = append(q.heap, r.index)
	}
	q.fix(int(r.heap))
	q.arm()
}

func (q *requests) unschedule(r *request) {
	i, last := int(r.heap), len(q.heap)-1
	q.heap[i] = q.heap[last]
	q.at(q.heap[i]).heap = int32(i)
	q.heap = q.heap[:last]
	if i < last {
		q.fix(i)
	}
	r.heap = -1
}

// fix moves the request at i to where it belongs.
func (q *requests) fix(i int) {
	swap := func(a, b int) {
		q.heap[a], q.heap[b] = q.heap[b], q.heap[a]
		q.at(q.heap[a]).heap, q.at(q.heap[b]).heap = int32(a), int32(b)
	}
	for i > 0 && earlier(q.at(q.heap[i]).due, q.at(q.heap[(i-1)/2]).due) {
		swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q.heap); c++ {
			if earlier(q.at(q.heap[c]).due, q.at(q.heap[least]).due) {
				least = c
			}
		}
		if least == i {
			return
		}
		swap(i, least)
		i = least
	}
}

// arm has the loop woken for the request that is due first.
func (q *requests) arm() {
	if len(q.heap) == 0 || q.armed && !earlier(q.at(q.heap[0]).due, q.armedAt) {
		return
	}
	q.armed, q.armedAt = true, q.at(q.heap[0]).due
	wait := time.Duration(max(int32(q.armedAt-q.shard.loop.Clock()), 0)) * time.Millisecond
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, func() { q.shard.loop.Post(wakeRequests{q}) })
		return
	}
	q.timer.Reset(wait)
}
