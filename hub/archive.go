package hub

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
)

// HistoryExtent is what is kept of a group with history.
type HistoryExtent struct {
	Group string `json:"group"`
	Epoch string `json:"epoch" doc:"The epoch in force: it changes when Redis is another process than before, or has lost data."`
	First uint64 `json:"first" doc:"Number of the oldest message that is kept; one more than last where none is."`
	Last  uint64 `json:"last" doc:"Number of the newest message; 0 before the first."`
	Bytes int64  `json:"bytes" doc:"Size of what is kept, in the measure of the setting history."`
}

// HistoryMessage is a message of a group with history.
type HistoryMessage struct {
	Offset  uint64          `json:"offset" doc:"Its number in the group."`
	Epoch   string          `json:"epoch" doc:"The epoch in which it was sent."`
	Sender  uuid.UUID       `json:"sender" format:"uuid"`
	Message json.RawMessage `json:"message" doc:"The message as members get it."`
}

// HistoryPage is a part of what is kept of a group.
type HistoryPage struct {
	HistoryExtent
	Messages []HistoryMessage `json:"messages" nullable:"false" doc:"In the order of their numbers, without gaps."`
	Next     *uint64          `json:"next" doc:"Value of after for the next page; null on the last."`
}

// ErrNoHistory: nothing was ever sent to the group as to one with history.
var ErrNoHistory = errors.New("the group has no history")

// History returns at most limit messages of the group with numbers higher than after.
func (h *Hub) History(ctx context.Context, group string, after uint64, limit int) (HistoryPage, error) {
	type result struct {
		page *broker.Page
		err  error
	}
	found := make(chan result, 1)
	h.broker.Read(group, broker.Position{Offset: after}, func(p *broker.Page, err error) { found <- result{p, err} })
	r, err := receive(ctx, found)
	if err == nil {
		err = r.err
	}
	if err != nil {
		return HistoryPage{}, err
	}
	p := HistoryPage{HistoryExtent: extentOf(group, r.page.Extent), Messages: []HistoryMessage{}}
	if p.Epoch == "" {
		return HistoryPage{}, ErrNoHistory
	}
	for i := range r.page.Messages {
		m := &r.page.Messages[i]
		if len(p.Messages) == limit {
			break
		}
		b := opcodes.AppendNumbered(nil, m.Message.Payload, m.Offset)
		if len(b) == 0 {
			b = []byte("null") // a later release sent it
		}
		p.Messages = append(p.Messages, HistoryMessage{m.Offset, m.Epoch, m.Message.Sender, b})
	}
	if n := len(p.Messages); n > 0 && p.Messages[n-1].Offset < p.Last {
		next := p.Messages[n-1].Offset
		p.Next = &next
	}
	return p, nil
}

// PurgeHistory drops all messages that are kept of the group. Its numbers and its epoch stay. Members that are behind are
// told of the gap.
func (h *Hub) PurgeHistory(ctx context.Context, group string) (HistoryExtent, error) {
	type result struct {
		extent broker.Extent
		err    error
	}
	done := make(chan result, 1)
	h.broker.Purge(group, func(e broker.Extent, err error) { done <- result{e, err} })
	r, err := receive(ctx, done)
	if err == nil {
		err = r.err
	}
	if err == nil && r.extent.Epoch == "" {
		err = ErrNoHistory
	}
	if err != nil {
		return HistoryExtent{}, err
	}
	return extentOf(group, r.extent), nil
}

func extentOf(group string, e broker.Extent) HistoryExtent {
	return HistoryExtent{group, e.Epoch, e.First, e.Last, e.Bytes}
}
