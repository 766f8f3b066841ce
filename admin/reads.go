package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
)

// PageQuery selects a page of a list.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Bound of the entries on the page."`
	Cursor string `query:"cursor" maxLength:"1024" doc:"The member next of the previous page; empty for the first page. It stays valid while the list changes."`
}

// NextPage is the cursor part of a page.
type NextPage struct {
	Next *string `json:"next" doc:"Cursor of the next page; null on the last."`
}

func cursorOf(next string) NextPage {
	if next == "" {
		return NextPage{}
	}
	return NextPage{&next}
}

// NodeList is the answer to GET /v1/nodes.
type NodeList struct {
	Listed
	Nodes []hub.Node `json:"nodes" nullable:"false" doc:"Sorted by name."`
}

// ClientList is a page of clients.
type ClientList struct {
	NextPage
	Listed
	Clients []hub.Client `json:"clients" nullable:"false" doc:"A client that stays connected from the first page to the last is on exactly one of them."`
}

// GroupList is a page of groups.
type GroupList struct {
	NextPage
	Listed
	Groups []hub.Group `json:"groups" nullable:"false" doc:"Sorted by name."`
}

// GroupDetail is the answer to GET /v1/groups/{name}.
type GroupDetail struct {
	hub.Group
	Listed
	Present []Present `json:"present" nullable:"false" doc:"The first 500 members, as clients that watch the group see them. All of them: GET /v1/clients?group=."`
}

// Present is a member of a group.
type Present struct {
	ID      uuid.UUID         `json:"id" format:"uuid"`
	Name    string            `json:"name" doc:"Name from its IDENTIFY; empty if it sent none."`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta" nullable:"false"`
	Weight  *int              `json:"weight" doc:"Its share of the ANYs to its groups; null if its instance is of a release without weights."`
	Node    string            `json:"node" doc:"Name of its instance."`
	Since   time.Time         `json:"since" doc:"Time of its IDENTIFY."`
}

// presentMembers is how many members are in the answer about one group.
const presentMembers = 500

// TeamList is a page of teams.
type TeamList struct {
	NextPage
	Listed
	Teams []Team `json:"teams" nullable:"false" doc:"Sorted by id."`
}

// body is a response with a JSON body.
type body[T any] struct{ Body T }

type clientsQuery struct {
	PageQuery
	Group    string `query:"group" maxLength:"128" doc:"Members of this group."`
	Type     string `query:"type" maxLength:"32" doc:"Clients of this service type."`
	Name     string `query:"name" maxLength:"256" doc:"Clients with this name; a trailing * matches any rest."`
	Node     string `query:"node" maxLength:"128" doc:"Clients of the instance with this name."`
	MinQueue int    `query:"min_queue_bytes" minimum:"0" doc:"Clients with at least this many bytes unsent: slow consumers."`
}

type clientPath struct {
	ID string `path:"id" format:"uuid" doc:"The client's id."`
}

type groupPath struct {
	Name string `path:"name" maxLength:"128" doc:"The group's name, percent-encoded, slashes included. HTTP clients resolve the names . and .. as path steps: use GET /v1/groups?prefix= for them."`
}

func (a *api) registerReads(h huma.API) {
	huma.Register(h, a.operation("nodes", http.MethodGet, "/v1/nodes", "The instances",
		"The instances of the cluster with their counts."), a.nodes)
	huma.Register(h, a.operation("clients", http.MethodGet, "/v1/clients", "The clients",
		"The clients of the cluster that match all filters, in pages."), a.clients)
	huma.Register(h, a.operation("client", http.MethodGet, "/v1/clients/{id}", "A client", "One client, on whichever instance it is connected.",
		http.StatusNotFound, http.StatusGatewayTimeout), a.client)
	huma.Register(h, a.operation("groups", http.MethodGet, "/v1/groups", "The groups",
		"The groups of the cluster that have members, in pages."), a.groups)
	huma.Register(h, a.operation("group", http.MethodGet, "/v1/groups/{name}", "A group",
		"One group, and who is in it.", http.StatusNotFound), a.group)
	huma.Register(h, a.operation("teams", http.MethodGet, "/v1/teams", "The teams",
		"The teams of the service type team, in pages; 404 if it is not enabled.", http.StatusNotFound), a.listTeams)
}

func (a *api) nodes(ctx context.Context, _ *struct{}) (*body[NodeList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	nodes, missing, err := a.hub.Status(ctx)
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[NodeList]{NodeList{listed(missing), orEmpty(nodes)}}, nil
}

func (a *api) clients(ctx context.Context, q *clientsQuery) (*body[ClientList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	f := hub.Filter{Group: q.Group, Type: q.Type, Name: q.Name, Node: q.Node, MinQueue: q.MinQueue}
	page, err := a.hub.Clients(ctx, f, q.Cursor, q.Limit)
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[ClientList]{ClientList{cursorOf(page.Next), listed(page.Missing), orEmpty(page.Clients)}}, nil
}

func (a *api) client(ctx context.Context, q *clientPath) (*body[hub.Client], error) {
	id, err := uuid.Parse(q.ID)
	if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, "the id is not a UUID")
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	c, err := a.hub.Client(ctx, id)
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[hub.Client]{c}, nil
}

func (a *api) groups(ctx context.Context, q *struct {
	PageQuery
	Prefix string `query:"prefix" maxLength:"128" doc:"Groups whose names begin with this."`
}) (*body[GroupList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	page, err := a.hub.Groups(ctx, q.Prefix, q.Cursor, q.Limit)
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[GroupList]{GroupList{cursorOf(page.Next), listed(page.Missing), orEmpty(page.Groups)}}, nil
}

func (a *api) group(ctx context.Context, q *groupPath) (*body[GroupDetail], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	type result struct {
		page hub.ClientPage
		err  error
	}
	clients := make(chan result, 1)
	go func() { // at the same time, as both wait for silent instances
		page, err := a.hub.Clients(ctx, hub.Filter{Group: q.Name}, "", presentMembers)
		clients <- result{page, err}
	}()
	g, missing, err := a.hub.Group(ctx, q.Name)
	found := <-clients
	if err == nil {
		err = found.err
	}
	if err != nil {
		return nil, hubProblem(err)
	}
	page := found.page
	present := make([]Present, 0, len(page.Clients))
	for i := range page.Clients {
		c := &page.Clients[i]
		present = append(present, Present{c.ID, c.Name, c.Version, c.Meta, c.Weight, c.Node, c.ConnectedSince})
	}
	return &body[GroupDetail]{GroupDetail{g, listed(missing), present}}, nil
}

func (a *api) listTeams(ctx context.Context, q *PageQuery) (*body[TeamList], error) {
	if a.teams == nil {
		return nil, problem(http.StatusNotFound, "the service type team is not enabled on this instance (--enable team)")
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	page, err := a.teams.Teams(ctx, q.Cursor, q.Limit)
	if err != nil {
		return nil, hubProblem(err)
	}
	if page.Teams == nil {
		page.Teams = []Team{}
	}
	return &body[TeamList]{TeamList{cursorOf(page.Next), listed(page.Missing), page.Teams}}, nil
}

// hubProblem maps an error of the hub to a problem.
func hubProblem(err error) error {
	switch {
	case errors.Is(err, hub.ErrCursor):
		return problem(http.StatusUnprocessableEntity, "invalid cursor")
	case errors.Is(err, hub.ErrClientNotFound):
		return problem(http.StatusNotFound, "no client has this id; it may have disconnected")
	case errors.Is(err, hub.ErrGroupNotFound):
		return problem(http.StatusNotFound, "the group has no members on any instance that answered")
	case errors.Is(err, hub.ErrSilent):
		return problem(http.StatusGatewayTimeout, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return retryLater(http.StatusServiceUnavailable, "the event loops of this instance did not answer in time")
	}
	return retryLater(http.StatusServiceUnavailable, err.Error())
}
