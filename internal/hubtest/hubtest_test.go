//go:build linux

package hubtest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/internal/history"
)

func TestParseLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Line{
		`time=2026 level=INFO msg=listening addr=127.0.0.1:1`: {"time": "2026", "level": "INFO", "msg": "listening", "addr": "127.0.0.1:1"},
		`msg="a \"b\" = c" empty="" last=x=y`:                 {"msg": `a "b" = c`, "empty": "", "last": "x=y"},
		`{"msg":"listening","n":12345678901,"ok":true}`:       {"msg": "listening", "n": "12345678901", "ok": "true"},
		`No token is configured`:                              {},
		`    abc=def is no line`:                              {},
		`msg="unfinished`:                                     {},
		`{"msg":`:                                             {},
		``:                                                    {},
	} {
		if diff := cmp.Diff(want, parseLine(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	m, err := ParseMetrics([]byte("# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4.5\na_b 1e3\n\nc{l=\"a b\"} 7\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{{7.5, "a", nil}, {3, "a", []string{`x="1"`}}, {7.5, "a", []string{`y="2"`}}, {4.5, "a", []string{`y="2"`, `x="2"`}},
		{1000, "a_b", nil}, {7, "c", []string{`l="a b"`}}, {0, "a", []string{`z="1"`}}, {0, "d", nil}} {
		if got := m.Sum(c.name, c.labels...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	for _, bad := range []string{"a", "a x"} {
		if _, err := ParseMetrics([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestServer checks all methods of Server.
func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{Name: "a b", TCP: true})
	mark := s.LogMark()
	if s.HubAddr == "" || s.TCPAddr == "" || s.AdminAddr == "" || !s.Alive() || mark == 0 {
		t.Fatalf("%+v", s)
	}
	if rss, fds := s.RSS(), s.Descriptors(); rss < 1<<20 || rss > 1<<30 || fds < 5 || fds > 1000 {
		t.Errorf("%d bytes, %d descriptors", rss, fds)
	}
	if _, ok := s.Metrics()["go_goroutines"]; !ok || s.CPU() > time.Minute {
		t.Errorf("no goroutines, or %v of CPU time", s.CPU())
	}
	if status, body := s.Get("/healthz"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	s.Signal(syscall.SIGTERM)
	s.WaitLog(mark, 10*time.Second, func(l Line) bool { return l["msg"] == "drained" })
	if code, ok := s.Wait(10 * time.Second); code != 0 || !ok || s.Alive() {
		t.Errorf("exit code %d, %v", code, ok)
	}
	if code, log := StartBad(t, Options{Flags: []string{"--no-such-flag"}}); code != 2 || !strings.Contains(strings.Join(log, "\n"), "no-such-flag") {
		t.Errorf("exit code %d: %q", code, log)
	}
}

// TestJSONLog expects the same values in a JSON log as in a text log.
func TestJSONLog(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{TCP: true, Flags: []string{"--log-format", "json"}})
	for _, addr := range []string{s.HubAddr, s.TCPAddr, s.AdminAddr} {
		if host, _, err := net.SplitHostPort(addr); err != nil || host != "127.0.0.1" {
			t.Errorf("addr is %q, want host:port", addr)
		}
	}
}

// impostor is a fake hub for one client: it sends scripted messages before the IDENTIFY answer and, once gate is
// closed, after it.
func impostor(t *testing.T, before, behind []string, gate <-chan struct{}) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		if _, _, err := ws.Read(r.Context()); err != nil {
			return
		}
		script := append(append(append([]string(nil), before...), `{"op":1,"data":{"id":"me"}}`), behind...)
		for i, text := range script {
			if i > len(before) {
				<-gate
			}
			if err := ws.Write(r.Context(), websocket.MessageText, []byte(text)); err != nil {
				return
			}
		}
		for { // PONG for PING
			if _, _, err := ws.Read(r.Context()); err != nil {
				return
			}
			if err := ws.Write(r.Context(), websocket.MessageText, []byte(`{"op":4}`)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// TestClientNotices sends a Client messages that no hub may send, and expects violations in its history.
func TestClientNotices(t *testing.T) {
	t.Parallel()
	event := func(n int, more string) string {
		return `{"op":0,"id":"` + string(history.AppendID(nil, 0, n)) + `","event":"hubtest","data":` + string(history.AppendPayload(nil, 0, n, 9)) +
			`,"sender":"other","intent":{"target":"GLOBAL"}` + more + `}`
	}
	for _, c := range []struct {
		name           string
		before, behind []string
		kind           history.Kind
		count          int
	}{
		{"in order", nil, []string{event(0, ""), event(1, ""), event(2, "")}, history.Lost, 0},
		{"lost", nil, []string{event(0, ""), event(2, "")}, history.Lost, 1},
		{"duplicated", nil, []string{event(0, ""), event(1, ""), event(1, ""), event(2, "")}, history.Duplicated, 1},
		{"reordered", nil, []string{event(1, ""), event(0, ""), event(2, "")}, history.Reordered, 1},
		{"leaked", []string{event(0, "")}, []string{event(1, ""), event(2, "")}, history.Leaked, 1},
		{"ACK leaked", []string{`{"op":7,"id":"m0-0"}`}, []string{event(0, ""), event(1, ""), event(2, "")}, history.Leaked, 1},
		{"wrong event", nil, []string{event(0, ""), strings.Replace(event(1, ""), "hubtest", "x", 1), event(2, "")}, history.Corrupted, 1},
		{"wrong data", nil, []string{event(0, ""), strings.Replace(event(1, ""), `"}`, `!"}`, 1), event(2, "")}, history.Corrupted, 1},
		{"wrong sender", nil, []string{event(0, ""), strings.Replace(event(1, ""), "other", "x", 1), event(2, "")}, history.Corrupted, 1},
		{"no intent", nil, []string{event(0, ""), strings.Replace(event(1, ""), "target", "x", 1), event(2, "")}, history.Corrupted, 1},
		{"unknown op", nil, []string{event(0, ""), `{"op":8}`, event(1, ""), event(2, "")}, history.Corrupted, 1},
		{"answer to nothing", nil, []string{event(0, ""), `{"op":7,"id":"m0-0"}`, event(1, ""), event(2, "")}, history.Corrupted, 1},
		{"PONG to nothing", []string{`{"op":4}`}, []string{event(0, ""), event(1, ""), event(2, "")}, history.Leaked, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			h := history.New(0)
			sender := h.Session("other")
			sender.Identifying(history.Identity{})
			sender.Identified("other")
			sender.Send(history.To{})
			gate := make(chan struct{})
			url := impostor(t, c.before, c.behind, gate)
			client, err := Connect(ctx, url, ClientOptions{Name: "me", Groups: []string{"g"}, History: h})
			if err != nil {
				close(gate)
				t.Fatal(err)
			}
			sender.Send(history.To{})
			sender.Send(history.To{})
			sender.Ended(history.Left, "")
			close(gate)
			for range 2 {
				if err := client.Ping(ctx); err != nil {
					t.Fatal(err)
				}
			}
			client.Retire()
			if r := h.Check(history.Options{}); r.Counts[c.kind] != c.count || r.Violations() != c.count {
				t.Errorf("want %d %v: %v", c.count, c.kind, r)
			}
		})
	}
}
