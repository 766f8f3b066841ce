package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// FleetManager shows and operates the fleets of the service type fleet, for the whole cluster.
type FleetManager interface {
	// Fleets returns the fleet of that name, or all for an empty one. It waits for the other instances until ctx ends. The
	// error is a *FleetError, or one of ctx.
	Fleets(ctx context.Context, name string) (all []Fleet, missing []string, err error)
	// OperateFleet carries out an operation (promote, rollback, try_again, deploy), and returns the fleet after it. client is
	// the one to promote.
	OperateFleet(ctx context.Context, name, operation, client string) (Fleet, error)
}

// FleetError refuses an operation on a fleet.
type FleetError struct {
	Status int // of HTTP
	What   string
}

// Error returns what is wrong.
func (e *FleetError) Error() string { return e.What }

// Fleet is a fleet of bot processes.
type Fleet struct {
	Name      string     `json:"name"`
	Leader    *string    `json:"leader,omitempty" doc:"Name of the instance that leads the fleet; absent while none does."`
	Running   *string    `json:"running,omitempty" doc:"Id of the bot that runs, or is reserved to; absent for none."`
	Sane      bool       `json:"sane" doc:"false: no process is spawned until an operator says try again."`
	Alarm     *string    `json:"alarm,omitempty" doc:"Why the fleet is not sane: too_many_spawns or rollback_failed; absent where it is, or that is unknown."`
	Good      *FleetGood `json:"good,omitempty" doc:"What a rollback goes to; absent while no version has passed a health check."`
	Task      *FleetTask `json:"task,omitempty" doc:"What the agent works on; absent for nothing."`
	Wanted    *FleetTask `json:"wanted,omitempty" doc:"What the fleet would last have asked an agent for, had there been one."`
	NextSpawn *time.Time `json:"next_spawn,omitempty" doc:"When the next process is spawned; absent if none is due."`
	Bots      []FleetBot `json:"bots" nullable:"false" doc:"The bots that have identified."`
}

// FleetGood is what was in place when a bot last passed a health check.
type FleetGood struct {
	Version  string `json:"version" doc:"The bot's."`
	Revision string `json:"revision,omitempty" doc:"What the agent's program for it printed."`
}

// FleetTask is a task for a fleet's agent.
type FleetTask struct {
	Task string    `json:"task" enum:"spawn,rollback,deploy,revision"`
	At   time.Time `json:"at"`
}

// FleetBot is a bot.
type FleetBot struct {
	Client  string `json:"client" format:"uuid" doc:"Its id as a client."`
	Version string `json:"version"`
	State   string `json:"state" enum:"identified,standby,examined,running,retired"`
}

// FleetList is the answer to GET /v1/fleets.
type FleetList struct {
	Listed
	Fleets []Fleet `json:"fleets" nullable:"false" doc:"Sorted by name."`
}

// FleetPath names a fleet.
type FleetPath struct {
	Name string `path:"name" maxLength:"64" pattern:"^[A-Za-z0-9_-]+$" doc:"The fleet's name."`
}

type promoteInput struct {
	FleetPath
	Body struct {
		Client string `json:"client" format:"uuid" doc:"The bot that is to run. It must be ready."`
	}
}

// noFleets refuses what needs the service type.
func noFleets() error {
	return problem(http.StatusNotFound, "the service type fleet is not enabled on this instance (--enable fleet)")
}

func (a *api) registerFleets(h huma.API) {
	huma.Register(h, a.operation("fleets", http.MethodGet, "/v1/fleets", "The fleets",
		"The fleets of bot processes; 404 if the service type fleet is not enabled.", http.StatusNotFound), a.listFleets)
	huma.Register(h, a.operation("fleet", http.MethodGet, "/v1/fleets/{name}", "A fleet", "One fleet with its bots.",
		http.StatusNotFound), a.fleet)
	errs := []int{http.StatusNotFound, http.StatusConflict, http.StatusGatewayTimeout}
	huma.Register(h, a.operation("fleet-promote", http.MethodPost, "/v1/fleets/{name}/promote", "Promote a bot",
		"Makes a ready bot the one that runs. The one before is told to stop first.", errs...),
		func(ctx context.Context, in *promoteInput) (*body[Fleet], error) {
			callerOf(ctx).note("client", in.Body.Client)
			return a.operateFleet(ctx, in.Name, "promote", in.Body.Client)
		})
	for _, op := range []struct{ name, path, operation, summary, description string }{
		{"fleet-rollback", "rollback", "rollback", "Roll a fleet back", "Asks the fleet's agent to set the program back to the last good version. The response does not wait for that."},
		{"fleet-try-again", "try-again", "try_again", "Spawn again", "The fleet is sane again, and a process is spawned if no bot runs."},
		{"fleet-deploy", "deploy", "deploy", "Deploy the newest version", "Asks the fleet's agent to fetch the newest version, and to spawn it then. The response does not wait for that."},
	} {
		huma.Register(h, a.operation(op.name, http.MethodPost, "/v1/fleets/{name}/"+op.path, op.summary, op.description, errs...),
			func(ctx context.Context, in *FleetPath) (*body[Fleet], error) {
				return a.operateFleet(ctx, in.Name, op.operation, "")
			})
	}
}

func (a *api) listFleets(ctx context.Context, _ *struct{}) (*body[FleetList], error) {
	if a.fleets == nil {
		return nil, noFleets()
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	all, missing, err := a.fleets.Fleets(ctx, "")
	if err != nil {
		return nil, fleetProblem(err)
	}
	return &body[FleetList]{FleetList{listed(missing), orEmpty(all)}}, nil
}

func (a *api) fleet(ctx context.Context, q *FleetPath) (*body[Fleet], error) {
	if a.fleets == nil {
		return nil, noFleets()
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	all, _, err := a.fleets.Fleets(ctx, q.Name)
	if err != nil {
		return nil, fleetProblem(err)
	}
	return &body[Fleet]{all[0]}, nil
}

func (a *api) operateFleet(ctx context.Context, name, operation, client string) (*body[Fleet], error) {
	if a.fleets == nil {
		return nil, noFleets()
	}
	callerOf(ctx).note("fleet", name)
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	f, err := a.fleets.OperateFleet(ctx, name, operation, client)
	if err != nil {
		return nil, fleetProblem(err)
	}
	return &body[Fleet]{f}, nil
}

// fleetProblem maps an error of a FleetManager to a problem.
func fleetProblem(err error) error {
	if refused, ok := errors.AsType[*FleetError](err); ok {
		return problem(refused.Status, refused.What)
	}
	return hubProblem(err)
}
