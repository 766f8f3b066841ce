package hub

import (
	"sync"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// requestHearer hears what the broker, and the loops, made of a message of a request. It belongs to one message.
type requestHearer struct {
	shard   *shard
	handle  handle
	attempt uint8
	toOne   bool

	others int
	code   opcodes.ErrorCode
}

var requestHearers = sync.Pool{New: func() any { return new(requestHearer) }}

// hearOf returns the feedback of a message of the request.
func (sh *shard) hearOf(r *request) *feedback {
	o := requestHearers.Get().(*requestHearer)
	*o = requestHearer{shard: sh, handle: r.t.handle, attempt: r.t.attempt, toOne: r.isToOne()}
	return newFeedback(o)
}

// hear implements hearer.
func (o *requestHearer) hear(f *feedback) {
	o.others, o.code = f.others, f.code
	if o.toOne && o.code == "" || !o.shard.loop.Post(o) { // a message to one client was taken to arrive
		requestHearers.Put(o)
	}
}

// Size implements transport.Mail.
func (o *requestHearer) Size() int { return 64 }

// Deliver implements transport.Mail.
func (o *requestHearer) Deliver(*transport.Loop) {
	sh := o.shard
	if r := sh.requests.named(o.handle); r.hears(o.attempt) {
		if o.toOne {
			sh.failed(r, o.code)
		} else {
			sh.published(r, o)
		}
	}
	requestHearers.Put(o)
}

// reasonOfCode returns why a request is missing an answer whose message was refused with that code.
func reasonOfCode(code opcodes.ErrorCode) string {
	switch code {
	case opcodes.CodeBrokerUnavailable:
		return opcodes.MissingUnavailable
	case opcodes.CodeOutcomeUnknown:
		return opcodes.MissingOutcomeUnknown
	}
	return opcodes.MissingNotDelivered
}

// failed handles that a message to one client did not arrive, or perhaps not.
func (sh *shard) failed(r *request, code opcodes.ErrorCode) {
	if code == opcodes.CodeOutcomeUnknown { // an answer may come yet
		r.here.receivers, r.here.reports = 0, 1
		return
	}
	sh.notDelivered(r, opcodes.Missing{Reason: reasonOfCode(code)}, r.t.node)
}

// published handles that the broker has taken a message to many, or has not.
func (sh *shard) published(r *request, o *requestHearer) {
	r.spread = true
	if r.wider != nil || o.others > 0 {
		w := r.widen()
		w.expected, w.spreadAt = o.others, sh.loop.Clock()
	}
	switch {
	case o.code == opcodes.CodeOutcomeUnknown:
		r.addMissing(opcodes.Missing{Reason: opcodes.MissingOutcomeUnknown})
	case o.code == opcodes.CodeBrokerUnavailable:
		r.addMissing(opcodes.Missing{Reason: opcodes.MissingUnavailable})
		r.forgetUnreported()
	case o.others == 0:
		if o.code != "" {
			r.addMissing(opcodes.Missing{Reason: reasonOfCode(o.code)})
		}
		r.forgetUnreported()
	}
	sh.proceed(r)
}

// forgetUnreported forgets the instances that the message did not reach.
func (r *request) forgetUnreported() {
	if r.wider == nil {
		return
	}
	for i := range r.wider.shares {
		if s := &r.wider.shares[i]; !s.reported {
			s.reports, s.old = 0, false
		}
	}
}
