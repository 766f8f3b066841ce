package client_test

import (
	"context"
	"log"
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/transport"
)

// exampleHub is a hub in this process, for an example.
type exampleHub struct {
	*hub.Hub
	url string
}

// startHub starts a hub of its own.
func startHub() *exampleHub { return startInstance("hub", memory.NewBus()) }

// startInstance starts an instance of a hub whose instances share a bus.
func startInstance(name string, bus *memory.Bus) *exampleHub {
	discard := slog.New(slog.DiscardHandler)
	orders, err := intent.ParsePattern("orders.*")
	if err != nil {
		log.Fatal(err)
	}
	o := hub.Options{
		Transport: transport.DefaultOptions(1), PingInterval: time.Minute, IdentifyTimeout: time.Minute, NodeName: name,
		Tokens: auth.NewStore(auth.SharedToken("secret")), Broker: bus.Broker(), PresenceMembers: 1000, RequestMemory: 64 << 20,
		Log: discard,
		History: []hub.HistoryRule{{
			Groups: intent.Patterns{orders}, MaxGroups: 10, Limits: broker.Limits{Messages: 1000, Age: 24 * time.Hour, Bytes: 1 << 20},
		}},
	}
	o.Transport.Log = ratelog.New(discard)
	h, err := hub.New(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	addr, err := h.ListenWebSocket(context.Background(), "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return &exampleHub{h, "ws://" + addr.String()}
}

func (h *exampleHub) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		log.Fatal(err)
	}
}

// connect connects to the hub. The caller closes the Client.
func (h *exampleHub) connect(o client.Options) *client.Client {
	o.URL, o.Token = h.url, "secret"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		log.Fatal(err)
	}
	return c
}
