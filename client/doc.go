// Package client connects a Go service to a mastersocket hub: it identifies, sends events, subscribes to them by name,
// asks and answers, and comes back by itself when the connection is lost.
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
// # What a returned nil means
//
// [Client.Send] returns once the message was written to an identified connection, and waits for one while there is
// none, until its context ends. [Client.SendAcked] returns once the hub handed the message to every instance that has a
// receiver. No message is ever sent twice. An error means that the message was not sent, or was refused by the hub;
// only an error that is [ErrOutcomeUnknown] leaves it open, because the connection broke with the message on its way.
//
// The hub answers what it can't deliver with an error ([ErrNoReceiver], [ErrForbidden], …). It goes to whoever waits for
// the message's outcome; for a message of Send, for which nobody waits any more, to [Options.OnError].
//
// # Order
//
// What one goroutine sends goes out in the order of its calls, to whomever it goes. What arrives is handed to handlers
// and hooks in the order of arrival by one goroutine, one at a time. Replies to [Client.Request] don't pass through the
// handlers and don't wait for them.
//
// # Slow handlers
//
// Between the connection and the handlers lies a queue of [Options.ReceiveQueue] messages. When it is full the client
// stops reading, so that nothing is lost and the hub sees a slow consumer: it keeps what it can for it, then disconnects
// it with SLOW_CONSUMER. A handler that takes long should therefore start a goroutine, or send into a channel whose
// overflow it decides about. A handler that calls Request or SendAcked with the queue full waits for an answer that nobody
// reads: give it a context with a deadline, or a goroutine of its own. One that calls Send may wait without a deadline: a
// lost connection is made anew, and a move goes on, whatever handlers do. What waits for them stays; the message for which
// the queue of a lost connection had no room is lost with it. OnConnect and OnDisconnect don't mention connections that came
// and went while the queue was full.
//
// # Reconnecting
//
// A lost connection is made anew after a random wait of at most [Options.MinBackoff], which doubles with each failure up
// to [Options.MaxBackoff]. Groups and handlers stay; the client's id changes, and what was sent to it meanwhile is
// gone. Only these end a Client: Close, and the reason IDENTIFY_FAILED, which trying again can't mend (with
// [Options.TokenSource]: the same token refused twice). A client that was KICKED by an operator comes back; to keep it
// out, its token has to be revoked. Before the first connection, an HTTP status of 4xx ends it as well, since then most
// likely the URL is wrong.
//
// A token that is replaced while the service runs, such as a projected token of a Kubernetes service account, belongs in a
// file: [TokenFile] reads it anew for each connection.
//
// # Moving
//
// A hub that is about to be restarted, has more clients than other instances, or sees a token near its end asks its
// clients to connect anew (DRAIN). A Client does so by itself, unless [Options.NoDrain] is set: it waits for the slot that
// the hub gave it, makes a second connection with the same options, for which [Options.TokenSource] is asked anew, and only
// then leaves the first. Nothing is missed, nothing arrives twice, no sender's messages change their order, and what the
// Client sends keeps its own. Callers notice nothing but that sends wait for some milliseconds while they change over.
//
//   - The Client has another id then: [Client.Identity] says it from the moment at which messages are sent over the new
//     connection, and [Options.OnConnect] is called. [Options.OnDisconnect] is not.
//   - A call that was sent over the old connection gets its answer there, which keeps it open: until shortly before the hub
//     ends it or, where the hub doesn't, for 30 s at most. Then the outcome is unknown. It stays half a second in any case
//     for those who address the old id; whoever does so later gets [ErrNoReceiver].
//   - An attempt that fails, even one that is refused, is repeated with the waits of a reconnect while the old connection
//     lives. If that ends first the Client reconnects as ever, and OnDisconnect says that something may be missing. Everybody
//     who is still there is cut off in that instant, so that each waits for as long again as the hub told it to before,
//     modulo [Options.MaxBackoff].
//   - If the old connection breaks later, when the new one has all that goes to groups, OnDisconnect is not called. What was
//     on its way to the old id alone is gone then, and the outcome of calls that are due there is unknown.
//   - An instance of an earlier release, to which a client can't move in this way, is moved to as well as possible: with a
//     warning in the log, and no more promised than with a reconnect.
//   - To rebalance, a client that lands on its old instance tries twice more, then stays. When a token expires, a Client
//     does not move before TokenSource returns another one.
//   - Messages are held back until it is known that none before them is missing: up to 4,096 messages and 8 MiB of each
//     connection, beyond which it is not read. The hub's FENCEs tell; if these don't come within 10 s, because what connects
//     the instances is away, the Client moves without, logs a warning, and promises no more than with a reconnect.
//   - Two messages of one sender to a single receiver (DIRECT, ANY), with nothing to a group between them, can change their
//     order if the first comes over the new connection and the second over the old. That takes a sender that goes back
//     to the old id, or two ANY within the milliseconds until its instance knows which connection counts.
//   - A move sends some FENCEs, at most 40 a second over each connection. They don't count against the rate of a token.
//
// # Concurrency
//
// All methods may be called from any goroutine. A Client has four goroutines of its own while it is connected (one that
// connects, one that reads, one that writes, one that calls handlers), and three more for the time of a move; none is left
// when [Client.Close] has returned nil.
package client
