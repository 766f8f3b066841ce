package bridge_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// get calls the handler directly.
func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestStatus(t *testing.T) {
	t.Parallel()
	const name = "chosen-by-the-server"
	o := fast()
	o.FlushTimeout = 100 * time.Millisecond // there is no hub at the end
	r := start(t, o, rtmtest.Options{})
	r.join(ids(3)...)
	r.join(rtm.StringID(name))
	r.send(rtm.IntID(1), "props")
	r.send(rtm.IntID(1), "none")
	r.sink.messages(2)
	r.rtm.LeaveOnTeam(rtm.IntID(2))
	r.connected(3)
	r.until("2 acknowledged", func(s bridge.Status) bool { return s.Messages.Outcomes["published"] == 2 })
	h := r.bridge.Handler()

	code, body := get(t, h, "/v1/status")
	var s bridge.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if s.Teams.Seen != 4 || s.Teams.Connected != 3 || s.Messages.Received != 2 || s.Messages.Props != 1 || !s.Global.Connected ||
		!s.Hub.Connected || s.Connections.Attempts != 4 || s.Connections.RateLimit != 600 || s.Hub.ID == "" {
		t.Errorf("status: %s", body)
	}
	code, body = get(t, h, "/v1/teams?limit=1&state=connected")
	var teams struct {
		Total int
		Teams []bridge.TeamStatus
	}
	if err := json.Unmarshal([]byte(body), &teams); err != nil || code != 200 || teams.Total != 3 || len(teams.Teams) != 1 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if one := teams.Teams[0]; one.ID != rtm.IntID(1) || one.MessageCount != 2 || one.PropsCount != 1 || one.State != "connected" {
		t.Errorf("team 1: %+v", one)
	}
	for path, want := range map[string]int{
		"/v1/teams?limit=0": 400, "/v1/teams?state=x": 400, "/nothing": 404, "/healthz": 200, "/readyz": 200, "/v1/teams?state=gone": 200,
	} {
		if code, body := get(t, h, path); code != want {
			t.Errorf("GET %s: %d %s, want %d", path, code, body, want)
		}
	}
	r.metrics(h, name)
	r.endHub()
	if code, body := get(t, h, "/readyz"); code != 503 || !strings.Contains(body, "hub") {
		t.Errorf("GET /readyz without a hub: %d %s", code, body)
	}
}

// metrics checks the metrics of TestStatus.
func (r *rig) metrics(h http.Handler, secret string) {
	r.t.Helper()
	_, body := get(r.t, h, "/metrics")
	m, err := hubtest.ParseMetrics([]byte(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for series, want := range map[string]float64{
		`mastersocket_bridge_teams{state="connected"}`:                          3,
		`mastersocket_bridge_teams{state="gone"}`:                               1,
		`mastersocket_bridge_messages_received_total`:                           2,
		`mastersocket_bridge_props_received_total`:                              1,
		`mastersocket_bridge_attempts_total`:                                    4,
		`mastersocket_bridge_attempts_limit`:                                    600,
		`mastersocket_bridge_events_total{kind="message",outcome="published"}`:  2,
		`mastersocket_bridge_events_total{kind="message",outcome="queue_full"}`: 0,
		`mastersocket_bridge_disconnects_total{reason="left"}`:                  1,
		`mastersocket_bridge_failures_total{reason="no_answer"}`:                0,
		`mastersocket_bridge_ignored_total{kind="malformed"}`:                   0,
		`mastersocket_bridge_global_connected`:                                  1,
	} {
		if got, ok := m[series]; !ok || got != want {
			r.t.Errorf("%s = %v (there: %v), want %v", series, got, ok, want)
		}
	}
	if strings.Contains(body, secret) {
		r.t.Error("the server chose a label")
	}
}
