package hub

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/roster"
)

// This file is what instances tell each other of the members of watched groups: see package roster for the messages. The
// number of a stream is drawn by the instance that asks for it. Its lowest byte is the loop that gets the stream.

// partBytes is how much of a snapshot travels in one message. The next one leaves when the broker has taken it.
const partBytes = 48 << 10

// isMissing reports whether the instance doesn't answer.
func (s *source) isMissing(now time.Time) bool {
	if s.old {
		return true
	}
	if !s.settled {
		return now.Sub(s.firstAsk) >= answerTime
	}
	return now.Sub(s.heardAt) >= missingAfter
}

// followOthers asks the instances that have not answered, and forgets those that are gone.
func (w *watched) followOthers(now time.Time) {
	p, m := w.presence, w.mirror
	live := make(map[broker.NodeID]bool, len(p.nodes))
	for i := range p.nodes {
		n := &p.nodes[i]
		live[n.ID] = true
		if n.ID == p.shard.hub.node.ID {
			continue
		}
		s := m.sources[n.ID]
		if s == nil {
			s = &source{watched: w, node: n.ID, heardAt: now, firstAsk: now}
			m.sources[n.ID] = s
		}
		s.old = n.LastKind < broker.KindPresence
		if s.isDue(now) && p.reachable {
			w.ask(s, now)
		}
	}
	for id, s := range m.sources {
		if !live[id] {
			m.roster.Drop(uint32(id), roster.InstanceLost, now)
			p.forget(s)
			delete(m.sources, id)
		}
	}
}

// isDue reports whether the instance is to be asked.
func (s *source) isDue(now time.Time) bool {
	switch {
	case s.old:
		return false
	case s.pending != 0:
		return now.Sub(s.askedAt) >= answerTime<<min(s.asks-1, 2) && now.Sub(s.heardAt) >= answerTime
	}
	return s.stream == 0 || s.suspect || now.Sub(s.heardAt) >= askAgain
}

// ask asks an instance for a new stream, or again for one that it has not begun.
func (w *watched) ask(s *source, now time.Time) {
	p := w.presence
	if s.pending == 0 {
		for s.pending == 0 || p.asked[s.pending] != nil {
			s.pending = rand.Uint64()&^0xff | uint64(p.shard.index)
		}
		p.asked[s.pending] = s
		s.asks = 0
	}
	s.asks++
	s.askedAt, s.full, s.suspect = now, !w.mirror.counting, false
	kind := roster.Ask
	if !s.full {
		kind = roster.AskCount
	}
	p.shard.count.presence.asks.Add(1)
	p.send(s.node, w.name, 0, roster.AppendHeader(nil, roster.Header{Type: kind, Stream: s.pending}), nil)
}

// forget makes the streams of the source mean nothing.
func (p *presence) forget(s *source) {
	delete(p.asked, s.stream)
	delete(p.asked, s.pending)
}

// cancel ends the streams of a source that is needed no more.
func (p *presence) cancel(s *source) {
	if s.old {
		return
	}
	for _, stream := range []uint64{s.stream, s.pending} {
		if stream != 0 {
			b := roster.AppendHeader(nil, roster.Header{Type: roster.Cancel})
			p.send(s.node, s.watched.name, 0, roster.AppendStream(b, stream, 0), nil)
		}
	}
}

// send sends a message about a group, or for a loop where group is empty.
func (p *presence) send(to broker.NodeID, group string, loop int, b []byte, done broker.Completion) {
	if !p.reachable {
		if done != nil {
			done.Published(0, broker.ErrUnavailable)
		}
		return
	}
	m := &p.shard.outgoing
	*m = broker.Message{Kind: broker.KindPresence, To: to, Seq: uint64(loop), Group: []byte(group), Payload: b}
	p.shard.count.presence.sent.Add(1)
	p.shard.hub.broker.Publish(m, done)
}

// receive handles a message of another instance.
func (p *presence) receive(m *presenceMail, now time.Time) {
	head, body, ok := roster.ParseHeader(m.b)
	if !ok {
		return
	}
	switch head.Type {
	case roster.Ask, roster.AskCount:
		if m.group != "" {
			p.answer(m, head, now)
		}
	case roster.Cancel:
		roster.EachStream(body, func(stream, _ uint64) { p.end(streamKey{m.from, stream}) })
	case roster.Beat:
		p.takeBeat(m.from, int(head.Number), body, now)
	case roster.Part, roster.Last, roster.Changes, roster.Count:
		if s := p.asked[head.Stream]; s != nil && s.node == m.from {
			s.take(head, body, now)
		}
	}
}

// answer begins a stream for an instance that asks for it.
func (p *presence) answer(m *presenceMail, head roster.Header, now time.Time) {
	key := streamKey{m.from, head.Stream}
	if p.sent[key] != nil {
		return // it is under way
	}
	p.look(now)
	w := p.find(m.group)
	if old := w.streams[m.from]; old != nil {
		delete(p.sent, old.streamKey)
	}
	s := &outgoing{watched: w, streamKey: key, full: head.Type == roster.Ask, count: -1}
	if s.full && w.group.staying() > p.shard.hub.opts.PresenceMembers {
		s.full, s.large = false, true
	}
	w.streams[m.from], p.sent[key] = s, s
	w.adjust()
	p.changedSoon()
}

// end ends a stream.
func (p *presence) end(key streamKey) {
	s := p.sent[key]
	if s == nil {
		return
	}
	delete(p.sent, key)
	w := s.watched
	if w.streams[key.node] == s {
		delete(w.streams, key.node)
	}
	w.adjust()
	w.drop()
}

// endStreams ends the streams to instances that are gone.
func (w *watched) endStreams() {
	p := w.presence
	for id, s := range w.streams {
		gone := true
		for i := range p.nodes {
			gone = gone && p.nodes[i].ID != id
		}
		if gone {
			delete(p.sent, s.streamKey)
			delete(w.streams, id)
		}
	}
	w.adjust()
}

// goOn sends what is due: the next part, or the number of members.
func (s *outgoing) goOn(now time.Time) {
	w := s.watched
	if s.full && w.ledger.Len() > w.presence.shard.hub.opts.PresenceMembers {
		s.full, s.large, s.count = false, true, -1
		w.adjust()
	}
	if s.full {
		s.sendPart()
		return
	}
	n := w.group.staying()
	if n == s.count || now.Sub(s.countAt) < countInterval {
		return
	}
	s.count, s.countAt = n, now
	s.number++
	b := binary.AppendUvarint(s.header(roster.Count), uint64(n))
	if s.large {
		b = append(b, 1)
	}
	w.presence.send(s.node, w.name, 0, b, nil)
}

// header begins the next message.
func (s *outgoing) header(t roster.Type) []byte {
	return roster.AppendHeader(nil, roster.Header{Type: t, Stream: s.stream, Number: s.number})
}

// sendPart sends the next part, if the last one has left.
func (s *outgoing) sendPart() {
	w, p := s.watched, s.watched.presence
	if w.listing > 0 || s.inFlight || s.complete || !p.reachable {
		return
	}
	if !s.begun {
		s.begun, s.next = true, roster.Start
	}
	members, next := w.ledger.Page(nil, s.next, partBytes)
	s.next, s.complete = next, next == 0
	kind := roster.Part
	if s.complete {
		kind = roster.Last
	}
	s.number++
	b := s.header(kind)
	for i := range members {
		b = roster.AppendOp(b, &roster.Op{Member: members[i]})
	}
	s.inFlight = true
	key := s.streamKey
	p.send(s.node, w.name, 0, b, broker.CompletionFunc(func(n int, err error) {
		p.shard.loop.Post(task(func() { p.partSent(key, n > 0 && err == nil) }))
	}))
}

// partSent goes on with a stream, or ends one whose part was lost: the receiver asks again.
func (p *presence) partSent(key streamKey, ok bool) {
	s := p.sent[key]
	switch {
	case s == nil:
	case !ok:
		p.end(key)
	default:
		s.inFlight = false
		s.sendPart()
	}
}

// change sends what changed among the members here, if the receiver has been sent some.
func (s *outgoing) change(ops []roster.Op) {
	if !s.full || !s.begun {
		return
	}
	for len(ops) > 0 {
		s.number++
		b := s.header(roster.Changes)
		for len(ops) > 0 && len(b) < partBytes {
			b = roster.AppendOp(b, &ops[0])
			ops = ops[1:]
		}
		s.watched.presence.send(s.node, s.watched.name, 0, b, nil)
	}
}

// sendBeats tells each instance how far its streams are.
func (p *presence) sendBeats() {
	type receiver struct {
		node broker.NodeID
		loop int
	}
	beats := make(map[receiver][]byte)
	for key, s := range p.sent {
		to := receiver{key.node, int(key.stream & 0xff)}
		if beats[to] == nil {
			beats[to] = roster.AppendHeader(nil, roster.Header{Type: roster.Beat, Number: uint64(p.shard.index)})
		}
		beats[to] = roster.AppendStream(beats[to], key.stream, s.number)
	}
	for to, b := range beats {
		p.send(to.node, "", to.loop, b, nil)
	}
}

// takeBeat compares how far an instance's streams are with what has come, and ends those that are for nothing.
func (p *presence) takeBeat(from broker.NodeID, loop int, body []byte, now time.Time) {
	var unknown []byte
	roster.EachStream(body, func(stream, number uint64) {
		switch s := p.asked[stream]; {
		case s == nil || s.node != from:
			unknown = roster.AppendStream(unknown, stream, 0)
		case stream == s.stream && number > s.number:
			s.lost(now)
		case stream == s.pending && number > 0: // its first messages
			delete(p.asked, s.pending)
			s.pending = 0
			s.lost(now)
		default:
			s.heardAt, s.suspect = now, s.suspect && stream != s.stream
		}
	})
	if unknown != nil {
		p.send(from, "", loop, append(roster.AppendHeader(nil, roster.Header{Type: roster.Cancel}), unknown...), nil)
	}
}

// lost asks for a new stream: messages of this one are missing.
func (s *source) lost(now time.Time) {
	p := s.watched.presence
	delete(p.asked, s.stream)
	s.stream, s.heardAt = 0, now
	p.shard.count.presence.gaps.Add(1)
	if s.pending == 0 {
		s.watched.ask(s, now)
	}
}

// take takes a message of a stream.
func (s *source) take(head roster.Header, body []byte, now time.Time) {
	p, m := s.watched.presence, s.watched.mirror
	if head.Stream == s.pending {
		delete(p.asked, s.stream)
		s.stream, s.number, s.pending = s.pending, 0, 0
		s.round++
		s.suspect = false
	}
	s.heardAt = now
	switch {
	case head.Number <= s.number:
		return
	case head.Number > s.number+1:
		s.lost(now)
		return
	}
	s.number = head.Number
	switch {
	case head.Type == roster.Count:
		s.takeCount(body)
	case !s.full || m.counting:
		return
	default:
		roster.EachOp(body, func(op *roster.Op) { m.apply(s.node, s.round, op, now) })
	}
	if head.Type == roster.Last {
		m.roster.Settle(uint32(s.node), s.round, now)
		s.settled = true
	}
	p.changedSoon()
}

// takeCount takes the number of members, and whether they were to be named and are too many.
func (s *source) takeCount(body []byte) {
	n, k := binary.Uvarint(body)
	if k <= 0 || n > 1<<40 {
		return
	}
	s.count, s.settled, s.large = int(n), true, len(body) > k && body[k] == 1
}
