// Package team serves the team-connection protocol (see package rtm) to clients that speak it, as a service type of the
// hub.
//
//	services ──GROUP teams: team.join, team.left──▶ teams (every instance) ──▶ Global connections  /global
//	         ──GROUP team.<id>: message───────────▶ hub ───────────────────▶ the Team connection  /connect/team/<id>
//	         ◀─GROUP teams: team.connected, team.disconnected, team.health── Service
//
// A [Service] is given to the hub in hub.Options.Services. [Service.Teams] lists the teams of the whole cluster, with
// what the hub counted of each and what clients claim.
//
// # Which teams there are
//
// Each instance keeps its own list, in memory, and hears every team.join and team.left that is sent to the group. One that
// starts, or that could not be reached for a while, asks the others. What it heard itself since it asked is newer than
// any answer; for the rest, the later change wins by the clocks of the instances, and what the others have missed is told
// to them. A left team is remembered for an hour, so that nobody brings it back who missed that it left.
//
// Two ids with the same text, 1 and "1", are the same team: the group of its messages is the same. It keeps the form in
// which it was announced first; a client is answered in the form that it uses itself.
//
// # Tickets
//
// A Team connection is opened with a ticket, which is in the ws_url of a team.connect: random, for one team, valid once,
// for 30 seconds, and no longer than the Global connection it was given to. It also says which instance has it, so that
// any instance behind a load balancer can open the connection: it asks that one, over the broker, and waits up to two
// seconds.
//
// # One connection for each team
//
// A new connection replaces the one that is there, on whatever instance: each has a rank, greater than every rank of the
// team that its instance knew, and of two that learn of each other the lower one ends.
//
// # Concurrency
//
// All methods of a Service may be called from any goroutine.
package team
