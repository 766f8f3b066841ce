package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/mastersocket/mastersocket/broker"
)

// A Gather sends each instance a kindQuery (id 8, then the query). The answers are kindAnswers:
//
//	id 8, part 4, parts 4, then a part of the answer
//
// Zero parts say that the answer is too large.
const (
	queryFixed  = 8
	answerFixed = 16
	answerChunk = 256 << 10
)

// gatherTable are the Gather calls that wait.
type gatherTable struct {
	mu      sync.Mutex
	pending map[uint64]*gatherCall
	closed  bool
}

// gatherCall is one of them.
type gatherCall struct {
	results chan gatherResult // has room for all
	limit   int               // of an answer, in bytes

	// Guarded by gathers.mu.
	parts map[broker.NodeID]*partialAnswer // of the instances that still owe
}

type partialAnswer struct {
	data []byte
	next uint32
}

// gatherResult is what became of one instance.
type gatherResult struct {
	from   broker.NodeID
	answer []byte
	failed bool // it is gone or its answer too large
}

// expect expects an answer of each of nodes.
func (g *gatherTable) expect(nodes []broker.NodeID, limit int) (id uint64, q *gatherCall, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, nil, broker.ErrClosed
	}
	q = &gatherCall{
		results: make(chan gatherResult, len(nodes)), limit: limit, parts: make(map[broker.NodeID]*partialAnswer, len(nodes)),
	}
	for _, n := range nodes {
		q.parts[n] = &partialAnswer{}
	}
	id = rand.Uint64()
	g.pending[id] = q
	return id, q, nil
}

func (g *gatherTable) done(id uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pending, id)
}

// settle gives the result of one instance. It needs mu.
func (q *gatherCall) settle(r gatherResult) {
	if _, owes := q.parts[r.from]; owes {
		delete(q.parts, r.from)
		q.results <- r
	}
}

// answerPart takes a kindAnswer.
func (g *gatherTable) answerPart(from broker.NodeID, b []byte) error {
	if len(b) < answerFixed {
		return errCorrupt
	}
	be := binary.BigEndian
	id, part, parts, data := be.Uint64(b), be.Uint32(b[8:]), be.Uint32(b[12:]), b[answerFixed:]
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.pending[id]
	if q == nil || q.parts[from] == nil {
		return nil // too late, or twice
	}
	a := q.parts[from]
	switch {
	case parts == 0 || len(a.data)+len(data) > q.limit:
		q.settle(gatherResult{from: from, failed: true})
	case part != a.next: // came twice
	default:
		a.data = append(a.data, data...)
		if a.next++; a.next == parts {
			q.settle(gatherResult{from: from, answer: a.data})
		}
	}
	return nil
}

// gone gives up the answers of an instance whose lease ended.
func (g *gatherTable) gone(node broker.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range g.pending {
		q.settle(gatherResult{from: node, failed: true})
	}
}

// close ends every Gather.
func (g *gatherTable) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, q := range g.pending {
		for n := range q.parts {
			q.settle(gatherResult{from: n, failed: true})
		}
	}
}

// Gather implements Broker. A query is at most 256 KiB long. No memory of an answer is used again. An instance that ends
// meanwhile, or has an answer larger than AnswerBytes, is missing at once.
func (r *Broker) Gather(
	ctx context.Context, among []broker.NodeID, query []byte, each func(broker.NodeID, []byte),
) ([]broker.NodeID, error) {
	if err := r.started(); err != nil {
		return nil, fmt.Errorf("broker: gather: %w", err)
	}
	live := r.peers.ids()
	if among == nil {
		among = live
	}
	missing := make(map[broker.NodeID]struct{}, len(among))
	var asked []broker.NodeID
	for _, n := range among {
		if n == r.self.ID {
			continue
		}
		missing[n] = struct{}{}
		if slices.Contains(live, n) {
			asked = append(asked, n)
		}
	}
	var err error
	switch {
	case len(query) > answerChunk:
		err = errors.New("broker: gather: the query is longer than 256 KiB")
	case !r.State().Available:
		err = fmt.Errorf("broker: gather: %w", broker.ErrUnavailable)
	default:
		err = r.askLive(ctx, asked, query, func(from broker.NodeID, answer []byte) {
			delete(missing, from)
			each(from, answer)
		})
		r.stats.gatherMissing.Add(uint64(len(missing)))
	}
	return slices.Sorted(maps.Keys(missing)), err
}

// askLive asks live instances.
func (r *Broker) askLive(ctx context.Context, asked []broker.NodeID, query []byte, each func(broker.NodeID, []byte)) error {
	ctx, cancel := context.WithTimeout(ctx, broker.GatherTimeout)
	defer cancel()
	id, q, err := r.gathers.expect(asked, r.opt.AnswerBytes)
	if err != nil {
		return fmt.Errorf("broker: gather: %w", err)
	}
	defer r.gathers.done(id)
	payload := append(binary.BigEndian.AppendUint64(nil, id), query...)
	for _, n := range asked {
		r.pub.send(&frame{Message: broker.Message{Kind: kindQuery, To: n, Payload: payload}}, nil)
	}
	for range asked {
		select {
		case got := <-q.results:
			if !got.failed {
				each(got.from, got.answer)
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// inquiry is a query that another instance put to this one.
type inquiry struct {
	from  broker.NodeID
	id    uint64
	query []byte
}

// dispatchGather handles a kindQuery or a kindAnswer.
func (r *Broker) dispatchGather(f *frame) error {
	if f.Kind == kindAnswer {
		return r.gathers.answerPart(f.From, f.Payload)
	}
	if len(f.Payload) < queryFixed {
		return errCorrupt
	}
	q := inquiry{f.From, binary.BigEndian.Uint64(f.Payload), append([]byte(nil), f.Payload[queryFixed:]...)}
	select {
	case r.inquired <- q:
	default: // overloaded: the asking instance reports this one as missing
	}
	return nil
}

// answerLoop calls Answer.
func (r *Broker) answerLoop(ctx context.Context) {
	for {
		select {
		case q := <-r.inquired:
			r.answer(ctx, q)
		case <-ctx.Done():
			return
		}
	}
}

// answer sends an answer part by part, each when the one before has been taken, so that it never displaces messages.
func (r *Broker) answer(ctx context.Context, q inquiry) {
	ctx, cancel := context.WithTimeout(ctx, broker.GatherTimeout)
	defer cancel()
	data := r.handler.Answer(q.query)
	parts := max(1, (len(data)+answerChunk-1)/answerChunk)
	if len(data) > r.opt.AnswerBytes {
		r.log.Warn("an answer to another instance is too large", "bytes", len(data), "limit", r.opt.AnswerBytes)
		data, parts = nil, 0
	}
	be := binary.BigEndian
	for part := 0; part == 0 || part < parts; part++ {
		chunk := data[min(len(data), part*answerChunk):min(len(data), (part+1)*answerChunk)]
		b := be.AppendUint64(make([]byte, 0, answerFixed+len(chunk)), q.id)
		b = append(be.AppendUint32(be.AppendUint32(b, uint32(part)), uint32(parts)), chunk...)
		taken := make(chan error, 1)
		done := broker.CompletionFunc(func(_ int, err error) { taken <- err })
		if !r.pub.send(&frame{Message: broker.Message{Kind: kindAnswer, To: q.from, Payload: b}}, done) {
			return
		}
		select {
		case err := <-taken:
			if err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
