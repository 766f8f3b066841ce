package load

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/services/echo/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { http.DefaultClient.CloseIdleConnections() }))
}

const patience = 30 * time.Second

// fake is a server that gives each message back to its sender and distributes the oks.
type fake struct {
	mu      sync.Mutex
	senders map[string][]*websocket.Conn
	swallow int // messages that are given to no client
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		f.handle(ctx, c, b)
	}
}

func (f *fake) handle(ctx context.Context, c *websocket.Conn, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch kind, text := wire.Parse(b); {
	case kind == wire.OK:
		for _, s := range f.senders[string(text)] {
			_ = s.Write(ctx, websocket.MessageText, b)
		}
	case f.swallow > 0:
		f.swallow--
	default:
		f.senders[string(text)] = append(f.senders[string(text)], c)
		_ = c.Write(ctx, websocket.MessageText, b)
	}
}

func startFake(t *testing.T, swallow int) string {
	t.Helper()
	s := httptest.NewServer(&fake{senders: make(map[string][]*websocket.Conn), swallow: swallow})
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + wire.Path
}

// work carries out all shares of a plan.
func work(t *testing.T, p Plan) *Sum {
	t.Helper()
	p.Start = time.Now()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	sum := NewSum(p.Shares)
	for p.Share = range p.Shares {
		Work(t.Context(), p, func(r Report) { sum.Add(p.Share, r) })
	}
	if sum.done != len(sum.latest) {
		t.Error("a share is not done")
	}
	return sum
}

func TestWork(t *testing.T) {
	t.Parallel()
	sum := work(t, Plan{
		URL: startFake(t, 0), Clients: 201, Over: 200 * time.Millisecond, Delay: Range{0, 5 * time.Millisecond}, Kill: 0.5,
		Timeout: patience, Within: patience, Shares: 2, Seed: 7,
	})
	c := sum.Counts()
	if c.Started != 201 || c.OK != 201 || c.Failed != 0 || c.Open != 0 || len(sum.Errors()) != 0 {
		t.Errorf("%+v, %v", c, sum.Errors())
	}
	if c.Killed < 50 || c.Killed > 150 || c.Connections != 201+c.Killed || c.Sent != c.Connections {
		t.Errorf("%+v", c)
	}
	if sum.Peak() < 1 || sum.Peak() > 201 {
		t.Errorf("a peak of %d connections", sum.Peak())
	}
	if a, b := sum.Wait(0.5), sum.Wait(1); a <= 0 || b < a || b > patience {
		t.Errorf("p50 %v, max %v", a, b)
	}
}

func TestWorkReconnectsAndFails(t *testing.T) {
	t.Parallel()
	plan := Plan{Clients: 3, Timeout: 50 * time.Millisecond, Within: patience, Shares: 1}
	plan.URL = startFake(t, 2)
	if c := work(t, plan).Counts(); c.OK != 3 || c.Connections < 5 {
		t.Errorf("%+v", c)
	}
	plan.URL, plan.Within = startFake(t, 1<<30), 200*time.Millisecond
	sum := work(t, plan)
	if c := sum.Counts(); c.OK != 0 || c.Failed != 3 || c.Open != 0 {
		t.Errorf("%+v", c)
	}
	n := 0
	for text, count := range sum.Errors() {
		if !strings.Contains(text, "no ok by the end of the run") {
			t.Error(text)
		}
		n += count
	}
	if n != 3 || sum.Wait(0.5) != 0 {
		t.Errorf("%v", sum.Errors())
	}
}

func TestTextsDiffer(t *testing.T) {
	t.Parallel()
	p, seen := Plan{Seed: 3}, make(map[string]bool)
	for i := range 1000 {
		text := p.text(i)
		if seen[text] || strings.Contains(text, "%") {
			t.Errorf("client %d sends %q", i, text)
		}
		seen[text] = true
	}
}

func TestSharesCoverAllClients(t *testing.T) {
	t.Parallel()
	for _, p := range []Plan{{Clients: 100_000, Shares: 7}, {Clients: 3, Shares: 5}, {Clients: 1, Shares: 1}} {
		next := 0
		for p.Share = range p.Shares {
			from, to := p.numbers()
			if from != next || to < from {
				t.Errorf("share %d of %d has %d to %d", p.Share, p.Shares, from, to)
			}
			next = to
		}
		if next != p.Clients {
			t.Errorf("%d of %d clients", next, p.Clients)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Range{"0s..2s": {0, 2 * time.Second}, "1s": {time.Second, time.Second}, "5ms..5ms": {5 * time.Millisecond, 5 * time.Millisecond}} {
		r, err := ParseRange(s)
		again, _ := ParseRange(r.String())
		if err != nil || r != want || again != r {
			t.Errorf("%s: %v, %v", s, r, err)
		}
		for range 100 {
			if d := r.pick(); d < r.Min || d > r.Max {
				t.Errorf("%v is not in %v", d, r)
			}
		}
	}
	for _, s := range []string{"", "2", "2s..1s", "-1s", "-1s..1s", "1s..", "..1s", "x"} {
		if r, err := ParseRange(s); err == nil {
			t.Errorf("%q was read as %v", s, r)
		}
	}
	for s, want := range map[string]float64{"1%": 0.01, "0": 0, "0.5": 0.5, "100%": 1, "0.1%": 0.001} {
		if v, err := ParseShare(s); err != nil || v != want {
			t.Errorf("%s: %v, %v", s, v, err)
		}
	}
	for _, s := range []string{"", "%", "101%", "-1%", "2", "NaN", "x"} {
		if v, err := ParseShare(s); err == nil {
			t.Errorf("%q was read as %v", s, v)
		}
	}
}

func TestServerState(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	waiting, text := 3, "mastersocket_connections{type=\"service\"} 9\nmastersocket_connections{type=\"echo\"} 1\nmastersocket_echo_waiting %d\nmastersocket_echo_given 2e+00\n"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(w, text, waiting)
	}))
	defer s.Close()
	if got, err := ServerState(t.Context(), s.URL+"/"); err != nil || got != (State{1, 3, 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if got, err := AwaitZero(ctx, s.URL); err != nil || got.Zero() {
		t.Errorf("%+v, %v", got, err)
	}
	mu.Lock()
	waiting, text = 0, strings.NewReplacer("} 1", "} 0", "2e+00", "0").Replace(text)
	mu.Unlock()
	if got, err := AwaitZero(t.Context(), s.URL); err != nil || !got.Zero() {
		t.Errorf("%+v, %v", got, err)
	}
	mu.Lock()
	text = "other %d\n"
	mu.Unlock()
	if _, err := AwaitZero(t.Context(), s.URL); err == nil || !strings.Contains(err.Error(), ErrNoEcho.Error()) {
		t.Error(err)
	}
}
