package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// These tests run against built hubs that are connected through a real Redis.

// elsewhere dials the hub that at selects.
type elsewhere struct {
	hubs []string
	at   atomic.Int32
}

func (e *elsewhere) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", e.hubs[e.at.Load()])
}

// startHubs starts n instances of one hub, named a, b, c …. A restarted instance keeps its addresses.
func startHubs(t *testing.T, n int, o hubtest.Options) (hubs []*hubtest.Server, restart func(i int)) {
	t.Helper()
	o.Redis, o.Quiet, o.Flags = redistest.Start(t).URL(), true, append(o.Flags, "--drain-timeout=60s")
	start := func(i int) *hubtest.Server {
		o.Name = string(rune('a' + i))
		return hubtest.Start(t, o)
	}
	for i := range n {
		hubs = append(hubs, start(i))
	}
	await := func() {
		for _, h := range hubs {
			know := func() bool { return int(h.Metrics().Sum("mastersocket_nodes")) == n }
			if err := eventually.Within(30*time.Second, know); err != nil {
				t.Fatal(err)
			}
		}
	}
	await()
	return hubs, func(i int) {
		o.Addr, o.TLSAddr = hubs[i].HubAddr, hubs[i].TLSAddr
		hubs[i] = start(i)
		await()
	}
}

// tally records the messages of several senders. Their data is the sender's number and an ascending number.
type tally struct {
	t    *testing.T
	what string
	mu   sync.Mutex
	last map[int]int
	got  map[[2]int]bool
}

func newTally(t *testing.T, what string) *tally {
	return &tally{t: t, what: what, last: map[int]int{}, got: map[[2]int]bool{}}
}

func (ta *tally) take(m *client.Message) {
	var n [2]int
	unmarshal(ta.t, m.Data, &n)
	ta.mu.Lock()
	defer ta.mu.Unlock()
	switch {
	case ta.got[n]:
		ta.t.Errorf("%s got %v to %v twice", ta.what, n, m.Intent)
	case ta.last[n[0]] >= n[1]:
		ta.t.Errorf("%s got %v to %v after %d", ta.what, n, m.Intent, ta.last[n[0]])
	}
	ta.got[n], ta.last[n[0]] = true, max(ta.last[n[0]], n[1])
}

func (ta *tally) missing(want [][2]int) (missing [][2]int) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	for _, n := range want {
		if !ta.got[n] {
			missing = append(missing, n)
		}
	}
	return missing
}

// moves collects a client's moves from its log.
type moves struct {
	mu     sync.Mutex
	took   []time.Duration
	waited []time.Duration
	other  []string // warnings
}

func (m *moves) Enabled(context.Context, slog.Level) bool { return true }
func (m *moves) WithAttrs([]slog.Attr) slog.Handler       { return m }
func (m *moves) WithGroup(string) slog.Handler            { return m }
func (m *moves) Handle(_ context.Context, r slog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Level > slog.LevelInfo {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		m.other = append(m.other, text)
	}
	if r.Message == "mastersocket: moved" {
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "took":
				m.took = append(m.took, a.Value.Duration())
			case "sends_waited":
				m.waited = append(m.waited, a.Value.Duration())
			}
			return true
		})
	}
	return nil
}

func (m *moves) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.took)
}

// A client's instance is restarted again and again, while other clients exchange messages with it by all targets. No message
// is lost, duplicated or reordered.
func TestMovesUnderLoad(t *testing.T) {
	t.Parallel()
	movesUnderLoad(t, 10, hubtest.Options{}, nil)
}

// TestMovesUnderLoadTLS is TestMovesUnderLoad over TLS.
func TestMovesUnderLoadTLS(t *testing.T) {
	t.Parallel()
	certificate, trust := hubtest.Certify(t, tlstest.Template{})
	movesUnderLoad(t, 3, hubtest.Options{TLS: true, Flags: certificate}, trust)
}

func movesUnderLoad(t *testing.T, times int, o hubtest.Options, trust *tls.Config) {
	t.Helper()
	const senders = 4
	hubs, restart := startHubs(t, 3, o)
	to := &elsewhere{hubs: []string{hubs[0].HubAddr, hubs[1].HubAddr}}
	if trust != nil {
		to.hubs = []string{hubs[0].TLSAddr, hubs[1].TLSAddr}
	}

	var told moves
	in := newTally(t, "the client that moves")
	mover := dialReal(t, hubs[0], client.Options{
		TLSConfig: trust, Group: "movers", Dial: to.dial, NoEcho: true, Logger: slog.New(&told),
		OnMessage:    handlerOf(in.take),
		OnDisconnect: func(err error) { t.Errorf("OnDisconnect(%v)", err) },
	})

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var refused sync.Map // ids of messages that the hub reported as not delivered
	var wg sync.WaitGroup
	sent := make([][][2]int, senders)
	ins := []*tally{}
	for who := range senders {
		out := newTally(t, fmt.Sprintf("sender %d", who))
		ins = append(ins, out)
		c := dialReal(t, hubs[2], client.Options{
			TLSConfig: trust, Group: "senders", NoEcho: true, On: map[string]client.Handler{"out": handlerOf(out.take)},
			OnError: func(err *client.HubError) { refused.Store(err.ID, err.Code) },
		})
		wg.Go(func() { sent[who] = sendAll(ctx, t, c, who, mover, &refused) })
	}
	var outs [][2]int
	wg.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			to := []client.Intent{client.Global(), client.Group("senders")}[n%2]
			if err := sendPaced(mover, to, n); err != nil {
				t.Errorf("the client that moves: %v", err)
				return
			}
			outs = append(outs, [2]int{99, n})
		}
	})
	for i := range times {
		here := i % 2
		to.at.Store(int32(1 - here))
		hubs[here].Signal(syscall.SIGTERM)
		if err := eventually.Within(60*time.Second, func() bool { return told.count() == i+1 }); err != nil {
			t.Fatalf("move %d: %v; warnings %q", i+1, err, told.other)
		}
		if _, ok := hubs[here].Wait(30 * time.Second); !ok {
			t.Fatal("the hub has not ended")
		}
		restart(here)
	}
	stop()
	wg.Wait()
	defer closeClient(t, mover) // before the hubs end
	reported, all := map[string]int{}, 0
	for who := range senders {
		var want [][2]int
		for _, n := range sent[who] {
			if code, ok := refused.Load(fmt.Sprintf("%d-%d", n[0], n[1])); ok {
				if reported[fmt.Sprint(code, " ", []string{"GLOBAL", "ANY", "GROUP", "DIRECT"}[n[1]%4])]++; n[1]%2 == 0 {
					t.Errorf("%v, to all, was refused: %v", n, code)
				}
				continue
			}
			want = append(want, n)
		}
		all += len(want)
		if err := eventually.Within(30*time.Second, func() bool { return len(in.missing(want)) == 0 }); err != nil {
			t.Errorf("missing messages of sender %d: %v", who, in.missing(want))
		}
		if err := eventually.Within(30*time.Second, func() bool { return len(ins[who].missing(outs)) == 0 }); err != nil {
			t.Errorf("sender %d misses %v", who, ins[who].missing(outs))
		}
	}
	slices.Sort(told.took)
	slices.Sort(told.waited)
	t.Logf("%d moves, %d messages to the client, %d from it to %d others, %v reported as not delivered; a move took %v, at most %v; sends waited %v, at most %v; warnings %q",
		times, all, len(outs), senders, reported, told.took[times/2], told.took[times-1], told.waited[times/2], told.waited[times-1], told.other)
	if len(told.other) > 0 {
		t.Errorf("warnings: %q", told.other)
	}
}

// sendPaced sends. It awaits every fourth ACK, which bounds the messages on their way.
func sendPaced(c *client.Client, to client.Intent, n int) error {
	if n%4 != 0 {
		return c.Send(context.Background(), to, "out", [2]int{99, n})
	}
	_, err := c.SendAcked(context.Background(), to, "out", [2]int{99, n})
	return err
}

// sendAll sends to a client that moves, by all targets, until ctx ends. It returns what was sent.
func sendAll(ctx context.Context, t *testing.T, c *client.Client, who int, to *client.Client, refused *sync.Map) (sent [][2]int) {
	for n := 1; ctx.Err() == nil; n++ {
		intents := []client.Intent{client.Global(), client.Any("movers"), client.Group("movers"), client.Direct(to.Identity().ID)}
		id := fmt.Sprintf("%d-%d", who, n)
		r, err := c.Queue(context.Background(), intents[n%4], "in", [2]int{who, n}, client.WithID(id))
		if err != nil {
			t.Errorf("sender %d: %v", who, err)
			return sent
		}
		sent = append(sent, [2]int{who, n})
		if n%4 == 0 { // bounds the messages on their way
			if _, err := r.Wait(context.Background()); err != nil && !errors.Is(err, client.ErrNoReceiver) {
				t.Errorf("sender %d: %v", who, err)
			}
		}
		go func() {
			var hubErr *client.HubError
			if _, err := r.Wait(context.Background()); errors.As(err, &hubErr) {
				refused.Store(hubErr.ID, hubErr.Code)
			}
		}()
	}
	return sent
}
