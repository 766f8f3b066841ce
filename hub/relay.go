package hub

import (
	"sync"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
)

// relaying waits for what the broker says of a message.
type relaying struct {
	shard    *shard // the sender's
	local    int    // receivers on this instance
	feedback *feedback
	retry    *mail // an ANY as it is to be drawn again if the instance drawn is gone; nil for other messages
}

var relayingPool = sync.Pool{New: func() any { return new(relaying) }}

// relay hands the message to the other instances, and then tells f what became of it. local is the number of receivers on
// this instance.
func (sh *shard) relay(m broker.Message, local int, f *feedback) {
	if local > 0 && f == nil {
		sh.outgoing = m // a message of the stack would be moved to the heap for each call of the interface
		sh.hub.broker.Publish(&sh.outgoing, losses{sh.count})
		return
	}
	sh.relayOr(nil, m, local, f)
}

// relayOr is relay for a message that is posted again as retry, where not nil, if the instance addressed is gone.
func (sh *shard) relayOr(retry *mail, m broker.Message, local int, f *feedback) {
	p := relayingPool.Get().(*relaying)
	p.shard, p.local, p.feedback, p.retry = sh, local, f, retry
	sh.outgoing = m
	sh.hub.broker.Publish(&sh.outgoing, p)
}

// Published implements broker.Completion.
func (p *relaying) Published(instances int, err error) {
	sh, f, local, retry := p.shard, p.feedback, p.local, p.retry
	*p = relaying{}
	relayingPool.Put(p)
	if f != nil {
		f.others = instances
	}
	if local > 0 {
		instances++
	}
	if retry != nil && instances == 0 && err == nil && sh.loop.Post(retry) {
		return
	}
	if retry != nil {
		retry.recycle()
	}
	switch {
	case err != nil:
		code := codeOf(err)
		sh.count.drop(dropOf(code))
		f.refuse(code)
	case instances == 0:
		sh.reject(f, opcodes.CodeNoReceiver)
	default:
		f.ack(instances)
	}
}

// sendBack returns a message to the sender's instance m.To, which is told in this way that it found no receiver here.
func (h *Hub) sendBack(m *broker.Message) {
	m.Kind = broker.KindReturned
	h.broker.Publish(m, losses{h.shards[0].count})
}

// reject counts a message that is dropped, and tells its sender.
func (sh *shard) reject(f *feedback, code opcodes.ErrorCode) {
	sh.count.drop(dropOf(code))
	f.refuse(code)
}

// codeOf translates an error of the broker.
func codeOf(err error) opcodes.ErrorCode {
	if err == broker.ErrUnknown {
		return opcodes.CodeOutcomeUnknown
	}
	return opcodes.CodeBrokerUnavailable
}

// losses counts the messages that could not be published, of senders that are not told.
type losses struct{ count *counters }

// Published implements broker.Completion.
func (l losses) Published(_ int, err error) {
	if err != nil {
		l.count.drop(dropOf(codeOf(err)))
	}
}
