package hub

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if !reflect.ValueOf(noExtra).IsZero() {
			fmt.Fprintf(os.Stderr, "noExtra was changed: %+v\n", noExtra)
			code = 1
		}
		os.Exit(code)
	}))
}

const testToken = "secret"

// startHub starts a hub on a free port of the loopback interface and returns its URL.
func startHub(t testing.TB, b broker.Broker, change func(*Options)) (*Hub, string) {
	t.Helper()
	tokens := auth.SharedToken(testToken)
	log := slog.New(slog.DiscardHandler)
	o := Options{
		Transport:       transport.DefaultOptions(2),
		PingInterval:    30 * time.Second,
		IdentifyTimeout: 10 * time.Second,
		NodeName:        t.Name(),
		Tokens:          auth.NewStore(tokens),
		Broker:          b,
		Log:             log,
	}
	o.Transport.Log = ratelog.New(log)
	if change != nil {
		change(&o)
	}
	h, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	addr, err := h.ListenWebSocket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + addr.String() + "/"
	started.Store(url, h)
	t.Cleanup(func() { started.Delete(url) })
	return h, url
}

// started has the hub of each URL that startHub returned.
var started sync.Map

// peer is a client that is not ours.
type peer struct {
	t    testing.TB
	ctx  context.Context
	url  string
	conn *websocket.Conn
	id   string
}

// frame is an envelope as a client sees it.
type frame struct {
	Op     int            `json:"op"`
	ID     string         `json:"id"`
	Event  string         `json:"event"`
	Data   any            `json:"data"`
	Intent map[string]any `json:"intent"`
	Sender string         `json:"sender"`
	Offset uint64         `json:"offset"`
}

type m = map[string]any

func connect(t testing.TB, url string) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &peer{t: t, ctx: ctx, url: url, conn: conn}
}

// identify connects a client and identifies it; extra are further members of IDENTIFY's data.
func identify(t testing.TB, url, group string, extra m) *peer {
	t.Helper()
	p := connect(t, url)
	data := m{"token": testToken, "group": group}
	for k, v := range extra {
		data[k] = v
	}
	p.send(m{"op": 1, "data": data})
	answer := p.read()
	d, _ := answer.Data.(m)
	if answer.Op != 1 || d["id"] == nil {
		t.Fatalf("IDENTIFY was answered with %+v", answer)
	}
	p.id, _ = d["id"].(string)
	return p
}

func (p *peer) send(v any) {
	p.t.Helper()
	if err := wsjson.Write(p.ctx, p.conn, v); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read() frame {
	p.t.Helper()
	var f frame
	if err := wsjson.Read(p.ctx, p.conn, &f); err != nil {
		p.t.Fatal(err)
	}
	return f
}

// fence returns the messages that were sent to the client before, from any loop and any instance: those that come before a
// message to it that crosses the broker behind them. Its hub sends that, as the client may lack the right to.
func (p *peer) fence() []frame {
	p.t.Helper()
	found, ok := started.Load(p.url)
	if !ok || p.id == "" {
		p.t.Fatal("a fence needs a hub and a client that has identified itself")
	}
	h := found.(*Hub)
	grant, _ := auth.NewStore(auth.SharedToken(testToken)).Authenticate(testToken)
	last := rand.Text()
	if r, err := h.Publish(p.ctx, h.Caller(Credential{Grant: grant}), []byte(`{"op":0,"event":"`+last+`","intent":{"target":"DIRECT","identifier":"`+p.id+`"}}`)); err != nil {
		p.t.Fatalf("a fence: %+v, %v", r, err)
	}
	var before []frame
	for {
		f := p.read()
		if f.Event == last {
			return append(before, p.pong()...)
		}
		before = append(before, f)
	}
}

// pong returns the messages before the answer to a HEARTBEAT: what the client's loop had for it, and perhaps more. What others
// sent may still be on its way through the broker.
func (p *peer) pong() []frame {
	p.t.Helper()
	p.send(m{"op": 3})
	var before []frame
	for {
		f := p.read()
		if f.Op == 4 {
			return before
		}
		before = append(before, f)
	}
}

// decode parses a message.
func decode(t testing.TB, typ websocket.MessageType, b []byte) frame {
	t.Helper()
	var f frame
	if err := json.Unmarshal(b, &f); err != nil || typ != websocket.MessageText {
		t.Errorf("got a message of type %v: %q: %v", typ, b, err)
	}
	return f
}

func closeCode(err error) int { return int(websocket.CloseStatus(err)) }

func TestGroupEvent(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), nil)
	a := identify(t, url, "workers", nil)
	b := identify(t, url, "workers", nil)
	other := identify(t, url, "others", nil)
	a.send(m{"op": 0, "event": "hi", "data": m{"n": 1}, "intent": m{"target": "GROUP", "identifier": "workers"}})
	for _, p := range []*peer{a, b} {
		f := p.read()
		if f.Event != "hi" || f.Sender != a.id || f.ID == "" {
			t.Fatalf("got %+v", f)
		}
	}
	if got := other.fence(); len(got) > 0 {
		t.Fatalf("a client outside the group got %+v", got)
	}
}
