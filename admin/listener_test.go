package admin

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/ratelog"
)

// placed is an HTTP server behind a listener with few places. A request for /held is in progress until the test ends it.
type placed struct {
	t        *testing.T
	listener *listener
	began    chan struct{} // receives for each request for /held
	release  chan struct{} // ends them when closed
}

func startPlaced(t *testing.T, most, probes int) *placed {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &placed{t: t, began: make(chan struct{}), release: make(chan struct{})}
	p.listener = newListener(inner, most, probes, ratelog.New(slog.New(slog.DiscardHandler)), prometheus.NewRegistry())
	server := &http.Server{ConnContext: withConn, ConnState: onState, Handler: p.listener.inPlace(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/held" {
				p.began <- struct{}{}
				<-p.release
			}
			answer(w, http.StatusOK, "ok")
		}))}
	served := make(chan error, 1)
	go func() { served <- server.Serve(p.listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
		p.listener.general.mu.Lock()
		defer p.listener.general.mu.Unlock()
		if n := p.listener.general.open; n != 0 {
			t.Errorf("%d places are taken after the end", n)
		}
	})
	return p
}

// dial opens a connection.
func (p *placed) dial() net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// ask sends a GET on a connection and returns the status, or 0 if the connection was closed.
func ask(c net.Conn, path string) int {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		return 0
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return 0
	}
	return r.StatusCode
}

// waitsOnly waits until all connections of the server wait for a request.
func (p *placed) waitsOnly() {
	p.t.Helper()
	eventually.True(p.t, "connections to wait for a request", func() bool {
		g := &p.listener.general
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.open == g.waiting.Len()
	})
}

func TestNewConnectionsDisplaceWaitingOnes(t *testing.T) {
	t.Parallel()
	p := startPlaced(t, 3, 1)
	var open []net.Conn
	for range 3 {
		open = append(open, p.dial())
		if status := ask(open[len(open)-1], "/"); status != 200 {
			t.Fatalf("got %d", status)
		}
		p.waitsOnly()
	}
	if status := ask(open[0], "/"); status != 200 { // the first has waited the shortest now
		t.Fatalf("got %d", status)
	}
	p.waitsOnly()
	if status := ask(p.dial(), "/"); status != 200 {
		t.Errorf("a new connection: %d", status)
	}
	for i, want := range []int{200, 0, 200} {
		if status := ask(open[i], "/"); status != want {
			t.Errorf("connection %d: %d, want %d", i, status, want)
		}
	}
	if n, refused := p.listener.displaced.Load(), p.listener.refused.Load(); n != 1 || refused != 0 {
		t.Errorf("%d displaced, %d refused", n, refused)
	}
}

// TestProbesHaveRoom: while requests in progress hold all other places, the probes are answered.
func TestProbesHaveRoom(t *testing.T) {
	t.Parallel()
	p := startPlaced(t, 2, 2)
	held := make(chan int)
	for range 2 {
		go func(c net.Conn) { held <- ask(c, "/held") }(p.dial())
		<-p.began
	}
	for range 3 { // each gives its place back
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 503, "/v1/nodes": 503, "/held": 503} {
			if status := ask(p.dial(), path); status != want {
				t.Errorf("%s: %d, want %d", path, status, want)
			}
			eventually.True(t, "the place to be free", func() bool { return p.listener.probes.count() == 0 })
		}
	}
	silent := []net.Conn{p.dial(), p.dial(), p.dial()}
	eventually.True(t, "the third to displace the first", func() bool { return p.listener.displaced.Load() == 1 })
	if status := ask(silent[0], "/healthz"); status != 0 {
		t.Errorf("a silent connection keeps its place: %d", status)
	}
	if status := ask(p.dial(), "/healthz"); status != 200 {
		t.Errorf("beside silent connections: %d", status)
	}
	close(p.release)
	for range 2 {
		if status := <-held; status != 200 {
			t.Errorf("a request in progress: %d", status)
		}
	}
}

// TestIdleConnectionsKeepNoProbeOut opens as many connections as the listener takes, each with one request.
func TestIdleConnectionsKeepNoProbeOut(t *testing.T) {
	_, _, base := start(t, memory.NewBus().Broker(), true)
	addr := strings.TrimPrefix(base, "http://")
	for i := range maxConnections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if status := ask(c, "/healthz"); status != 200 {
			t.Fatalf("connection %d: %d", i, status)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if status := ask(c, path); status != 200 {
			t.Errorf("%s: %d beside %d idle connections", path, status, maxConnections)
		}
	}
}

// TestUnreadBodiesHoldNothing announces a body, sends none, and has the refusal at once.
func TestUnreadBodiesHoldNothing(t *testing.T) {
	t.Parallel()
	_, _, base := start(t, memory.NewBus().Broker(), true)
	for path, want := range map[string]int{"/v1/events": 401, "/v1/nodes": 401, "/healthz": 405, "/clients": 405} {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(readTimeout / 2))
		_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if _ = r.Body.Close(); r.StatusCode != want || !r.Close {
			t.Errorf("%s: %d, want %d and the end of the connection", path, r.StatusCode, want)
		}
	}
}

func TestMetricsOfConnections(t *testing.T) {
	t.Parallel()
	_, _, base := start(t, memory.NewBus().Broker(), true)
	resp, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nmastersocket_admin_connections 1\n", "\nmastersocket_admin_connections_refused_total 0\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q", want)
		}
	}
}
