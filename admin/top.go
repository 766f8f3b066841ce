package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mastersocket/mastersocket/hub"
)

// TopList is the answer to GET /v1/top.
type TopList struct {
	Listed
	Clients []hub.TopClient `json:"clients" nullable:"false" doc:"The busiest first. Clients that have gone within five minutes are listed, too."`
	Groups  []hub.TopNamed  `json:"groups" nullable:"false" doc:"The busiest first."`
	Tokens  []hub.TopNamed  `json:"tokens" nullable:"false" doc:"The busiest first: the sums of their holders."`
}

type topQuery struct {
	Sort   string `query:"sort" enum:"messages_in,bytes_in,messages_out,bytes_out" default:"messages_in" doc:"The rate that counts."`
	Window string `query:"window" enum:"10s,5m" default:"10s" doc:"Its window."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"Bound of the entries of each list."`
}

func (a *api) registerTop(h huma.API) {
	huma.Register(h, a.operation("top", http.MethodGet, "/v1/top", "What is busiest",
		"The clients, groups and tokens of the cluster with the highest rates of EVENTs and REPLYs. Up to 2,000 messages a second in "+
			"each direction a loop counts each one; beyond that it counts a sample of as many. A loop keeps its 512 busiest clients, "+
			"groups and tokens each."), a.top)
}

func (a *api) top(ctx context.Context, q *topQuery) (*body[TopList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	top, err := a.hub.Top(ctx, hub.TopOptions{Sort: q.Sort, Long: q.Window == "5m", Limit: q.Limit})
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[TopList]{TopList{listed(top.Missing), orEmpty(top.Clients), orEmpty(top.Groups), orEmpty(top.Tokens)}}, nil
}
