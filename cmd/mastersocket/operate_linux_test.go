package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// operated are two instances and a shell with the admin API of the first one.
func operated(t *testing.T) (shell tools, hubs []*hubtest.Server) {
	t.Helper()
	redis := redistest.Start(t)
	for i := range 2 {
		hubs = append(hubs, hubtest.Start(t, hubtest.Options{Name: fmt.Sprint("node-", i), Redis: redis.URL()}))
	}
	shell = newTools(t, hubs[0])
	shell.env = append(shell.env, "MASTERSOCKET_ADMIN_URL=http://"+hubs[0].AdminAddr)
	eventually.True(t, "the instances to know each other", func() bool {
		return strings.Count(shell.output("nodes", "--output", "json"), "\n") == 2
	})
	return shell, hubs
}

// output runs a command that must succeed and returns what it printed.
func (x tools) output(args ...string) string {
	x.t.Helper()
	c := x.start("", args...)
	if code := c.code(); code != 0 {
		x.t.Fatalf("%q ended with %d: %s", args, code, c.err)
	}
	return c.out.String()
}

func TestOperateFromAShell(t *testing.T) {
	t.Parallel()
	x, hubs := operated(t)
	other := newTools(t, hubs[1])
	sub := other.sub("--group", "orders", "--format", "text")
	_, rest, _ := strings.Cut(sub.err.String(), " as ")
	id, _, _ := strings.Cut(rest, "\n")

	if out := x.output("nodes"); !strings.HasPrefix(out, "NAME") || !strings.Contains(out, "node-0") || strings.Count(out, "serving") != 2 {
		t.Errorf("nodes printed %s", out)
	}
	for _, args := range [][]string{
		{"clients"}, {"clients", "--group", "orders"}, {"clients", "--node", "node-1", "--name", "mastersocket*"}, {"clients", id}, {"clients", "-n", "1"},
	} {
		if out := x.output(args...); strings.Count(out, "\n") != 2 || !strings.Contains(out, id) || !strings.Contains(out, "node-1") {
			t.Errorf("%q printed %s", args, out)
		}
	}
	if out := x.output("clients", "--min-unsent", "1"); out != "" {
		t.Errorf("slow clients: %s", out)
	}
	var client struct {
		ID     string
		Groups []string
	}
	if out := x.output("clients", "--output", "json"); json.Unmarshal([]byte(out), &client) != nil || client.ID != id || client.Groups[0] != "orders" {
		t.Errorf("clients --output json printed %s", out)
	}
	if out := x.output("groups", "--prefix", "ord"); !strings.Contains(out, "orders  1        node-1=1") {
		t.Errorf("groups printed %s", out)
	}
	if out := x.output("groups", "orders", "-o", "json"); !strings.Contains(out, `"members":1`) {
		t.Errorf("groups orders printed %s", out)
	}
	if out := x.output("groups", "orders"); !strings.Contains(out, "The first 1 members, as its 0 watchers see them") || !strings.Contains(out, id) {
		t.Errorf("groups orders printed %s", out)
	}
	x.start("", "groups", "nobody").want(1, "", "(404)")

	tail := x.start("", "tail", "--group", "orders", "--event", "paid", "-n", "1")
	whole := x.start("", "tail", "--group", "orders", "-n", "1", "-o", "json")
	tail.err.waitFor(t, "watching")
	whole.err.waitFor(t, "watching")
	client1 := x.start("", "tail", "--client", id, "--event", "paid", "-n", "1")
	token := x.start("", "tail", "--of-token", "shared", "--event", "paid", "-n", "1", "-o", "json")
	client1.err.waitFor(t, "watching")
	token.err.waitFor(t, "watching")
	out := x.output("publish", "--to", "GROUP:orders", "--event", "paid", `{"total": 1e400}`)
	if !strings.HasSuffix(out, ": queued for 1 client on 1 instance\n") {
		t.Errorf("publish printed %s", out)
	}
	sub.out.waitFor(t, `paid {"total":1e400} from `)
	if code := tail.code(); code != 0 || !strings.Contains(tail.out.String(), ` paid {"total":1e400} from `) {
		t.Errorf("tail ended with %d and printed %s", code, tail.out)
	}
	if code := client1.code(); code != 0 || !strings.Contains(client1.out.String(), " -> mastersocket sub "+id+` paid {"total":1e400} from `) {
		t.Errorf("tail --client ended with %d and printed %s", code, client1.out)
	}
	if code := token.code(); code != 0 || !strings.Contains(token.out.String(), `"direction":"out","client":"`+id) {
		t.Errorf("tail --of-token ended with %d and printed %s", code, token.out)
	}
	if code := whole.code(); code != 0 || !strings.Contains(whole.out.String(), `"message":{"op":0`) {
		t.Errorf("tail -o json ended with %d and printed %s", code, whole.out)
	}
	if out := x.output("top", "--window", "5m"); !strings.Contains(out, "MSG/S IN*") || !strings.Contains(out, " orders\n") || !strings.Contains(out, " shared\n") {
		t.Errorf("top printed %s", out)
	}
	if out := x.output("top", "--window", "5m", "-n", "1", "-o", "json"); !strings.Contains(out, `"groups":[{"name":"orders","rates_10s":{`) {
		t.Errorf("top -o json printed %s", out)
	}
	lost := x.start("", "publish", "--to", "GROUP:nobody", "--event", "e")
	if code := lost.code(); code != 1 || !strings.Contains(lost.out.String(), "dropped: no_receiver (1)") || !strings.Contains(lost.err.String(), "reached no client") {
		t.Errorf("publish to an empty group ended with %d: %s%s", code, lost.out, lost.err)
	}
	if out := x.output("rebalance", "--over", "1s", "-o", "json"); !strings.Contains(out, `"share":1`) {
		t.Errorf("rebalance printed %s", out)
	}

	if out := x.output("join", id, "further", "others"); !strings.HasPrefix(out, id+" is in ") || !strings.HasSuffix(out, ", further, others\n") {
		t.Errorf("join printed %q", out)
	}
	if out := x.output("leave", id, "others", "-o", "json"); !strings.Contains(out, `"further"`) || strings.Contains(out, `"others"`) {
		t.Errorf("leave printed %q", out)
	}
	follow := x.start("", "events", "--follow", "--kind", "kicked,drain")
	x.start("", "kick", id, uuid.NewString()).want(1, id+" disconnected\n", "(404)")
	sub.err.waitFor(t, "connecting again")
	if out := x.output("reload", "--node", "node-1"); out != "nothing has changed\n" {
		t.Errorf("reload printed %s", out)
	}
	if out := x.output("drain", "--node", "node-1", "--over", "1s"); !strings.HasPrefix(out, "node-1 drains ") {
		t.Errorf("drain printed %s", out)
	}
	if out := x.output("drain", "--node", "node-1"); !strings.HasPrefix(out, "node-1 was draining already") {
		t.Errorf("a second drain printed %s", out)
	}
	if out := x.output("nodes"); strings.Count(out, "draining") != 1 {
		t.Errorf("nodes printed %s", out)
	}
	follow.out.waitFor(t, " node-1 kicked KICKED ")
	follow.out.waitFor(t, " node-1 drain BEGUN ")
	if out := x.output("events", "--client", id); strings.Count(out, "\n") != 2 || !strings.Contains(out, " node-1 connected name=") ||
		!strings.Contains(out, " group=orders address=127.0.0.1:") || !strings.Contains(out, " kicked KICKED ") {
		t.Errorf("events printed %s", out)
	}
	if out := x.output("events", "-k", "operation", "-n", "1", "-o", "json"); !strings.HasPrefix(out, `{"at":"`) || !strings.Contains(out, `"detail":"drain /v1/drain"`) {
		t.Errorf("events -o json printed %s", out)
	}
}

func TestOperateRefusals(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, s)
	url := "http://" + s.AdminAddr
	for _, tc := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"nodes", "--admin", "ftp://x"}, 2, "want http://HOST:PORT"},
		{[]string{"nodes", "--admin", "http://user@x"}, 2, "want http://HOST:PORT"},
		{[]string{"nodes", "--admin", "http://127.0.0.1:1"}, 1, "no answer of the admin API at http://127.0.0.1:1"},
		{[]string{"nodes", "--admin", url, "--token", "another-token-of-length"}, 1, "(401)"},
		{[]string{"kick", "--admin", url, "no-id"}, 1, "(422)"},
		{[]string{"drain", "--admin", url, "--over", "2h"}, 1, "over must be a duration"},
		{[]string{"drain", "--admin", url, "--node", "elsewhere"}, 1, "(404)"},
		{[]string{"tail", "--admin", url}, 2, "missing flags"},
		{[]string{"tail", "--admin", url, "--global", "--group", "g"}, 2, "can't be used together"},
		{[]string{"tail", "--admin", url, "--global", "--per-second", "501"}, 2, "--per-second"},
		{[]string{"publish", "--admin", url, "--to", "ALL", "--event", "e"}, 2, "--to"},
		{[]string{"publish", "--admin", url, "--to", "GLOBAL", "--event", "e", "{"}, 2, "not JSON"},
		{[]string{"clients", "--admin", url, "--output", "xml"}, 2, "--output"},
		{[]string{"clients", "--admin", url, "--limit=-1"}, 2, "--limit"},
	} {
		x.start("", tc.args...).want(tc.code, "", tc.stderr)
	}
}

// TestOperatorsSeeWhatClientsSay: names of clients can't control the operator's terminal.
func TestOperatorsSeeWhatClientsSay(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, s)
	x.env = append(x.env, "MASTERSOCKET_ADMIN_URL=http://"+s.AdminAddr)
	x.sub("--group", "a\u202eb")
	for _, args := range [][]string{{"clients"}, {"groups"}} {
		if out := x.output(args...); strings.ContainsAny(out, "\u202e") || !strings.Contains(out, `a\u202eb`) {
			t.Errorf("%q printed %q", args, out)
		}
	}
}

func TestListsGoThroughAllPages(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, s)
	x.env = append(x.env, "MASTERSOCKET_ADMIN_URL=http://"+s.AdminAddr)
	const n = pageSize + 7
	groups := []string{"--group", "first"}
	for i := range n {
		if len(groups) == 2*32 {
			x.sub(groups...)
			groups = nil
		}
		groups = append(groups, "--group", fmt.Sprintf("group-%03d", i))
	}
	x.sub(groups...)
	if out := x.output("groups", "--prefix", "group-", "-o", "json"); strings.Count(out, "\n") != n {
		t.Errorf("%d of %d groups", strings.Count(out, "\n"), n)
	}
	if out := x.output("groups", "--prefix", "group-", "-n", "502", "-o", "json"); strings.Count(out, "\n") != 502 {
		t.Errorf("%d groups with a limit of 502", strings.Count(out, "\n"))
	}
}
