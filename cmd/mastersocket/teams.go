//go:build linux

package main

import (
	"context"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/services/team"
)

// teamLister returns what lists teams for operators, nil where there are none.
func (c *serveCmd) teamLister() admin.TeamLister {
	if c.teams == nil {
		return nil
	}
	return teamLister{c.teams}
}

// teamLister translates what the service type tells.
type teamLister struct{ service *team.Service }

// Teams implements admin.TeamLister.
func (l teamLister) Teams(ctx context.Context, cursor string, limit int) (admin.TeamPage, error) {
	page, err := l.service.Teams(ctx, cursor, limit)
	if err != nil {
		return admin.TeamPage{}, err
	}
	out := admin.TeamPage{Next: page.Next, Missing: page.Missing, Teams: make([]admin.Team, 0, len(page.Teams))}
	for i := range page.Teams {
		out.Teams = append(out.Teams, teamOf(&page.Teams[i]))
	}
	return out, nil
}

func teamOf(t *team.Team) admin.Team {
	out := admin.Team{
		ID: t.ID.Append(nil), Since: t.Since, MessageCount: t.MessageCount, PropsCount: t.PropsCount,
		Claims: make([]admin.TeamClaim, 0, len(t.Claims)),
	}
	if c := t.Connection; c != nil {
		out.Connection = &admin.TeamConnection{Node: c.Node, Client: c.Client.String(), Address: c.Address, Since: c.Since}
	}
	for _, c := range t.Claims {
		out.Claims = append(out.Claims, admin.TeamClaim{
			Node: c.Node, Client: c.Client.String(), At: c.At, Connected: c.Connected,
			MessageCount: c.MessageCount, PropsCount: c.PropsCount,
		})
	}
	return out
}
