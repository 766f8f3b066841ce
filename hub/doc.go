// Package hub identifies clients, keeps their groups, and routes each EVENT and REPLY to the receivers that its intent
// names: on this instance and, through a [broker.Broker], on the others.
//
// # The way of a message
//
// A loop of package transport hands a session one message. The session scans it, asks the client's grant, builds the
// outgoing message once, and gives it to every place that has receivers: its own loop at once, each other loop of the
// instance by one mail, the other instances by one publication. Each loop then walks its own members.
//
// # Ownership
//
// Sessions, and the members of each group that live on a loop, belong to that loop: its shard is touched by its
// goroutine alone. Shared between loops are only the registry, which knows how many members of each group each loop
// has, and counters.
//
// # Order, and at most once
//
// From one sender to one receiver a message has exactly one way. On the same loop it is queued in the call; to another
// loop it goes through that loop's inbox, which is first in, first out; to another instance through the one publisher
// of this instance and the one subscriber of the other, and then through the inbox of the receiver's loop. Each way
// keeps the order, and no message is given to two of them. The one exception is an ANY whose receiver left while the
// message was on its way: it comes back and is drawn again only if its sender has sent nothing since; else it is
// dropped, counted, and reported.
//
// # The files
//
// A file uses what stands before it in this list, and a test keeps it so. A capability is one file, with its state, its
// frames, its questions between instances, and its part in a sweep; a new one stands among those of its kind, and is called
// by protocol.go (from its clients), remote.go (from other instances) and lifecycle.go (start and end).
//
//	counters, feedback, deferral,     what knows no other file of the package
//	cursor, verifications, limits,
//	chronicle, options
//	session, marks, group, tenure,    the state: a client, clients that a message has come by, a group, its holder, all groups,
//	registry,                         a change of a client's groups, a
//	change, shard, hub, claim,        loop's share, the instance, a claim to an exclusive group, what goes
//	record, traffic, probe            into the event log, what is measured and watched of clients
//	mail, tour, report, membership,   a message's way: to a loop, to its members, to other instances, to one of many
//	pressure, relay, numbering,       one in the order of numbers
//	delivery, timeline, any, routing,
//	selection
//	presence, stream, mirror, watch   who is in the groups that are watched
//	catchup                           what members of groups with history missed
//	subscribe, recovery, holding,     a client's life
//	ending,
//	notice, expiry, authenticate,
//	callers, join, verify, identify,
//	tokens
//	events, fence, peer, service,     what clients and service types do
//	hold
//	questions, tap, inquiries,        what operators ask and do, and callers without a connection
//	receipts,
//	clients, clienttap, groups,
//	eventlog, top, stats, nodes,
//	operate, regroup, campaign,
//	rebalance, drain
//	protocol, remote, lifecycle       what transport, the broker and the process call
package hub
