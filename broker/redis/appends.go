package redis

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/arena"
	"github.com/mastersocket/mastersocket/broker/internal/deque"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

//go:embed history.lua
var historyLua string

var historyScript = goredis.NewScript(historyLua)

// Measures of appends. The script keeps the results of as many batches of a process as may be in flight.
const (
	batchMessages = 64
	batchBytes    = 128 << 10 // unless it is one message
	batchesOut    = 16        // in flight, of one group
)

// appends are the publisher's messages for groups with history, guarded by its lock. The messages of a group go in batches,
// each one call of the script. While a batch of the group is in flight, the next ones wait until it is full.
//
// A batch goes behind all that Publish queued before its messages, and may be overtaken by what was queued later. A batch that
// was in flight on a connection that broke is sent again as it was, under its number, by which the script knows it.
type appends struct {
	queues  map[string]*appendQueue // those with messages that wait or are in flight
	ready   deque.Deque[*appendQueue]
	batches uint64 // made so far; it numbers them
	server  string // run_id of the process that the connection leads to
}

// appendQueue is what this instance appends to one group.
type appendQueue struct {
	group   string
	waiting deque.Deque[*appending]
	batches deque.Deque[*batch] // made and not answered, in order
	sent    int                 // the first ones of batches, which are in flight
	slot    int                 // of the next batch
	listed  bool                // in appends.ready
}

// appending is one message.
type appending struct {
	buf    []byte // the message behind its length, in block
	block  *arena.Block
	pubSeq uint64
	queued int64
	limits broker.Limits
	once   string
	done   broker.AppendCompletion
}

func (a *appending) cost() int { return len(a.buf) + entryOverhead }

// batch is the messages of one call. Their order and number never change.
type batch struct {
	queue    *appendQueue
	number   uint64
	slot     int
	messages []*appending // empty once they were told
	bytes    int
	sent     int64 // when it was last sent; zero: never
}

// sendable reports whether the next batch of q may be sent.
func (q *appendQueue) sendable() bool {
	if q.sent >= batchesOut {
		return false
	}
	return q.sent < q.batches.Len() || q.waiting.Len() > 0 && (q.sent == 0 || q.waiting.Len() >= batchMessages)
}

// append queues a message for a group with history. An error is the outcome.
func (p *publisher) append(m *broker.Message, a broker.Appending, done broker.AppendCompletion) error {
	f := frame{Message: *m, run: p.run}
	f.Kind, f.From, f.To = kindNumbered, p.self, 0
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.stats.appendsRefused.Add(1)
		return broker.ErrClosed
	}
	size := frameLen(&f, p.names.signer)
	need := size + 4
	if p.bytes+need+entryOverhead > p.limits.bytes {
		p.stats.appendsRefused.Add(1)
		return broker.ErrUnavailable
	}
	p.pubSeq++
	f.pubSeq = p.pubSeq
	buf, block := p.arena.Take(need)
	buf, err := appendFrame(binary.BigEndian.AppendUint32(buf, uint32(size)), &f, p.names.signer)
	if err != nil {
		p.arena.Release(block)
		return fmt.Errorf("%w: %w", broker.ErrRefused, err)
	}
	e := &appending{
		buf: buf, block: block, pubSeq: f.pubSeq, queued: p.now(), limits: a.Limits, once: a.Once, done: done,
	}
	q := p.appends.queues[string(m.Group)]
	if q == nil {
		q = &appendQueue{group: string(m.Group)}
		p.appends.queues[q.group] = q
	}
	q.waiting.PushBack(e)
	p.list(q)
	p.addBytes(e.cost())
	p.signal()
	return nil
}

// addBytes takes room for a message. It needs mu.
func (p *publisher) addBytes(n int) {
	p.bytes += n
	if !p.high && p.bytes > p.limits.bytes/2 {
		p.high = true
		p.pressure(true)
	}
}

// giveBytes gives room back. It needs mu.
func (p *publisher) giveBytes(n int) {
	p.bytes -= n
	if p.high && p.bytes < p.limits.bytes/8 {
		p.high = false
		p.pressure(false)
	}
}

// list puts q among those that are ready, if it is. It needs mu.
func (p *publisher) list(q *appendQueue) {
	if !q.listed && q.sendable() {
		q.listed = true
		p.appends.ready.PushBack(q)
	}
}

// readyQueue returns the queue whose turn it is, nil for none. It needs mu.
func (p *publisher) readyQueue() *appendQueue {
	for p.appends.ready.Len() > 0 {
		q := p.appends.ready.At(0)
		if q.sendable() {
			return q
		}
		p.appends.ready.PopFront() // what waited in it has expired
		q.listed = false
		p.leave(q)
	}
	return nil
}

// nextBatch makes, or takes, the batch that is sent next; nil where a message in the data lane goes first. It needs mu.
func (p *publisher) nextBatch() *batch {
	before := ^uint64(0) // messages with lower numbers may go
	if p.data.Len() > 0 {
		before = p.data.At(0).pubSeq
	}
	q := p.readyQueue()
	if q == nil {
		return nil
	}
	if q.sent < q.batches.Len() {
		b := q.batches.At(q.sent)
		if n := len(b.messages); n > 0 && b.messages[n-1].pubSeq > before {
			return nil
		}
		return b
	}
	if q.waiting.At(0).pubSeq > before {
		return nil
	}
	p.appends.batches++
	b := &batch{queue: q, number: p.appends.batches, slot: q.slot}
	q.slot = (q.slot + 1) % batchesOut
	for q.waiting.Len() > 0 && len(b.messages) < batchMessages {
		next := q.waiting.At(0)
		if len(b.messages) > 0 && (next.once != "" || next.pubSeq > before || b.bytes+len(next.buf) > batchBytes) {
			break
		}
		q.waiting.PopFront()
		b.messages = append(b.messages, next)
		b.bytes += len(next.buf)
		if next.once != "" {
			break
		}
	}
	q.batches.PushBack(b)
	return b
}

// sendBatch appends the command for b, which nextBatch returned, and moves b in flight. It needs mu.
func (p *publisher) sendBatch(dst []byte, b *batch, now int64) []byte {
	q := b.queue
	var before *batch // in flight
	if q.sent > 0 {
		before = q.batches.At(q.sent - 1)
	}
	q.sent++
	p.appends.ready.PopFront()
	q.listed = false
	p.list(q)
	b.sent = now
	e := p.spareEntry()
	*e = entry{batch: b, sent: now}
	p.inflight.PushBack(e)
	p.inflightBytes += b.bytes
	return p.appendBatch(dst, b, before)
}

// appendBatch appends the command.
func (p *publisher) appendBatch(dst []byte, b, before *batch) []byte {
	q, limits, once := b.queue, broker.Limits{}, ""
	if n := len(b.messages); n > 0 {
		limits, once = b.messages[n-1].limits, b.messages[n-1].once
	}
	keys := 2
	if once != "" {
		keys = 3
	}
	c := argument{append(strconv.AppendInt(append(dst, '*'), int64(3+keys+17), 10), "\r\n"...)}
	c.string("EVALSHA")
	c.string(historyScript.Hash())
	c.number(int64(keys))
	c.string(p.names.historyState(q.group))
	c.string(p.names.historyStream(q.group))
	if once != "" {
		c.string(p.names.historyOnce(q.group, once))
	}
	c.string("A")
	c.limits(p.appends.server, limits)
	c.string(p.names.publish)
	c.string(p.names.channels + groupSuffix + q.group)
	c.string(formatRun(p.run))
	c.number(int64(b.number))
	c.number(int64(b.slot))
	if before == nil {
		c.string("0")
		c.string("0")
	} else {
		c.number(int64(before.number))
		c.number(int64(before.slot))
	}
	c.number(broker.OnceFor.Milliseconds())
	c.number(int64(len(b.messages)))
	c.buf = resp.AppendBulkHeader(c.buf, b.bytes)
	for _, m := range b.messages {
		c.buf = append(c.buf, m.buf...)
	}
	return append(c.buf, "\r\n"...)
}

// argument appends the arguments of a command.
type argument struct{ buf []byte }

func (a *argument) string(s string) {
	a.buf = append(append(resp.AppendBulkHeader(a.buf, len(s)), s...), "\r\n"...)
}

func (a *argument) number(n int64) {
	var digits [20]byte
	b := strconv.AppendInt(digits[:0], n, 10)
	a.buf = append(append(resp.AppendBulkHeader(a.buf, len(b)), b...), "\r\n"...)
}

// limits appends what every command of the script begins with.
func (a *argument) limits(server string, l broker.Limits) {
	a.string(server)
	a.string(newEpoch())
	a.number(int64(l.Messages))
	a.number(l.Bytes)
	a.number(max(l.Age.Milliseconds(), 1))
	a.number(broker.KeepPositions.Milliseconds())
}

// newEpoch draws the name of an epoch.
func newEpoch() string {
	var digits [16]byte
	return string(strconv.AppendUint(digits[:0], rand.Uint64()|1<<63, 36)[:10])
}

// completeBatch takes the answer to a batch. It needs mu.
func (p *publisher) completeBatch(e *entry, r reply, outcomes []outcome) []outcome {
	b := e.batch
	q := b.queue
	p.inflightBytes -= b.bytes
	p.free(e)
	q.batches.PopFront()
	q.sent--
	o := &batchOutcome{told: p.told, group: q.group, sent: b.sent, first: uint64(max(r.receivers, -r.receivers))}
	switch n := uint64(len(b.messages)); {
	case r.err == nil && r.receivers < 0:
		o.duplicate = true
		p.stats.repeated.Add(n)
	case r.err == nil:
		p.stats.appended.Add(n)
	default:
		o.err = appendError(r.err)
		p.countRefused(n, o.err)
	}
	outcomes = p.tellBatch(b, o, outcomes)
	p.leave(q)
	return outcomes
}

// leave forgets a queue without messages, or lists it. It needs mu.
func (p *publisher) leave(q *appendQueue) {
	if q.waiting.Len() == 0 && q.batches.Len() == 0 && !q.listed {
		delete(p.appends.queues, q.group)
		return
	}
	p.list(q)
}

func (p *publisher) countRefused(n uint64, err error) {
	if err == broker.ErrUnknown {
		p.stats.appendsUnknown.Add(n)
	} else {
		p.stats.appendsRefused.Add(n)
	}
}

// appendError makes an outcome of Redis' refusal.
func appendError(err error) error {
	var code string
	if e, ok := serverError(err); ok {
		code = e.Code()
	}
	if code == "UNKNOWN" {
		return broker.ErrUnknown
	}
	return fmt.Errorf("%w: %w", broker.ErrRefused, err)
}

// tellBatch frees the messages of b and has o told to them. It needs mu.
func (p *publisher) tellBatch(b *batch, o *batchOutcome, outcomes []outcome) []outcome {
	told := false
	for _, m := range b.messages {
		o.done = append(o.done, m.done)
		told = told || m.done != nil
		p.giveBytes(m.cost())
		p.arena.Release(m.block)
	}
	b.messages = nil
	if told {
		outcomes = append(outcomes, outcome{done: o})
	}
	return outcomes
}

// batchOutcome is what becomes of a batch.
type batchOutcome struct {
	told      *arrivals
	group     string
	sent      int64
	first     uint64 // the number of the first message
	duplicate bool
	err       error
	done      []broker.AppendCompletion // of each message, nil for none
}

// Published implements broker.Completion, so that a batch is reported as other messages are.
func (o *batchOutcome) Published(int, error) {
	if o.err == nil {
		o.told.await(o)
		return
	}
	for _, done := range o.done {
		if done != nil {
			done.Appended(0, false, o.err)
		}
	}
}

// tell tells the i-th message its number.
func (o *batchOutcome) tell(i int) {
	if done := o.done[i]; done != nil {
		done.Appended(o.first+uint64(i), o.duplicate, nil)
	}
}

// requeueAppends has all batches sent again. It needs mu.
func (p *publisher) requeueAppends() {
	for _, q := range p.appends.queues {
		q.sent = 0
		q.dropTold()
		if !q.listed {
			p.leave(q)
		}
	}
}

// dropTold drops the batches that are not in flight and whose messages were told: they are not sent again.
func (q *appendQueue) dropTold() {
	for i := range q.batches.Len() {
		if b, _ := q.batches.PopFront(); i < q.sent || len(b.messages) > 0 {
			q.batches.PushBack(b)
		}
	}
}

// expireAppends ends the wait of what was queued before oldest: for reason where it was never sent. It needs mu.
func (p *publisher) expireAppends(oldest int64, reason error, outcomes []outcome) []outcome {
	for _, q := range p.appends.queues {
		for i := 0; i < q.batches.Len(); i++ {
			b := q.batches.At(i)
			if len(b.messages) > 0 && b.messages[0].queued < oldest {
				outcomes = p.expireBatch(b, reason, outcomes)
			}
		}
		q.dropTold()
		for q.waiting.Len() > 0 && q.waiting.At(0).queued < oldest {
			m, _ := q.waiting.PopFront()
			outcomes = p.expireBatch(&batch{queue: q, messages: []*appending{m}}, reason, outcomes)
		}
		if !q.listed {
			p.leave(q)
		}
	}
	return outcomes
}

// expireBatch tells the messages of b that they have waited for too long. It needs mu.
func (p *publisher) expireBatch(b *batch, reason error, outcomes []outcome) []outcome {
	o := &batchOutcome{err: reason}
	if b.sent != 0 {
		o.err = broker.ErrUnknown
	}
	p.countRefused(uint64(len(b.messages)), o.err)
	return p.tellBatch(b, o, outcomes)
}

// Append implements Broker.
func (r *Broker) Append(m *broker.Message, a broker.Appending, done broker.AppendCompletion) {
	err := r.started()
	switch {
	case err != nil:
	case !r.state.get().Available:
		r.stats.appendsRefused.Add(1)
		err = broker.ErrUnavailable
	default:
		err = r.pub.append(m, a, done)
	}
	if err != nil && done != nil {
		done.Appended(0, false, err)
	}
}

// loadHistory prepares a publisher's connection for appends: the server gets the script, and says which process it is. Where it
// refuses that, it will refuse the appends.
func (r *Broker) loadHistory(ctx context.Context, c *connection) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	server, err := c.runID(ctx)
	if err == nil {
		err = historyScript.Eval(ctx, c.client, nil, "L").Err()
	}
	if err = asServerError(err); err != nil {
		if e, refused := serverError(err); !errors.Is(err, errNoRunID) && (!refused || e.Transient()) {
			return fmt.Errorf("groups with history: %w", err)
		}
		r.refusals.Warn("Redis refuses what groups with history need", "history", slog.String("error", err.Error()))
	}
	if err := c.SetDeadline(time.Time{}); err != nil { // go-redis has set one for its commands
		return fmt.Errorf("groups with history: %w", err)
	}
	r.pub.mu.Lock()
	defer r.pub.mu.Unlock()
	r.pub.appends.server = server
	return nil
}

// appendTimeout bounds the wait of an append, and of its completion for the delivery.
const appendTimeout = int64(broker.AppendTimeout / time.Nanosecond)
