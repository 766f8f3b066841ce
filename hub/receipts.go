package hub

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/tally"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file sends messages for callers without a connection, and tells them what became of each. Such a message takes the
// way of any other, from the loop of the call. Each has a sender id of its own, at which no answer arrives, and by which
// every instance tells it from others and notes what it did with it. What other instances did is asked by inquiries.go.

// Receipt is what became of a published message. What can't be known is nil, not guessed.
type Receipt struct {
	ID        string         `json:"id" doc:"Id of the event."`
	Instances *int           `json:"instances" doc:"Instances that got the event. null if that was unknown within a second, for instance while the broker is away: the event may still be delivered."`
	Clients   *int           `json:"clients" doc:"Clients of all these instances that it was queued for. null if an instance did not answer within a second."`
	Offset    *uint64        `json:"offset,omitempty" doc:"Number of the event in a group with history. Instances is 1 then, and clients null."`
	Duplicate bool           `json:"duplicate,omitempty" doc:"The event has once, and was not appended: offset is the number of an earlier one with its id."`
	Dropped   map[string]int `json:"dropped" doc:"Drops by reason, with the names of the metric mastersocket_drops_total: 1 if the event reached no client, or no other instance; closing counts receivers that were being disconnected."`
}

// drop notes drops for a reason.
func (r *Receipt) drop(reason Drop, n int) {
	if r.Dropped == nil {
		r.Dropped = make(map[string]int, 1)
	}
	r.Dropped[reason.String()] = n
}

// full returns the receipt with a map of drops where there are none, too.
func (r Receipt) full() Receipt {
	if r.Dropped == nil {
		r.Dropped = map[string]int{}
	}
	return r
}

// receiptTime is how long a receipt may take.
const receiptTime = time.Second

// Publish sends the EVENT or REPLY in message, written as a client sends it, with the rights and under the limits of the
// caller. It waits until all instances concerned have said what they did with it, or ctx ends. Messages of one caller that
// waits for the receipt of each are delivered in their order. The error is one of those above, or a *[opcodes.ScanError]. A
// loop must not call it; see [ServiceLoop.PublishAs].
func (h *Hub) Publish(ctx context.Context, c *Caller, message []byte) (Receipt, error) {
	sh := h.shards[0]
	type result struct {
		receipt Receipt
		err     error
	}
	done := make(chan result, 1)
	var p *publication // of the loop
	posted := sh.loop.Post(task(func() {
		var err error
		if p, err = sh.publishFor(c, message, func(r Receipt) { done <- result{r, nil} }); err != nil {
			done <- result{Receipt{}, err}
		}
	}))
	if !posted {
		return Receipt{}, ErrClosed
	}
	select {
	case r := <-done:
		return r.receipt.full(), r.err
	case <-ctx.Done():
	}
	if !sh.loop.Post(task(func() { p.giveUp() })) {
		return Receipt{}, ErrClosed
	}
	select {
	case r := <-done:
		return r.receipt.full(), r.err
	case <-h.inquiries.ctx.Done():
		return Receipt{}, ErrClosed
	}
}

// PublishAs is [Hub.Publish] on the loop. Unless it returns an error it calls done once on the loop, before it returns or
// within a second. message may be used again after the call. A Receipt without drops has no map of them.
func (l *ServiceLoop) PublishAs(c *Caller, message []byte, done func(Receipt)) error {
	_, err := l.shard.publishFor(c, message, done)
	return err
}

// publishFor sends a message for a caller. It returns the message where its receipt is not complete yet.
func (sh *shard) publishFor(c *Caller, message []byte, done func(Receipt)) (*publication, error) {
	h, e := sh.hub, &sh.scan
	if err := e.Scan(message); err != nil {
		return nil, err
	}
	switch {
	case len(message) > h.opts.Transport.MaxMessageBytes:
		return nil, ErrTooBig
	case h.server.Gate().Closed():
		return nil, ErrBusy
	case !c.limits.allows(len(message)):
		return nil, ErrRateLimited
	case e.Target == intent.None || !maySend(c.credential.Grant, e):
		sh.count.drop(DropForbidden)
		return nil, ErrForbidden
	}
	p := &publication{shard: sh, began: time.Now(), single: (e.Target == intent.Direct || e.Target == intent.Any) && !e.Selects(), done: done}
	p.sender.id = clientid.New(clientid.Location{Node: h.node.ID, Loop: sh.index, Slot: clientid.PublisherSlot})
	sh.measureCall(c.credential.Grant.Name, e.Identifier, len(message))
	p.send(e)
	if p.done == nil {
		return nil, nil
	}
	sh.awaitReceipt(p)
	return p, nil
}

// publication is a message whose sender waits for a receipt. Its methods belong to its loop, but for hear and arrived.
type publication struct {
	shard  *shard
	id     string
	single bool // it is for one client
	sender sender
	local  tally.Count   // what this instance did with a message to many
	done   func(Receipt) // nil once it was called
	began  time.Time     // receiptTime later done is called at the latest
	waits  atomic.Int32  // for the call that sends it to return, for the first outcome and, of a message to many, for local

	inquiry inquiry // belongs to the goroutine of inquiries

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

// send sends the message.
func (p *publication) send(e *opcodes.Envelope) {
	sh := p.shard
	if sh.awaited == nil {
		sh.awaited = make(map[uuid.UUID]awaited)
	}
	sh.awaited[p.sender.id] = awaited{&p.sender, p}
	sh.count.published[e.Target].Add(1)
	var assigned uuid.UUID
	if id := e.PlainID(); id != nil {
		p.id = string(id)
	} else {
		assigned = uuid.New()
		p.id = assigned.String()
	}
	p.waits.Store(2)
	if !p.single {
		p.waits.Store(3)
		p.local.Complete = p.arrived
	}
	b := transport.AllocBuffer(opcodes.DeliverySize(e))
	b.Seal(opcodes.AppendDelivery(b.Room(), e, assigned, p.sender.id))
	sh.dispatch(e, &outbound{from: &p.sender, buf: b, feedback: newFeedback(p), tally: &p.local})
	b.Release()
	if p.waits.Add(-1) == 0 {
		p.proceed()
	}
}

// hear implements hearer. The outcome is one for now: an ANY that comes back is drawn again.
func (p *publication) hear(f *feedback) {
	p.mu.Lock()
	first := !p.outcome.known
	p.outcome = outcome{true, f.acked, f.others, f.code, f.offset, f.duplicate}
	p.mu.Unlock()
	if first {
		p.arrived()
	}
}

// arrived notes that one thing which the publication waits for has come. Any goroutine may call it.
func (p *publication) arrived() {
	if p.waits.Add(-1) == 0 {
		p.shard.loop.Post(p) // a loop that takes none has ended, with the caller
	}
}

// Size implements transport.Mail.
func (p *publication) Size() int { return 64 }

// Deliver implements transport.Mail.
func (p *publication) Deliver(*transport.Loop) { p.proceed() }

// proceed gives the receipt, or asks other instances for what is missing.
func (p *publication) proceed() {
	if r, complete := p.receipt(tally.Sum{}, 0); complete {
		p.finish(r)
	} else if p.done != nil {
		p.shard.hub.inquiries.add(p)
	}
}

// finish gives the receipt.
func (p *publication) finish(r Receipt) {
	if p.done == nil {
		return
	}
	delete(p.shard.awaited, p.sender.id)
	done := p.done
	p.done = nil
	done(r)
}

// giveUp gives the receipt as far as it is known. p may be nil.
func (p *publication) giveUp() {
	if p != nil && p.done != nil {
		r, _ := p.receipt(tally.Sum{}, 0)
		p.finish(r)
	}
}

// state returns what is known.
func (p *publication) state() outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outcome
}

// receipt says what is known of the message, and whether that is all. remote is what so many other instances have said that
// they did with it. Any goroutine may call it.
func (p *publication) receipt(remote tally.Sum, answers int) (r Receipt, complete bool) {
	r.ID = p.id
	o := p.state()
	switch {
	case !o.known:
		return r, false
	case p.single:
		return p.receiptOfOne(r, &o, remote.Clients)
	}
	if o.offset > 0 {
		r.Instances, r.Offset, r.Duplicate = &o.acked, &o.offset, o.duplicate
		return r, true
	}
	total, counted := p.local.Sum()
	if o.code != "" && total.Clients > 0 {
		o.acked = 1
	}
	r.Instances = &o.acked
	total.Clients += remote.Clients
	total.Closing += remote.Closing
	if o.code != "" {
		r.drop(dropOf(o.code), 1)
	}
	if total.Closing > 0 {
		r.drop(DropClosing, total.Closing)
	}
	if !counted || answers < o.others {
		return r, false
	}
	r.Clients = &total.Clients
	return r, true
}

// receiptOfOne is receipt for a message to one client. delivered is how often other instances have queued it.
func (p *publication) receiptOfOne(r Receipt, o *outcome, delivered int) (Receipt, bool) {
	zero, one := 0, 1
	switch {
	case o.code != "":
		r.Instances, r.Clients = &zero, &zero
		r.drop(dropOf(o.code), 1)
		return r, true
	case o.others > 0 && delivered == 0: // it is on its way, or on its way back
		r.Instances = &o.acked
		return r, false
	}
	r.Instances, r.Clients = &o.acked, &one
	return r, true
}

// receipts are the publications of a loop whose receipts are not complete, and some that are, in the order of their times.
type receipts struct {
	waiting []*publication
	armed   bool
}

// awaitReceipt has the receipt given when its time is over, if that has not happened before.
func (sh *shard) awaitReceipt(p *publication) {
	sh.receipts.waiting = append(sh.receipts.waiting, p)
	sh.armReceipts()
}

func (sh *shard) armReceipts() {
	if len(sh.receipts.waiting) > 0 && !sh.receipts.armed {
		sh.receipts.armed = true
		time.AfterFunc(time.Until(sh.receipts.waiting[0].began.Add(receiptTime)), func() { sh.loop.Post(task(sh.dueReceipts)) })
	}
}

// dueReceipts gives the receipts whose time is over.
func (sh *shard) dueReceipts() {
	all, now := &sh.receipts, time.Now()
	all.armed = false
	n := 0
	for n < len(all.waiting) && (all.waiting[n].done == nil || !now.Before(all.waiting[n].began.Add(receiptTime))) {
		all.waiting[n].giveUp()
		n++
	}
	all.waiting = slices.Delete(all.waiting, 0, n)
	sh.armReceipts()
}
