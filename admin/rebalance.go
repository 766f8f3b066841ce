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
	Over   string `json:"over,omitempty" maxLength:"32" example:"5m" doc:"The time over which each instance tells its clients to move, such as 30s or 5m; at most 1h. Default: as fast as the setting drain-rate allows or, without it, drain-timeout."`
	AtMost int    `json:"at_most,omitempty" minimum:"1" maximum:"16777216" doc:"Bound of the clients that each instance tells to move. Default: all beyond its share."`
}

func (a *api) registerRebalance(h huma.API) {
	op := a.operation("rebalance", http.MethodPost, "/v1/rebalance", "Spread the clients evenly",
		"Every instance with more than its share of the clients tells the surplus to connect again, one after the other: first "+
			"clients that asked for DRAIN, which move without a gap, then others, by SERVER_RESTART. Clients of service types stay. "+
			"The load balancer in front of the hub decides where they connect; a client that returns to the same instance stays "+
			"there. The response comes when the times are set. It is 409 while the times of an earlier rebalance last, and if the "+
			"instance that answers is draining.", http.StatusConflict)
	op.DefaultStatus = http.StatusAccepted
	huma.Register(h, op, a.rebalance)
}

func (a *api) rebalance(ctx context.Context, in *rebalanceInput) (*body[hub.Rebalance], error) {
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
	callerOf(ctx).note("told", strconv.Itoa(done.Told))
	callerOf(ctx).note("share", strconv.Itoa(done.Share))
	return &body[hub.Rebalance]{done}, nil
}

// rebalancing reads what is asked for.
func rebalancing(in *rebalanceBody) (hub.RebalanceOptions, error) {
	if in == nil {
		return hub.RebalanceOptions{}, nil
	}
	r := hub.RebalanceOptions{AtMost: in.AtMost}
	if in.Over == "" {
		return r, nil
	}
	d, err := time.ParseDuration(in.Over)
	if err != nil || d < time.Second || d > maxDrain {
		return r, problem(http.StatusUnprocessableEntity, "over must be a duration from 1s to 1h",
			&huma.ErrorDetail{Message: "not a duration such as 30s or 5m", Location: "body.over", Value: in.Over})
	}
	r.Over = d
	return r, nil
}
