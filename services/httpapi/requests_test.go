package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// askWorkers returns the body of a request to the group workers.
func askWorkers(target, event, more string) string {
	return `{"event":"` + event + `","data":[1,2],"intent":{"target":"` + target + `","identifier":"workers"}` + more + `}`
}

const twentySeconds = `,"timeout_ms":20000`

// works are the handlers of a worker. asked gets what it neither answers nor passes.
func works(asked chan<- *client.Message) map[string]client.Handler {
	return map[string]client.Handler{
		"sum":  client.HandleFunc(func(context.Context, *client.Message) (any, error) { return 3, nil }),
		"fail": client.HandleFunc(func(context.Context, *client.Message) (any, error) { return nil, errors.New("no") }),
		"pass": func(_ context.Context, m *client.Message) { m.Pass() },
		"?":    func(_ context.Context, m *client.Message) { m.Pass() },
		"wait": func(_ context.Context, m *client.Message) { asked <- m },
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		asked := make(chan *client.Message, 100)
		for _, n := range all {
			n.client("workers", works(asked))
		}
		one, n := last(all).client("one", works(asked)), all[0]
		n.sees("workers", len(all))
		for _, tc := range []struct {
			body    string
			status  int
			replies int
		}{
			{askWorkers("ANY", "sum", twentySeconds), 200, 1},
			{askWorkers("ANY", "sum", `,"expect":{"timeout_ms":20000,"retry":true,"key":"k"}`), 200, 1},
			{askWorkers("GROUP", "sum", twentySeconds), 200, len(all)},
			{askWorkers("GROUP", "sum", twentySeconds+`,"replies":"all"`), 200, len(all)},
			{askWorkers("GROUP", "sum", twentySeconds+`,"replies":"first"`), 200, 1},
			{askWorkers("GROUP", "fail", twentySeconds), 200, len(all)},
			{`{"event":"sum","intent":{"target":"DIRECT","identifier":"` + one.Identity().ID + `"}` + twentySeconds + `}`, 200, 1},
			{askWorkers("GROUP", "pass", twentySeconds), 504, 0},
			{askWorkers("GROUP", "wait", `,"timeout_ms":100`), 504, 0},
			{`{"event":"sum","intent":{"target":"ANY","identifier":"nobody"}` + twentySeconds + `}`, 404, 0},
			{`{"event":"sum","intent":{"target":"GROUP","identifier":"nobody"}` + twentySeconds + `}`, 404, 0},
		} {
			status, a := n.ask("all", tc.body)
			if status != tc.status || len(a.Replies) != tc.replies || a.ID == "" || status != 200 && a.Status != status {
				t.Errorf("%s: %d %+v", tc.body, status, a)
			}
			for _, r := range a.Replies {
				failed := strings.Contains(tc.body, `"fail"`)
				if failed != (r.Error != nil) || !failed && string(r.Data) != "3" || r.Sender == "" {
					t.Errorf("%s: %+v", tc.body, r)
				}
			}
		}
		status, a := n.ask("cron", askWorkers("GROUP", "wait", `,"id":"mine","timeout_ms":100`))
		if status != 504 || a.ID != "mine" || a.Receivers != len(all) || len(a.Missing) != len(all) || a.Missing[0].Reason != "TIMEOUT" || a.Missing[0].ID == "" {
			t.Errorf("%d %+v", status, a)
		}
		if status, a = n.ask("cron", `{"intent":{"target":"GLOBAL"}`+twentySeconds+`}`); status != http.StatusForbidden {
			t.Errorf("%d %+v", status, a)
		}
		n.idle()
	})
}

// idle waits until the instance has no request, and no client of the type.
func (n *node) idle() {
	n.t.Helper()
	eventually.True(n.t, "all requests have ended", func() bool {
		s := n.hub.Stats()
		i := slices.IndexFunc(s.Types, func(t hub.TypeStats) bool { return t.Type == "http" })
		return s.Requests.Open == 0 && s.Types[i].Clients == 0 && n.all.count.replyBytes.Load() == 0
	})
}

// TestRequestLost: what a receiver that dies owes is known at once.
func TestRequestLost(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		asked := make(chan *client.Message, 1)
		c := last(all).client("workers", works(asked))
		all[0].sees("workers", 1)
		go func() {
			<-asked
			_ = c.Close(t.Context())
		}()
		status, a := all[0].ask("all", askWorkers("ANY", "wait", `,"timeout_ms":3000000`))
		if status != 504 || len(a.Missing) != 1 || a.Missing[0].ID == "" {
			t.Errorf("%d %+v", status, a)
		}
		all[0].idle()
	})
}

// TestHangUp: a caller that hangs up cancels its request.
func TestHangUp(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		asked, ended := make(chan *client.Message, 1), make(chan error, 1)
		last(all).client("workers", map[string]client.Handler{
			"?": func(_ context.Context, m *client.Message) { m.Pass() },
			"wait": client.HandleFunc(func(ctx context.Context, m *client.Message) (any, error) {
				asked <- m
				<-ctx.Done()
				ended <- ctx.Err()
				return nil, ctx.Err()
			}),
		})
		n := all[0]
		n.sees("workers", 1)
		c := n.dial()
		body := askWorkers("ANY", "wait", `,"timeout_ms":3000000`)
		c.send(head("all", requestsPath, len(body)) + body)
		<-asked
		_ = c.Close()
		<-ended
		n.idle()
		if got := n.all.count.cancelledRequests.Load(); got != 1 {
			t.Errorf("%d requests were cancelled", got)
		}
	})
}

// TestTotalConnections: open requests count as connections of their token.
func TestTotalConnections(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	asked := make(chan *client.Message, 1)
	n.client("workers", works(asked))
	c := n.dial()
	body := askWorkers("ANY", "wait", `,"timeout_ms":3000000`)
	c.send(head("single", requestsPath, len(body)) + body)
	m := <-asked
	if status, a := n.ask("single", askWorkers("ANY", "sum", twentySeconds)); status != http.StatusTooManyRequests {
		t.Errorf("%d %+v", status, a)
	}
	if status, answer := n.post("single", eventsPath, `{`+toJobs+`}`); status != http.StatusAccepted {
		t.Errorf("an event: %d %s", status, answer)
	}
	if err := m.Reply(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if text := c.read(); !strings.HasPrefix(text, "HTTP/1.1 200 ") {
		t.Error(text)
	}
	if status, a := n.ask("single", askWorkers("ANY", "sum", twentySeconds)); status != http.StatusOK {
		t.Errorf("%d %+v", status, a)
	}
}

// TestInstanceEnds: open requests are answered when their instance drains.
func TestInstanceEnds(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	asked := make(chan *client.Message, 1)
	n.client("workers", works(asked))
	c := n.dial()
	body := askWorkers("ANY", "wait", `,"timeout_ms":3000000`)
	c.send(head("all", requestsPath, len(body)) + body)
	<-asked
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		drained <- n.hub.Drain(ctx, 0)
	}()
	if text := c.read(); !strings.HasPrefix(text, "HTTP/1.1 503 ") || !strings.Contains(text, "Connection: close") {
		t.Error(text)
	}
	_ = c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// conn is a connection on which anything can be sent.
type conn struct {
	net.Conn
	t testing.TB
}

func (n *node) dial() conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return conn{c, n.t}
}

func (c conn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Error(err)
	}
}

// read returns what arrives first.
func (c conn) read() string {
	c.t.Helper()
	b := make([]byte, 4096)
	k, err := c.Read(b)
	if err != nil {
		c.t.Error(err)
	}
	return string(b[:k])
}
