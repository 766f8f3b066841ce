package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/transport"
)

// The examples run against a hub in this process. Others take the address of theirs, such as ws://127.0.0.1:42069.

// A service connects, identifies and closes.
func ExampleConnect() {
	hub := startHub()
	defer hub.stop()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{
		URL: hub.url, Token: "secret", Group: "workers", Groups: []string{"audit"}, Name: "resizer", Version: "1.2",
		Meta: map[string]string{"zone": "a"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	fmt.Println(c.Groups(), "on", c.Identity().Node)
	// Output: [workers audit] on hub
}

// The hub's answer to a wrong address ends Connect; all else is tried again until the context ends.
func ExampleHandshakeError() {
	website := httptest.NewServer(http.NotFoundHandler())
	defer website.Close()

	_, err := client.Connect(context.Background(), client.Options{
		URL: strings.Replace(website.URL, "http", "ws", 1), Token: "secret", Group: "workers",
	})
	var refused *client.HandshakeError
	if errors.As(err, &refused) {
		fmt.Println("HTTP status", refused.Status)
	}
	// Output: HTTP status 404
}

// A hub that does not know the token ends a Client with StopOnAuthError.
func ExampleDisconnectError() {
	hub := startHub()
	defer hub.stop()

	_, err := client.Connect(context.Background(), client.Options{
		URL: hub.url, Token: "another", Group: "workers", StopOnAuthError: true, Logger: slog.New(slog.DiscardHandler),
	})
	var disconnected *client.DisconnectError
	if errors.As(err, &disconnected) {
		fmt.Println(disconnected.Reason)
	}
	// Output: IDENTIFY_FAILED
}

// The token is read from a file for each connection.
func ExampleTokenFile() {
	hub := startHub()
	defer hub.stop()
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{URL: hub.url, TokenSource: client.TokenFile(file), Group: "workers"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	fmt.Println(c.Groups())
	// Output: [workers]
}

// TLS, with the certificate of an authority of one's own.
func ExampleOptions_tls() {
	hub := startHub()
	defer hub.stop()
	issuer := httptest.NewTLSServer(nil) // has a certificate for 127.0.0.1
	issuer.Close()
	config := transport.NewTLSConfig(issuer.TLS.Certificates[0], nil)
	addr, err := hub.ListenWebSocketTLS(context.Background(), "127.0.0.1:0", func() *tls.Config { return config })
	if err != nil {
		log.Fatal(err)
	}

	trusted := x509.NewCertPool()
	trusted.AddCert(issuer.Certificate())
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{
		URL: "wss://" + addr.String(), Token: "secret", Group: "workers", TLSConfig: &tls.Config{RootCAs: trusted},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	fmt.Println(c.Groups())
	// Output: [workers]
}

// After a lost connection the Client reconnects by itself. Hooks tell.
func ExampleOptions_reconnect() {
	hub := startHub()
	defer hub.stop()

	connected := make(chan string, 2)
	c := hub.connect(client.Options{
		Group: "workers", MinBackoff: time.Millisecond,
		OnConnect:    func(id client.Identity) { connected <- id.ID },
		OnDisconnect: func(reason error) { fmt.Println(reason) },
	})
	defer c.Close(context.Background())
	first := <-connected
	if _, err := hub.Kick(context.Background(), uuid.MustParse(first)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("again, with the same id:", <-connected == first)
	// Output:
	// disconnected by the hub: KICKED (4010)
	// again, with the same id: false
}

// An instance that is about to restart asks its clients to move. No message is lost, and OnDisconnect is not called.
func ExampleOptions_move() {
	bus := memory.NewBus()
	hubs := []*exampleHub{startInstance("first", bus), startInstance("second", bus)}
	defer hubs[0].stop()
	defer hubs[1].stop()

	connected := make(chan string, 2)
	var dialed atomic.Int32
	c := hubs[0].connect(client.Options{
		Group:        "workers",
		OnConnect:    func(id client.Identity) { connected <- id.Node },
		OnDisconnect: func(reason error) { fmt.Println("lost:", reason) },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { // as a load balancer would
			var d net.Dialer
			return d.DialContext(ctx, network, strings.TrimPrefix(hubs[min(dialed.Add(1), 2)-1].url, "ws://"))
		},
	})
	defer c.Close(context.Background())
	fmt.Println("connected to", <-connected)
	if err := hubs[0].Drain(context.Background(), time.Minute); err != nil { // returns when all clients are gone
		log.Fatal(err)
	}
	fmt.Println("connected to", <-connected)
	// Output:
	// connected to first
	// connected to second
}

// A Client tells when it has ended, and why.
func ExampleClient_Done() {
	hub := startHub()
	defer hub.stop()

	c := hub.connect(client.Options{Group: "workers"})
	go c.Close(context.Background())
	<-c.Done()
	fmt.Println(errors.Is(c.Err(), client.ErrClosed))
	// Output: true
}

// Send returns when the message is written. What the hub refuses then is told to OnError.
func ExampleClient_Send() {
	hub := startHub()
	defer hub.stop()

	refused := make(chan *client.HubError)
	c := hub.connect(client.Options{Group: "workers", OnError: func(err *client.HubError) { refused <- err }})
	defer c.Close(context.Background())
	if err := c.Send(context.Background(), client.Group("audit"), "started", nil); err != nil {
		log.Fatal(err)
	}
	err := <-refused
	fmt.Println(err.Event, "to", err.Intent, err.Code)
	// Output: started to GROUP:audit NO_RECEIVER
}

// SendAcked returns when the hub has handed the message to every instance that has a receiver.
func ExampleClient_SendAcked() {
	hub := startHub()
	defer hub.stop()
	c := hub.connect(client.Options{Group: "workers"})
	defer c.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	instances, err := c.SendAcked(ctx, client.Group("workers"), "hi", map[string]int{"n": 1})
	fmt.Println(instances, err)
	_, err = c.SendAcked(ctx, client.Group("audit"), "hi", nil)
	fmt.Println(errors.Is(err, client.ErrNoReceiver))
	// Output:
	// 1 <nil>
	// true
}

// Many messages are on their way at once.
func ExampleClient_Queue() {
	hub := startHub()
	defer hub.stop()
	c := hub.connect(client.Options{Group: "workers"})
	defer c.Close(context.Background())

	ctx := context.Background()
	var receipts []*client.Receipt
	for i := range 100 {
		r, err := c.Queue(ctx, client.Group("workers"), "step", i)
		if err != nil {
			log.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	acked := 0
	for _, r := range receipts {
		if _, err := r.Wait(ctx); err == nil {
			acked++
		}
	}
	fmt.Println(acked)
	// Output: 100
}

// A message has an id of the sender's choice, by which receivers recognize it.
func ExampleWithID() {
	hub := startHub()
	defer hub.stop()
	ids := make(chan string)
	c := hub.connect(client.Options{
		Group: "workers", On: map[string]client.Handler{"hi": func(_ context.Context, m *client.Message) { ids <- m.ID }},
	})
	defer c.Close(context.Background())

	if err := c.Send(context.Background(), client.Group("workers"), "hi", nil, client.WithID("order-7")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-ids)
	// Output: order-7
}

// Handlers get messages by the name of the event, one at a time, in their order. OnMessage gets all others.
func ExampleHandler() {
	hub := startHub()
	defer hub.stop()
	done := make(chan bool)
	c := hub.connect(client.Options{
		Group: "workers",
		On: map[string]client.Handler{
			"resize": func(_ context.Context, m *client.Message) {
				var job struct{ Width, Height int }
				if err := m.Unmarshal(&job); err != nil {
					fmt.Println("malformed job")
					return
				}
				fmt.Println("resize to", job.Width, "×", job.Height)
			},
		},
		OnMessage: func(_ context.Context, m *client.Message) {
			fmt.Println("what is", m.Event, "to", m.Intent, string(m.Data))
			close(done)
		},
	})
	defer c.Close(context.Background())

	ctx := context.Background()
	_ = c.Send(ctx, client.Group("workers"), "resize", map[string]int{"width": 3, "height": 4})
	_ = c.Send(ctx, client.Group("workers"), "resize", "soon")
	_ = c.Send(ctx, client.Any("workers"), "rotate", json.RawMessage(`{"by":90}`))
	<-done
	// Output:
	// resize to 3 × 4
	// malformed job
	// what is rotate to ANY:workers {"by":90}
}

// A handler is added to a Client that is connected, and removed.
func ExampleClient_On() {
	hub := startHub()
	defer hub.stop()
	c := hub.connect(client.Options{Group: "workers"})
	defer c.Close(context.Background())

	got := make(chan string)
	remove := c.On("hi", func(_ context.Context, m *client.Message) { got <- m.Event })
	if err := c.Send(context.Background(), client.Group("workers"), "hi", nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-got)
	remove()
	// Output: hi
}

// The four kinds of targets.
func ExampleParseIntent() {
	for _, to := range []client.Intent{client.Global(), client.Group("workers"), client.Any("workers"), client.Direct("6f9a1c3e")} {
		fmt.Println(to)
	}
	to, err := client.ParseIntent("GROUP:workers")
	fmt.Println(to == client.Group("workers"), err)
	// Output:
	// GLOBAL
	// GROUP:workers
	// ANY:workers
	// DIRECT:6f9a1c3e
	// true <nil>
}
