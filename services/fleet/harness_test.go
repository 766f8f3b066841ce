package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
	"github.com/mastersocket/mastersocket/services/socketio"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		hubtest.Cleanup()
		os.Exit(code)
	}))
}

// patience bounds waits for what happens at once unless the test fails.
const patience = 30 * time.Second

// botToken is what hello gives. No log may have it.
const botToken = "bot-token-that-no-log-may-have"

// tokens of the tests.
const (
	sharedToken = "shared-secret-secret"
	botsToken   = "bots-secret-secret-x"
	otherToken  = "other-secret-secret-x"
)

// logs collects what a hub logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// node is an instance with fleets.
type node struct {
	t     testing.TB
	hub   *hub.Hub
	fleet *Service
	addr  string // host:port
	log   *logs
}

// start starts an instance on a free port.
func start(t testing.TB, o Options, b broker.Broker, change func(*hub.Options)) *node {
	t.Helper()
	n := &node{t: t, fleet: New(o), log: &logs{}}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tokens, err := auth.Combine(auth.SharedToken(sharedToken), table(t))
	if err != nil {
		t.Fatal(err)
	}
	ho := hub.Options{
		Transport:       transport.DefaultOptions(2),
		PingInterval:    30 * time.Second,
		IdentifyTimeout: 10 * time.Second,
		NodeName:        t.Name(),
		Tokens:          auth.NewStore(tokens),
		Broker:          b,
		Services:        []hub.ServiceType{socketio.New(socketio.Options{Application: n.fleet}), n.fleet},
		Log:             log,
	}
	ho.Transport.Log = ratelog.New(log)
	ho.Transport.SweepInterval = 20 * time.Millisecond
	if change != nil {
		change(&ho)
	}
	if n.hub, err = hub.New(t.Context(), ho); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.close()
		if text := n.log.String(); strings.Contains(text, botToken) || strings.Contains(text, "panic") {
			t.Errorf("the log has a token or a panic:\n%s", text)
		}
	})
	addr, err := n.hub.ListenWebSocket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr.String())
	n.addr = net.JoinHostPort("127.0.0.1", port)
	return n
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.hub.Close(ctx); err != nil {
		n.t.Error(err)
	}
}

// table returns tokens with few rights.
func table(t testing.TB) *auth.Tokens {
	t.Helper()
	tokens, err := auth.ParseTokens([]byte("tokens:\n" +
		"  - {name: bots, sha256: " + auth.Hash(botsToken) + ", groups: [fleet.helium], send: [DIRECT]}\n" +
		"  - {name: other, sha256: " + auth.Hash(otherToken) + ", groups: [other], send: [DIRECT]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// settings returns those of the default fleet and of the fleet helium.
func settings(c lifecycle.Config) []Settings {
	c.VitalCogs = []string{"vital"}
	return []Settings{{Name: DefaultName, Token: botToken, Config: c}, {Name: "helium", Token: botToken, Config: c}}
}

// alone starts a single instance.
func alone(t testing.TB, c lifecycle.Config) *node {
	t.Helper()
	return start(t, Options{Fleets: settings(c)}, memory.NewBus().Broker(), nil)
}

// conn is a client that believes nothing.
type conn struct {
	t  testing.TB
	ws *websocket.Conn
	id string
}

func dial(t testing.TB, url string) *conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &conn{t: t, ws: ws}
}

func (c *conn) send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) next() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return string(b)
}

func (c *conn) expect(all ...string) {
	c.t.Helper()
	for _, want := range all {
		if got := c.next(); got != want {
			c.t.Fatalf("got %s\nwant %s", got, want)
		}
	}
}

// closed waits for the end and returns its close code.
func (c *conn) closed() int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.ws.Read(ctx); err != nil {
			return int(websocket.CloseStatus(err))
		}
	}
}

// connect sends CONNECT with a payload and returns the answer.
func (n *node) connect(payload string) (*conn, string) {
	n.t.Helper()
	c := dial(n.t, "ws://"+n.addr+"/socket.io/?EIO=4&transport=websocket")
	if open := c.next(); !strings.HasPrefix(open, `0{"sid":"`) {
		n.t.Fatal(open)
	}
	c.send("40" + payload)
	return c, c.next()
}

// bot connects a bot.
func (n *node) bot(payload string) *conn {
	n.t.Helper()
	c, answer := n.connect(payload)
	var sid struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(answer, "40")), &sid); err != nil || len(sid.SID) != 36 {
		n.t.Fatalf("CONNECT was answered with %s", answer)
	}
	c.id = sid.SID
	return c
}

// The frames of the tests.
const (
	helloTrue  = `42["hello",{"token":"` + botToken + `","process_commands":true}]`
	helloFalse = `42["hello",{"token":"` + botToken + `","process_commands":false}]`
	cmdOK      = `42["cmd",{"t":"ok","d":{}}]`
	cmdProcess = `42["cmd",{"t":"process_commands","d":{"token":"` + botToken + `"}}]`
	cmdHealth  = `42["cmd",{"t":"health_check","d":{}}]`
	acked      = `431[]`
)

func cmd(verb, reason string) string {
	return `42["cmd",{"t":"` + verb + `","d":{"reason":"` + reason + `"}}]`
}

// ask sends an event with an acknowledgement, whose id is 1.
func (c *conn) ask(event, argument string) {
	c.t.Helper()
	if argument != "" {
		argument = "," + argument
	}
	c.send(`421["` + event + `"` + argument + `]`)
}

// identify sends the version, and expects the hello.
func (c *conn) identify(version, hello string) {
	c.t.Helper()
	c.ask("identify", `{"version":"`+version+`"}`)
	c.expect(hello, acked)
}

// agent is a client of the hub that plays a fleet's agent.
type agent struct {
	*conn
	fleet string
}

func (n *node) agent(fleet string) *agent {
	n.t.Helper()
	c := dial(n.t, "ws://"+n.addr+"/")
	c.send(`{"op":1,"data":{"token":"` + sharedToken + `","group":"` + wire.AgentGroup(fleet) + `"}}`)
	c.next()
	a := &agent{c, fleet}
	a.say(wire.EventHere, wire.Word{})
	return a
}

func (a *agent) say(event string, w wire.Word) {
	a.t.Helper()
	w.Fleet = a.fleet
	data, err := json.Marshal(w)
	if err != nil {
		a.t.Fatal(err)
	}
	a.send(`{"op":0,"event":"` + event + `","data":` + string(data) + `,"intent":{"target":"GROUP","identifier":"` + wire.Words + `"}}`)
}

// task returns the next task, which must be that.
func (a *agent) task(do string) wire.Task {
	a.t.Helper()
	var m struct {
		Event string
		Data  wire.Task
	}
	if err := json.Unmarshal([]byte(a.next()), &m); err != nil || m.Event != wire.EventTask || m.Data.Do != do || m.Data.Fleet != a.fleet {
		a.t.Fatalf("%+v %v, want %s", m, err, do)
	}
	return m.Data
}

func (a *agent) done(t wire.Task, revision string) {
	a.t.Helper()
	a.say(wire.EventDone, wire.Word{Task: t.Task, OK: true, Revision: revision})
}
