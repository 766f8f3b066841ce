package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mastersocket/mastersocket/hub"
)

type rebalanceInput struct {
	Body *rebalanceBody `required:"false"`
}

type rebalanceBody struct {
	Over   string `json:"over,omitempty" maxLength:"32" example:"5m" doc:"The time over which each instance tells its clients, such as 30s or 5m, up to an hour. Left out: as fast as the setting drain-rate allows or, without it, drain-timeout."`
	AtMost int    `json:"at_most,omitempty" minimum:"1" maximum:"16777216" doc:"The most clients that each instance tells. Left out: all that it has beyond its share."`
}

// Rebalance is what a rebalance does.
type Rebalance struct {
	Share       int             `json:"share" doc:"How many clients an instance keeps: those of all instances, divided by the instances that are not draining, rounded up."`
	Told        int             `json:"told" doc:"Clients that are told to go, of all instances."`
	OverSeconds float64         `json:"over_seconds" doc:"Until the last of them is to go."`
	Nodes       []RebalanceNode `json:"nodes" nullable:"false"`
	Missing     []string        `json:"missing" nullable:"false" doc:"Instances that did not answer in time. What they have is not counted; what they do is not known."`
}

// RebalanceNode is what one instance does in a rebalance.
type RebalanceNode struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Clients  int    `json:"clients" doc:"Identified clients of the hub's own protocol, before."`
	Told     int    `json:"told" doc:"Those of them that are told to go."`
	Draining bool   `json:"draining" doc:"It leaves service: it has no share, and what it tells its clients for that does not count here."`
}

func (a *api) registerRebalance(h huma.API) {
	op := a.operation("rebalance", http.MethodPost, "/v1/rebalance", "Spread the clients evenly",
		"Every instance that has more than its share of the clients tells the surplus to connect anew, one after the other: "+
			"first those that asked for DRAIN, which move without a gap, then, by SERVER_RESTART, others. Clients of service types "+
			"stay. Where they connect to is up to what balances the load before the hub; one that comes to the same instance stays. "+
			"The answer comes when the clients have their times. While those of an earlier call have not passed it is 409, as it "+
			"is where the instance that is asked is draining.", http.StatusConflict)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(h, op, a.rebalance)
}

func (a *api) rebalance(ctx context.Context, in *rebalanceInput) (*body[Rebalance], error) {
	r, err := rebalancing(in.Body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	done, err := a.hub.Rebalance(ctx, r)
	switch {
	case errors.Is(err, hub.ErrRebalancing), errors.Is(err, hub.ErrSelfDraining):
		return nil, problem(http.StatusConflict, err.Error())
	case err != nil:
		return nil, hubProblem(err)
	}
	answer := Rebalance{Share: done.Share, Nodes: make([]RebalanceNode, 0, len(done.Nodes)), Missing: none(done.Missing)}
	for _, n := range done.Nodes {
		answer.Nodes = append(answer.Nodes, RebalanceNode{n.ID, n.Name, n.Clients, n.Told, n.Draining})
		answer.Told += n.Told
		answer.OverSeconds = max(answer.OverSeconds, n.Over.Seconds())
	}
	callerOf(ctx).note("told", strconv.Itoa(answer.Told))
	callerOf(ctx).note("share", strconv.Itoa(answer.Share))
	return &body[Rebalance]{answer}, nil
}

// rebalancing reads what is asked for.
func rebalancing(in *rebalanceBody) (hub.Rebalancing, error) {
	if in == nil {
		return hub.Rebalancing{}, nil
	}
	r := hub.Rebalancing{AtMost: in.AtMost}
	if in.Over == "" {
		return r, nil
	}
	d, err := time.ParseDuration(in.Over)
	if err != nil || d < time.Second || d > maxDrain {
		return r, problem(http.StatusUnprocessableEntity, "over is not a time from 1s to 1h",
			&huma.ErrorDetail{Message: "want a duration such as 30s or 5m", Location: "body.over", Value: in.Over})
	}
	r.Over = d
	return r, nil
}
