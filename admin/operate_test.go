package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
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

// TestOperationsOfOtherInstances drains and reloads an instance by way of another one.
func TestOperationsOfOtherInstances(t *testing.T) {
	t.Parallel()
	reloads := []*reloader{{result: ReloadResult{Changed: []string{"here"}}}, {result: ReloadResult{Changed: []string{"there"}}}, nil}
	c := startCluster(t, 3, func(i int, o *hub.Options, a *Options) {
		if reloads[i] != nil {
			a.Reload = reloads[i]
		}
	})
	id := c.hubs[1].Node().ID.String()
	for path, want := range map[string]string{
		"/v1/reload": "here", "/v1/reload?node=node-0": "here", "/v1/reload?node=node-1": "there", "/v1/reload?node=" + id: "there",
	} {
		var got ReloadResult
		if r := c.call(0, "POST", path, ""); r.status != 200 || json.Unmarshal(r.body, &got) != nil || !slices.Equal(got.Changed, []string{want}) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	reloads[1].err = &InvalidConfig{Problems: []ConfigProblem{{"tokens.yaml:7", "no such thing"}}}
	for _, tc := range []struct {
		path, body string
		status     int
		part       string
	}{
		{"/v1/reload?node=node-1", "", 422, `"location":"tokens.yaml:7"`}, {"/v1/reload?node=node-2", "", 404, "no configuration to reload"},
		{"/v1/reload?node=node-9", "", 404, `no live instance has the name or id`}, {"/v1/drain?node=node-1", `{"over":"never"}`, 422, `"location":"body.over"`},
		{"/v1/drain?node=" + strings.Repeat("x", 129), "", 422, ""},
	} {
		if r := c.call(0, "POST", tc.path, tc.body); r.status != tc.status || !strings.Contains(string(r.body), tc.part) {
			t.Errorf("%s: %d %s, want %d and %s", tc.path, r.status, r.body, tc.status, tc.part)
		}
	}
	p := c.connect(1, "g", nil)
	var drained Drain
	if r := c.call(0, "POST", "/v1/drain?node=node-1", `{"over":"0s"}`); r.status != 202 || json.Unmarshal(r.body, &drained) != nil || drained.Node != "node-1" || !drained.Began {
		t.Errorf("got %d %s", r.status, r.body)
	}
	p.wantEnd("SERVER_RESTART", 1001)
	if err := c.hubs[1].Ready(); err == nil {
		t.Error("the instance is still ready")
	}
	for _, i := range []int{0, 2} {
		if err := c.hubs[i].Ready(); err != nil {
			t.Errorf("instance %d: %v", i, err)
		}
	}
	log := c.log.String()
	for _, line := range []string{
		"operation=drain path=/v1/drain token=root from=127.0.0.1:", "status=202 node=node-1 over=0s", "operation=drain token=root from=node-0 result=done",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no %q: %s", line, log)
		}
	}
}

// TestOperationsWithoutAnOperator: an instance without an admin API says that it can't.
func TestOperationsWithoutAnOperator(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	c.hubs[1].SetOperator(nil)
	if r := c.call(0, "POST", "/v1/drain?node=node-1", ""); r.status != 501 {
		t.Errorf("got %d %s", r.status, r.body)
	}
	silent := startCluster(t, 1, func(_ int, o *hub.Options, _ *Options) { o.Broker = awayFor{o.Broker} })
	if r := silent.call(0, "POST", "/v1/drain?node=far", ""); r.status != 504 {
		t.Errorf("got %d %s", r.status, r.body)
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

// TestConcurrentRequests holds as many requests as may be in progress, and sends one more.
func TestConcurrentRequests(t *testing.T) {
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
