package socketio

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what happens at once unless the test fails.
const patience = 30 * time.Second

// node is an instance that serves Socket.IO.
type node struct {
	t    testing.TB
	hub  *hub.Hub
	all  *Type
	addr string // host:port
}

// start starts an instance on a free port.
func start(t testing.TB, all *Type, b broker.Broker, change func(*hub.Options)) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	o := hub.Options{
		Transport:       transport.DefaultOptions(2),
		PingInterval:    30 * time.Second,
		IdentifyTimeout: 10 * time.Second,
		NodeName:        t.Name(),
		Tokens:          auth.NewStore(auth.SharedToken("secret")),
		Broker:          b,
		Services:        []hub.ServiceType{all},
		Log:             log,
	}
	o.Transport.Log = ratelog.New(log)
	o.Transport.SweepInterval = 20 * time.Millisecond
	if change != nil {
		change(&o)
	}
	h, err := hub.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	addr, err := h.ListenWebSocket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return &node{t, h, all, net.JoinHostPort("127.0.0.1", port)}
}

// alone starts a single instance.
func alone(t testing.TB) *node {
	t.Helper()
	bus := memory.NewBus()
	return start(t, New(Options{}), bus.Broker(), nil)
}
