package hub

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// remote is the hub as its broker sees it.
type remote struct {
	hub        *Hub
	random     *rand.Rand // of the goroutine that calls Deliver, as the next
	selections *selections
}

// Deliver implements broker.Handler. It waits while a loop's inbox is full: the broker is slowed down, not the memory
// filled.
func (r remote) Deliver(m *broker.Message) {
	h := r.hub
	h.incoming.Enter()
	defer h.incoming.Leave()
	if m.Kind == broker.KindDirect && m.Flags&broker.FlagFence != 0 {
		h.receiveFence(m)
		return
	}
	switch m.Kind {
	case broker.KindPresence:
		h.receivePresence(m)
		return
	case broker.KindTracking:
		h.receiveTracking(m)
		return
	}
	request, ok := h.receiveRequest(m)
	if !ok {
		return
	}
	b := transport.AllocBuffer(len(m.Payload))
	b.Seal(append(b.Room(), m.Payload...))
	defer b.Release()
	if m.Flags&flagSelected != 0 && (m.Kind == broker.KindGlobal || m.Kind == broker.KindGroup) {
		r.selections.receive(h, m, b)
		return
	}
	switch m.Kind {
	case broker.KindGlobal:
		h.receiveSpread(m, h.groups.everyone, b, request)
	case broker.KindGroup:
		h.receiveSpread(m, h.groups.find(m.Group), b, request)
	case broker.KindDirect:
		if len(m.Extra) == 0 || !h.receiveAnswer(m, b) {
			h.receiveDirect(m, b, request)
		}
	case broker.KindAny:
		h.receiveAny(m, b, r.random, request)
	case broker.KindReturned:
		h.receiveReturned(m, b)
	}
}

// receiveSpread delivers a message to the members of g, nil where the last one has left.
func (h *Hub) receiveSpread(m *broker.Message, g *group, b *transport.Buffer, request *tracked) {
	t := h.countOf(&m.Sender)
	defer t.Add(0, 0)
	if request != nil { // the last one to report is this goroutine, or a loop
		request.reporting, request.toMany = new(reporting), true
		request.reporting.loops.Store(1)
		defer h.shards[0].tellReceivers(request)
	}
	if g == nil {
		return
	}
	var term uint64
	if m.Kind == broker.KindGroup && m.Flags&flagHolderHere == 0 {
		term = g.term()
	}
	for i, sh := range h.shards {
		if _, ok := g.reaches(i); ok {
			t.Expect()
			o := sh.newMail(deliverMail, b)
			o.group, o.seq, o.tally = g, term, t
			if request != nil {
				o.track = request.forLoop()
				request.reporting.loops.Add(1)
			}
			o.postWait()
		}
	}
}

// receiveDirect delivers a message to one client, or sends it back.
func (h *Hub) receiveDirect(m *broker.Message, b *transport.Buffer, request *tracked) {
	sh := h.shardOf(&m.Receiver)
	if sh == nil { // an id that no client has
		h.shards[0].count.drop(DropNoReceiver)
		h.sendBack(&broker.Message{To: m.From, Sender: m.Sender, Receiver: m.Receiver, Payload: m.Payload, Extra: m.Extra})
		return
	}
	o := sh.newMail(directMail, b)
	o.track, o.selected = request, m.Flags&flagSelected != 0
	o.sender, o.receiver, o.origin, o.tally = m.Sender, m.Receiver, m.From, h.countOf(&m.Sender)
	o.postWait()
}

// receiveAny delivers a message to one member of a group, or sends it back.
func (h *Hub) receiveAny(m *broker.Message, b *transport.Buffer, random *rand.Rand, request *tracked) {
	g := h.groups.everyone
	if len(m.Group) > 0 {
		g = h.groups.find(m.Group)
	}
	loop := -1
	if g != nil {
		if request != nil && request.drawing != nil && request.drawing.keyed {
			loop = g.loopOf(request.drawing.key)
		} else {
			loop = g.drawLoop(random)
		}
		if loop < 0 {
			if s := g.anyExpected(func(*session, bool) bool { return true }); s != nil {
				loop = s.shard.index
			}
		}
	}
	if loop < 0 {
		h.sendBack(&broker.Message{
			To: m.From, Flags: m.Flags, Sender: m.Sender, Seq: m.Seq, Group: m.Group, Payload: m.Payload, Extra: m.Extra,
		})
		return
	}
	o := h.shards[loop].newMail(anyMail, b)
	o.track = request
	o.group, o.sender, o.seq, o.draws, o.origin = g, m.Sender, m.Seq, drawsOf(m.Flags), m.From
	o.tally = h.countOf(&m.Sender)
	o.postWait()
}

// receiveReturned handles a message of this instance that found no receiver on another.
func (h *Hub) receiveReturned(m *broker.Message, b *transport.Buffer) {
	sh := h.shardOf(&m.Sender)
	if sh == nil {
		return
	}
	if request := h.readTracked(m.Sender, m.Extra); request != nil {
		h.receiveReturnedRequest(m, request, b, sh)
		return
	}
	handle := returnedAnyMail
	if m.Receiver != uuid.Nil {
		handle = returnedDirectMail
	}
	o := sh.newMail(handle, b)
	o.name = append(o.name, m.Group...)
	o.sender, o.seq, o.draws, o.origin = m.Sender, m.Seq, drawsOf(m.Flags), m.From
	o.postWait()
}

// returnedAnyMail draws again for an ANY that found no receiver on another instance.
func returnedAnyMail(sh *shard, m *mail) {
	m.feedback = sh.lateFeedback(m)
	drawAgainMail(sh, m)
}

// returnedDirectMail tells the sender of a DIRECT to another instance that the client is not there.
// Where the message names several, others may have got it, and nothing is told.
func returnedDirectMail(sh *shard, m *mail) {
	if !sh.isToSeveral(m.buf) {
		sh.lateFeedback(m).refuse(opcodes.CodeNoReceiver)
	}
}

// lateFeedback makes a feedback for a message that came back from another instance. Its ACK, if one was asked for, is
// sent already: it was handed to the instance.
func (sh *shard) lateFeedback(m *mail) *feedback {
	if a, ok := sh.awaited[m.sender]; ok {
		return newFeedback(a.hearer)
	}
	s := sh.client(&m.sender)
	if s == nil || !s.features.Has(opcodes.FeatureErrors) {
		return nil
	}
	var e struct {
		ID jsontext.Value `json:"id"` // as it was sent
	}
	if jsonv2.Unmarshal(m.buf.Payload(), &e, jsontext.AllowDuplicateNames(true)) != nil {
		return nil
	}
	var id []byte
	if len(e.ID) > 2 { // else it is a FENCE without an id
		id = e.ID[1 : len(e.ID)-1]
	}
	return s.errorsOf(id)
}

// Pressure implements broker.Handler.
func (r remote) Pressure(on bool) {
	if on {
		r.hub.server.Gate().Hold()
	} else {
		r.hub.server.Gate().Release()
	}
}

// DeliverNumbered implements broker.Handler.
func (r remote) DeliverNumbered(m *broker.Message, at broker.Position) {
	h := r.hub
	g := h.groups.find(m.Group)
	if g == nil {
		return
	}
	h.incoming.Enter()
	defer h.incoming.Leave()
	b := transport.AllocBuffer(opcodes.NumberedSize(m.Payload))
	defer b.Release()
	b.Seal(opcodes.AppendNumbered(b.Room(), m.Payload, at.Offset))
	if len(b.Payload()) > 0 { // else a later release sent what this one doesn't understand
		h.receiveNumbered(g, at, 0, b, m.Sender)
	}
}

// Gap implements broker.Handler.
func (r remote) Gap(group string, gap broker.Gap) {
	h := r.hub
	g := h.groups.named(group)
	if g == nil {
		return
	}
	h.incoming.Enter()
	defer h.incoming.Leave()
	h.receiveNumbered(g, gap.Position, gap.Reason, nil, uuid.Nil)
}

// NodeGone implements broker.Handler.
func (r remote) NodeGone(n broker.Node) {
	r.hub.Record(LogNode, "GONE", n.Name+" "+n.ID.String(), "")
	r.hub.nodeGone(n.ID, n.Name)
}

// StateChanged implements broker.Handler.
func (r remote) StateChanged(s broker.State) {
	if s.Available {
		r.hub.log.Info("broker available")
		r.hub.Record(LogBroker, "AVAILABLE", "", "")
		r.hub.othersReached()
		return
	}
	r.hub.log.Warn("broker unavailable: clients of other instances can't be reached until it is back", "error", s.Err)
	r.hub.Record(LogBroker, "UNAVAILABLE", s.Err, "")
}

// questions are what other instances may ask.
var questions = []answerer{
	clientsQuestion, clientQuestion, kickQuestion, groupsQuestion, groupQuestion, nodeQuestion, receiptQuestion,
	loadQuestion, shedQuestion, serviceQuestion, operateQuestion, regroupQuestion, logQuestion, topQuestion,
	probeQuestion,
}

// Answer implements broker.Handler.
func (r remote) Answer(encoded []byte) []byte {
	var head heading
	if json.Unmarshal(encoded, &head) != nil {
		return nil
	}
	wait := answerTimeout
	if head.Wait > 0 {
		wait = time.Duration(min(head.Wait, maxAnswer.Milliseconds())) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	i := slices.IndexFunc(questions, func(k answerer) bool { return k.called() == head.Kind })
	if i < 0 {
		return []byte(`{}`) // a later release asks
	}
	b, err := questions[i].reply(ctx, r.hub, encoded)
	if err != nil {
		return nil
	}
	return b
}
