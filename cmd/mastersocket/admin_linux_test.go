package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// operator asks the admin API of a hub.
type operator struct {
	t     *testing.T
	url   string
	token string
}

// do sends a request and reads the answer into v, nil for none.
func (o operator) do(method, path, body string, v any) int {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, o.url+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+o.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	if v != nil {
		if err := json.Unmarshal(b, v); err != nil {
			o.t.Fatalf("%s %s: %d %s: %v", method, path, resp.StatusCode, b, err)
		}
	}
	return resp.StatusCode
}

// metric returns the value of a metric as it is written.
func (o operator) metric(name string) string {
	o.t.Helper()
	resp, err := http.Get(o.url + "/metrics") //nolint:noctx // of a process of this test
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// TestOperateACluster finds, looks at and disconnects clients of three processes over a real Redis.
func TestOperateACluster(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var hubs []*hubtest.Server
	var ops []operator
	for i := range 3 {
		s := hubtest.Start(t, hubtest.Options{Name: fmt.Sprint("node-", i), Redis: redis.URL()})
		hubs, ops = append(hubs, s), append(ops, operator{t, "http://" + s.AdminAddr, s.Token})
	}
	var list admin.NodeList
	for _, o := range ops {
		eventually.True(t, "three nodes", func() bool {
			return o.do("GET", "/v1/nodes", "", &list) == 200 && len(list.Nodes) == 3 && len(list.Missing) == 0
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var ends []<-chan error
	for i, s := range hubs {
		onEnd, ended := firstEnd()
		c, err := client.Connect(ctx, client.Options{
			URL: s.URL(), Token: s.Token, Group: "a/b", Name: fmt.Sprint("svc-", i),
			OnDisconnect: onEnd,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		ends = append(ends, ended)
	}
	var clients admin.ClientList
	eventually.True(t, "three clients", func() bool {
		return ops[0].do("GET", "/v1/clients?group=a/b", "", &clients) == 200 && len(clients.Clients) == 3
	})
	var group admin.GroupDetail
	if ops[1].do("GET", "/v1/groups/a%2Fb", "", &group); group.Members != 3 || len(group.Nodes) != 3 {
		t.Errorf("got %+v", group)
	}
	var receipt hub.Receipt
	ops[2].do("POST", "/v1/events", `{"event":"x","intent":{"target":"GROUP","identifier":"a/b"}}`, &receipt)
	if receipt.Instances == nil || receipt.Clients == nil || *receipt.Instances != 3 || *receipt.Clients != 3 {
		t.Errorf("got %+v", receipt)
	}
	lines, stop := watchTail(t, ops[0], "/v1/tail?group=elsewhere")
	defer stop()
	for range 2 { // the first line says that the tail is open
		<-lines
	}
	ops[2].do("POST", "/v1/events", `{"event":"seen","intent":{"target":"GROUP","identifier":"elsewhere"}}`, nil)
	for line := range lines {
		if strings.Contains(line, `"event":"seen"`) {
			break
		}
	}
	at := slices.IndexFunc(clients.Clients, func(c hub.Client) bool { return c.Name == "svc-1" })
	if code := ops[2].do("DELETE", "/v1/clients/"+clients.Clients[at].ID.String(), "", nil); code != 204 {
		t.Errorf("disconnected with %d", code)
	}
	if err := <-ends[1]; !strings.Contains(fmt.Sprint(err), "KICKED") {
		t.Errorf("the client ended with %v", err)
	}
	hubs[2].Signal(syscall.SIGSTOP) // it neither answers nor says goodbye
	defer hubs[2].Signal(syscall.SIGCONT)
	begin := time.Now()
	if ops[0].do("GET", "/v1/clients", "", &clients); !slices.Contains(clients.Missing, "node-2") {
		t.Errorf("missing %v after %v, want node-2", clients.Missing, time.Since(begin))
	}
}
