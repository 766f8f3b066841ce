package redis

import (
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/deque"
)

// fill appends the next commands to dst and moves them in flight. An empty result means that the writer should wait.
func (p *publisher) fill(dst []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for len(dst) < writeBytes && p.inflightBytes < windowBytes {
		e, ok := p.control.PopFront()
		if !ok && p.appends.ready.Len() > 0 {
			if b := p.nextBatch(); b != nil {
				dst = p.sendBatch(dst, b, now)
				continue
			}
		}
		if !ok {
			e, ok = p.data.PopFront()
		}
		if !ok {
			break
		}
		e.sent = now
		if e.chanSeq != 0 {
			p.noteSent(e, now)
		}
		p.inflight.PushBack(e)
		p.inflightBytes += len(e.buf)
		dst = append(dst, e.buf...)
	}
	p.idle = len(dst) == 0
	return dst
}

// reply is what the broker answered to one command.
type reply struct {
	receivers int
	err       error
}

// complete takes the answers to the oldest commands in flight. It returns what is to be reported, in outcomes, and
// false if there are more answers than commands.
func (p *publisher) complete(replies []reply, outcomes []outcome) ([]outcome, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range replies {
		e, ok := p.inflight.PopFront()
		if !ok {
			return outcomes, false
		}
		if e.batch != nil {
			outcomes = p.completeBatch(e, r, outcomes)
			continue
		}
		p.inflightBytes -= len(e.buf)
		if e.done != nil {
			outcomes = p.settleReply(e, r, outcomes)
		}
		outcomes = p.keep(e, r.err, outcomes)
	}
	if p.high && p.bytes < p.limits.bytes/8 {
		p.high = false
		p.pressure(false)
	}
	if p.data.Len()+p.control.Len()+p.appends.ready.Len() > 0 {
		p.signal()
	}
	return outcomes, true
}

// others is how many of the receivers are other instances.
func (p *publisher) others(e *entry, receivers int) int {
	if receivers > 0 && p.ownsub(e.kind, e.group(), e.sent) {
		receivers--
	}
	return receivers
}

// keep puts an answered message among the recent ones.
func (p *publisher) keep(e *entry, err error, outcomes []outcome) []outcome {
	if e.pubSeq == 0 {
		p.controlBytes -= e.cost()
		p.free(e)
		return outcomes
	}
	p.bytes -= e.cost()
	if err != nil {
		p.stats.refusedBroker.Add(1)
		p.free(e)
		return outcomes
	}
	p.recent.PushBack(e)
	p.recentBytes += e.cost()
	for p.recentBytes > p.limits.recentBytes && p.recent.Len() > 1 { // one message of any size can be sent again
		old, _ := p.recent.PopFront()
		p.recentBytes -= old.cost()
		if old.done != nil {
			outcomes = append(outcomes, p.tell(old, 0, broker.ErrUnknown))
		}
		p.free(old)
	}
	return outcomes
}

// requeue puts back what was in flight on a broken connection: it is sent again, first and in order.
func (p *publisher) requeue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		e, ok := p.inflight.PopBack()
		if !ok {
			break
		}
		e.resent = true
		switch {
		case e.batch != nil:
			p.free(e)
		case e.pubSeq == 0:
			p.control.PushFront(e)
		default:
			p.data.PushFront(e)
		}
	}
	p.requeueAppends()
	p.inflightBytes, p.idle, p.barrierOut = 0, false, false
}

// expire drops what has waited for longer than the limit.
func (p *publisher) expire() {
	var outcomes []outcome
	p.mu.Lock()
	oldest := p.now() - int64(p.limits.age)
	outcomes = p.dropWaiting(&p.control, oldest, outcomes, broker.ErrUnavailable)
	outcomes = p.dropWaiting(&p.data, oldest, outcomes, broker.ErrUnavailable)
	outcomes = p.expireAppends(p.now()-appendTimeout, broker.ErrUnavailable, outcomes)
	outcomes = p.settleOpen(p.now()-int64(p.limits.unheard), outcomes)
	if now := p.now(); now >= p.nextSweep {
		p.nextSweep = now + int64(time.Minute)
		forgetIdle(p.groups, now)
		forgetIdle(p.nodes, now)
	}
	p.mu.Unlock()
	report(outcomes)
}

// dropWaiting drops entries queued before oldest from the front of lane.
func (p *publisher) dropWaiting(lane *deque.Deque[*entry], oldest int64, outcomes []outcome, why error) []outcome {
	for lane.Len() > 0 && lane.At(0).queued < oldest {
		e, _ := lane.PopFront()
		err := why
		if e.sent != 0 {
			err = broker.ErrUnknown
		}
		if e.done != nil {
			outcomes = append(outcomes, outcome{e.done, 0, err})
		}
		p.discard(e, err)
	}
	return outcomes
}

// discard frees a message that will not be sent any more, and counts it.
func (p *publisher) discard(e *entry, err error) {
	if e.pubSeq == 0 {
		p.controlBytes -= e.cost()
		p.free(e)
		return
	}
	p.bytes -= e.cost()
	p.stats.refusal(err).Add(1)
	if p.high && p.bytes < p.limits.bytes/8 {
		p.high = false
		p.pressure(false)
	}
	p.free(e)
}

// close refuses the Handler's messages from now on; what is queued is still sent.
func (p *publisher) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// giveUp gives up what is queued and refuses everything.
func (p *publisher) giveUp() {
	var outcomes []outcome
	p.mu.Lock()
	p.closed, p.ended = true, true
	const all = int64(1)<<62 - 1
	outcomes = p.dropWaiting(&p.control, all, outcomes, broker.ErrClosed)
	outcomes = p.dropWaiting(&p.data, all, outcomes, broker.ErrClosed)
	outcomes = p.expireAppends(all, broker.ErrClosed, outcomes)
	outcomes = p.settleOpen(all, outcomes)
	p.mu.Unlock()
	report(outcomes)
}

// pending says whether anything waits or is in flight.
func (p *publisher) pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.data.Len()+p.control.Len()+p.inflight.Len()+len(p.appends.queues) > 0
}

// fillStats adds what the queue holds.
func (p *publisher) fillStats(s *broker.Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.BufferedMessages = p.data.Len()
	for i := range p.inflight.Len() {
		if p.inflight.At(i).pubSeq != 0 {
			s.BufferedMessages++
		}
	}
	s.BufferedBytes, s.RecentBytes = p.bytes, p.recentBytes
}
