// Package history checks what a hub did with its messages: it records each message sent, each client's coming and going
// and each delivery, and afterwards tells which of the protocol's guarantees were broken, where, and how often.
//
// It is made for tests and knows nothing of the code that it tests, not even its types: a mistake there can't repeat
// itself here.
//
// # Recording
//
// A [History] consists of [Session] records, one for each connection of a client; a client that reconnects opens a new
// one. Where what counts is the client, whatever connections it has ([Session.Moved], [Session.Away]), one record serves
// for all of them: nothing may be lost, come twice or out of order across a move. A session numbers the messages that it sends from 0. Each message carries a payload, made by [AppendPayload], from
// which alone a receiver can tell who sent it, which it was and whether it is intact. Several processes can each record
// a part: they take session numbers from disjoint ranges ([New]), write their parts as NDJSON ([History.WriteNDJSON])
// and one of them reads all ([History.ReadNDJSON]) and checks.
//
// # Checking
//
// [History.Check] finds messages that are lost, duplicated, reordered, misrouted, leaked, corrupted or dropped without
// a word. It judges only what is certain: a receiver that joined or left while a message was on its way may have got it
// or not. That is decided by the times recorded on both sides, which therefore are taken before the act that allows
// something (a send, an IDENTIFY) and after the one that proves it (an ACK, the IDENTIFY answer).
//
// # Concurrency
//
// All methods of History and Session may be called from any goroutine, save that the Arrived calls of one session must
// come from one goroutine at a time, in the order of arrival. Check, WriteNDJSON and ReadNDJSON must run when nothing is
// recorded any more.
package history
