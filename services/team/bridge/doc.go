// Package bridge connects a server of the team protocol (see package rtm) to a hub, of which it is an ordinary client.
//
//	RTM server ──Global──▶ Bridge.Run ─┐ joins and lefts; pacing of connections
//	           ──Team────▶ team.run  ──┤ one goroutine per team that is there, one more to ping while it is connected
//	                                   ▼
//	                                outbox: bounded, a share for each team
//	                                   ▼
//	                                publisher ──▶ client.Client ──▶ hub
//
// # What it promises
//
// Each message that arrives on an open team connection is queued once, in order, and published once. While the hub is
// connected a full queue makes the server wait; nothing is dropped. While the hub is away new messages displace the
// oldest, which are counted. A message on its way when the connection to the hub breaks is not sent again: its outcome
// is counted as unknown, and no receiver gets it twice.
//
// After each connection to the hub, team.join is announced again for every present team, since a restarted hub has
// forgotten them; joins are idempotent.
//
// # How fast it connects
//
// Two pacers, one for team.connect and one for dials, serialize starts and measure the clock after each. So within any
// second there are at most ConnectRate of either, even if the machine stalls.
//
// # Teams whose leaving was missed
//
// A team that the server keeps refusing, and did not announce on the present Global connection, is presumed to have
// left (Options.LeftAfter): its team.left was sent while there was no Global connection, and is not repeated.
//
// # What it does not trust
//
// The server chooses the addresses of the teams' connections. Each must be that of the Global server, by name or by
// address, or be allowed. A name is resolved once, and the checked address is dialed. Malformed, unknown and
// unrequested frames are counted and ignored. Teams can't delay each other: connection rate, queue and memory for large
// messages are shared fairly.
//
// # Concurrency
//
// All methods of a [Bridge] may be called from any goroutine; [Bridge.Run] once.
package bridge
