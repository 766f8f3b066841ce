package hub

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/opcodes"
)

// This file lets operators move a client in and out of groups while it is connected.

// RegroupTimeout is how long Join and Leave take at most: longer than a change may wait for the broker.
const RegroupTimeout = 7 * time.Second

// regroupAsked asks an instance to change the groups of one of its clients.
type regroupAsked struct {
	ID    uuid.UUID `json:"id"`
	Leave bool      `json:"leave,omitempty"`
	Group string    `json:"group"`
}

// regroupFound is the answer.
type regroupFound struct {
	Known   bool              `json:"known,omitempty"` // the instance knows the question; false from older releases
	Code    opcodes.ErrorCode `json:"code,omitempty"`  // why nothing was changed
	Clients []Client          `json:"clients,omitempty"`
}

var regroupQuestion = question[regroupAsked, regroupFound]{"regroup", (*Hub).regroupHere}

// Join makes the client of that id, wherever it is, a member of a group that its token may join, and returns what it is
// then. The client is told if it asked for the feature groups. The errors are those of Client, ErrNoOperator from an instance
// of an older release, and a *ChangeError.
func (h *Hub) Join(ctx context.Context, id uuid.UUID, group string) (Client, error) {
	return h.regroup(ctx, regroupAsked{ID: id, Group: group})
}

// Leave takes the client out of a group; see Join. The group of its IDENTIFY can't be left.
func (h *Hub) Leave(ctx context.Context, id uuid.UUID, group string) (Client, error) {
	return h.regroup(ctx, regroupAsked{ID: id, Leave: true, Group: group})
}

func (h *Hub) regroup(ctx context.Context, q regroupAsked) (c Client, err error) {
	node := clientid.Locate(&q.ID).Node
	if !slices.ContainsFunc(h.broker.Nodes(), func(n broker.Node) bool { return n.ID == node }) {
		return c, ErrClientNotFound
	}
	var found *regroupFound
	_, err = regroupQuestion.askAmong(ctx, h, []broker.NodeID{node}, q, func(a regroupFound) { found = &a })
	switch {
	case err != nil:
		return c, err
	case found == nil:
		return c, ErrSilent
	case !found.Known:
		return c, ErrNoOperator
	case found.Code == opcodes.CodeNoReceiver:
		return c, ErrClientNotFound
	case found.Code != "":
		return c, &ChangeError{found.Code, q.Group}
	case len(found.Clients) == 0:
		return c, ErrClientNotFound
	}
	found.Clients[0].complete(time.Now())
	return found.Clients[0], nil
}

// regroupHere changes the groups of one client of this instance.
func (h *Hub) regroupHere(ctx context.Context, q regroupAsked) (regroupFound, error) {
	sh := h.shardOf(&q.ID)
	if sh == nil {
		return regroupFound{Known: true}, nil
	}
	result := make(chan regroupFound, 1) // has room for the result: the asker may have given up
	posted := sh.loop.Post(task(func() {
		s := sh.client(&q.ID)
		if s == nil {
			result <- regroupFound{Known: true}
			return
		}
		c := &change{op: opcodes.Subscribe, by: opcodes.ByOperator}
		if q.Leave {
			c.op = opcodes.Unsubscribe
		}
		c.asked = opcodes.Change{Groups: []string{q.Group}, Weight: opcodes.KeepWeight}
		c.hear = func(e *ChangeError) {
			if e != nil {
				result <- regroupFound{Known: true, Code: e.Code}
				return
			}
			result <- regroupFound{Known: true, Clients: []Client{s.describe()}}
		}
		s.enqueue(c)
	}))
	if !posted {
		return regroupFound{}, ErrDraining
	}
	return receive(ctx, result)
}
