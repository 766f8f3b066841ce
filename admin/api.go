package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/ratelog"
)

// tailOperation is the stream of a tail.
const tailOperation = "tail"

// streams reports whether an operation answers with a stream that lasts.
func streams(operation string) bool {
	return operation == tailOperation || operation == followOperation
}

// gatherTime is the default of Options.GatherTimeout.
const gatherTime = time.Second

// api serves the paths below /v1.
type api struct {
	hub        *hub.Hub
	log        *slog.Logger
	warn       *ratelog.Logger // lines that unauthenticated callers cause: at most one a second
	reload     Reloader
	teams      TeamLister
	fleets     FleetManager
	drain      *drainer
	wait       time.Duration     // for the other instances
	ended      <-chan struct{}   // closed when the server ends, which ends the streams
	operations map[string]string // operation names by route pattern
	requests   *prometheus.CounterVec
	followers  atomic.Int32 // open streams of the event log
	document   json.RawMessage
}

// newAPI returns the API behind its guard.
func newAPI(o Options, d *drainer, ended <-chan struct{}, registry prometheus.Registerer) (http.Handler, error) {
	a := &api{
		hub: o.Hub, log: o.Log, warn: ratelog.New(o.Log), reload: o.Reload, teams: o.Teams, fleets: o.Fleets, drain: d, ended: ended,
		operations: make(map[string]string), wait: o.GatherTimeout,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mastersocket_admin_requests_total",
			Help: "Requests to the admin API. A request that is refused before its route is known has the operation none.",
		}, []string{"operation", "status"}),
	}
	if a.wait == 0 {
		a.wait = gatherTime
	}
	registry.MustRegister(a.requests)
	mux := http.NewServeMux()
	config := apiConfig(o.Hub.Node().Version)
	h := humago.New(mux, config)
	a.registerReads(h)
	a.registerWrites(h)
	a.registerHistory(h)
	a.registerFleets(h)
	a.registerTail(h)
	a.registerLog(h)
	a.registerTop(h)
	a.registerDocument(h)
	var err error
	if a.document, err = json.Marshal(h.OpenAPI()); err != nil {
		return nil, fmt.Errorf("admin: write the OpenAPI document: %w", err)
	}
	o.Hub.SetOperator(a.serveCall)
	return newGuard(a, mux), nil
}

func apiConfig(version string) huma.Config {
	if version == "" {
		version = "development"
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "mastersocket admin API",
				Version: version,
				Description: "Inspect and operate a hub. Every instance answers for the whole cluster; lists name the instances " +
					"that did not answer within a second. Errors are problem documents (RFC 9457).",
				License: &huma.License{Name: "MIT", Identifier: "MIT"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "A token with admin: true in the tokens file, or the one shared token."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
		},
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

// refusals are the statuses with which the guard and the validation may refuse any request.
var refusals = []int{
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusUnprocessableEntity,
	http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

// operation describes a route. name is its id in the OpenAPI document and its label in the metric.
func (a *api) operation(name, method, path, summary, description string, errors ...int) huma.Operation {
	a.operations[method+" "+path] = name
	return huma.Operation{
		OperationID: name, Method: method, Path: path, Summary: summary, Description: description,
		Errors: append(append([]int{}, refusals...), errors...), MaxBodyBytes: maxBodyBytes + 1,
	}
}

// count counts a response. Both labels come from fixed sets.
func (a *api) count(operation string, status int) {
	a.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
}

// registerDocument serves the OpenAPI document.
func (a *api) registerDocument(h huma.API) {
	op := a.operation("openapi", http.MethodGet, "/v1/openapi.json", "This document", "The OpenAPI 3.1 description of the API.")
	huma.Register(h, op, func(context.Context, *struct{}) (*struct{ Body json.RawMessage }, error) {
		return &struct{ Body json.RawMessage }{a.document}, nil
	})
}

// gathering returns a context that ends when the other instances must have answered.
func (a *api) gathering(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.wait)
}
