package hub

import (
	"context"
	"errors"

	"github.com/mastersocket/mastersocket/broker"
)

// Errors of Operate.
var (
	// ErrNoAnswer: the instance did not answer in time. Whether it carried out the operation is unknown.
	ErrNoAnswer = errors.New("the instance did not answer")
	// ErrNoOperator: the instance has no admin API, or is of a release without remote operations.
	ErrNoOperator = errors.New("the instance carries out no operations for others")
)

// operateAsked asks one instance for an operation.
type operateAsked struct {
	Node      broker.NodeID `json:"node"`
	Operation string        `json:"operation"`
	Input     []byte        `json:"input,omitempty"`
}

// operateFound is the answer; of all other instances the zero value.
type operateFound struct {
	Done   bool   `json:"done,omitempty"`
	Result []byte `json:"result,omitempty"`
}

var operateQuestion = question[operateAsked, operateFound]{"operate", (*Hub).operateHere}

// SetOperator sets what carries out the operations of [Hub.Operate] here; nil for nothing.
func (h *Hub) SetOperator(o Operator) {
	if o == nil {
		h.operator.Store(nil)
		return
	}
	h.operator.Store(&o)
}

// Operate has the operator of another instance carry out an operation, and returns its result. It waits for the instance
// until ctx ends.
func (h *Hub) Operate(ctx context.Context, node broker.NodeID, operation string, input []byte) ([]byte, error) {
	var found *operateFound
	_, err := operateQuestion.gather(ctx, h, []broker.NodeID{node}, operateAsked{node, operation, input}, func(_ broker.NodeID, a operateFound) {
		found = &a
	})
	switch {
	case found != nil && found.Done:
		return found.Result, nil
	case found != nil:
		return nil, ErrNoOperator
	case err != nil:
		return nil, err
	}
	return nil, ErrNoAnswer
}

// operateHere carries out an operation if this instance is the one asked for.
func (h *Hub) operateHere(ctx context.Context, q operateAsked) (operateFound, error) {
	o := h.operator.Load()
	if q.Node != h.node.ID || o == nil {
		return operateFound{}, nil
	}
	return operateFound{true, (*o)(ctx, q.Operation, q.Input)}, nil
}
