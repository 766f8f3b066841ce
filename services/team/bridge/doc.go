// Package bridge brings the teams of a server of the team protocol (see package rtm) into a hub, of which it is a client
// like any other.
//
//	RTM server ──Global──▶ Bridge.Run ─┐ teams come and go; who may connect, and when
//	           ──Team────▶ team.run  ──┤ one goroutine per team that is there, one more to ping while it is connected
//	                                   ▼
//	                                outbox: bounded, a share for each team
//	                                   ▼
//	                                publisher ──▶ client.Client ──▶ hub
//
// # What it promises
//
// Each message that arrives on an open team connection is queued once, in its connection's order, and handed to the hub
// once. While the hub is connected a full queue makes the server wait, and nothing is dropped. While it is away the
// oldest messages give way to new ones, and are counted. A message that was on its way when the connection to the hub
// broke is not sent again: it may have arrived or not, and is counted as unknown. So no receiver gets it twice.
//
// team.join is announced anew whenever the connection to the hub is made, for every team that is there, since a hub that
// was restarted has forgotten them; joins are idempotent.
//
// # How fast it connects
//
// Two pacers, one for team.connect and one for dials, let one after the other start, look at the clock when it has, and
// measure the next one by that. So within any second there are never more than ConnectRate of either, whatever the machine
// does meanwhile.
//
// # Teams whose leaving was missed
//
// A team that is refused again and again, and was not announced on the Global connection of now, is taken to have left
// (Options.LeftAfter): the server said so while there was no Global connection, and does not say it twice.
//
// # What it does not trust
//
// The server names the addresses of the teams' connections. They must be those of the Global server, by name or by
// address, or be allowed; a name is resolved once, its address checked, and that address dialed. Frames that are
// malformed, unknown or unasked for are counted and ignored. Whatever one team's connection does, no other team waits for
// it: the rate at which connections are asked for, the queue and the memory for large messages are shared out.
//
// # Concurrency
//
// All methods of a [Bridge] may be called from any goroutine; [Bridge.Run] once.
package bridge
