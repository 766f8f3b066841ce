package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "secret"

// awayBroker is a real broker that says it is not available.
type awayBroker struct{ broker.Broker }

func (awayBroker) State() broker.State {
	return broker.State{Since: time.Unix(0, 0), Err: "connection refused"}
}

// start runs a hub and its admin listener, and returns the URLs of both.
func start(t *testing.T, b broker.Broker, withoutBroker bool) (h *hub.Hub, hubURL, adminURL string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	o := hub.Options{
		Transport: transport.DefaultOptions(2), PingInterval: time.Minute, IdentifyTimeout: time.Minute, NodeName: "n",
		Tokens: auth.NewStore(auth.SharedToken(token)), Broker: b, WithoutBroker: withoutBroker, Log: log,
	}
	o.Transport.Log = ratelog.New(log)
	h, err := hub.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := h.ListenWebSocket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), "127.0.0.1:0", Options{Hub: h, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Close(ctx), h.Close(ctx)); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return h, "ws://" + addr.String(), "http://" + s.Addr().String()
}

func get(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func want(t *testing.T, url string, status int, part string) {
	t.Helper()
	if got, body := get(t, http.MethodGet, url); got != status || !strings.Contains(body, part) {
		t.Errorf("GET %s: %d %q, want %d and %q", url, got, body, status, part)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	h, _, url := start(t, memory.NewBus().Broker(), false)
	want(t, url+"/healthz", 200, "ok")
	want(t, url+"/readyz", 200, "ready")
	if err := h.Drain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	want(t, url+"/healthz", 200, "ok")
	want(t, url+"/readyz", 503, "draining")
}

func TestReadinessFollowsTheBroker(t *testing.T) {
	_, _, url := start(t, awayBroker{memory.NewBus().Broker()}, false)
	want(t, url+"/readyz", 503, "connection refused")
	want(t, url+"/healthz", 200, "ok")
	_, _, url = start(t, awayBroker{memory.NewBus().Broker()}, true)
	want(t, url+"/readyz", 200, "ready")
}

func TestUnknownPathsAndMethods(t *testing.T) {
	_, _, url := start(t, memory.NewBus().Broker(), false)
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 200}, {"GET", "/nothing", 404}, {"GET", "/healthz/../metrics/x", 404}, {"POST", "/healthz", 405},
		{"DELETE", "/metrics", 405}, {"HEAD", "/readyz", 200},
	} {
		if status, _ := get(t, tc.method, url+tc.path); status != tc.status {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.path, status, tc.status)
		}
	}
}

// sample is a line of the exposition format: name, labels, value.
var sample = regexp.MustCompile(`^([a-z_][a-z0-9_]*)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+0-9.eE]+$`)

func TestMetrics(t *testing.T) {
	h, hubURL, url := start(t, memory.NewBus().Broker(), false)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, hubURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	type m = map[string]any
	for _, v := range []m{
		{"op": 1, "data": m{"token": token, "group": "chosen-by-a-client", "name": "chosen-by-a-client"}},
		{"op": 0, "event": "chosen-by-a-client", "intent": m{"target": "GROUP", "identifier": "chosen-by-a-client"}},
	} {
		if err := wsjson.Write(ctx, c, v); err != nil {
			t.Fatal(err)
		}
		var answer any
		if err := wsjson.Read(ctx, c, &answer); err != nil {
			t.Fatal(err)
		}
	}
	_, body := get(t, http.MethodGet, url+"/metrics")
	for _, line := range []string{
		`mastersocket_connections{type="service"} 1`,
		`mastersocket_messages_received_total{target="GROUP",type="service"} 1`,
		`mastersocket_messages_received_total{target="GLOBAL",type="service"} 0`,
		`mastersocket_deliveries_total{type="service"} 1`,
		`mastersocket_drops_total{reason="no_receiver"} 0`,
		`mastersocket_disconnects_total{reason="SLOW_CONSUMER"} 0`,
		`mastersocket_groups 1`,
		`mastersocket_broker_available 1`,
		`mastersocket_nodes 1`,
		`mastersocket_queue_bytes{loop="0"} 0`,
		`mastersocket_loop_turn_seconds_count{loop="1"} `,
		`mastersocket_sockets_limit `,
		`mastersocket_instance_info{id="` + h.Node().ID.String() + `",node="n",version=""} 1`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("no line %q", line)
		}
	}
	if strings.Contains(body, "chosen-by-a-client") {
		t.Error("a client chose a label")
	}
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && !sample.MatchString(line) {
			t.Errorf("not a sample: %q", line)
		}
	}
}

// TestHosts: a page that makes a browser resolve its own name to the listener's address gets no answer, on any path.
func TestHosts(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, func(i int, _ *hub.Options, a *Options) {
		if i == 1 {
			a.AllowedHosts = []string{"hub.example.com"}
		}
	})
	for _, tc := range []struct {
		instance   int
		path, host string
		status     int
	}{
		{0, "/", "evil.example", 421}, {0, "/metrics", "evil.example:42070", 421}, {0, "/v1/nodes", "evil.example", 421},
		{0, "/healthz", "evil.example", 200}, {0, "/readyz", "evil.example", 200}, {0, "/metrics", "localhost:42070", 200},
		{0, "/metrics", "hub.example.com", 421}, {1, "/metrics", "hub.example.com:443", 200}, {1, "/metrics", "evil.example", 421},
		{1, "/v1/nodes", "HUB.example.com", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", c.urls[tc.instance]+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tc.host
		r.Header.Set("Authorization", "Bearer "+rootToken)
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != tc.status {
			t.Errorf("instance %d, %s under %s: %d, want %d", tc.instance, tc.path, tc.host, resp.StatusCode, tc.status)
		}
	}
}

func TestListenOnATakenPort(t *testing.T) {
	_, _, url := start(t, memory.NewBus().Broker(), false)
	addr := strings.TrimPrefix(url, "http://")
	if s, err := Listen(t.Context(), addr, Options{Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Errorf("listening twice on %s", s.Addr())
	} else if !strings.Contains(err.Error(), addr) {
		t.Errorf("the error does not name the address: %v", err)
	}
}
