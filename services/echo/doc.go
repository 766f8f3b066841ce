// Package echo serves the echo protocol: who connects to /echo may send "message X", which one of the connections gets,
// drawn at random, and answers with "ok X", which then goes to whoever sent X. Package wire has the frames, packages
// client and load the other end.
//
// # What goes where
//
// Every connection is a member of the reserved group $echo, so that the hub does the drawing: over all loops and
// instances, each connection as likely as any other, the sender included. Three events carry the protocol:
//
//	message  ANY of $echo     {"key":…,"text":"X"}, from the connection that sent X
//	ok       GROUP $echo.ok   "X"; the group has no members, each loop of each instance observes it
//	back     DIRECT to the sender of a message: it was given to a connection that left without an ok; data is its key
//
// Each loop keeps which of its connections wait for which text, so that an ok costs one look on each loop and one frame
// for each connection that waits for it. Each connection keeps of which messages it owes an ok, by their keys.
//
// # Passing on
//
// When a connection leaves, what it owed goes back to the senders, and each that still waits has its message drawn
// again. A message whose sender has left or was answered thus ends there: nothing circulates that nobody waits for. A
// key is a random number that only instances of the hub see, so that no client can make a message be drawn again. A
// message that goes through too many hands, because it kills whoever gets it for instance, is not passed on any more.
//
// # Concurrency
//
// All state belongs to a loop and is used on its goroutine alone; only counts are read by others.
package echo
