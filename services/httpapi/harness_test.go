package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/handshake"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what happens at once unless the test fails.
const patience = 60 * time.Second

// tokens are those of the tests; the token of an entry is its name.
var tokens = `tokens:
- {name: all, sha256: ` + auth.Hash("all") + `, groups: "*", send: "*"}
- {name: cron, sha256: ` + auth.Hash("cron") + `, groups: [], send: ["GROUP:jobs", "ANY:workers", "GROUP:workers"]}
- {name: slow, sha256: ` + auth.Hash("slow") + `, groups: [], send: "*", rate: 0.001, burst: 3}
- {name: single, sha256: ` + auth.Hash("single") + `, groups: [], send: "*", total_connections: 1}
`

// node is an instance that serves HTTP.
type node struct {
	t    testing.TB
	hub  *hub.Hub
	all  *Type
	addr string // host:port
}

func start(t testing.TB, b broker.Broker, change func(*hub.Options)) *node {
	t.Helper()
	log, all := slog.New(slog.DiscardHandler), New()
	table, err := auth.ParseTokens([]byte(tokens))
	if err != nil {
		t.Fatal(err)
	}
	o := hub.Options{
		Transport: transport.DefaultOptions(2), PingInterval: 30 * time.Second, IdentifyTimeout: 10 * time.Second,
		NodeName: t.Name(), Tokens: auth.NewStore(table), Broker: b, Services: []hub.ServiceType{all}, Log: log,
	}
	o.Transport.Log = ratelog.New(log)
	o.Transport.SweepInterval = 20 * time.Millisecond
	o.Transport.Origins, err = handshake.ParseOrigins([]string{"https://app.example"})
	if err != nil {
		t.Fatal(err)
	}
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
	return &node{t, h, all, addr.String()}
}

// onSites runs a test with one instance, with three of one process, and with three over Redis.
func onSites(t *testing.T, f func(t *testing.T, all []*node)) {
	for name, site := range map[string]struct {
		instances int
		redis     bool
	}{"one": {1, false}, "three": {3, false}, "redis": {3, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus, url := memory.NewBus(), ""
			if site.redis {
				url = redistest.Start(t).URL()
			}
			var all []*node
			for range site.instances {
				b := broker.Broker(nil)
				if b = bus.Broker(); site.redis {
					r, err := redis.New(redis.Options{URL: url, Prefix: "ms", Logger: slog.New(slog.DiscardHandler)})
					if err != nil {
						t.Fatal(err)
					}
					b = r
				}
				all = append(all, start(t, b, nil))
			}
			f(t, all)
		})
	}
}

// last returns the last of the instances.
func last(all []*node) *node { return all[len(all)-1] }

// client connects a client with handlers.
func (n *node) client(group string, on map[string]client.Handler) *client.Client {
	n.t.Helper()
	c, err := client.Connect(n.t.Context(), client.Options{URL: "ws://" + n.addr, Token: "all", Group: group, On: on})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// sees waits until the instance knows so many members of a group.
func (n *node) sees(group string, members int) {
	n.t.Helper()
	eventually.True(n.t, "the members are known", func() bool {
		ctx, cancel := context.WithTimeout(n.t.Context(), patience)
		defer cancel()
		found, err := n.hub.Clients(ctx, hub.Filter{Group: group}, "", 100)
		if err != nil || len(found.Clients) != members {
			return false
		}
		status, body := n.post("all", requestsPath, `{"event":"?","intent":{"target":"GROUP","identifier":"`+group+`"},"timeout_ms":1}`)
		var a answered
		return json.Unmarshal([]byte(body), &a) == nil && a.Receivers == members && status != 0
	})
}

// answered is the answer to a request, or a problem.
type answered struct {
	ID                         string
	Title, Detail              string
	Status                     int
	Replies                    []replied
	Omitted                    int
	Receivers, Replied, Passed int
	Missing                    []struct{ ID, Name, Node, Reason string }
}

type replied struct {
	Sender string
	Data   json.RawMessage
	Error  json.RawMessage
	More   bool
}

// call makes a call on a connection of its own.
func (n *node) call(method, path, body string, header http.Header) (*http.Response, string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+n.addr+path, bytes.NewReader([]byte(body)))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header = header
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return res, string(b)
}

// post calls with a token.
func (n *node) post(token, path, body string) (int, string) {
	n.t.Helper()
	res, answer := n.call("POST", path, body, http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}})
	if res.StatusCode >= 400 != strings.HasPrefix(res.Header.Get("Content-Type"), problemType) {
		n.t.Errorf("%d has the type %q", res.StatusCode, res.Header.Get("Content-Type"))
	}
	return res.StatusCode, answer
}

// ask makes a request.
func (n *node) ask(token, body string) (int, answered) {
	n.t.Helper()
	status, text := n.post(token, requestsPath, body)
	var a answered
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		n.t.Errorf("%s: %v", text, err)
	}
	return status, a
}
