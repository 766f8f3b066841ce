package redis

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

// maxPageBatches bounds the batches that are read for a page.
const maxPageBatches = 2048

// publication tells which process published a message, and its count there.
type publication struct{ run, pubSeq uint64 }

// readPage reads the messages behind an offset into p, for q.
func (r *Broker) readPage(c *reader, q *question, after uint64, known epochs, batches int64, p *broker.Page) error {
	r.stats.pagesRead.Add(1)
	if after >= p.Last {
		return nil
	}
	count := int64(maxPageBatches)
	if p.Bytes > 0 { // the first ones may be before the page
		count = min(broker.PageBytes*batches/p.Bytes, maxPageBatches)
	}
	first := after + 1 - min(after, batchMessages-1) // of the batch with the first message
	if err := c.conn.SetDeadline(time.Now().Add(r.opt.DialTimeout)); err != nil {
		return err
	}
	c.buf = resp.AppendCommand(c.buf[:0], "XRANGE", []string{
		r.names.historyStream(q.group), strconv.FormatUint(first, 10), "+", "COUNT", strconv.FormatInt(count+batchMessages, 10),
	})
	if _, err := c.conn.Write(c.buf); err != nil {
		return err
	}
	n, err := c.in.Number('*')
	if err != nil {
		return err
	}
	b := pageBuilder{question: q, page: p, known: known, after: after, from: after}
	for range n {
		offset, messages, err := c.entry()
		if err != nil {
			return err
		}
		for raw, ok := messages.next(); ok; raw, ok = messages.next() {
			if offset > after && r.addToPage(&b, offset, raw) != nil {
				b.full = true // what follows can't be read without this one
			}
			offset++
		}
	}
	b.close(r)
	return nil
}

// entry reads one entry of a stream: the number of its first message, and its messages.
func (c *reader) entry() (first uint64, messages numberedMessages, err error) {
	shape := func(want int) {
		if n, bad := c.in.Number('*'); err == nil && (bad != nil || n != want) {
			err = errors.Join(resp.ErrProtocol, bad)
		}
	}
	shape(2)
	name, bad := c.in.Bulk()
	number, _, _ := strings.Cut(string(name), "-")
	first, bad2 := strconv.ParseUint(number, 10, 63)
	shape(2)
	_, bad3 := c.in.Bulk()
	messages, bad4 := c.in.Bulk()
	return first, messages, errors.Join(err, bad, bad2, bad3, bad4)
}

// pageBuilder makes a page of entries.
type pageBuilder struct {
	question *question
	page     *broker.Page
	known    epochs
	after    uint64 // the offset of the last message
	from     uint64 // what was asked for
	bytes    int    // of payloads
	full     bool
	messages []broker.Numbered
	memory   []byte // of the messages
}

// addToPage adds a message, unless the page is full.
func (r *Broker) addToPage(b *pageBuilder, offset uint64, raw []byte) error {
	if b.full || len(b.messages) > 0 && offset != b.after+1 {
		b.full = true
		return nil
	}
	if cap(b.memory)-len(b.memory) < len(raw) {
		b.memory = make([]byte, 0, max(len(raw), 64<<10))
	}
	at := len(b.memory)
	b.memory = append(b.memory, raw...)
	var f frame
	if err := r.parseNumberedFrame(b.memory[at:len(b.memory):len(b.memory)], &f); err != nil {
		return err
	}
	if b.bytes+len(f.Payload) > broker.PageBytes && len(b.messages) > 0 {
		b.full = true
		return nil
	}
	b.bytes += len(f.Payload)
	b.after = offset
	if b.question.fresh {
		b.question.by = append(b.question.by, publication{f.run, f.pubSeq})
	}
	b.messages = append(b.messages, broker.Numbered{Position: broker.Position{Epoch: b.known.of(offset), Offset: offset}, Message: f.Message})
	return nil
}

// close completes the page.
func (b *pageBuilder) close(r *Broker) {
	p := b.page
	first := p.Last + 1
	if len(b.messages) > 0 {
		first = b.messages[0].Offset
	}
	if first > b.from+1 && first > p.First { // the others were evicted
		p.First = first
		if p.Gap == nil && b.from > 0 {
			p.Gap = &broker.Gap{Reason: broker.GapTrimmed, Position: broker.Position{Epoch: b.known.of(first - 1), Offset: first - 1}}
		}
	}
	p.Messages = b.messages
	p.Last = max(p.Last, b.after)
	if len(b.messages) > 0 {
		r.readers.keep(&cachedPage{group: b.question.group, page: p, epochs: b.known, at: r.now(), bytes: cap(b.memory)})
	}
}
