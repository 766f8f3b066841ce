package hub

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file sends what somebody without a connection wants to send, and says what became of it. Such a message takes the
// way of any other, from the first loop, save that its sender is nobody: each has a sender id of its own, at which no
// answer arrives, and by which every instance tells it from others and notes what it did with it.

// Receipt is what became of a published message. What can't be known is nil, not guessed.
type Receipt struct {
	ID        string         `json:"id" doc:"Id of the event."`
	Instances *int           `json:"instances" doc:"Instances that got the event. null if that was unknown within a second, for instance while the broker is away: the event may still be delivered."`
	Clients   *int           `json:"clients" doc:"Clients of all these instances that it was queued for. null if an instance did not answer within a second."`
	Dropped   map[string]int `json:"dropped" doc:"Drops by reason, with the names of the metric mastersocket_drops_total: 1 if the event reached no client, or no other instance; closing counts receivers that were being disconnected."`
}

// Errors of Publish.
var (
	ErrForbidden = errors.New("the token may not send this intent")
	ErrTooBig    = errors.New("the message is larger than max_message_bytes")
	// ErrBusy: a loop or the broker can't keep up, and nothing is read from clients either.
	ErrBusy = errors.New("overloaded: a loop or the broker can't keep up")
	// ErrClosed: the hub has ended.
	ErrClosed = errors.New("the hub is closed")
)

// Publish sends the EVENT or REPLY in message, written as a client sends it, with the rights of g. It waits until all
// instances concerned have said what they did with it, or ctx ends. Messages of one caller that waits for the receipt of
// each are delivered in their order. The error is one of those above, or a *[opcodes.ScanError].
func (h *Hub) Publish(ctx context.Context, g *auth.Grant, message []byte) (Receipt, error) {
	p := &publishing{shard: h.shards[0], settled: make(chan struct{}, 1)}
	switch err := p.envelope.Scan(message); {
	case err != nil:
		return Receipt{}, err
	case len(message) > h.opts.Transport.MaxMessageBytes:
		return Receipt{}, ErrTooBig
	case p.envelope.Target == intent.None || !g.MaySend(p.envelope.Target, p.envelope.Identifier):
		return Receipt{}, ErrForbidden
	case h.server.Gate().Closed():
		return Receipt{}, ErrBusy
	}
	p.assigned = uuid.New()
	p.session = session{
		shard: p.shard, phase: phaseIdentified, id: newClientID(location{h.node.ID, p.shard.index, publisherSlot}),
	}
	if !p.shard.loop.Post(p) {
		return Receipt{}, ErrClosed
	}
	defer p.shard.loop.Post(task(func() { delete(p.shard.publishing, p.session.id) }))
	return p.receipt(ctx), nil
}

// publishing is a message on its way that somebody waits to hear of. It is mail for its loop.
type publishing struct {
	shard    *shard
	envelope opcodes.Envelope
	assigned uuid.UUID // the id of a message that has none
	session  session   // stands for the sender
	local    running   // what this instance did with a message to many

	settled chan struct{} // has room for one: there is news

	mu      sync.Mutex
	known   bool
	acked   int // instances reached
	remotes int // of these, others than this one
	code    opcodes.ErrorCode
}

// Size implements transport.Mail.
func (p *publishing) Size() int { return len(p.envelope.Raw) }

// Deliver implements transport.Mail: it sends the message.
func (p *publishing) Deliver(*transport.Loop) {
	sh, e := p.shard, &p.envelope
	if sh.publishing == nil {
		sh.publishing = make(map[uuid.UUID]*publishing)
	}
	sh.publishing[p.session.id] = p
	sh.count.published[e.Target].Add(1)
	b := transport.AllocBuffer(opcodes.DeliverySize(e))
	b.Seal(opcodes.AppendDelivery(b.Room(), e, p.assigned, p.session.id))
	defer b.Release()
	switch e.Target {
	case intent.Global:
		p.spread(sh.hub.groups.everyone, broker.KindGlobal, b)
	case intent.Group:
		p.spread(sh.hub.groups.find(e.Identifier), broker.KindGroup, b)
	case intent.Direct:
		sh.direct(&p.session, e.Receiver, b, p.feedback())
	case intent.Any:
		sh.any(&p.session, e.Identifier, 0, 0, b, p.feedback())
	}
}

// spread is shard.spread for a message that is counted.
func (p *publishing) spread(g *group, kind broker.Kind, b *transport.Buffer) {
	sh := p.shard
	sh.beginSpread()
	defer sh.endSpread()
	p.local.begin()
	receivers := 0
	if g != nil {
		p.local.begin()
		receivers = sh.deliverCounted(g, b, &p.local)
		for i, other := range sh.hub.shards {
			n, ok := g.reaches(i)
			if !ok || i == sh.index {
				continue
			}
			m := other.newMail(mailSpread, b)
			m.group, m.tally = g, &p.local
			p.local.begin()
			if !other.loop.Post(m) {
				m.recycle()
			}
			receivers += n
		}
	}
	p.local.end(0, 0)
	sh.publishFor(broker.Message{
		Kind: kind, Sender: p.session.id, Group: p.envelope.Identifier, Payload: b.Payload(),
	}, receivers, p.feedback(), nil)
}

// feedback returns what tells p of its message.
func (p *publishing) feedback() *feedback {
	f := feedbackPool.Get().(*feedback)
	f.publishing, f.remotes, f.acked, f.code = p, 0, 0, ""
	return f
}

// settle notes what became of the message, for now: an ANY that comes back is drawn again. It takes f over.
func (p *publishing) settle(f *feedback) {
	p.mu.Lock()
	p.known, p.acked, p.remotes, p.code = true, f.acked, f.remotes, f.code
	p.mu.Unlock()
	f.publishing = nil
	feedbackPool.Put(f)
	select {
	case p.settled <- struct{}{}:
	default: // there is news already
	}
}

// state returns what is known.
func (p *publishing) state() (known bool, acked, remotes int, code opcodes.ErrorCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known, p.acked, p.remotes, p.code
}

// Receipts are asked for again after a time that grows from receiptWait to receiptWaitMost.
const (
	receiptWait     = 4 * time.Millisecond
	receiptWaitMost = 100 * time.Millisecond
)

// receipt waits until everything is known of the message, or ctx ends.
func (p *publishing) receipt(ctx context.Context) Receipt {
	r := Receipt{ID: p.id(), Dropped: make(map[string]int)}
	single := p.envelope.Target == intent.Direct || p.envelope.Target == intent.Any
	wait := time.Duration(0)
	for ctx.Err() == nil {
		var next <-chan time.Time
		if wait > 0 {
			next = time.After(wait)
		}
		select {
		case <-ctx.Done():
			continue
		case <-p.settled:
		case <-next:
		}
		done := false
		if single {
			done = p.fillSingle(ctx, &r)
		} else {
			done = p.fillSpread(ctx, &r)
		}
		if done {
			return r
		}
		wait = min(max(2*wait, receiptWait), receiptWaitMost)
	}
	return r
}

// id returns the message's id.
func (p *publishing) id() string {
	var id string
	if p.envelope.ID == nil || json.Unmarshal([]byte(`"`+string(p.envelope.ID)+`"`), &id) != nil {
		return p.assigned.String()
	}
	return id
}

// fillSpread says what is known of a message to many, and whether that is all.
func (p *publishing) fillSpread(ctx context.Context, r *Receipt) bool {
	known, acked, remotes, code := p.state()
	if !known {
		return false
	}
	here, counted := p.local.result()
	if code != "" && here.Clients > 0 {
		acked = 1
	}
	r.Instances = &acked
	total, asked := here, 0
	if remotes > 0 {
		p.shard.hub.tallies(ctx, p.session.id, func(t tally) {
			asked++
			total.Clients += t.Clients
			total.Closing += t.Closing
		})
	}
	clear(r.Dropped)
	if code != "" {
		r.Dropped[dropOf(code).String()] = 1
	}
	if total.Closing > 0 {
		r.Dropped[DropClosing.String()] = total.Closing
	}
	if !counted || asked < remotes {
		return false
	}
	r.Clients = &total.Clients
	return true
}

// fillSingle says what is known of a message to one client, and whether that is all.
func (p *publishing) fillSingle(ctx context.Context, r *Receipt) bool {
	known, acked, remotes, code := p.state()
	zero, one := 0, 1
	switch {
	case !known:
		return false
	case code != "":
		r.Instances, r.Clients = &zero, &zero
		r.Dropped = map[string]int{dropOf(code).String(): 1}
		return true
	case remotes == 0:
		r.Instances, r.Clients = &acked, &one
		return true
	}
	r.Instances = &acked
	delivered := 0
	p.shard.hub.tallies(ctx, p.session.id, func(t tally) { delivered += t.Clients })
	if delivered == 0 {
		return false // on its way, or on its way back
	}
	r.Clients = &one
	return true
}

// dropOf returns the reason to drop a message that goes with an error code.
func dropOf(code opcodes.ErrorCode) Drop {
	switch code {
	case opcodes.CodeReceiverGone:
		return DropReceiverGone
	case opcodes.CodeBrokerUnavailable:
		return DropBrokerUnavailable
	case opcodes.CodeOutcomeUnknown:
		return DropOutcomeUnknown
	}
	return DropNoReceiver
}

// tallyTimeout is how long the instances have to say what they did with a message, each time that they are asked.
const tallyTimeout = 250 * time.Millisecond

// tallies asks the other instances what they did with the message of that sender.
func (h *Hub) tallies(ctx context.Context, sender uuid.UUID, each func(tally)) {
	ctx, cancel := context.WithTimeout(ctx, tallyTimeout)
	defer cancel()
	// An error is as good as no answer.
	_, _ = receiptQuestion.askOthers(ctx, h, receiptAsked{sender}, func(_ broker.NodeID, a receiptFound) {
		if a.Receipt != nil {
			each(*a.Receipt)
		}
	})
}

// receiptAsked asks for what an instance did with the message of a sender.
type receiptAsked struct {
	Sender uuid.UUID `json:"id"`
}

// receiptFound is the answer; nil for nothing, or not everything yet.
type receiptFound struct {
	Receipt *tally `json:"receipt,omitempty"`
}

var receiptQuestion = question[receiptAsked, receiptFound]{"receipt", (*Hub).receiptHere}

// receiptHere tells what this instance did with a message.
func (h *Hub) receiptHere(_ context.Context, q receiptAsked) (receiptFound, error) {
	return receiptFound{h.receipts.tally(q.Sender)}, nil
}
