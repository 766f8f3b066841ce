package socketio

import (
	"context"
	"crypto/tls"
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
	t      testing.TB
	hub    *hub.Hub
	all    *Type
	addr   string // host:port
	secure string // host:port of a listener with TLS; empty for none
}

// start starts an instance on a free port.
func start(t testing.TB, all *Type, b broker.Broker, change func(*hub.Options)) *node {
	t.Helper()
	return startAt(t, "127.0.0.1:0", all, b, change)
}

// startAt starts an instance on an address.
func startAt(t testing.TB, address string, all *Type, b broker.Broker, change func(*hub.Options)) *node {
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
	addr, err := h.ListenWebSocket(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return &node{t: t, hub: h, all: all, addr: net.JoinHostPort("127.0.0.1", port)}
}

// listenTLS has the instance listen on an address over TLS, too.
func (n *node) listenTLS(address string, certificate tls.Certificate) {
	n.t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	addr, err := n.hub.ListenWebSocketTLS(n.t.Context(), address, func() *tls.Config { return config })
	if err != nil {
		n.t.Fatal(err)
	}
	n.secure = addr.String()
}

// alone starts a single instance.
func alone(t testing.TB) *node {
	t.Helper()
	bus := memory.NewBus()
	return start(t, New(Options{}), bus.Broker(), nil)
}

// hangingListener returns an address that takes connections and never answers.
func hangingListener(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
