package team

import (
	"net/http"

	"github.com/mastersocket/mastersocket/transport"
)

// refusal is the reason why a connection is refused.
type refusal uint8

// The refusals.
const (
	granted          refusal = iota
	refusedPath              // the path names no team
	refusedToken             // no token, a wrong one, or one that may not join the group of teams
	refusedNoTicket          // the URL has no ticket
	refusedTicket            // used, expired, or not issued here
	refusedOtherTeam         // the ticket is for another team
	refusedLeft              // the team has left
	refusedBusy              // too many connections wait for other instances
	refusedTimeout           // the instance that issued the ticket can't be asked, or did not answer
	numRefusals
)

// refusals are the HTTP answers to refused handshakes.
var refusals = [numRefusals]transport.Rejection{
	refusedPath:      {Cause: "team_path", Status: http.StatusNotFound, Line: "the path names no team that there can be"},
	refusedToken:     {Cause: "team_token", Status: http.StatusUnauthorized, Line: "a token that may join the group of teams is needed: Authorization: Bearer TOKEN"},
	refusedNoTicket:  {Cause: "team_no_ticket", Status: http.StatusForbidden, Line: "a team's connection is opened with the ws_url of a team.connect event"},
	refusedTicket:    {Cause: "team_ticket", Status: http.StatusForbidden, Line: "the ticket was used, is over, or was never issued: ask for another with team.connect"},
	refusedOtherTeam: {Cause: "team_other_team", Status: http.StatusForbidden, Line: "the ticket is for another team"},
	refusedLeft:      {Cause: "team_left", Status: http.StatusForbidden, Line: "the team has left"},
	refusedBusy:      {Cause: "team_busy", Status: http.StatusServiceUnavailable, Line: "too many connections wait for other instances; try again later"},
	refusedTimeout:   {Cause: "team_timeout", Status: http.StatusServiceUnavailable, Line: "the instance that issued the ticket did not answer"},
}

// String returns the label of the refusal in logs and metrics.
func (r refusal) String() string { return refusals[r].Cause }

// reject counts a refusal and returns the answer to the handshake.
func (s *Service) reject(why refusal) *transport.Rejection {
	s.count.refused[why].Add(1)
	return &refusals[why]
}
