package client_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// These tests run against the built hub.

func dialReal(t *testing.T, s *hubtest.Server, o client.Options) *client.Client {
	t.Helper()
	o.URL = s.URL()
	if o.TLSConfig != nil {
		o.URL = s.TLSURL()
	}
	if o.Token == "" {
		o.Token = s.Token
	}
	if o.Group == "" {
		o.Group = "clients"
	}
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeClient(t, c) })
	return c
}

// worker replies to "work" with its number and the request's data.
func worker(n int) client.Options {
	return client.Options{Group: "workers", On: map[string]client.Handler{
		"work": func(ctx context.Context, m *client.Message) { _ = m.Reply(ctx, fmt.Sprintf("%d: %s", n, m.Data)) },
	}}
}

func TestRealHub(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	for n := range 3 {
		dialReal(t, s, worker(n))
	}
	c := dialReal(t, s, client.Options{NoEcho: true})
	ctx, cancel := within(30 * time.Second)
	defer cancel()

	if id := c.Identity(); len(id.ID) != 36 || id.Ping != 30*time.Second || id.MaxMessageBytes != 32768 || len(id.Features) != 8 || id.Node == "" {
		t.Errorf("Identity = %+v", id)
	}
	m, err := c.Request(ctx, client.Any("workers"), "work", 1)
	if err != nil || !strings.HasSuffix(string(m.Data), `: 1"`) {
		t.Fatalf("Request = %v, %v", m, err)
	}
	if again, err := c.Request(ctx, client.Direct(m.Sender), "work", 1); err != nil || string(again.Data) != string(m.Data) || again.Sender != m.Sender {
		t.Errorf("Request to the worker that replied = %v, %v; want %s again", again, err, m.Data)
	}
	senders := map[string]bool{}
	for m, err := range c.RequestMany(ctx, client.Group("workers"), "work", nil, 3) {
		if err != nil {
			t.Fatal(err)
		}
		senders[m.Sender] = true
	}
	if len(senders) != 3 {
		t.Errorf("%d workers answered, want 3", len(senders))
	}
	if n, err := c.SendAcked(ctx, client.Group("workers"), "e", nil); err != nil || n != 1 {
		t.Errorf("SendAcked = %d, %v", n, err)
	}
	_, err = c.SendAcked(ctx, client.Group("empty"), "e", nil)
	wantErr(t, "empty group", err, client.ErrNoReceiver)
	_, err = c.Request(ctx, client.Direct("00000000-0000-8000-8000-000000000000"), "e", nil)
	wantErr(t, "unknown client", err, client.ErrNoReceiver)
}

// The largest message that the hub accepts arrives, with the members that the hub adds. One more byte is refused by the client.
func TestRealHubLargestMessage(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	got := make(chan int, 1)
	dialReal(t, s, client.Options{Group: "g", On: map[string]client.Handler{
		"e": func(_ context.Context, m *client.Message) { got <- len(m.Data) },
	}})
	c := dialReal(t, s, client.Options{})
	frame := `{"op":0,"id":"i","event":"e","intent":{"target":"GROUP","identifier":"g"},"data":""}`
	fits := strings.Repeat("x", 32768-len(frame))
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	if _, err := c.SendAcked(ctx, client.Group("g"), "e", fits, client.WithID("i")); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != len(fits)+2 {
		t.Errorf("%d bytes of data arrived, want %d", n, len(fits)+2)
	}
	_, err := c.SendAcked(ctx, client.Group("g"), "e", fits+"x", client.WithID("i"))
	wantErr(t, "one byte more", err, client.ErrTooBig)
}

// Many senders to one receiver: each sender's messages arrive once and in order.
func TestRealHubOrder(t *testing.T) {
	t.Parallel()
	const senders, each = 4, 2000
	s := hubtest.Start(t, hubtest.Options{})
	next := map[string]int{}
	all := make(chan struct{})
	left := senders * each
	receiver := dialReal(t, s, client.Options{Group: "sink", OnMessage: func(_ context.Context, m *client.Message) {
		if want := fmt.Sprint(next[m.Sender]); string(m.Data) != want {
			t.Errorf("%s of %s arrived, want %s", m.Data, m.Sender, want)
		}
		next[m.Sender]++
		if left--; left == 0 {
			close(all)
		}
	}})
	var wg sync.WaitGroup
	for range senders {
		c := dialReal(t, s, client.Options{})
		wg.Go(func() {
			to := []client.Intent{client.Group("sink"), client.Direct(receiver.Identity().ID), client.Any("sink")}
			receipts := make(chan *client.Receipt, 200)
			wg.Go(func() {
				for r := range receipts {
					if _, err := r.Wait(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
			for i := range each {
				r, err := c.Queue(context.Background(), to[i%len(to)], "e", i)
				if err != nil {
					t.Error(err)
					break
				}
				receipts <- r
			}
			close(receipts)
		})
	}
	wg.Wait()
	select {
	case <-all:
	case <-time.After(30 * time.Second):
		t.Errorf("%d messages did not arrive", left)
	}
}

const limitedTokens = `tokens:
  - name: limited
    sha256: %x
    groups: ["a.*"]
    send: ["GROUP:a.*"]
`

func TestRealHubPermissions(t *testing.T) {
	t.Parallel()
	const token = "limited-token"
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	text := fmt.Appendf(nil, limitedTokens, sha256.Sum256([]byte(token)))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: []string{"--tokens-file", file}})
	c := dialReal(t, s, client.Options{Token: token, Group: "a.1"})
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	if _, err := c.SendAcked(ctx, client.Group("a.1"), "e", nil); err != nil {
		t.Error(err)
	}
	for _, to := range []client.Intent{client.Global(), client.Group("b"), client.Any("a.1"), client.Direct(c.Identity().ID)} {
		_, err := c.SendAcked(ctx, to, "e", nil)
		wantErr(t, to.String(), err, client.ErrForbidden)
	}
	_, err := client.Connect(ctx, client.Options{URL: s.URL(), Token: token, Group: "b", StopOnAuthError: true})
	var d *client.DisconnectError
	if !errors.As(err, &d) || d.Reason != "IDENTIFY_FAILED" || d.Code != 4004 {
		t.Errorf("joining a forbidden group: %v", err)
	}
}

// Clients reconnect after a hub ends in any way. Without another instance they stay until the hub disconnects them.
func TestRealHubRestart(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--drain-timeout", "1s"}})
	addr := s.HubAddr
	reasons := make(chan error, 10)
	o := worker(0)
	o.OnDisconnect = func(err error) { reasons <- err }
	o.MinBackoff, o.MaxBackoff = 10*time.Millisecond, 100*time.Millisecond
	dialReal(t, s, o)
	c := dialReal(t, s, client.Options{MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond})
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		s.Signal(sig)
		if _, ok := s.Wait(30 * time.Second); !ok {
			t.Fatalf("the hub has not ended after %v", sig)
		}
		reason := <-reasons
		var d *client.DisconnectError
		if restart := errors.As(reason, &d) && d.Reason == "SERVER_RESTART" && d.Code == 1012; restart != (sig == syscall.SIGTERM) {
			t.Errorf("after %v: %v", sig, reason)
		}
		s = hubtest.Start(t, hubtest.Options{Addr: addr})
		ctx, cancel := within(30 * time.Second)
		for { // until the worker is back
			m, err := c.Request(ctx, client.Any("workers"), "work", 1)
			if err == nil && string(m.Data) == `"0: 1"` {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			if !errors.Is(err, client.ErrNoReceiver) && !errors.Is(err, client.ErrOutcomeUnknown) {
				t.Errorf("Request while the worker is away: %v", err)
			}
		}
		cancel()
	}
}

// A hub without other instances does not wait for clients to move.
func TestRealHubRestartAlone(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--drain-timeout", "10m"}})
	reasons := make(chan error, 10)
	dialReal(t, s, client.Options{OnDisconnect: func(err error) { reasons <- err }})
	s.Signal(syscall.SIGTERM)
	if _, ok := s.Wait(time.Minute); !ok {
		t.Fatal("the hub waits for its client to move")
	}
	var d *client.DisconnectError
	if err := <-reasons; !errors.As(err, &d) || d.Reason != "SERVER_RESTART" {
		t.Errorf("disconnected: %v", err)
	}
}

// A forward proxy that only tunnels, as most do, serves ws:// and wss://.
func TestRealHubProxy(t *testing.T) {
	t.Parallel()
	certificate, trust := hubtest.Certify(t, tlstest.Template{})
	s := hubtest.Start(t, hubtest.Options{TLS: true, Flags: certificate})
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		tunnels.Add(1)
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		from, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
		_, _ = io.Copy(to, rw)
	}))
	t.Cleanup(proxy.Close)
	use := func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	plain := dialReal(t, s, client.Options{Proxy: use})
	secure := dialReal(t, s, client.Options{Proxy: use, TLSConfig: trust})
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	for _, c := range []*client.Client{plain, secure} {
		if _, err := c.SendAcked(ctx, client.Group("clients"), "e", nil); err != nil {
			t.Error(err)
		}
	}
	if n := tunnels.Load(); n != 2 {
		t.Errorf("%d tunnels, want 2", n)
	}
}
