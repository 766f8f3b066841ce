package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
)

// operateTimeout bounds how long another instance may take for an operation: a reload reads files.
const operateTimeout = 5 * time.Second

// NodeQuery selects the instance that carries out an operation.
type NodeQuery struct {
	Node string `query:"node" maxLength:"128" doc:"Name or id of the instance that does this. Default: the one that answers."`
}

// remoteCall is the input of an operation on another instance.
type remoteCall struct {
	Body  json.RawMessage `json:"body,omitempty"`
	Token string          `json:"token"` // name of the caller's token, for the log
	By    string          `json:"by"`    // name of the instance that was asked
}

// remoteResult is its result: one of the two.
type remoteResult struct {
	Body    json.RawMessage  `json:"body,omitempty"`
	Problem *huma.ErrorModel `json:"problem,omitempty"`
}

// operate carries out an operation on the instance that was asked for: here, or on another one by the same name.
func operate[T any](ctx context.Context, a *api, q NodeQuery, operation string, in any, here func(context.Context) (T, error)) (*body[T], error) {
	node, err := a.findNode(q.Node)
	if err != nil {
		return nil, err
	}
	if node.ID == a.hub.Node().ID {
		out, err := here(ctx)
		if err != nil {
			return nil, err
		}
		return &body[T]{out}, nil
	}
	c := callerOf(ctx)
	c.note("node", node.Name)
	ctx, cancel := context.WithTimeout(ctx, operateTimeout)
	defer cancel()
	var out T
	err = a.callNode(ctx, node.ID, operation, in, c.grant.Name, &out)
	if err != nil {
		return nil, err
	}
	return &body[T]{out}, nil
}

// findNode returns the live instance with that name or id; this one for an empty string.
func (a *api) findNode(want string) (broker.Node, error) {
	if want == "" {
		return a.hub.Node(), nil
	}
	var found []broker.Node
	for _, n := range a.hub.Nodes() {
		if n.ID.String() == want {
			return n, nil
		}
		if n.Name == want {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return broker.Node{}, problem(http.StatusNotFound, fmt.Sprintf("no live instance has the name or id %q", want))
	case 1:
		return found[0], nil
	}
	return broker.Node{}, problem(http.StatusConflict, fmt.Sprintf("%d instances have the name %q; use the id of one", len(found), want))
}

// callNode has another instance carry out an operation and stores its result in out.
func (a *api) callNode(ctx context.Context, node broker.NodeID, operation string, in any, token string, out any) error {
	encoded, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("admin: encode operation %s: %w", operation, err)
	}
	call, err := json.Marshal(remoteCall{Body: encoded, Token: token, By: a.hub.Node().Name})
	if err != nil {
		return fmt.Errorf("admin: encode operation %s: %w", operation, err)
	}
	b, err := a.hub.Operate(ctx, node, operation, call)
	switch {
	case errors.Is(err, hub.ErrNoOperator):
		return problem(http.StatusNotImplemented, err.Error())
	case errors.Is(err, hub.ErrNoAnswer), errors.Is(err, broker.ErrUnavailable):
		return problem(http.StatusGatewayTimeout, hub.ErrNoAnswer.Error()+"; whether it has done this is unknown")
	case err != nil:
		return hubProblem(err)
	}
	var r remoteResult
	if err := json.Unmarshal(b, &r); err != nil {
		return problem(http.StatusBadGateway, "the answer of the instance can't be read")
	}
	if r.Problem != nil {
		return r.Problem
	}
	if err := json.Unmarshal(r.Body, out); err != nil {
		return problem(http.StatusBadGateway, "the answer of the instance can't be read")
	}
	return nil
}

// serveCall carries out an operation that another instance asks for. It implements [hub.Operator].
func (a *api) serveCall(ctx context.Context, operation string, input []byte) []byte {
	var call remoteCall
	if json.Unmarshal(input, &call) != nil {
		return nil
	}
	var out any
	var err error
	switch operation {
	case "drain":
		var b *drainBody
		if json.Unmarshal(call.Body, &b) != nil {
			return nil
		}
		out, err = a.drainHere(b)
	case "reload":
		out, err = a.reloadHere(ctx)
	default:
		err = problem(http.StatusNotImplemented, "the instance does not know this operation")
	}
	var r remoteResult
	if err == nil {
		r.Body, err = json.Marshal(out)
	}
	result := "done"
	if err != nil {
		result = "refused"
		if !errors.As(err, &r.Problem) {
			r.Problem = &huma.ErrorModel{Status: http.StatusInternalServerError, Title: http.StatusText(http.StatusInternalServerError), Detail: err.Error()}
		}
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "admin", slog.String("operation", operation), slog.String("token", call.Token),
		slog.String("from", call.By), slog.String("result", result))
	a.record(operation, "asked for by "+call.By, result, call.Token)
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}
