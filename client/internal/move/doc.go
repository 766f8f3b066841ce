// Package move is the state machine with which a client moves from one connection to another without losing, duplicating or
// reordering a message.
//
// The [Machine] has no clock, no lock and no goroutine, and does no I/O. Its owner reports what happens on the two
// connections ([Machine.Receive], [Machine.FenceArrived], …) and the time that passes ([Machine.Tick]), executes the actions
// that result ([Machine.Actions]), and hands out the messages in the order of [Machine.Next]. docs/sdk.md has its table.
//
// # Merging
//
// A message to many (GLOBAL, GROUP) arrives on both connections, a message to one client (DIRECT, ANY) on one of them. They
// are handed out in the order of the old connection, each together with its copy on the new one. What the same sender sent
// earlier to the new connection alone is handed out before. This keeps the order of each sender's messages, unless a sender
// goes back from the new id to the old one.
//
// FENCEs bound the waiting. Each is sent on one connection to the other one. A FENCE that arrives on the new connection
// shows that messages which the old one had received when the FENCE was sent have no copy to come. A FENCE that arrives on
// the old connection shows that nothing can still precede what the new one had received when the FENCE was sent.
//
// # Concurrency
//
// A Machine must not be used by two goroutines at the same time.
package move
