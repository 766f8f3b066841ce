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
// overflow it decides about. A handler that calls Request with the queue full waits for a reply that nobody reads:
// give it a context with a deadline, or a goroutine of its own.
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
// # Concurrency
//
// All methods may be called from any goroutine. A Client has three goroutines of its own while it is connected (one that
// connects and reads, one that writes, one that calls handlers); none is left when [Client.Close] has returned nil.
package client
