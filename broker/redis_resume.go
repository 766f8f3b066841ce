package broker

import (
	"encoding/binary"
	"sort"
)

// A kindResume asks a publisher for what it sent since a number. Its payload:
//
//	request 8, run 8 (of the publisher asked), last 8, age 8 of the subscription to global and own channel,
//	then for each group: hash 8 of its name, age 8 of its subscription
//
// Ages are nanoseconds: the publisher resends nothing older, as it was sent before anybody there wanted it.
//
// The publisher answers with a kindResent for each message (request 8, then the message whole) and one kindResumed
// (request 8).
const (
	resumeFixed = 32
	resumeGroup = 16
)

// resumeRequest asks o for what it published after last.
func (s *subscriptions) resumeRequest(o *origin, request, last uint64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, be := s.now(), binary.BigEndian
	b := be.AppendUint64(make([]byte, 0, resumeFixed+resumeGroup*len(s.groups)), request)
	b = be.AppendUint64(be.AppendUint64(b, o.key.run), last)
	b = be.AppendUint64(b, uint64(now-s.own.since))
	for group, c := range s.groups {
		if c.want && c.since != 0 {
			b = be.AppendUint64(be.AppendUint64(b, groupHash([]byte(group))), uint64(now-c.since))
		}
	}
	return b
}

// groupHash is FNV-1a. Two names with one hash cost a message too many, which its receiver drops.
func groupHash(group []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range group {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// resume is a kindResume as its publisher reads it.
type resume struct {
	from         NodeID
	request, run uint64
	last         uint64
	age          int64
	groups       map[uint64]int64
}

func parseResume(from NodeID, b []byte) (*resume, bool) {
	if len(b) < resumeFixed || (len(b)-resumeFixed)%resumeGroup != 0 {
		return nil, false
	}
	be := binary.BigEndian
	q := &resume{
		from: from, request: be.Uint64(b), run: be.Uint64(b[8:]), last: be.Uint64(b[16:]), age: int64(be.Uint64(b[24:])),
		groups: make(map[uint64]int64, (len(b)-resumeFixed)/resumeGroup),
	}
	for b = b[resumeFixed:]; len(b) > 0; b = b[resumeGroup:] {
		q.groups[be.Uint64(b)] = int64(be.Uint64(b[8:]))
	}
	return q, true
}

// wants says whether e went to a channel that the asking instance was subscribed to then.
func (q *resume) wants(e *entry, now int64) bool {
	if e.pubSeq <= q.last {
		return false
	}
	age := q.age
	switch e.kind {
	case KindGlobal:
	case KindGroup:
		age = q.groups[groupHash(e.group())] // zero where it isn't subscribed
	default:
		if e.to != q.from {
			return false
		}
	}
	return now-e.sent <= age
}

// resend queues every message that q asks for and that was sent and is still kept, before all that was not sent yet.
func (p *publisher) resend(q *resume) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.run != p.run {
		return
	}
	now := p.now()
	first := sort.Search(p.recent.len(), func(i int) bool { return p.recent.at(i).pubSeq > q.last })
	for i := first; i < p.recent.len(); i++ {
		p.resendEntry(q, p.recent.at(i), now)
	}
	for i := range p.inflight.len() {
		if e := p.inflight.at(i); e.pubSeq != 0 {
			p.resendEntry(q, e, now)
		}
	}
	p.sendLocked(&frame{Message: Message{
		Kind: kindResumed, To: q.from, Payload: binary.BigEndian.AppendUint64(nil, q.request),
	}}, nil)
}

// resendEntry leaves out what is too old, and what would take too much memory: those are missed, and counted by the
// instance that misses them.
func (p *publisher) resendEntry(q *resume, e *entry, now int64) {
	if !q.wants(e, now) || now-e.queued > int64(p.limits.age) || p.controlBytes > p.limits.bytes {
		return
	}
	p.scratch = binary.BigEndian.AppendUint64(p.scratch[:0], q.request)
	p.scratch = append(p.scratch, e.message()...)
	p.sendLocked(&frame{Message: Message{Kind: kindResent, To: q.from, Payload: p.scratch}}, nil)
}

// parseRequest splits the payload of a kindResent or a kindResumed.
func parseRequest(b []byte) (request uint64, rest []byte, ok bool) {
	if len(b) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b), b[8:], true
}
