package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

func TestNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	p := c.connect(2, "g", nil)
	p.send(obj{"op": 0, "event": "x", "intent": obj{"target": "GROUP", "identifier": "g"}})
	p.read()
	var list NodeList
	c.get(1, "/v1/nodes", &list)
	if len(list.Nodes) != 3 || len(list.Missing) != 0 || time.Since(list.At).Abs() > time.Minute {
		t.Fatalf("got %+v", list)
	}
	for i, n := range list.Nodes {
		if n.Name != fmt.Sprint("node-", i) || n.Self != (i == 1) || n.Version != "1.2.3" || !n.Broker.Available ||
			time.Since(n.At) > time.Minute || n.ID == "" || n.Draining {
			t.Errorf("got %+v", n)
		}
	}
	n := list.Nodes[2]
	if n.Connections["service"] != 1 || n.MessagesReceived != 1 || n.Deliveries != 1 || n.Groups != 1 || n.ReceivedBytes == 0 ||
		n.SentBytes == 0 || n.SendQueueBytes != 1<<20 || n.WriteTimeout != 30 || n.LoopTurnP99 <= 0 || !strings.HasPrefix(p.id, n.ID) {
		t.Errorf("got %+v", n)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	p := c.connect(0, "a/b", obj{"name": "svc", "version": "2", "meta": obj{"zone": "x"}, "groups": []string{"é ☃"}})
	p.send(obj{"op": 0, "event": "x", "intent": obj{"target": "GROUP", "identifier": "a/b"}})
	p.read()
	var got hub.Client
	c.get(2, "/v1/clients/"+p.id, &got)
	if got.ID.String() != p.id || got.Node != "node-0" || got.Type != "service" || got.Name != "svc" || got.Version != "2" ||
		got.Meta["zone"] != "x" || !slices.Equal(got.Groups, []string{"a/b", "é ☃"}) || got.Token != "root" ||
		!strings.HasPrefix(got.Address, "127.0.0.1:") || got.MessagesIn != 1 || got.MessagesOut != 2 || got.QueueBytes != 0 ||
		got.BytesIn == 0 || got.BytesOut == 0 || time.Since(got.LastSeen) > time.Minute || time.Since(got.ConnectedSince) > time.Minute {
		t.Errorf("got %+v", got)
	}
	if r := c.call(1, "GET", "/v1/clients/"+uuid.NewString(), ""); r.status != 404 {
		t.Errorf("an unknown client: %d", r.status)
	}
	for _, name := range []string{"a/b", "é ☃"} {
		var g GroupDetail
		c.get(1, "/v1/groups/"+url.PathEscape(name), &g)
		if g.Name != name || g.Members != 1 || g.Nodes["node-0"] != 1 || g.Watchers != 0 {
			t.Errorf("got %+v", g)
		}
		if len(g.Present) != 1 || g.Present[0].ID.String() != p.id || g.Present[0].Name != "svc" || g.Present[0].Meta["zone"] != "x" ||
			g.Present[0].Node != "node-0" || *g.Present[0].Weight != 1 || time.Since(g.Present[0].Since) > time.Minute {
			t.Errorf("got %+v", g.Present)
		}
	}
	c.connect(1, "x", obj{"features": []string{"presence"}, "watch": []string{"a/b"}})
	eventually.True(t, "the watcher", func() bool {
		var g GroupDetail
		c.get(2, "/v1/groups/a%2Fb", &g)
		return g.Watchers == 1 && g.Members == 1
	})
	if r := c.call(1, "GET", "/v1/groups/nobody", ""); r.status != 404 {
		t.Errorf("an unknown group: %d", r.status)
	}
	var groups GroupList
	c.get(1, "/v1/groups?prefix=a%2F", &groups)
	if len(groups.Groups) != 1 || groups.Groups[0].Name != "a/b" {
		t.Errorf("got %+v", groups)
	}
}

// TestKick disconnects clients through another instance than theirs.
func TestKick(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	for i := range 3 {
		p := c.connect(i, "g", nil)
		if r := c.call((i+1)%3, "DELETE", "/v1/clients/"+p.id, ""); r.status != 204 || len(r.body) > 0 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
		// It is disconnected when the response arrives.
		if r := c.call((i+2)%3, "GET", "/v1/clients/"+p.id, ""); r.status != 404 {
			t.Errorf("a client that was kicked: %d", r.status)
		}
		p.wantEnd("KICKED", 4010)
		if r := c.call(i, "DELETE", "/v1/clients/"+p.id, ""); r.status != 404 {
			t.Errorf("kicked again: %d", r.status)
		}
	}
	if r := c.call(0, "POST", "/v1/events", `{"id":"i","event":"e f","intent":{"target":"GROUP","identifier":"g"}}`); r.status != 200 {
		t.Errorf("got %d", r.status)
	}
	if log := c.log.String(); !strings.Contains(log, `result=done status=200 intent=GROUP:g event="e f" id=i`) {
		t.Errorf("the audit log: %s", log)
	}
	if log := c.log.String(); strings.Count(log, "operation=kick") != 6 || !strings.Contains(log, "token=root from=127.0.0.1:") {
		t.Errorf("the audit log: %s", log)
	}
}

// An operator moves clients in and out of groups, on whichever instance they are. Those that asked for it are told.
func TestRegroup(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	p := c.connect(1, "g", map[string]any{"features": []string{"groups"}})
	old := c.connect(2, "g", nil)
	groups := func(r reply) string {
		var client struct{ Groups []string }
		_ = json.Unmarshal(r.body, &client)
		return fmt.Sprintf("%d%v", r.status, client.Groups)
	}
	for _, tt := range []struct {
		method, id, group, want string
	}{
		{"PUT", p.id, "a%2Fb", "200[g a/b]"}, {"PUT", p.id, "a%2Fb", "200[g a/b]"}, {"PUT", old.id, "h", "200[g h]"},
		{"DELETE", p.id, "a%2Fb", "200[g]"}, {"DELETE", p.id, "nowhere", "200[g]"}, {"DELETE", p.id, "g", "409[]"},
		{"PUT", p.id, "$teams", "409[]"}, {"PUT", uuid.NewString(), "h", "404[]"}, {"PUT", "no-id", "h", "422[]"},
		{"DELETE", old.id, "h", "200[g]"},
	} {
		if got := groups(c.call(0, tt.method, "/v1/clients/"+tt.id+"/groups/"+tt.group, "")); got != tt.want {
			t.Errorf("%s %s %s: %s, want %s", tt.method, tt.id, tt.group, got, tt.want)
		}
	}
	for _, op := range []float64{8, 9} {
		if got := fmt.Sprint(p.read()); got != fmt.Sprintf("map[data:map[by:operator groups:[a/b]] op:%v]", op) {
			t.Errorf("the client was told %s", got)
		}
	}
	if log := c.log.String(); strings.Count(log, "operation=join") != 6 || strings.Count(log, "operation=leave") != 4 {
		t.Errorf("the audit log: %s", log)
	}
}

// TestPagesSurviveChanges reads all pages while clients connect and disconnect: a client that stays is on exactly one.
func TestPagesSurviveChanges(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	stay, leave := make(map[string]int), []*peer{}
	for i := range 60 {
		p := c.connect(i%3, fmt.Sprint("g", i%2), obj{"name": fmt.Sprint("svc-", i)})
		if i%4 == 0 {
			leave = append(leave, p)
		} else {
			stay[p.id] = 0
		}
	}
	path, pages := "/v1/clients?limit=7", 0
	for next := ""; ; pages++ {
		var page ClientList
		c.get(pages%3, path+"&cursor="+url.QueryEscape(next), &page)
		if len(page.Clients) > 7 || len(page.Missing) > 0 {
			t.Fatalf("%d clients, missing %v", len(page.Clients), page.Missing)
		}
		for _, client := range page.Clients {
			if n, ok := stay[client.ID.String()]; ok {
				stay[client.ID.String()] = n + 1
			}
		}
		if page.Next == nil {
			break
		}
		next = *page.Next
		if len(leave) > 0 {
			c.call(0, "DELETE", "/v1/clients/"+leave[0].id, "")
			leave = leave[1:]
			c.connect(pages%3, "late", nil)
		}
	}
	for id, n := range stay {
		if n != 1 {
			t.Errorf("client %s is on %d pages", id, n)
		}
	}
	for query, want := range map[string]int{
		"group=g1": 30, "node=node-1&group=g1": 10, "name=svc-1": 1, "name=svc-1*": 11 - 2, "type=team": 0, "name=*&node=node-9": 0,
	} {
		var page ClientList
		if c.get(0, "/v1/clients?limit=500&"+query, &page); query != "name=svc-1*" && len(page.Clients) != want {
			t.Errorf("%s: %d clients, want %d", query, len(page.Clients), want)
		}
	}
}

// awayFor is a broker that knows of an instance that never answers.
type awayFor struct{ broker.Broker }

func (b awayFor) Nodes() []broker.Node {
	return append(b.Broker.Nodes(), broker.Node{ID: 7, Name: "far"})
}

func (b awayFor) Gather(ctx context.Context, _ []broker.NodeID, _ []byte, _ func(broker.NodeID, []byte)) ([]broker.NodeID, error) {
	<-ctx.Done()
	return []broker.NodeID{7}, nil
}

// TestSilentInstancesAreNamed has an instance that does not answer.
func TestSilentInstancesAreNamed(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, func(_ int, o *hub.Options, a *Options) {
		o.Broker, a.GatherTimeout = awayFor{o.Broker}, 500*time.Millisecond
	})
	c.connect(0, "g", nil)
	var nodes NodeList
	var clients ClientList
	var groups GroupList
	var group GroupDetail
	c.get(0, "/v1/nodes", &nodes)
	c.get(0, "/v1/clients", &clients)
	c.get(0, "/v1/groups", &groups)
	c.get(0, "/v1/groups/g", &group)
	for what, missing := range map[string][]string{
		"nodes": nodes.Missing, "clients": clients.Missing, "groups": groups.Missing, "group": group.Missing,
	} {
		if !slices.Equal(missing, []string{"far"}) {
			t.Errorf("%s: missing %v", what, missing)
		}
	}
	if len(nodes.Nodes) != 1 || len(clients.Clients) != 1 || len(groups.Groups) != 1 {
		t.Error("what this instance knows is not in the lists")
	}
	there := "00000007-0000-8000-8000-000000000000" // a client of the silent instance, by its id
	if r := c.call(0, "GET", "/v1/clients/"+there, ""); r.status != http.StatusGatewayTimeout {
		t.Errorf("a client that only the silent instance can know: %d", r.status)
	}
	if r := c.call(0, "DELETE", "/v1/clients/"+there, ""); r.status != http.StatusGatewayTimeout {
		t.Errorf("to disconnect it: %d", r.status)
	}
}

// TestPublish sends events of every target and checks the receipts and the receivers.
func TestPublish(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	var peers []*peer
	for i := range 6 {
		peers = append(peers, c.connect(i%3, "g", nil))
	}
	lone := c.connect(2, "lone", nil)
	for _, tc := range []struct {
		body               string
		instances, clients int
		dropped            map[string]int
		receivers          []*peer
	}{
		{`{"id":"1","event":"e","data":{"n":1.50},"intent":{"target":"GROUP","identifier":"g"},"more":[1]}`, 3, 6, nil, peers},
		{`{"id":"2","intent":{"target":"GLOBAL"}}`, 3, 7, nil, append(slices.Clone(peers), lone)},
		{`{"id":"3","intent":{"target":"DIRECT","identifier":"` + lone.id + `"}}`, 1, 1, nil, []*peer{lone}},
		{`{"id":"4","intent":{"target":"DIRECT","identifier":"` + peers[0].id + `"}}`, 1, 1, nil, peers[:1]},
		{`{"id":"5","intent":{"target":"ANY","identifier":"lone"}}`, 1, 1, nil, []*peer{lone}},
		{`{"id":"6","intent":{"target":"GROUP","identifier":"nobody"}}`, 0, 0, map[string]int{"no_receiver": 1}, nil},
		{`{"id":"7","intent":{"target":"ANY","identifier":"nobody"}}`, 0, 0, map[string]int{"no_receiver": 1}, nil},
		{`{"id":"8","intent":{"target":"DIRECT","identifier":"` + uuid.NewString() + `"}}`, 0, 0, map[string]int{"no_receiver": 1}, nil},
	} {
		r := c.call(0, "POST", "/v1/events", tc.body)
		var got hub.Receipt
		if err := json.Unmarshal(r.body, &got); err != nil || r.status != 200 || got.Instances == nil || got.Clients == nil {
			t.Fatalf("%s: %d %s", tc.body, r.status, r.body)
		}
		if *got.Instances != tc.instances || *got.Clients != tc.clients || fmt.Sprint(got.Dropped) != fmt.Sprint(tc.dropped) {
			t.Errorf("%s: %s, want %d instances, %d clients, dropped %v", tc.body, r.body, tc.instances, tc.clients, tc.dropped)
		}
		for _, p := range tc.receivers {
			if v := p.read(); v["id"] != got.ID || v["op"] != 0.0 || v["sender"] == nil {
				t.Errorf("%s: received %v", tc.body, v)
			}
		}
	}
	_, metrics := get(t, http.MethodGet, c.urls[0]+"/metrics")
	for target, n := range map[string]int{"GROUP": 2, "GLOBAL": 1, "DIRECT": 3, "ANY": 2} {
		if line := fmt.Sprintf("\nmastersocket_messages_received_total{target=%q,type=\"api\"} %d\n", target, n); !strings.Contains(metrics, line) {
			t.Errorf("no line %q", line)
		}
	}
	var none hub.Receipt // an id is made where there is none
	if r := c.call(1, "POST", "/v1/events", `{"intent":{"target":"ANY"}}`); json.Unmarshal(r.body, &none) != nil || uuid.Validate(none.ID) != nil {
		t.Errorf("got %s", r.body)
	}
}

// TestPublishUnknownOutcome publishes while the other instances don't confirm anything.
func TestPublishUnknownOutcome(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, func(_ int, o *hub.Options, a *Options) {
		o.Broker, a.GatherTimeout = silent{o.Broker}, 500*time.Millisecond
	})
	c.connect(0, "g", nil)
	r := c.call(0, "POST", "/v1/events", `{"intent":{"target":"GROUP","identifier":"g"}}`)
	var got hub.Receipt
	if err := json.Unmarshal(r.body, &got); err != nil || got.Instances != nil || got.Clients != nil {
		t.Errorf("got %s: %v", r.body, err)
	}
}

// silent is a broker that never reports the outcome of a message and gathers no answers.
type silent struct{ broker.Broker }

func (silent) Publish(*broker.Message, broker.Completion) {}

func TestDrain(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	p := c.connect(0, "g", nil)
	r := c.call(0, "POST", "/v1/drain", `{"over":"0s"}`)
	var d Drain
	if err := json.Unmarshal(r.body, &d); err != nil || r.status != 202 || !d.Began || d.Node != "node-0" {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	p.wantEnd("SERVER_RESTART", 1001)
	want(t, c.urls[0]+"/readyz", 503, "draining")
	want(t, c.urls[1]+"/readyz", 200, "ready")
	if r = c.call(0, "POST", "/v1/drain", ""); json.Unmarshal(r.body, &d) != nil || d.Began {
		t.Errorf("drained again: %s", r.body)
	}
	var list NodeList
	if c.get(1, "/v1/nodes", &list); !list.Nodes[0].Draining || list.Nodes[1].Draining {
		t.Errorf("got %+v", list)
	}
}
