// Package echo serves the echo protocol. A client of /echo sends "message X"; the hub gives it to one connection, drawn
// at random, which answers "ok X"; the sender gets that ok. Package wire has the frames, packages client and load the
// other end.
//
// # What goes where
//
// Every connection is a member of the reserved group $echo, and the hub draws: over all loops and instances, every
// connection with the same probability, the sender included. Three events carry the protocol:
//
//	message  ANY of $echo     {"key":…,"text":"X"}, from the connection that sent X
//	ok       GROUP $echo.ok   "X"; the group has no members, each loop of each instance observes it
//	back     DIRECT to the sender of a message: its receiver left without an ok; data is the key
//
// Each loop knows which of its connections wait for which text, so an ok costs one lookup per loop and one frame per
// waiting connection. Each connection knows the keys of the messages for which it owes an ok.
//
// # Passing on
//
// When a connection ends, the messages that it had not answered go back to their senders, and each message whose sender
// still waits is drawn again. Other messages end there, so none circulates without a waiting sender. A key is a random
// number that only instances of the hub see, so no client can cause a redraw. A message that was passed on too often,
// for instance because it crashes its receivers, is given up.
//
// # Concurrency
//
// All state belongs to a loop and is used on its goroutine alone. Other goroutines read only counters.
package echo
