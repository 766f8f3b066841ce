package hub

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// remote is the hub as its broker sees it.
type remote struct{ hub *Hub }

// Deliver implements broker.Handler. It waits while a loop's inbox is full: the broker is slowed down, not the memory
// filled.
func (r remote) Deliver(m *broker.Message) {
	r.hub.incoming.begin()
	defer r.hub.incoming.end()
	if m.Kind == broker.KindDirect && m.Flags&broker.FlagFence != 0 {
		r.fence(m)
		return
	}
	b := transport.AllocBuffer(len(m.Payload))
	b.Seal(append(b.Room(), m.Payload...))
	defer b.Release()
	switch m.Kind {
	case broker.KindGlobal:
		r.spread(m, r.hub.groups.everyone, b)
	case broker.KindGroup:
		if g := r.hub.groups.find(m.Group); g != nil {
			r.spread(m, g, b)
		} else { // the last member left; whoever waits for a receipt is to know
			t := r.hub.receipts.start(&m.Sender)
			t.end(0, 0)
		}
	case broker.KindDirect:
		r.direct(m, b)
	case broker.KindAny:
		r.any(m, b)
	case broker.KindReturned:
		r.returned(m, b)
	}
}

func (r remote) spread(m *broker.Message, g *group, b *transport.Buffer) {
	t := r.hub.receipts.start(&m.Sender)
	for i, sh := range r.hub.shards {
		if _, ok := g.reaches(i); ok {
			t.begin()
			sh.postWait(mailSpread, b, func(o *mail) { o.group, o.tally = g, t })
		}
	}
	t.end(0, 0)
}

func (r remote) direct(m *broker.Message, b *transport.Buffer) {
	h := r.hub
	sh := h.shardOf(&m.Receiver)
	if sh == nil { // an id that no client has
		h.shards[0].count.drop(DropNoReceiver)
		h.broker.Publish(&broker.Message{
			Kind: broker.KindReturned, To: m.From, Sender: m.Sender, Receiver: m.Receiver, Payload: m.Payload,
		}, h.shards[0].losses)
		return
	}
	t := h.receipts.start(&m.Sender)
	sh.postWait(mailDirect, b, func(o *mail) {
		o.sender, o.receiver, o.origin, o.tally = m.Sender, m.Receiver, m.From, t
	})
}

func (r remote) any(m *broker.Message, b *transport.Buffer) {
	h := r.hub
	g := h.groups.everyone
	if len(m.Group) > 0 {
		g = h.groups.find(m.Group)
	}
	loop := -1
	if g != nil {
		if loop = g.drawLoop(h.random); loop < 0 {
			loop = g.expectedOn()
		}
	}
	if loop < 0 {
		h.returnAny(m)
		return
	}
	t := h.receipts.start(&m.Sender)
	h.shards[loop].postWait(mailAny, b, func(o *mail) {
		o.group, o.sender, o.seq, o.draws, o.origin, o.tally = g, m.Sender, m.Seq, drawsOf(m.Flags), m.From, t
	})
}

// returned handles a message of this instance that found nobody on another.
func (r remote) returned(m *broker.Message, b *transport.Buffer) {
	sh := r.hub.shardOf(&m.Sender)
	if sh == nil {
		return
	}
	kind := mailReturn
	if m.Receiver != uuid.Nil {
		kind = mailMissing
	}
	sh.postWait(kind, b, func(o *mail) {
		o.name = append(o.name, m.Group...)
		o.sender, o.seq, o.draws, o.origin = m.Sender, m.Seq, drawsOf(m.Flags), m.From
	})
}

// Pressure implements broker.Handler.
func (r remote) Pressure(on bool) {
	if on {
		r.hub.server.Gate().Hold()
	} else {
		r.hub.server.Gate().Release()
	}
}

// StateChanged implements broker.Handler.
func (r remote) StateChanged(s broker.State) {
	if s.Available {
		r.hub.log.Info("broker available")
		r.hub.othersReached()
		return
	}
	r.hub.log.Warn("broker unavailable: clients of other instances can't be reached until it is back", "error", s.Err)
}

// shardOf returns the shard of the loop that a client id names, or nil if there is no such loop here.
func (h *Hub) shardOf(id *uuid.UUID) *shard {
	if at := locate(id); at.node == h.node.ID && at.loop < len(h.shards) {
		return h.shards[at.loop]
	}
	return nil
}

// returnDirect tells the sender's instance that there is no such client here.
func (sh *shard) returnDirect(m *mail) {
	sh.outgoing = broker.Message{
		Kind: broker.KindReturned, To: m.origin, Sender: m.sender, Receiver: m.receiver, Payload: m.buf.Payload(),
	}
	sh.hub.broker.Publish(&sh.outgoing, sh.losses)
}

// returnAny sends an ANY for which nobody is left here back to its sender's instance.
func (sh *shard) returnAny(m *mail) {
	sh.hub.returnAny(&broker.Message{
		From: m.origin, Sender: m.sender, Seq: m.seq, Flags: drawFlags(m.draws), Group: []byte(m.group.name),
		Payload: m.buf.Payload(),
	})
}

func (h *Hub) returnAny(m *broker.Message) {
	back := *m
	back.Kind, back.To = broker.KindReturned, m.From
	h.broker.Publish(&back, h.shards[0].losses)
}

// missing tells the sender of a DIRECT to another instance that the client is not there.
func (sh *shard) missing(m *mail) { sh.lateFeedback(m).refuse(opcodes.CodeNoReceiver) }

// lateFeedback makes a feedback for a message that came back from another instance. Its ACK, if one was asked for, is
// sent already: it was handed to the instance.
func (sh *shard) lateFeedback(m *mail) *feedback {
	if p := sh.publishing[m.sender]; p != nil {
		return p.feedback()
	}
	s := sh.client(&m.sender)
	if s == nil || !s.features.Has(opcodes.FeatureErrors) {
		return nil
	}
	var e struct {
		ID jsontext.Value `json:"id"` // as it was sent
	}
	if json.Unmarshal(m.buf.Payload(), &e, jsontext.AllowDuplicateNames(true)) != nil {
		return nil
	}
	f := feedbackPool.Get().(*feedback)
	f.ref, f.features, f.acked, f.code = s.conn.Ref(), opcodes.FeatureErrors, 0, ""
	f.idLen = 0
	if len(e.ID) > 2 { // else it is a FENCE without an id
		f.idLen = copy(f.id[:], e.ID[1:len(e.ID)-1])
	}
	return f
}
