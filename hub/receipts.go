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
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/tally"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file sends messages for callers without a connection, and tells them what became of each. Such a message takes the
// way of any other, from the first loop. Each has a sender id of its own, at which no answer arrives, and by which every
// instance tells it from others and notes what it did with it.

// Receipt is what became of a published message. What can't be known is nil, not guessed.
type Receipt struct {
	ID        string         `json:"id" doc:"Id of the event."`
	Instances *int           `json:"instances" doc:"Instances that got the event. null if that was unknown within a second, for instance while the broker is away: the event may still be delivered."`
	Clients   *int           `json:"clients" doc:"Clients of all these instances that it was queued for. null if an instance did not answer within a second."`
	Offset    *uint64        `json:"offset,omitempty" doc:"Number of the event in a group with history. Instances is 1 then, and clients null."`
	Duplicate bool           `json:"duplicate,omitempty" doc:"The event has once, and was not appended: offset is the number of an earlier one with its id."`
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
	p := &publication{shard: h.shards[0], news: make(chan struct{}, 1)}
	switch err := p.envelope.Scan(message); {
	case err != nil:
		return Receipt{}, err
	case len(message) > h.opts.Transport.MaxMessageBytes:
		return Receipt{}, ErrTooBig
	case p.envelope.Target == intent.None || !maySend(g, &p.envelope):
		return Receipt{}, ErrForbidden
	case h.server.Gate().Closed():
		return Receipt{}, ErrBusy
	}
	p.assigned = uuid.New()
	p.sender.id = clientid.New(clientid.Location{Node: h.node.ID, Loop: p.shard.index, Slot: clientid.PublisherSlot})
	if !p.shard.loop.Post(p) {
		return Receipt{}, ErrClosed
	}
	defer p.shard.loop.Post(task(func() { delete(p.shard.awaited, p.sender.id) }))
	return p.receipt(ctx), nil
}

// publication is a message on its way whose sender, a call of Publish, waits for a receipt. It is mail for its loop.
type publication struct {
	shard    *shard
	envelope opcodes.Envelope
	assigned uuid.UUID // the id of a message that has none
	sender   sender
	local    tally.Count // what this instance did with a message to many

	news chan struct{} // has room for one

	mu      sync.Mutex
	outcome outcome
}

// outcome is what is known of a message so far.
type outcome struct {
	known  bool // anything
	acked  int  // instances reached
	others int  // of these, others than this one
	code   opcodes.ErrorCode

	offset    uint64 // of a message to a group with history
	duplicate bool
}

// Size implements transport.Mail.
func (p *publication) Size() int { return len(p.envelope.Raw) }

// Deliver implements transport.Mail: it sends the message.
func (p *publication) Deliver(*transport.Loop) {
	sh, e := p.shard, &p.envelope
	if sh.awaited == nil {
		sh.awaited = make(map[uuid.UUID]awaited)
	}
	sh.awaited[p.sender.id] = awaited{&p.sender, p}
	sh.count.published[e.Target].Add(1)
	b := transport.AllocBuffer(opcodes.DeliverySize(e))
	b.Seal(opcodes.AppendDelivery(b.Room(), e, p.assigned, p.sender.id))
	sh.dispatch(e, &outbound{from: &p.sender, buf: b, feedback: newFeedback(p), tally: &p.local})
	b.Release()
}

// hear implements hearer. The outcome is one for now: an ANY that comes back is drawn again.
func (p *publication) hear(f *feedback) {
	p.mu.Lock()
	p.outcome = outcome{true, f.acked, f.others, f.code, f.offset, f.duplicate}
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default: // there is news already
	}
}

// state returns what is known.
func (p *publication) state() outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outcome
}

// Receipts are asked for again after a time that grows from receiptWait to receiptWaitMost.
const (
	receiptWait     = 4 * time.Millisecond
	receiptWaitMost = 100 * time.Millisecond
)

// receipt waits until everything is known of the message, or ctx ends.
func (p *publication) receipt(ctx context.Context) Receipt {
	r := Receipt{ID: p.id(), Dropped: make(map[string]int)}
	single := (p.envelope.Target == intent.Direct || p.envelope.Target == intent.Any) && !p.envelope.Selects()
	wait := time.Duration(0)
	for ctx.Err() == nil {
		var next <-chan time.Time
		if wait > 0 {
			next = time.After(wait)
		}
		select {
		case <-ctx.Done():
			continue
		case <-p.news:
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
func (p *publication) id() string {
	var id string
	if p.envelope.ID == nil || json.Unmarshal([]byte(`"`+string(p.envelope.ID)+`"`), &id) != nil {
		return p.assigned.String()
	}
	return id
}

// fillSpread says what is known of a message to many, and whether that is all.
func (p *publication) fillSpread(ctx context.Context, r *Receipt) bool {
	o := p.state()
	if !o.known {
		return false
	}
	if o.offset > 0 {
		r.Instances, r.Offset, r.Duplicate = &o.acked, &o.offset, o.duplicate
		return true
	}
	here, counted := p.local.Sum()
	if o.code != "" && here.Clients > 0 {
		o.acked = 1
	}
	r.Instances = &o.acked
	total, asked := here, 0
	if o.others > 0 {
		p.shard.hub.sums(ctx, p.sender.id, func(t tally.Sum) {
			asked++
			total.Clients += t.Clients
			total.Closing += t.Closing
		})
	}
	clear(r.Dropped)
	if o.code != "" {
		r.Dropped[dropOf(o.code).String()] = 1
	}
	if total.Closing > 0 {
		r.Dropped[DropClosing.String()] = total.Closing
	}
	if !counted || asked < o.others {
		return false
	}
	r.Clients = &total.Clients
	return true
}

// fillSingle says what is known of a message to one client, and whether that is all.
func (p *publication) fillSingle(ctx context.Context, r *Receipt) bool {
	o := p.state()
	zero, one := 0, 1
	switch {
	case !o.known:
		return false
	case o.code != "":
		r.Instances, r.Clients = &zero, &zero
		r.Dropped = map[string]int{dropOf(o.code).String(): 1}
		return true
	case o.others == 0:
		r.Instances, r.Clients = &o.acked, &one
		return true
	}
	r.Instances = &o.acked
	delivered := 0
	p.shard.hub.sums(ctx, p.sender.id, func(t tally.Sum) { delivered += t.Clients })
	if delivered == 0 {
		return false // on its way, or on its way back
	}
	r.Clients = &one
	return true
}

// receiptTimeout is how long the instances have to say what they did with a message, each time that they are asked.
const receiptTimeout = 250 * time.Millisecond

// sums asks the other instances what they did with the message of that sender.
func (h *Hub) sums(ctx context.Context, sender uuid.UUID, each func(tally.Sum)) {
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
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
	Receipt *tally.Sum `json:"receipt,omitempty"`
}

var receiptQuestion = question[receiptAsked, receiptFound]{"receipt", (*Hub).receiptHere}

// receiptHere tells what this instance did with a message.
func (h *Hub) receiptHere(_ context.Context, q receiptAsked) (receiptFound, error) {
	return receiptFound{h.receipts.Find(&q.Sender)}, nil
}
