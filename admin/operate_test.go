package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
)

// reloader is a Reloader with the results of a test.
type reloader struct {
	result ReloadResult
	err    error
}

func (r *reloader) Reload(_ context.Context, source string) (ReloadResult, error) {
	if source != "api" {
		return ReloadResult{}, errors.New("asked by " + source)
	}
	return r.result, r.err
}

func (r *reloader) Reloads() ReloadStats {
	return ReloadStats{Succeeded: 3, Failed: 2, LastSuccess: time.Unix(1000, 0)}
}

func TestReloadOverHTTP(t *testing.T) {
	t.Parallel()
	r := &reloader{result: ReloadResult{At: time.Now(), Changed: []string{"tokens"}, TokensRevoked: []string{"x"}}}
	c := startCluster(t, 1, func(_ int, _ *hub.Options, a *Options) { a.Reload = r })
	var got ReloadResult
	if reply := c.call(0, "POST", "/v1/reload", ""); reply.status != 200 || json.Unmarshal(reply.body, &got) != nil || len(got.TokensRevoked) != 1 {
		t.Errorf("got %d %s", reply.status, reply.body)
	}
	r.err = &InvalidConfig{Problems: []ConfigProblem{{"tokens.yaml:7", "no such thing"}, {"token", "is wrong"}}}
	if reply := c.call(0, "POST", "/v1/reload", ""); reply.status != 422 || !strings.Contains(string(reply.body), `"location":"tokens.yaml:7"`) {
		t.Errorf("got %d %s", reply.status, reply.body)
	}
	r.err = errors.New("no disk")
	if reply := c.call(0, "POST", "/v1/reload", ""); reply.status != 503 {
		t.Errorf("got %d %s", reply.status, reply.body)
	}
	_, metrics := get(t, http.MethodGet, c.urls[0]+"/metrics")
	for _, line := range []string{
		`mastersocket_reload_total{result="success"} 3`, `mastersocket_reload_total{result="failure"} 2`,
		`mastersocket_reload_last_success_timestamp_seconds 1000`, `mastersocket_reload_failing 0`, `mastersocket_admin_requests_total{operation="reload",status="422"} 1`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	log := c.log.String()
	for _, line := range []string{"operation=reload path=/v1/reload token=root", "result=done status=200", "result=refused status=422"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %q", line)
		}
	}
}

// teams is a TeamLister with some teams.
type teams struct{}

func (teams) Teams(_ context.Context, cursor string, limit int) (TeamPage, error) {
	if cursor == "bad" {
		return TeamPage{}, hub.ErrCursor
	}
	if limit != 2 {
		return TeamPage{}, errors.New("asked for another number")
	}
	return TeamPage{Next: "more", Teams: []Team{
		{ID: json.RawMessage(`"red"`), Connection: &TeamConnection{Node: "n", Client: uuid.NewString()}, Claims: []TeamClaim{}},
		{ID: json.RawMessage(`7`), Claims: []TeamClaim{{Node: "n", Client: uuid.NewString(), Connected: true}}},
	}}, nil
}

func TestTeams(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, func(_ int, _ *hub.Options, a *Options) { a.Teams = teams{} })
	var list TeamList
	if c.get(0, "/v1/teams?limit=2", &list); len(list.Teams) != 2 || *list.Next != "more" || string(list.Teams[1].ID) != "7" {
		t.Errorf("got %+v", list)
	}
	if r := c.call(0, "GET", "/v1/teams?limit=2&cursor=bad", ""); r.status != 422 {
		t.Errorf("a bad cursor: %d", r.status)
	}
	if r := c.call(0, "GET", "/v1/teams?limit=3", ""); r.status != 503 {
		t.Errorf("teams that can't be listed: %d", r.status)
	}
}

// TestRequestsAtTheSameTime holds as many requests as may be in progress, and sends one more.
func TestRequestsAtTheSameTime(t *testing.T) {
	t.Parallel()
	held := &heldReload{entered: make(chan struct{}, maxInFlight), release: make(chan struct{})}
	busy := startCluster(t, 1, func(_ int, _ *hub.Options, a *Options) { a.Reload = held })
	done := make(chan int, maxInFlight)
	for range maxInFlight {
		go func() { done <- busy.call(0, "POST", "/v1/reload", "").status }()
	}
	for range maxInFlight {
		<-held.entered
	}
	if r := busy.call(0, "GET", "/v1/nodes", ""); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", r.status)
	}
	if status, _ := get(t, http.MethodGet, busy.urls[0]+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	close(held.release)
	for range maxInFlight {
		if status := <-done; status != 200 {
			t.Errorf("a request that was held: %d", status)
		}
	}
}

// heldReload is a Reloader that waits for the test.
type heldReload struct{ entered, release chan struct{} }

func (h *heldReload) Reload(context.Context, string) (ReloadResult, error) {
	h.entered <- struct{}{}
	<-h.release
	return ReloadResult{}, nil
}

func (*heldReload) Reloads() ReloadStats { return ReloadStats{} }
