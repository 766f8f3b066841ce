package hub

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is what clients send of requests: EVENTs with expect, REPLYs, and CANCEL.

// openRequest opens a request of the client and sends it to its receivers.
func (s *session) openRequest(e *opcodes.Envelope) {
	sh, h := s.shard, s.shard.hub
	x, err := e.Expectation()
	if err != nil {
		s.disconnect(reasonOf(err))
		return
	}
	if !s.grant.MaySend(e.Target, e.Identifier) {
		sh.count.drop(DropForbidden)
		s.sendError(e.ID, opcodes.CodeForbidden)
		return
	}
	id := e.PlainID()
	hash := h.hashRequest(&s.id, id)
	if code := s.refusal(e, id, uint32(hash), x.Retry); code != "" {
		sh.count.drop(dropOf(code))
		s.sendError(e.ID, code)
		return
	}
	b := transport.AllocBuffer(opcodes.DeliverySize(e))
	b.Seal(opcodes.AppendDelivery(b.Room(), e, uuid.Nil, s.id))
	s.sendRequest(e, id, uint32(hash), &x, b)
	b.Release()
}

// sendRequest opens a request that is not refused, and sends it, as b has it, to its receivers.
func (s *session) sendRequest(e *opcodes.Envelope, id []byte, hash uint32, x *opcodes.Expectation, b *transport.Buffer) {
	sh := s.shard
	t := &tracked{
		requester: s.id, id: string(id), hash: hash, attempt: 1,
		expires: uint32((sh.loop.TurnBegan() + x.Timeout) / time.Millisecond), toMany: e.Target == intent.Group || e.Target == intent.Global,
	}
	r := sh.asking().add(s, t, x.Timeout)
	r.target = e.Target
	sh.count.types[s.kind].received[e.Target].Add(1)
	o := outbound{from: &s.sender, client: s, buf: b, track: t}
	switch e.Target {
	case intent.Direct, intent.Any:
		sh.askOne(r, e, x, &o)
	default:
		sh.askMany(r, e, &o)
	}
}

// refusal returns why the client may not open a request with that id; empty where it may.
func (s *session) refusal(e *opcodes.Envelope, id []byte, hash uint32, retry bool) opcodes.ErrorCode {
	sh := s.shard
	if open := s.extra().requests.open; open > 0 {
		if open >= maxRequests {
			return opcodes.CodeTooManyRequests
		}
		if sh.requests.find(&s.id, hash, id) != nil {
			return opcodes.CodeDuplicateID
		}
	}
	receivers, memory := 1, requestBytes
	if e.Target == intent.Group || e.Target == intent.Global {
		receivers = sh.knownMembers(e.Identifier)
	}
	if retry {
		memory += len(e.Raw)
	}
	most := sh.hub.opts.RequestMemory
	if receivers > maxReceivers || most > 0 && sh.hub.requestMemory.Load()+int64(memory+receivers*owedBytes) > int64(most) {
		return opcodes.CodeTooManyRequests
	}
	return ""
}

// knownMembers returns how many clients a group has, of all clients where name is empty, as far as is known here.
func (sh *shard) knownMembers(name []byte) int {
	g := sh.hub.groups.everyone
	if len(name) > 0 {
		g = sh.hub.groups.find(name)
	}
	n := 0
	if g != nil {
		n = g.total()
	}
	sh.known = sh.hub.broker.Standings(name, sh.known[:0])
	for i := range sh.known {
		n += max(sh.known[i].Members, 0)
	}
	return n
}

// askOne sends a request to one client.
func (sh *shard) askOne(r *request, e *opcodes.Envelope, x *opcodes.Expectation, o *outbound) {
	t := o.track
	o.from.sent++
	r.spread = true
	r.here.receivers = 1
	if x.Retry || x.Key != nil {
		t.drawing = &drawing{keyed: x.Key != nil}
		if x.Key != nil {
			t.drawing.key = hashKey(x.Key)
		}
		w := r.widen()
		w.name = append(w.name, e.Identifier...)
		if x.Retry {
			o.buf.Retain()
			w.retry = o.buf
			sh.hub.requestMemory.Add(int64(len(o.buf.Payload())))
		}
		if !sh.drawTracked(r, t, o) {
			sh.count.drop(DropNoReceiver)
			r.here = portion{}
			r.addMissing(opcodes.Missing{Reason: opcodes.MissingNotDelivered})
		}
	} else {
		switch {
		case e.Target == intent.Any:
			o.feedback = sh.hearOf(r)
			sh.drawAny(e.Identifier, 0, 0, o)
		case sh.isOwn(e.Receiver): // nothing needs to be heard of it later
			t.node = sh.hub.node.ID
			if t.here = sh.giveTo(&e.Receiver, &o.from.id, o.buf, t); !t.here {
				sh.count.drop(DropNoReceiver)
				if sh.requests.named(t.handle) == r {
					sh.failed(r, opcodes.CodeNoReceiver)
				}
				return
			}
		default:
			o.feedback = sh.hearOf(r)
			sh.direct(e.Receiver, o)
		}
		if sh.requests.named(t.handle) != r { // its client was disconnected meanwhile
			return
		}
		r.here.node = t.node
		r.here.old = t.node != 0 && t.node != sh.hub.node.ID && !sh.hub.broker.Knows(t.node, broker.KindTracking)
	}
	sh.fillHere(r)
	sh.proceed(r)
}

// askMany sends a request to all clients of a group, or to all there are.
func (sh *shard) askMany(r *request, e *opcodes.Envelope, o *outbound) {
	h := sh.hub
	r.here.node = h.node.ID
	if len(sh.known) > 0 { // the instances that refusal has just found
		w := r.widen()
		w.name = append(w.name, e.Identifier...)
		for i := range sh.known {
			node := sh.known[i].Node
			w.shares = append(w.shares, portion{node: node, reports: 1, old: !h.broker.Knows(node, broker.KindTracking)})
		}
	}
	o.feedback = sh.hearOf(r)
	sh.dispatch(e, o)
	if sh.requests.named(o.track.handle) != r { // its client was disconnected meanwhile
		return
	}
	r.here.receivers += o.track.added
	r.here.reports += int32(o.loops)
}

// cancelRequest handles a CANCEL of the client.
func (s *session) cancelRequest(e *opcodes.Envelope) {
	id := e.PlainID()
	r := s.shard.requests.find(&s.id, uint32(s.shard.hub.hashRequest(&s.id, id)), id)
	if r == nil || r.state == requestClosing {
		return // it is settled, or about to be
	}
	s.shard.closeRequest(r, endedByCancel)
}

// answer sends a DIRECT REPLY of the session to the client to if it answers a request with that id. It returns false for
// any other REPLY.
func (sh *shard) answer(s *session, to uuid.UUID, id []byte, more bool, o *outbound) bool {
	if sh.owed == nil {
		return false
	}
	i, hash := s.partOf(&to, id)
	if i == 0 {
		if !s.extra().past.has(hash) {
			return false
		}
		sh.count.drop(DropLate)
		o.feedback.refuse(opcodes.CodeNoReceiver)
		return true
	}
	o.from.sent++
	t := sh.owed.parts.Of(i)
	v := vouch{t.handle, t.attempt, !more}
	if v.final {
		sh.endPart(i)
		s.remember(hash)
	} else {
		sh.owed.parts.Begin(i)
	}
	at := clientid.Locate(&to)
	switch {
	case at.Node != sh.hub.node.ID:
		sh.relay(broker.Message{
			Kind: broker.KindDirect, To: at.Node, Sender: o.from.id, Receiver: to, Payload: o.buf.Payload(), Extra: v.extra(),
		}, 0, o.feedback)
	case at.Loop != sh.index:
		m := answerMails.Get().(*answerMail)
		*m = answerMail{
			shard: sh.hub.shards[at.Loop], buf: o.buf, vouch: v, sender: o.from.id, requester: to, node: at.Node, feedback: o.feedback,
		}
		o.buf.Retain()
		sh.loop.ForwardUrgent(m.shard.loop, m)
		if o.client != nil {
			o.client.sentAcross(len(o.buf.Payload()))
		}
	case sh.answered(v, &to, &o.from.id, at.Node, o.buf):
		o.feedback.ack(1)
	default:
		o.feedback.refuse(opcodes.CodeNoReceiver)
	}
	return true
}

// answerMail takes a REPLY to the requester's loop.
type answerMail struct {
	shard     *shard
	buf       *transport.Buffer // one reference
	vouch     vouch
	sender    uuid.UUID
	requester uuid.UUID
	node      broker.NodeID // the sender's instance
	feedback  *feedback
}

var answerMails = sync.Pool{New: func() any { return new(answerMail) }}

// Size implements transport.Mail.
func (m *answerMail) Size() int { return len(m.buf.Payload()) }

// Deliver implements transport.Mail.
func (m *answerMail) Deliver(*transport.Loop) {
	if m.shard.answered(m.vouch, &m.requester, &m.sender, m.node, m.buf) {
		m.feedback.ack(1)
	} else {
		m.feedback.refuse(opcodes.CodeNoReceiver)
	}
	m.buf.Release()
	*m = answerMail{}
	answerMails.Put(m)
}

// receiveTracking handles what another instance tells of a request.
func (h *Hub) receiveTracking(m *broker.Message) {
	n := readNews(m.From, m.Payload)
	if n == nil {
		return
	}
	if n.kind != newsCancel {
		if loop := n.handle.loop(); loop < len(h.shards) {
			n.shard = h.shards[loop]
			n.shard.loop.PostWait(n)
		}
		return
	}
	for _, sh := range h.shards {
		c := *n
		c.shard = sh
		sh.loop.PostWait(&c)
	}
}

// receiveAnswer handles a REPLY of another instance's client to a request. It returns false for any other message.
func (h *Hub) receiveAnswer(m *broker.Message, b *transport.Buffer) bool {
	v, ok := readVouch(m.Extra)
	if !ok {
		return false
	}
	sh := h.shardOf(&m.Receiver)
	if sh == nil {
		return false
	}
	a := &answerMail{shard: sh, buf: b, vouch: v, sender: m.Sender, requester: m.Receiver, node: m.From}
	b.Retain()
	if !sh.loop.PostWait(a) {
		b.Release()
	}
	return true
}

// receiveRequest reads what goes along with a request of another instance's client; nil for any other message. ok is false
// where there is no memory for its receivers, and the requester has been told.
func (h *Hub) receiveRequest(m *broker.Message) (t *tracked, ok bool) {
	if len(m.Extra) == 0 {
		return nil, true
	}
	if t = h.readTracked(m.Sender, m.Extra); t == nil {
		return nil, true
	}
	if most := h.opts.RequestMemory; most == 0 || h.requestMemory.Load() < int64(most) {
		return t, true
	}
	h.shards[0].count.drop(DropOverloaded)
	h.publishNews(m.From, &news{kind: newsOver, handle: t.handle, attempt: t.attempt, none: true})
	if m.Kind == broker.KindGlobal || m.Kind == broker.KindGroup {
		h.publishNews(m.From, &news{kind: newsReport, handle: t.handle, attempt: t.attempt})
	}
	return nil, false
}

// receiveReturnedRequest handles a request of a client here that found no receiver on another instance.
func (h *Hub) receiveReturnedRequest(m *broker.Message, t *tracked, b *transport.Buffer, sh *shard) {
	o := sh.newMail(returnedRequestMail, b)
	o.name = append(o.name, m.Group...)
	o.sender, o.receiver, o.seq, o.draws, o.origin, o.track = m.Sender, m.Receiver, m.Seq, drawsOf(m.Flags), m.From, t
	o.postWait()
}

// returnedRequestMail draws again for an ANY, or tells the request that it did not arrive.
func returnedRequestMail(sh *shard, m *mail) {
	r := sh.requests.named(m.track.handle)
	if !r.hears(m.track.attempt) {
		return
	}
	if m.receiver == uuid.Nil && r.t.drawing == nil {
		m.feedback = sh.hearOf(r)
		drawAgainMail(sh, m)
		return
	}
	sh.failed(r, opcodes.CodeNoReceiver)
}

// nodeGone handles that an instance is gone: what its clients asked for is cancelled, and what was asked of them is lost.
func (h *Hub) nodeGone(node broker.NodeID, name string) {
	for _, sh := range h.shards {
		sh.loop.Post(task(func() {
			sh.requesterLost(node)
			sh.instanceLost(node, name)
		}))
	}
}
