// Package transport moves messages between sockets and sessions: it accepts connections, runs one epoll loop per core
// over raw non-blocking file descriptors, frames WebSocket (RFC 6455) and newline-delimited JSON over TCP, and queues
// what goes out. It knows nothing of the hub; a [Session] gives messages their meaning.
//
// # Where to find what
//
//	server, options, listen, accept   a Server, its listeners, and the way of a connection to a loop
//	loop, clock, poll, hot, table, mail   a Loop: its turn, its time, its epoll instance and its waits, its connections, its inbox
//	sweep, stats, refusals            deadlines; counts of traffic, and of what was refused
//	conn, session, close              a Conn, the Session behind it, and how both end
//	read                              the way in: from a socket to
//	  upgrade                           the opening handshake (internal/handshake has the parser)
//	  frames                            WebSocket frames: unmasked, joined, checked (internal/frame has the header)
//	  stream                            JSON values over TCP (internal/jsonstream has the splitter)
//	  partial, pause, gate              what is incomplete, and what must not be read yet
//	buffer, backlog, write            the way out: a message, the queue of a connection, the flush
//	tls…                              TLS between the socket and all of the above
//
// # Ownership
//
// A connection belongs to one [Loop] for all its life. The loop's goroutine alone touches the [Conn], its partial
// message, its write queue and its Session; nothing of that is locked. Every method of Conn and every call of a Session
// happens on that goroutine. Other goroutines reach a connection by posting a [Mail] to its loop.
//
// An idle connection owns no buffer: bytes are read into one buffer of the loop, what is left of an incomplete message
// waits in a pooled one, and a write queue exists only while something is unsent. It costs one Conn in a slab.
//
// # A turn of the loop
//
// Wait for events, read each ready socket once and handle its messages, deliver the inbox, then write each connection
// with unsent frames once: what was queued for one receiver during a turn leaves in one system call. A connection is
// destroyed only while reading, flushing or sweeping, never within Send, so that a Session may fan out over a list of
// connections without it changing underneath.
//
// # Overload
//
// Every queue is bounded in bytes. A receiver whose unsent backlog passes [Options.SendQueueBytes] or stands still for
// [Options.WriteTimeout] is reported to its Session as [SlowConsumer]. A loop whose inbox passes
// [Options.InboxBytes] closes the server's [Gate]: no loop reads from clients until it has caught up, and TCP slows the
// senders down.
package transport
