// Package team serves the team-connection protocol (see package rtm) to clients that speak it, as a service type of the
// hub.
//
//	services ──GROUP teams: team.join, team.left──▶ teams (every instance) ──▶ Global connections  /global
//	         ──GROUP team.<id>: message───────────▶ hub ───────────────────▶ the Team connection  /connect/team/<id>
//	         ◀─GROUP teams: team.connected, team.disconnected, team.health── Service
//
// A [Service] is given to the hub in hub.Options.Services. [Service.Teams] lists the teams of the whole cluster, with
// the hub's counts and with the clients' claims.
//
// # Which teams there are
//
// Each instance keeps its own list in memory and hears every team.join and team.left sent to the group. After a start
// or a partition an instance asks the others. Changes that it heard after asking are newer than any answer; otherwise
// the later change wins by the clocks of the instances. The instance then sends the others the changes that they
// missed. A team that left is remembered for an hour, so an instance that missed it can't bring the team back.
//
// Two ids with the same text, 1 and "1", are the same team, since the group of its messages is the same. The first
// announcement decides the form of the id; answers to a client use that client's form.
//
// # Tickets
//
// The ws_url of a team.connect has a ticket, which opens one Team connection: random, for one team, valid once, for 30
// seconds, and no longer than the Global connection that it was issued to. It also names the instance that issued it,
// so any instance behind a load balancer can open the connection: it asks the issuer over the broker, and waits up to
// two seconds.
//
// # One connection for each team
//
// A new connection replaces the existing one, on any instance. Each connection has a rank, greater than every rank of
// the team that its instance knew. Of two connections that learn of each other the lower rank ends.
//
// # Concurrency
//
// All methods of a Service may be called from any goroutine.
package team
