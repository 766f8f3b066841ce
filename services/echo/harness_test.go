package echo

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/services/echo/wire"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what happens at once unless the test fails.
const patience = 30 * time.Second

// node is an instance that serves echo.
type node struct {
	t    testing.TB
	hub  *hub.Hub
	echo *Type
	addr string // host:port
}

// start starts an instance on a free port.
func start(t testing.TB, b broker.Broker, limits Limits, loops int) *node {
	t.Helper()
	return startWith(t, b, limits, loops, func(*hub.Options) {})
}

// startWith is start with changed options of the hub.
func startWith(t testing.TB, b broker.Broker, limits Limits, loops int, change func(*hub.Options)) *node {
	t.Helper()
	e := New(limits)
	log := slog.New(slog.DiscardHandler)
	o := hub.Options{
		Transport:       transport.DefaultOptions(loops),
		PingInterval:    30 * time.Second,
		IdentifyTimeout: 10 * time.Second,
		NodeName:        t.Name(),
		Tokens:          auth.NewStore(auth.SharedToken("secret")),
		Broker:          b,
		Services:        []hub.ServiceType{e},
		Log:             log,
	}
	o.Transport.Log = ratelog.New(log)
	change(&o)
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
	return &node{t, h, e, addr.String()}
}

// alone starts a single instance.
func alone(t testing.TB, limits Limits) *node {
	t.Helper()
	return start(t, memory.NewBus().Broker(), limits, 2)
}

// metric returns the value of one of the type's metrics.
func (n *node) metric(name string) int {
	n.t.Helper()
	for _, m := range n.echo.Metrics() {
		if m.Name == name {
			return int(m.Value)
		}
	}
	n.t.Fatalf("no metric %s", name)
	return 0
}

// awaitMetric waits until a metric has a value.
func (n *node) awaitMetric(name string, value int) {
	n.t.Helper()
	if err := eventually.Within(patience, func() bool { return n.metric(name) == value }); err != nil {
		n.t.Fatalf("%s is %d, want %d", name, n.metric(name), value)
	}
}

// awaitClients waits until this instance knows of count identified connections in the cluster.
func (n *node) awaitClients(count int) {
	n.t.Helper()
	if err := eventually.Within(patience, func() bool { return n.hub.Stats().Clients == count }); err != nil {
		n.t.Fatalf("%d clients, want %d", n.hub.Stats().Clients, count)
	}
}

// awaitZero waits until no state of any connection remains.
func (n *node) awaitZero() {
	n.t.Helper()
	n.awaitClients(0)
	n.awaitMetric("waiting", 0)
	n.awaitMetric("given", 0)
	for _, l := range n.echo.loops { // messages go back to senders in separate turns
		left := 0
		look := func() bool {
			done := make(chan int, 1)
			if l.on.Post(func() { done <- len(l.waiting.byHash) + len(l.returns) }) {
				left = <-done
			}
			return left == 0
		}
		if err := eventually.Within(patience, look); err != nil {
			n.t.Errorf("%d things are left on a loop", left)
		}
	}
}

// talker is a client on a WebSocket implementation other than the hub's.
type talker struct {
	t    testing.TB
	ctx  context.Context
	conn *websocket.Conn
}

// dial connects and waits until the connection is active.
func (n *node) dial() *talker {
	n.t.Helper()
	before := n.hub.Stats().Clients
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	n.t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, "ws://"+n.addr+wire.Path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	n.awaitClients(before + 1)
	return &talker{n.t, ctx, conn}
}

// raw connects a client that can send invalid bytes.
func (n *node) raw() *rawclient.Conn {
	n.t.Helper()
	before := n.hub.Stats().Clients
	c, err := rawclient.Dial(n.addr, rawclient.Options{Timeout: patience})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	if err := c.Upgrade(wire.Path); err != nil {
		n.t.Fatal(err)
	}
	n.awaitClients(before + 1)
	return c
}

func (c *talker) send(s string) {
	c.t.Helper()
	if err := c.conn.Write(c.ctx, websocket.MessageText, []byte(s)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *talker) read() string {
	c.t.Helper()
	typ, b, err := c.conn.Read(c.ctx)
	if err != nil || typ != websocket.MessageText {
		c.t.Fatalf("got a message of type %v, %v", typ, err)
	}
	return string(b)
}

func (c *talker) want(s string) {
	c.t.Helper()
	if got := c.read(); got != s {
		c.t.Fatalf("got %s, want %s", brief(got), brief(s))
	}
}

// wantClosed waits for the end of the connection.
func (c *talker) wantClosed(code websocket.StatusCode, reason string) {
	c.t.Helper()
	for {
		_, _, err := c.conn.Read(c.ctx)
		if err == nil {
			continue
		}
		if got := websocket.CloseStatus(err); got != code || !strings.Contains(err.Error(), reason) {
			c.t.Errorf("closed with %v, want %d %s", err, code, reason)
		}
		return
	}
}

// leave runs the closing handshake to its end.
func (c *talker) leave() {
	c.t.Helper()
	if err := c.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		c.t.Error(err)
	}
}

func brief(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
