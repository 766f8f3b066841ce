package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// eventInput has no parsed body: the scanner for clients' messages alone decides which JSON is an event.
type eventInput struct {
	RawBody []byte `contentType:"application/json"`
}

type drainInput struct {
	NodeQuery
	Body *drainBody `required:"false"`
}

type drainBody struct {
	Over string `json:"over,omitempty" maxLength:"32" example:"30s" doc:"The time over which clients are told to move, such as 30s or 2m; at most 1h; 0s tells all at once. Default: the setting drain-timeout."`
}

// operateErrors are the statuses of operations on other instances.
var operateErrors = []int{
	http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented, http.StatusBadGateway, http.StatusGatewayTimeout,
}

func (a *api) registerWrites(h huma.API) {
	kick := a.operation("kick", http.MethodDelete, "/v1/clients/{id}", "Disconnect a client",
		"Disconnects the client with the reason KICKED, on whichever instance it is. The response comes when that instance has "+
			"done so. The client may connect again: revoke its token to keep it out.", http.StatusNotFound, http.StatusGatewayTimeout)
	kick.DefaultStatus = http.StatusNoContent
	huma.Register(h, kick, a.kick)
	for _, op := range []struct {
		name, method, summary, description string
		change                             func(context.Context, uuid.UUID, string) (hub.Client, error)
	}{
		{"join", http.MethodPut, "Put a client into a group", "Makes a connected client a member of a group that its token may join. " +
			"The response comes when nothing is missed any more that is sent to the group. A client that asked for the feature " +
			"groups is told. It is a member until it leaves the group, or its connection ends.", a.hub.Join},
		{"leave", http.MethodDelete, "Take a client out of a group", "Ends the client's membership. The group of its IDENTIFY can't " +
			"be left. A client that asked for the feature groups is told, and may subscribe again.", a.hub.Leave},
	} {
		huma.Register(h, a.operation(op.name, op.method, "/v1/clients/{id}/groups/{name}", op.summary, op.description,
			http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented, http.StatusGatewayTimeout), a.regroup(op.change))
	}
	publish := a.operation("publish", http.MethodPost, "/v1/events", "Publish an event",
		"Sends an EVENT for a caller without a connection. The body is an envelope without op. The rules for clients apply: the "+
			"token's send permissions, its rates and max_message_bytes. Replies to its sender reach no client. A caller that waits for each "+
			"receipt before it sends the next event has its events delivered in order.", http.StatusTooManyRequests)
	publish.SkipValidateBody = true
	huma.Register(h, publish, a.publish)
	events := h.OpenAPI().Paths["/v1/events"].Post.RequestBody
	events.Required = true
	events.Content["application/json"].Schema = h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Event](), true, "Event")
	huma.Register(h, a.operation("reload", http.MethodPost, "/v1/reload", "Reload the configuration",
		"Reloads the files of an instance, as SIGHUP does. Tokens, permissions, certificates and the log level take effect; if "+
			"any file is invalid nothing does, and the response is 422 with the problems.", operateErrors...), a.reloadConfig)
	drain := a.operation("drain", http.MethodPost, "/v1/drain", "Take an instance out of service",
		"The instance accepts no more connections, reports not ready, and tells its clients to move, one after the other: as "+
			"fast as the setting drain-rate allows or, without it, spread over the given time, which wins if it is too short. "+
			"Clients that asked for DRAIN move without a gap; the others, and all that remain when the time is over, get "+
			"SERVER_RESTART. The instance runs until SIGTERM.", operateErrors...)
	drain.DefaultStatus = http.StatusAccepted
	huma.Register(h, drain, a.startDrain)
	a.registerRebalance(h)
}

func (a *api) kick(ctx context.Context, q *clientPath) (*struct{}, error) {
	id, err := uuid.Parse(q.ID)
	if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, "the id is not a UUID")
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	c, err := a.hub.Kick(ctx, id)
	if err != nil {
		return nil, hubProblem(err)
	}
	callerOf(ctx).note("name", c.Name)
	callerOf(ctx).note("node", c.Node)
	return nil, nil
}

type membershipPath struct {
	ID   string `path:"id" format:"uuid" doc:"The client's id."`
	Name string `path:"name" minLength:"1" maxLength:"128" doc:"The group's name, percent-encoded, slashes included."`
}

// regroup returns the handler of a change of a client's groups.
func (a *api) regroup(
	change func(context.Context, uuid.UUID, string) (hub.Client, error),
) func(context.Context, *membershipPath) (*body[hub.Client], error) {
	return func(ctx context.Context, q *membershipPath) (*body[hub.Client], error) {
		id, err := uuid.Parse(q.ID)
		if err != nil {
			return nil, problem(http.StatusUnprocessableEntity, "the id is not a UUID")
		}
		ctx, cancel := context.WithTimeout(ctx, hub.RegroupTimeout)
		defer cancel()
		c, err := change(ctx, id, q.Name)
		if err != nil {
			return nil, changeProblem(err)
		}
		callerOf(ctx).note("name", c.Name)
		callerOf(ctx).note("node", c.Node)
		return &body[hub.Client]{c}, nil
	}
}

// changeProblem maps an error of [hub.Hub.Join] to a problem.
func changeProblem(err error) error {
	var refused *hub.ChangeError
	switch {
	case errors.Is(err, hub.ErrNoOperator):
		return problem(http.StatusNotImplemented, "the instance that the client is on is of a release without changes of groups")
	case !errors.As(err, &refused):
		return hubProblem(err)
	}
	switch refused.Code {
	case opcodes.CodeForbidden:
		return problem(http.StatusConflict, "the client's token may not join the group, or its service type alone says in which groups it is")
	case opcodes.CodePrimaryGroup:
		return problem(http.StatusConflict, "the group of its IDENTIFY can't be left")
	case opcodes.CodeTooManyGroups:
		return problem(http.StatusConflict, "the client is in as many groups as it may be (max-groups)")
	case opcodes.CodeBrokerUnavailable:
		return retryLater(http.StatusServiceUnavailable, "other instances can't be reached; nothing was changed")
	}
	return problem(http.StatusConflict, err.Error())
}

func (a *api) publish(ctx context.Context, in *eventInput) (*body[hub.Receipt], error) {
	c := callerOf(ctx)
	message, err := envelope(in.RawBody)
	if err != nil {
		return nil, err
	}
	var e opcodes.Envelope
	if err := e.Scan(message); err != nil {
		return nil, scanProblem(err, in.RawBody)
	}
	c.note("intent", addressee(&e))
	c.note("event", string(e.Event))
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	r, err := a.hub.Publish(ctx, a.hub.Caller(hub.Credential{Grant: c.grant, Subject: c.subject, Expires: c.expires}), message)
	if err != nil {
		return nil, publishProblem(err)
	}
	c.note("id", r.ID)
	return &body[hub.Receipt]{r}, nil
}

// addressee returns the intent of an event as the log has it: GROUP:billing.
func addressee(e *opcodes.Envelope) string {
	switch {
	case len(e.Targets()) > 0:
		return e.Target.String() + ":" + string(bytes.Join(e.Targets(), []byte(",")))
	case len(e.Receivers()) > 0:
		return fmt.Sprintf("%v:%d clients", e.Target, len(e.Receivers()))
	case e.Target == intent.Direct:
		return e.Target.String() + ":" + e.Receiver.String()
	case len(e.Identifier) > 0:
		return e.Target.String() + ":" + string(e.Identifier)
	}
	return e.Target.String()
}

// envelope makes an EVENT of a body by adding the member op.
func envelope(raw []byte) ([]byte, error) {
	message, ok := opcodes.AppendEvent(nil, raw)
	switch {
	case ok:
		return message, nil
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, problem(http.StatusBadRequest, "the body is missing")
	}
	return nil, problem(http.StatusUnprocessableEntity, "the body is not a JSON object")
}

// scanProblem maps the scanner's error to a problem: 400 for a body that is not JSON, 422 for one that is no event.
func scanProblem(err error, raw []byte) error {
	status := http.StatusUnprocessableEntity
	if !json.Valid(raw) {
		status = http.StatusBadRequest
	}
	detail := err.Error()
	if scan, ok := errors.AsType[*opcodes.ScanError](err); ok {
		detail = scan.Message
	}
	return problem(status, "not a valid event: "+detail+"; the body is an envelope without the member op")
}

// publishProblem maps an error of [hub.Hub.Publish] to a problem.
func publishProblem(err error) error {
	switch {
	case errors.Is(err, hub.ErrForbidden):
		return problem(http.StatusForbidden, err.Error())
	case errors.Is(err, hub.ErrTooBig):
		return problem(http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, hub.ErrRateLimited):
		return retryLater(http.StatusTooManyRequests, err.Error())
	}
	return hubProblem(err)
}

func (a *api) reloadConfig(ctx context.Context, q *NodeQuery) (*body[ReloadResult], error) {
	r, err := operate(ctx, a, *q, "reload", nil, a.reloadHere)
	if err != nil {
		return nil, err
	}
	callerOf(ctx).note("changed", strings.Join(r.Body.Changed, " "))
	callerOf(ctx).note("revoked", strings.Join(r.Body.TokensRevoked, " "))
	return r, nil
}

// reloadHere reloads the configuration of this instance.
func (a *api) reloadHere(ctx context.Context) (ReloadResult, error) {
	if a.reload == nil {
		return ReloadResult{}, problem(http.StatusNotFound, "this instance has no configuration to reload")
	}
	result, err := a.reload.Reload(ctx, "api")
	if err != nil {
		var invalid *InvalidConfig
		if !errors.As(err, &invalid) {
			return ReloadResult{}, problem(http.StatusServiceUnavailable, err.Error())
		}
		details := make([]error, 0, len(invalid.Problems))
		for _, p := range invalid.Problems {
			details = append(details, &huma.ErrorDetail{Message: p.What, Location: p.Where})
		}
		return ReloadResult{}, problem(http.StatusUnprocessableEntity, "the configuration is not valid; nothing has changed", details...)
	}
	for _, list := range []*[]string{
		&result.Changed, &result.TokensAdded, &result.TokensChanged, &result.TokensRevoked, &result.NeedRestart,
	} {
		*list = orEmpty(slices.Clone(*list))
	}
	return result, nil
}

// maxDrain bounds the time of a drain.
const maxDrain = time.Hour

func (a *api) startDrain(ctx context.Context, in *drainInput) (*body[Drain], error) {
	d, err := operate(ctx, a, in.NodeQuery, "drain", in.Body, func(context.Context) (Drain, error) { return a.drainHere(in.Body) })
	if err != nil {
		return nil, err
	}
	callerOf(ctx).note("over", (time.Duration(d.Body.OverSeconds * float64(time.Second))).String())
	return d, nil
}

// drainHere begins a drain of this instance.
func (a *api) drainHere(in *drainBody) (Drain, error) {
	over := a.drain.over()
	if in != nil && in.Over != "" {
		d, err := time.ParseDuration(in.Over)
		if err != nil || d < 0 || d > maxDrain {
			return Drain{}, problem(http.StatusUnprocessableEntity, "over must be a duration from 0s to 1h",
				&huma.ErrorDetail{Message: "not a duration such as 30s or 2m", Location: "body.over", Value: in.Over})
		}
		over = d
	}
	over, began := a.drain.start(over)
	s := a.hub.Stats()
	return Drain{a.hub.Node().Name, s.Transport.Connections(), over.Seconds(), began}, nil
}
