package redis

import (
	"encoding/binary"
	"math"
	"sort"

	"github.com/mastersocket/mastersocket/broker"
)

// A kindResume asks a publisher for what it sent since a number. Its payload:
//
//	request 8, run 8 (of the publisher asked), last 8, age 8 of the global channel, age 8 of the own channel,
//	then for each group: hash 8 of its name, age 8 of its channel
//
// An age is the time in nanoseconds for which the asking instance has been subscribed. Messages sent before that are not
// resent. The age grows while the request is under way, so messages of the first moments of a subscription would be left
// out. An instance that has seen a message of the publisher on a channel needs everything that followed, and says so with
// the age noAge, as it does of its own channel, to which no message was sent before it subscribed. For the other channels
// the request is made only when it can be sent at once.
//
// The publisher answers with a kindResent for each message (request 8, then the message whole) and one kindResumed
// (request 8, then its positions on the channels, since minor 1).
const (
	resumeFixed = 40
	resumeGroup = 16

	noAge = math.MaxInt64
)

// resumeQuestion asks o for what it published after last. It needs receiver.mu.
func (s *subscriptions) resumeQuestion(o *origin, request, last uint64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	be := binary.BigEndian
	b := be.AppendUint64(make([]byte, 0, resumeFixed+resumeGroup*len(s.groups)), request)
	b = be.AppendUint64(be.AppendUint64(b, o.key.run), last)
	b = be.AppendUint64(be.AppendUint64(b, s.age(s.global, o)), noAge)
	for group, c := range s.groups {
		if c.want && c.since != 0 {
			b = be.AppendUint64(be.AppendUint64(b, groupHash([]byte(group))), s.age(c, o))
		}
	}
	return b
}

func (s *subscriptions) age(c *subscription, o *origin) uint64 {
	if _, seen := c.seen[o]; seen && c.seenGen == c.gen {
		return noAge
	}
	return uint64(s.now() - c.since)
}

// groupHash is FNV-1a. Two names with the same hash cost a message too many, which its receiver drops.
func groupHash(group []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range group {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// resumeQuestion is a kindResume as its publisher reads it.
type resumeQuestion struct {
	from         broker.NodeID
	request, run uint64
	last         uint64
	global, own  int64
	groups       map[uint64]int64
}

func parseResumeQuestion(from broker.NodeID, b []byte) (*resumeQuestion, bool) {
	if len(b) < resumeFixed || (len(b)-resumeFixed)%resumeGroup != 0 {
		return nil, false
	}
	be := binary.BigEndian
	q := &resumeQuestion{
		from: from, request: be.Uint64(b), run: be.Uint64(b[8:]), last: be.Uint64(b[16:]),
		global: int64(be.Uint64(b[24:])), own: int64(be.Uint64(b[32:])),
		groups: make(map[uint64]int64, (len(b)-resumeFixed)/resumeGroup),
	}
	for b = b[resumeFixed:]; len(b) > 0; b = b[resumeGroup:] {
		q.groups[be.Uint64(b)] = int64(be.Uint64(b[8:]))
	}
	return q, true
}

// wants says whether e went to a channel that the asking instance was subscribed to then.
func (q *resumeQuestion) wants(e *entry, now int64) bool {
	return e.pubSeq > q.last && q.concerns(e, now)
}

// concerns is wants for messages that the asking instance may already have.
func (q *resumeQuestion) concerns(e *entry, now int64) bool {
	var age int64
	switch {
	case e.kind == broker.KindGlobal:
		age = q.global
	case e.kind == broker.KindGroup:
		age = q.groups[groupHash(e.group())] // zero where it isn't subscribed
	case e.to == q.from:
		age = q.own
	}
	return now-e.sent <= age && age > 0
}

// answerResume queues every message that q asks for, that was sent and that is still kept, ahead of those not sent yet. It
// returns the outcomes of messages whose fate it decides.
//
// Messages that wait to be sent again after a broken connection are among them. Redis may have taken some of them from
// the old connection, and may still take more, so that a later one may reach the asking instance before an earlier one.
func (p *publisher) answerResume(q *resumeQuestion) (outcomes []outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.run != p.run || p.resuming[q.from] == q.request {
		return nil // for another process, or asked again while the answer is on its way
	}
	now := p.now()
	outcomes = p.passed(q, now)
	first := sort.Search(p.recent.Len(), func(i int) bool { return p.recent.At(i).pubSeq > q.last })
	for i := first; i < p.recent.Len(); i++ {
		if e := p.recent.At(i); p.queueResend(q, e, now) && e.done != nil {
			outcomes = append(outcomes, p.tell(e, 1, nil))
		}
	}
	for i := range p.inflight.Len() {
		if e := p.inflight.At(i); e.pubSeq != 0 {
			p.queueResend(q, e, now)
		}
	}
	for i := 0; i < p.data.Len() && p.data.At(i).sent != 0; i++ {
		p.queueResend(q, p.data.At(i), now)
	}
	p.resuming[q.from] = q.request
	payload := p.appendPositionsSince(binary.BigEndian.AppendUint64(nil, q.request), q, now)
	p.queueControl(&frame{Message: broker.Message{
		Kind: kindResumed, To: q.from, Payload: payload,
	}}, broker.CompletionFunc(func(int, error) { p.resumeAnswered(q) }))
	return outcomes
}

// resumeAnswered notes that the answer to q has been sent, or given up.
func (p *publisher) resumeAnswered(q *resumeQuestion) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resuming[q.from] == q.request {
		delete(p.resuming, q.from)
	}
}

// queueResend queues e if q asks for it. It leaves out messages that are too old or would take too much memory; the
// asking instance counts those as missed.
func (p *publisher) queueResend(q *resumeQuestion, e *entry, now int64) bool {
	if !q.wants(e, now) || now-e.queued > int64(p.limits.age) || p.controlBytes > p.limits.bytes {
		return false
	}
	if e.struck && e.chanSeq == 0 {
		return false // no instance counts it
	}
	p.scratch = binary.BigEndian.AppendUint64(p.scratch[:0], q.request)
	p.scratch = e.appendMessage(p.scratch, p.names.signer)
	e.had = p.queueControl(&frame{Message: broker.Message{Kind: kindResent, To: q.from, Payload: p.scratch}}, nil) || e.had
	return e.had
}

// parseRequest splits the payload of a kindResent or a kindResumed.
func parseRequest(b []byte) (request uint64, rest []byte, ok bool) {
	if len(b) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b), b[8:], true
}
