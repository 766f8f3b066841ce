package hub

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/tally"
)

// This file asks the other instances what they did with messages whose senders here wait for a receipt: for many messages by
// one question.

const (
	// inquiryTimeout is how long the instances have to answer, each time that they are asked.
	inquiryTimeout = 250 * time.Millisecond
	// A message is asked about again after a time that grows from inquiryWait to inquiryWaitMost.
	inquiryWait     = 4 * time.Millisecond
	inquiryWaitMost = 100 * time.Millisecond
	// maxInquiry is for how many messages one question asks.
	maxInquiry = 256
)

// inquiry is what the goroutine of inquiries knows of a message.
type inquiry struct {
	wait    time.Duration // before it is asked about again
	next    time.Time     // when that is
	sum     tally.Sum
	answers int
}

// inquiries are the messages about which other instances are asked, by one goroutine, which runs while there are any.
type inquiries struct {
	hub  *Hub
	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup
	came chan struct{} // has room for one: there are more

	mu      sync.Mutex
	added   []*publication
	running bool
	ended   bool
}

func (q *inquiries) open(h *Hub) {
	q.hub, q.came = h, make(chan struct{}, 1)
	q.ctx, q.stop = context.WithCancel(context.Background())
}

// close ends the goroutine, and returns when it has ended.
func (q *inquiries) close() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.stop()
	q.done.Wait()
}

// add has the other instances asked about a message until its receipt is complete, or its time is over.
func (q *inquiries) add(p *publication) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.added = append(q.added, p)
	if !q.running {
		q.running = true
		q.done.Go(q.run)
		return
	}
	select {
	case q.came <- struct{}{}:
	default: // it has yet to look
	}
}

// take returns the messages that were added, and whether the goroutine goes on: not if there are none, and it has none.
func (q *inquiries) take(has bool) (added []*publication, on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	added, q.added = q.added, nil
	q.running = (has || len(added) > 0) && !q.ended
	return added, q.running
}

func (q *inquiries) run() {
	var waiting, due []*publication
	for {
		added, on := q.take(len(waiting) > 0)
		if !on {
			return
		}
		waiting = append(waiting, added...)
		now := time.Now()
		soonest := now.Add(inquiryWaitMost)
		due = due[:0]
		later := waiting[:0]
		for _, p := range waiting {
			switch {
			case !p.inquiry.next.After(now) && len(due) < maxInquiry:
				due = append(due, p)
			default:
				later = append(later, p)
				if p.inquiry.next.Before(soonest) {
					soonest = p.inquiry.next
				}
			}
		}
		clear(waiting[len(later):])
		waiting = later
		if len(due) == 0 {
			select {
			case <-q.came:
			case <-time.After(time.Until(soonest)):
			case <-q.ctx.Done():
			}
			continue
		}
		waiting = append(waiting, q.ask(due)...)
	}
}

// ask asks about messages, gives the receipts that are complete, and returns the messages that are to be asked about again.
func (q *inquiries) ask(due []*publication) (again []*publication) {
	asked := receiptAsked{Sender: due[0].sender.id}
	for _, p := range due {
		p.inquiry.sum, p.inquiry.answers = tally.Sum{}, 0
		if p != due[0] {
			asked.More = append(asked.More, p.sender.id)
		}
	}
	ctx, cancel := context.WithTimeout(q.ctx, inquiryTimeout)
	defer cancel()
	// An error is as good as no answer.
	_, _ = receiptQuestion.askOthers(ctx, q.hub, asked, func(_ broker.NodeID, a receiptFound) {
		due[0].inquiry.add(a.Receipt)
		for i, s := range a.More[:min(len(a.More), len(asked.More))] {
			due[i+1].inquiry.add(s)
		}
	})
	now := time.Now()
	for _, p := range due {
		i := &p.inquiry
		r, complete := p.receipt(i.sum, i.answers)
		switch {
		case complete:
			p.shard.loop.Post(task(func() { p.finish(r) }))
		case now.Before(p.began.Add(receiptTime)):
			i.wait = min(max(2*i.wait, inquiryWait), inquiryWaitMost)
			i.next = now.Add(i.wait)
			again = append(again, p)
		default:
			p.shard.loop.Post(task(func() { p.finish(r) }))
		}
	}
	return again
}

// add adds what an instance says; nil for nothing yet.
func (i *inquiry) add(s *tally.Sum) {
	if s != nil {
		i.answers++
		i.sum.Clients += s.Clients
		i.sum.Closing += s.Closing
	}
}

// receiptAsked asks for what an instance did with the messages of senders, each of which sent one. An instance of an earlier
// release answers for the first.
type receiptAsked struct {
	Sender uuid.UUID   `json:"id"`
	More   []uuid.UUID `json:"more,omitempty"`
}

// receiptFound is the answer; nil for nothing, or not everything yet.
type receiptFound struct {
	Receipt *tally.Sum   `json:"receipt,omitempty"`
	More    []*tally.Sum `json:"more,omitempty"`
}

var receiptQuestion = question[receiptAsked, receiptFound]{"receipt", (*Hub).receiptHere}

// receiptHere tells what this instance did with messages.
func (h *Hub) receiptHere(_ context.Context, q receiptAsked) (receiptFound, error) {
	found := receiptFound{Receipt: h.receipts.Find(&q.Sender)}
	for i := range q.More[:min(len(q.More), maxInquiry)] {
		found.More = append(found.More, h.receipts.Find(&q.More[i]))
	}
	return found, nil
}
