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

// PageQuery asks for a page of a list.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Entries of a page at most."`
	Cursor string `query:"cursor" maxLength:"1024" doc:"next of the page before; left out for the first. It stays valid while the list changes."`
}

// NextPage tells how a list goes on.
type NextPage struct {
	Next *string `json:"next" doc:"Cursor of the page that follows; null for none."`
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
	Nodes []Node `json:"nodes" nullable:"false" doc:"In the order of their names."`
}

// ClientList is a page of clients.
type ClientList struct {
	NextPage
	Listed
	Clients []Client `json:"clients" nullable:"false" doc:"A client that is connected from the first to the last page is on exactly one of them."`
}

// GroupList is a page of groups.
type GroupList struct {
	NextPage
	Listed
	Groups []Group `json:"groups" nullable:"false" doc:"In the order of their names."`
}

// GroupDetail is the answer to GET /v1/groups/{name}.
type GroupDetail struct {
	Group
	Listed
}

// TeamList is a page of teams.
type TeamList struct {
	NextPage
	Listed
	Teams []Team `json:"teams" nullable:"false" doc:"In the order of their ids."`
}

// body is an answer.
type body[T any] struct{ Body T }

type clientsQuery struct {
	PageQuery
	Group    string `query:"group" maxLength:"128" doc:"Members of this group."`
	Type     string `query:"type" maxLength:"32" doc:"Of this service type."`
	Name     string `query:"name" maxLength:"256" doc:"That call themselves so; a * at the end stands for anything."`
	Node     string `query:"node" maxLength:"128" doc:"Of the instance of this name."`
	MinQueue int    `query:"min_queue_bytes" minimum:"0" doc:"With so much unsent, or more: those that are slow."`
}

type clientPath struct {
	ID string `path:"id" format:"uuid" doc:"The client's id."`
}

type groupPath struct {
	Name string `path:"name" maxLength:"128" doc:"The group's name, percent-encoded: slashes too. The names . and .. , which clients of HTTP take for steps in the path, can be had by GET /v1/groups?prefix= alone."`
}

func (a *api) registerReads(h huma.API) {
	huma.Register(h, a.operation("nodes", http.MethodGet, "/v1/nodes", "The instances",
		"Each instance of the cluster, with its counts."), a.nodes)
	huma.Register(h, a.operation("clients", http.MethodGet, "/v1/clients", "The clients",
		"The clients of the cluster that match all filters, page by page."), a.clients)
	huma.Register(h, a.operation("client", http.MethodGet, "/v1/clients/{id}", "A client", "One client, wherever it is connected.",
		http.StatusNotFound, http.StatusGatewayTimeout), a.client)
	huma.Register(h, a.operation("groups", http.MethodGet, "/v1/groups", "The groups",
		"The groups of the cluster that have members, page by page."), a.groups)
	huma.Register(h, a.operation("group", http.MethodGet, "/v1/groups/{name}", "A group",
		"One group. Its members: GET /v1/clients?group=.", http.StatusNotFound), a.group)
	huma.Register(h, a.operation("teams", http.MethodGet, "/v1/teams", "The teams",
		"The teams of the service type team, page by page; 404 where it is not enabled.", http.StatusNotFound), a.listTeams)
}

func (a *api) nodes(ctx context.Context, _ *struct{}) (*body[NodeList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	nodes, missing, err := a.hub.Status(ctx)
	if err != nil {
		return nil, hubProblem(err)
	}
	list := NodeList{listed(missing), make([]Node, 0, len(nodes))}
	for _, n := range nodes {
		list.Nodes = append(list.Nodes, nodeOf(n, a.self))
	}
	return &body[NodeList]{list}, nil
}

func (a *api) clients(ctx context.Context, q *clientsQuery) (*body[ClientList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	f := hub.Filter{Group: q.Group, Type: q.Type, Name: q.Name, Node: q.Node, MinQueue: q.MinQueue}
	page, err := a.hub.Clients(ctx, f, q.Cursor, q.Limit)
	if err != nil {
		return nil, hubProblem(err)
	}
	list := ClientList{cursorOf(page.Next), listed(page.Missing), make([]Client, 0, len(page.Clients))}
	now := time.Now()
	for i := range page.Clients {
		list.Clients = append(list.Clients, clientOf(&page.Clients[i], now))
	}
	return &body[ClientList]{list}, nil
}

func (a *api) client(ctx context.Context, q *clientPath) (*body[Client], error) {
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
	return &body[Client]{clientOf(&c, time.Now())}, nil
}

func (a *api) groups(ctx context.Context, q *struct {
	PageQuery
	Prefix string `query:"prefix" maxLength:"128" doc:"Whose names begin so."`
}) (*body[GroupList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	page, err := a.hub.Groups(ctx, q.Prefix, q.Cursor, q.Limit)
	if err != nil {
		return nil, hubProblem(err)
	}
	list := GroupList{cursorOf(page.Next), listed(page.Missing), make([]Group, 0, len(page.Groups))}
	for _, g := range page.Groups {
		list.Groups = append(list.Groups, Group(g))
	}
	return &body[GroupList]{list}, nil
}

func (a *api) group(ctx context.Context, q *groupPath) (*body[GroupDetail], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	g, missing, err := a.hub.Group(ctx, q.Name)
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[GroupDetail]{GroupDetail{Group(g), listed(missing)}}, nil
}

func (a *api) listTeams(ctx context.Context, q *PageQuery) (*body[TeamList], error) {
	if a.teams == nil {
		return nil, problem(http.StatusNotFound, "the service type team is not enabled (--enable team)")
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

// hubProblem is how an error of the hub is answered.
func hubProblem(err error) error {
	switch {
	case errors.Is(err, hub.ErrCursor):
		return problem(http.StatusUnprocessableEntity, "the cursor is none that this API gave")
	case errors.Is(err, hub.ErrClientNotFound):
		return problem(http.StatusNotFound, "no client has this id; it may have left")
	case errors.Is(err, hub.ErrGroupNotFound):
		return problem(http.StatusNotFound, "no client is in this group, on any instance that answered")
	case errors.Is(err, hub.ErrSilent):
		return problem(http.StatusGatewayTimeout, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return retryLater(http.StatusServiceUnavailable, "this instance's loops did not answer in time")
	}
	return retryLater(http.StatusServiceUnavailable, err.Error())
}
