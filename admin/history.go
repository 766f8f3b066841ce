package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
)

// historyTime bounds the wait for what the broker keeps.
const historyTime = broker.AppendTimeout

type historyQuery struct {
	Name  string `path:"name" maxLength:"128" doc:"The group's name, percent-encoded, slashes included."`
	After uint64 `query:"after" maximum:"9007199254740991" doc:"Messages with higher numbers: the member next of the previous page, or 0 for all that are kept."`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Bound of the messages on the page. A page has at most 256 KiB of messages, but one at least."`
}

func (a *api) registerHistory(h huma.API) {
	huma.Register(h, a.operation("history", http.MethodGet, "/v1/groups/{name}/history", "A group's history",
		"What is kept of a group with history, in pages. 404 if nothing was ever sent to it as to one with history.",
		http.StatusNotFound), a.history)
	huma.Register(h, a.operation("purge", http.MethodDelete, "/v1/groups/{name}/history", "Drop a group's history",
		"Drops all messages that are kept of a group. Its numbers go on, and its epoch stays. Members that are live miss "+
			"nothing; those that come back later are told of the gap.", http.StatusNotFound), a.purge)
}

func (a *api) history(ctx context.Context, q *historyQuery) (*body[hub.HistoryPage], error) {
	ctx, cancel := context.WithTimeout(ctx, historyTime)
	defer cancel()
	page, err := a.hub.History(ctx, q.Name, q.After, q.Limit)
	if err != nil {
		return nil, historyProblem(err)
	}
	return &body[hub.HistoryPage]{page}, nil
}

func (a *api) purge(ctx context.Context, q *groupPath) (*body[hub.HistoryExtent], error) {
	ctx, cancel := context.WithTimeout(ctx, historyTime)
	defer cancel()
	e, err := a.hub.PurgeHistory(ctx, q.Name)
	if err != nil {
		return nil, historyProblem(err)
	}
	callerOf(ctx).note("group", q.Name)
	return &body[hub.HistoryExtent]{e}, nil
}

// historyProblem maps an error about a group's history to a problem.
func historyProblem(err error) error {
	switch {
	case errors.Is(err, hub.ErrNoHistory):
		return problem(http.StatusNotFound, "the group has no history: nothing was sent to it while a rule of the setting history matched it")
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return retryLater(http.StatusServiceUnavailable, "the broker, which keeps the history, can't be reached")
	}
	return hubProblem(err)
}
