package redis

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// A publisher counts its messages on each channel, so that a receiver notices a gap with the next message. Where no
// message follows, the publisher's position shows the loss. A kindPositions tells it to the channel's receivers when the
// channel has fallen silent, and a kindResumed when a connection was replaced. Both hold, for each channel:
//
//	kind 1 (KindGlobal, KindDirect for the receiver's own channel, KindGroup)
//	for KindGroup: length of the name 1, name
//	number, age of the first message, age of the last, each as a uvarint; ages are nanoseconds
//
// The numbers count only messages for which an instance was expected when they were published.
//
// A receiver that has seen no message of the publisher on the channel uses the ages: it has missed all messages if it
// was subscribed before the first, and at least one if it was before the last. Their way takes a while, so it is taken
// to have subscribed by positionMargin later than it did.
const positionMargin = int64(time.Second)

// channelSeq is the count of this instance's messages on one channel.
type channelSeq struct {
	kind  broker.Kind // KindGlobal, KindDirect or KindGroup
	to    broker.NodeID
	group string

	n       uint64 // published
	sent    uint64 // of them, the last that was sent
	sentPub uint64 // its pubSeq
	firstAt int64  // when the first was sent
	lastAt  int64  // when the last was sent
	used    int64
	listed  bool // its position waits to be told
}

// position is a channelSeq as its receivers learn it.
type position struct {
	kind              broker.Kind
	group             []byte
	seq               uint64
	firstAge, lastAge int64
}

// noteSent notes that e, which is counted, is sent now. It needs mu.
func (p *publisher) noteSent(e *entry, now int64) {
	ch := e.channel
	if e.chanSeq <= ch.sent {
		return // it is sent again
	}
	if ch.sent == 0 {
		ch.firstAt = now
	}
	ch.sent, ch.sentPub, ch.lastAt = e.chanSeq, e.pubSeq, now
	if !ch.listed {
		ch.listed = true
		p.unannounced = append(p.unannounced, ch)
	}
}

// announcement is the position of a channel that has fallen silent.
type announcement struct {
	channel *channelSeq
	encoded []byte
}

// silent returns the untold positions of the channels on which nothing was sent for that long.
func (p *publisher) silent(forLong time.Duration) (all []announcement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.data.Len() > 0 && p.data.At(0).sent != 0 {
		return nil // messages that count as sent wait to be sent again, and a position would overtake them
	}
	now, left := p.now(), p.unannounced[:0]
	for _, ch := range p.unannounced {
		if now-ch.lastAt < int64(forLong) {
			left = append(left, ch)
			continue
		}
		ch.listed = false
		all = append(all, announcement{ch, ch.append(nil, now)})
	}
	clear(p.unannounced[len(left):])
	p.unannounced = left
	return all
}

// append appends the position.
func (ch *channelSeq) append(dst []byte, now int64) []byte {
	dst = append(dst, byte(ch.kind))
	if ch.kind == broker.KindGroup {
		dst = append(append(dst, byte(len(ch.group))), ch.group...)
	}
	dst = binary.AppendUvarint(dst, ch.sent)
	dst = binary.AppendUvarint(dst, uint64(now-ch.firstAt))
	return binary.AppendUvarint(dst, uint64(now-ch.lastAt))
}

// eachPosition reads positions and calls each for them.
func eachPosition(b []byte, each func(position)) error {
	for len(b) > 0 {
		pos := position{kind: broker.Kind(b[0])}
		b = b[1:]
		switch pos.kind {
		case broker.KindGlobal, broker.KindDirect:
		case broker.KindGroup:
			if len(b) == 0 || len(b) <= int(b[0]) {
				return errCorrupt
			}
			pos.group, b = b[1:1+int(b[0])], b[1+int(b[0]):]
		default:
			return errCorrupt
		}
		var numbers [3]uint64
		for i := range numbers {
			n, size := binary.Uvarint(b)
			if size <= 0 || n > 1<<62 {
				return errCorrupt
			}
			numbers[i], b = n, b[size:]
		}
		pos.seq, pos.firstAge, pos.lastAge = numbers[0], int64(numbers[1]), int64(numbers[2])
		each(pos)
	}
	return nil
}

// appendPositionsSince appends the positions of the channels of q on which a message was sent after the last that the
// asking instance has. It needs mu.
func (p *publisher) appendPositionsSince(dst []byte, q *resumeQuestion, now int64) []byte {
	add := func(ch *channelSeq) {
		if ch != nil && ch.sentPub > q.last {
			dst = ch.append(dst, now)
		}
	}
	add(p.global)
	add(p.nodes[q.from])
	for group, ch := range p.groups {
		if ch.sentPub > q.last && q.groups[groupHash([]byte(group))] != 0 {
			add(ch)
		}
	}
	return dst
}

// announcePositions tells the receivers of channels that have fallen silent.
func (r *Broker) announcePositions() {
	payloads := make(map[broker.NodeID][]byte)
	flush := func(id broker.NodeID) {
		r.pub.send(&frame{Message: broker.Message{Kind: kindPositions, To: id, Payload: payloads[id]}}, nil)
		delete(payloads, id)
	}
	for _, a := range r.pub.silent(r.opt.ProbeInterval) {
		for _, id := range r.peers.audience(a.channel) {
			payloads[id] = append(payloads[id], a.encoded...)
			if len(payloads[id]) > countsChunk {
				flush(id)
			}
		}
	}
	for id := range payloads {
		flush(id)
	}
}

// audience lists the instances that should know the position of ch, and can.
func (p *peers) audience(ch *channelSeq) (ids []broker.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, n := range p.nodes {
		if n.minor < 1 || ch.kind == broker.KindDirect && ch.to != id || ch.kind == broker.KindGroup && !p.receives(n, ch.group) {
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// receives says whether messages to group are for n. It needs mu.
func (p *peers) receives(n *peer, group string) bool {
	return p.weights.Has(n.ID, group) || slices.Contains(n.watched, group)
}

// positions takes a kindPositions.
func (r *receiver) positions(key originKey, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.origins[key]
	if o == nil {
		o = r.newOrigin(key)
	}
	if o.recovery != nil {
		return nil // some messages are held back, and its end brings the positions
	}
	return r.countLostBehind(o, b)
}

// countLost counts messages that were lost and that no later message tells of. It needs mu.
func (r *receiver) countLost(o *origin, b []byte) error {
	now := r.now()
	return eachPosition(b, func(pos position) {
		sub, since, gen := r.subs.channelFor(pos)
		if sub == nil {
			return
		}
		sub.startSeen(gen)
		last, seen := sub.seen[o]
		subscribedFor := now - since - positionMargin
		switch {
		case seen && last >= pos.seq:
			return
		case seen:
			r.stats.missed.Add(pos.seq - last)
		case o.again:
		case subscribedFor > pos.firstAge:
			r.stats.missed.Add(pos.seq)
		case subscribedFor > pos.lastAge:
			r.stats.missed.Add(1)
		}
		sub.seen[o] = pos.seq
	})
}

// channelFor finds the subscription to the channel of pos, nil where this instance doesn't need its messages.
func (s *subscriptions) channelFor(pos position) (sub *subscription, since int64, gen uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch pos.kind {
	case broker.KindGlobal:
		sub = s.global
	case broker.KindDirect:
		sub = s.own
	default:
		sub = s.groups[string(pos.group)]
	}
	if sub == nil || !sub.want || sub.since == 0 {
		return nil, 0, 0
	}
	return sub, sub.since, sub.gen
}

// startSeen forgets the numbers seen where the channel was given up since. It needs receiver.mu.
func (c *subscription) startSeen(gen uint32) {
	if c.seen == nil || c.seenGen != gen {
		c.seen, c.seenGen = make(map[*origin]uint64), gen
	}
}
