package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// An instance works on the answer to a question for as long as the asker waits, maxAnswer at most, and for answerTimeout
// where the asker does not say.
const (
	answerTimeout = time.Second
	maxAnswer     = 10 * time.Second
)

// question is a kind of question between instances: Q says what is asked, A is the answer of one instance. Both travel as
// JSON objects, so that instances of two releases understand each other.
type question[Q, A any] struct {
	name   string
	answer func(*Hub, context.Context, Q) (A, error) // answers for this instance, on any goroutine
}

// answerer is a question of any kind, as the instance that answers sees it.
type answerer interface {
	called() string
	reply(ctx context.Context, h *Hub, encoded []byte) ([]byte, error)
}

// heading is what every question begins with.
type heading struct {
	Kind string `json:"kind"`              // the question's name
	Wait int64  `json:"wait_ms,omitempty"` // how long the asker waits
}

func (k question[Q, A]) called() string { return k.name }

// reply answers a question that another instance encoded.
func (k question[Q, A]) reply(ctx context.Context, h *Hub, encoded []byte) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(encoded, &q); err != nil {
		return nil, fmt.Errorf("decode question %s: %w", k.name, err)
	}
	a, err := k.answer(h, ctx, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// encode returns the question as it travels: the members of q behind the heading.
func (k question[Q, A]) encode(ctx context.Context, q Q) ([]byte, error) {
	head := heading{Kind: k.name}
	if deadline, ok := ctx.Deadline(); ok {
		head.Wait = max(time.Until(deadline).Milliseconds(), 1)
	}
	b, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode question %s: %w", k.name, err)
	}
	members, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode question %s: %w", k.name, err)
	}
	if len(members) <= len(`{}`) {
		return b, nil
	}
	return append(append(b[:len(b)-1], ','), members[1:]...), nil
}

// ask collects the answers of all instances, and returns those that gave none. While the broker is away these are all but
// this one.
func (k question[Q, A]) ask(ctx context.Context, h *Hub, q Q, each func(A)) (silent []broker.NodeID, err error) {
	return k.askAmong(ctx, h, nil, q, each)
}

// askAmong is ask for some instances, or for all where ids is nil.
func (k question[Q, A]) askAmong(
	ctx context.Context, h *Hub, ids []broker.NodeID, q Q, each func(A),
) (silent []broker.NodeID, err error) {
	if ids == nil || slices.Contains(ids, h.node.ID) {
		own, err := k.answer(h, ctx, q)
		if err != nil {
			return nil, err
		}
		each(own)
	}
	silent, err = k.gather(ctx, h, ids, q, func(_ broker.NodeID, a A) { each(a) })
	if errors.Is(err, broker.ErrUnavailable) {
		return silent, nil
	}
	return silent, err
}

// askOthers collects the answers of the other instances, and returns those that gave none.
func (k question[Q, A]) askOthers(ctx context.Context, h *Hub, q Q, each func(broker.NodeID, A)) (silent []broker.NodeID, err error) {
	return k.gather(ctx, h, nil, q, each)
}

// gather is askOthers for some instances, or for all where ids is nil.
func (k question[Q, A]) gather(
	ctx context.Context, h *Hub, ids []broker.NodeID, q Q, each func(broker.NodeID, A),
) (silent []broker.NodeID, err error) {
	encoded, err := k.encode(ctx, q)
	if err != nil {
		return nil, err
	}
	var unreadable []broker.NodeID
	silent, err = h.broker.Gather(ctx, ids, encoded, func(from broker.NodeID, b []byte) {
		var a A
		if json.Unmarshal(b, &a) == nil {
			each(from, a)
			return
		}
		unreadable = append(unreadable, from) // this release can't read its answer
	})
	return append(silent, unreadable...), err
}

// namesOf returns the names of instances, sorted; nil for none. The name of an unknown instance is its id.
func (h *Hub) namesOf(ids []broker.NodeID) []string {
	if len(ids) == 0 {
		return nil
	}
	known := h.broker.Nodes()
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, nameIn(known, id))
	}
	slices.Sort(names)
	return names
}
