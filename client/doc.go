// Package client connects a Go service to a mastersocket hub. A [Client] identifies, sends events, receives them by name,
// sends requests and replies, and reconnects when the connection is lost.
//
//	c, err := client.Connect(ctx, client.Options{
//		URL:   "ws://127.0.0.1:42069",
//		Token: os.Getenv("MASTERSOCKET_TOKEN"),
//		Group: "workers",
//		Name:  "resizer",
//		On: map[string]client.Handler{
//			"image.resize": func(ctx context.Context, m *client.Message) {
//				_ = m.Reply(ctx, resize(m.Data))
//			},
//		},
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Close(context.Background())
//
//	err = c.Send(ctx, client.Group("audit"), "worker.started", nil)
//	reply, err := c.Request(ctx, client.Any("workers"), "image.resize", job)
//
// # Outcome of a send
//
// [Client.Send] returns nil once the message is written to an identified connection. Without a connection it waits for
// one until its context ends. [Client.SendAcked] returns nil once the hub has handed the message to every instance that
// has a receiver.
//
// The Client never sends a message twice. An error means that the message was not sent or that the hub refused it. The one
// exception is [ErrOutcomeUnknown]: the connection broke while the message was on its way.
//
// The hub answers a message that it can't deliver with an error ([ErrNoReceiver], [ErrForbidden], …). SendAcked, Request
// and [Receipt.Wait] return it. For a message of Send it goes to [Options.OnError].
//
// # Order
//
// The messages of one goroutine are sent in the order of its calls. One goroutine calls handlers and hooks one at a time,
// in the order in which messages arrive. Replies to [Client.Request] bypass the handlers.
//
// # Groups
//
// [Client.Subscribe] and [Client.Unsubscribe] change the Client's groups while it is connected. When Subscribe returns,
// nothing is missed that is sent to the groups from then on. The groups stay after a reconnect, and in a move nothing that
// is sent to them is lost. [Client.SetWeight] with 0 pauses a worker: it gets no more messages by [Any], and stays in its
// groups.
//
// # Groups with history
//
// In a group of which the hub keeps messages, the Client gets what it missed while it had no connection, each message once and
// in order. [Options.OnGap] is called where the hub can't make up for some. [Options.Recover] begins behind positions of your
// own, and [Options.Positions], such as a [PositionsFile], behind what the program had handled when it ended: what a handler did
// not finish then comes again. [Message.Offset] is a message's number.
//
// # Slow handlers
//
// Received messages wait for handlers in a queue of [Options.ReceiveQueue] messages. When the queue is full, the Client
// stops reading. The hub then buffers for this slow consumer and finally disconnects it with SLOW_CONSUMER. A handler that
// takes long should start a goroutine.
//
//   - A handler that calls Request or SendAcked while the queue is full waits for an answer that is not being read. It needs
//     a context with a deadline, or a goroutine of its own.
//   - A handler that calls Send needs no deadline: reconnecting and moving do not wait for handlers.
//   - Queued messages survive a reconnect. The one message that found the queue full when its connection broke is lost.
//   - Connections that came and went while the queue was full are not reported to OnConnect and OnDisconnect.
//
// # Panics
//
// A panic in a handler or hook does not end the program. The Client logs it with the message's event, id and sender, and goes
// on with the next message. A request that the handler was to answer gets no reply.
//
// # Reconnecting
//
// After a lost connection the Client waits for a random time and reconnects. The wait is at most [Options.MinBackoff] and
// doubles with each failure up to [Options.MaxBackoff]. Groups and handlers stay. The client's id changes, and messages
// sent to it in the meantime are lost.
//
// A hub that does not know the token, or does not let it join a group, refuses the connection (IDENTIFY_FAILED). The Client
// logs that as an error and tries again with long waits: after about 5 s, and up to 5 minutes after repeated refusals. With
// [Options.StopOnAuthError] it ends instead. A client that an operator kicks (KICKED) reconnects; to keep it out, revoke its
// token.
//
// Otherwise only Close ends a Client, and before the first connection an answer to the handshake that shows a wrong URL:
// see [HandshakeError].
//
// [TokenFile] reads the token from a file for each connection. Use it for tokens that are replaced while the service runs,
// such as the projected token of a Kubernetes service account.
//
// # Moving
//
// A hub sends DRAIN to ask a client to move to another connection: before a restart, to balance the load, or before its
// token expires. The Client moves by itself unless [Options.NoDrain] is set. It waits for its slot, opens a second
// connection with the same options and a token from [Options.TokenSource], and then leaves the first one. No message is
// lost or duplicated, and the order of each sender's messages is kept in both directions. Sends wait for some milliseconds
// while the Client changes over.
//
//   - The client's id changes when it starts to send on the new connection. [Client.Identity] returns the new id from then
//     on, and [Options.OnConnect] is called. [Options.OnDisconnect] is not called.
//   - The old connection stays open until the answers that are due on it have arrived, at least for 500 ms, and at most until
//     shortly before the hub's deadline (30 s without one). Answers that are then missing end with ErrOutcomeUnknown. A
//     message to the old id that comes later is refused with [ErrNoReceiver].
//   - A failed attempt, even a refused one, is repeated with the waits of a reconnect as long as the old connection lives. If
//     the old connection ends first, the Client reconnects and calls OnDisconnect. The hub then disconnects all remaining
//     clients at once, so each adds the delay of its slot, modulo [Options.MaxBackoff], to its first wait.
//   - If the old connection breaks once the new one receives everything, OnDisconnect is not called. Messages to the old id
//     that were on their way are lost, and calls that await answers there end with ErrOutcomeUnknown.
//   - An instance of an earlier release does not support moving. The Client moves there with a warning in the log and the
//     guarantees of a reconnect.
//   - To rebalance, a Client that reaches its old instance again tries twice more and then stays. Before a token expires, a
//     Client moves only when TokenSource returns a different token.
//   - Messages are held back until no earlier one can be missing: at most 4,096 messages and 8 MiB per connection, beyond
//     which the connection is not read. FENCEs from the hub show this. If none arrives within 10 s, because the instances
//     can't reach each other, the Client moves with a warning in the log and the guarantees of a reconnect.
//   - Two messages of one sender to a single receiver (DIRECT, ANY) with no group message between them can change their
//     order if the first arrives on the new connection and the second on the old one. This takes a sender that goes back to
//     the old id, or two ANY within the milliseconds until its instance prefers the new connection.
//   - A move sends at most 40 FENCEs a second on each connection. They don't count against the rate of the token.
//
// # Presence
//
// [Client.Watch] tells who is in a group. A [Watch] has the set of its members, which is whole at any time, and calls
// [WatchOptions].OnChange for what changes. The set stays through a reconnect, after which OnChange gets the difference. While
// the Client moves, the set is that of the connection that it leaves until the new one has told all.
//
// # Concurrency
//
// All methods may be called from any goroutine. While it is connected, a Client has four goroutines: one connects, one
// reads, one writes, one calls handlers. A move adds three more. None is left when [Client.Close] returns nil.
package client
