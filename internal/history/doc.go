// Package history checks a hub's deliveries: it records each message, each connection and each delivery, and afterwards
// reports which of the protocol's guarantees were broken, where, and how often.
//
// It is made for tests and shares nothing with the code under test, not even types, so it can't repeat a mistake made
// there.
//
// # Recording
//
// A [History] consists of [Session] records, one per connection; a client that reconnects opens a new one. A client
// that moves between connections ([Session.Moved], [Session.Away]) has one record for all of them: nothing may be lost,
// duplicated or reordered across a move. A session numbers its messages from 0. Each message has a payload made by
// [AppendPayload], which identifies sender and message and shows whether it is intact. Several processes can each
// record a part: they take session numbers from disjoint ranges ([New]), write their parts as NDJSON
// ([History.WriteNDJSON]) and one of them reads all ([History.ReadNDJSON]) and checks.
//
// # Checking
//
// [History.Check] finds messages that are lost, duplicated, reordered, misrouted, leaked, corrupted or dropped without
// a word. It judges only certain cases: a receiver that joined or left while a message was on its way may or may not
// have got it. The recorded times decide. They are therefore taken before an act that allows deliveries (a send, an
// IDENTIFY) and after an event that proves something (an ACK, the IDENTIFY answer).
//
// # Concurrency
//
// All methods of History and Session may be called from any goroutine, except that the Arrived calls of one session
// must come from one goroutine at a time, in the order of arrival. Check, WriteNDJSON and ReadNDJSON must run after
// recording has ended.
package history
