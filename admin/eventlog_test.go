package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
)

// openLog opens a stream of the event log on instance i. An empty token means none.
func (c *cluster) openLog(i int, query, token string) *tail {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", c.urls[i]+"/v1/log/stream?"+query, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cancel(); resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		c.t.Fatalf("GET /v1/log/stream: %d %v", resp.StatusCode, resp.Header)
	}
	s := &tail{t: c.t, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	if name, data := s.next(); name != "open" || string(data) != fmt.Sprintf(`{"node":"node-%d"}`, i) {
		c.t.Fatalf("the first event is %s %s", name, data)
	}
	return s
}

// TestEventLog looks at what happened on two instances, with a token that may only look, in pages and as a stream.
func TestEventLog(t *testing.T) {
	t.Parallel()
	const readToken = "read-token"
	c := startCluster(t, 2, nil)
	c.store.Replace(parseTokens(t, usualTokens()+fmt.Sprintf("  - {name: reader, sha256: %s, admin: read}\n", auth.Hash(readToken))))
	as := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+readToken) }
	stream := c.openLog(1, "kind=kicked,operation", readToken)
	first := c.connect(0, "g", obj{"name": "first"})
	c.connect(1, "g", obj{"name": "second"})
	if r := c.call(1, "DELETE", "/v1/clients/"+first.id, ""); r.status != 204 {
		t.Fatalf("kick: %d", r.status)
	}
	c.call(0, "POST", "/v1/events", `{"event":"e","intent":{"target":"GLOBAL"}}`)

	var list LogList
	next := ""
	var kinds []string
	for {
		r := c.do(0, "GET", "/v1/log?limit=2"+next, "", as)
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		list = LogList{}
		if err := json.Unmarshal(r.body, &list); err != nil || len(list.Missing) > 0 {
			t.Fatalf("%s: %v", r.body, err)
		}
		for _, e := range list.Entries {
			kinds = append(kinds, e.Kind+" "+e.Node+" "+e.Name+e.By+" "+e.Detail)
		}
		if list.Next == nil {
			break
		}
		next = "&cursor=" + url.QueryEscape(*list.Next)
	}
	want := map[string]bool{
		"operation node-1 root kick /v1/clients/" + first.id: true, "kicked node-0 first ": true, "connected node-1 second ": true,
		"connected node-0 first ": true,
	}
	for _, k := range kinds {
		if !want[k] {
			t.Errorf("unexpected: %s", k)
		}
		delete(want, k)
	}
	for k := range want {
		t.Errorf("missing: %s", k)
	}
	c.get(0, "/v1/log?name=sec*&kind=connected,kicked&token=root&group=g&node=node-1", &list)
	if len(list.Entries) != 1 || list.Entries[0].Name != "second" {
		t.Errorf("with filters: %+v", list.Entries)
	}
	for range 2 {
		name, data := stream.next()
		var e hub.LogEntry
		if err := json.Unmarshal(data, &e); name != "entry" || err != nil || e.Kind != "kicked" && e.Kind != "operation" {
			t.Errorf("%s %s: %v", name, data, err)
		}
	}
	c.store.Replace(parseTokens(t, usualTokens())) // the reader's rights end
	if name, data := stream.next(); name != "" {
		t.Errorf("%s %s after the token has gone", name, data)
	}
}

// TestEventLogStreamsAreFew opens more streams than there may be.
func TestEventLogStreamsAreFew(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	for range maxFollowers {
		c.openLog(0, "", rootToken)
	}
	if r := c.do(0, "GET", "/v1/log/stream", "", header("Accept", "text/event-stream")); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d", r.status)
	}
}
