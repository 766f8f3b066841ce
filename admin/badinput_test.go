package admin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
)

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
}

// host replaces the Host header of a request.
func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

// TestBadInput sends requests that must be refused to all operations.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	p := c.connect(0, "g", nil)
	bearer := func(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }
	deep := `{"intent":{"target":"GLOBAL"},"data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`
	good := `{"intent":{"target":"GLOBAL"}}`
	for _, tc := range []struct {
		method, path, body string
		change             func(*http.Request)
		status             int
	}{
		// Credentials.
		{"GET", "/v1/nodes", "", header("Authorization", ""), 401},
		{"GET", "/v1/nodes", "", bearer(""), 401},
		{"GET", "/v1/nodes", "", bearer("wrong"), 401},
		{"GET", "/v1/nodes", "", bearer(rootToken + "x"), 401},
		{"GET", "/v1/nodes", "", bearer(strings.Repeat("a", 5000)), 401},
		{"GET", "/v1/nodes", "", header("Authorization", "Basic "+rootToken), 401},
		{"GET", "/v1/nodes", "", header("Authorization", rootToken), 401},
		{"GET", "/v1/nodes?token=" + rootToken, "", header("Authorization", ""), 401},
		{"GET", "/v1/nodes", "", func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+rootToken) }, 401},
		{"GET", "/v1/nothing", "", header("Authorization", ""), 401},
		{"POST", "/v1/events", good, header("Authorization", ""), 401},
		{"GET", "/v1/nodes", "", bearer(plainToken), 403},
		{"POST", "/v1/drain", "", bearer(plainToken), 403},
		{"DELETE", "/v1/clients/" + p.id, "", bearer(plainToken), 403},
		{"GET", "/v1/tail?group=g", "", bearer(plainToken), 403},
		{"POST", "/v1/events", good, bearer(watchToken), 403},
		// Origins and hosts.
		{"POST", "/v1/drain", "", header("Sec-Fetch-Site", "cross-site"), 403},
		{"POST", "/v1/drain", "", header("Origin", "https://evil.example"), 403},
		{"POST", "/v1/events", good, header("Sec-Fetch-Site", "same-site"), 403},
		{"DELETE", "/v1/clients/" + p.id, "", header("Sec-Fetch-Site", "cross-site"), 403},
		{"GET", "/v1/nodes", "", header("Sec-Fetch-Site", "cross-site"), 403}, {"GET", "/v1/nodes", "", header("Sec-Fetch-Site", "same-site"), 403},
		{"GET", "/v1/tail?group=g", "", header("Sec-Fetch-Site", "cross-site"), 403},
		{"GET", "/v1/nodes", "", header("Sec-Fetch-Site", "none"), 200}, {"GET", "/v1/nodes", "", header("Sec-Fetch-Site", "same-origin"), 200},
		{"GET", "/v1/nodes", "", host("evil.example"), 421}, {"POST", "/v1/events", good, host("evil.example:42070"), 421},
		{"GET", "/v1/nodes", "", host("localhost:1"), 200}, {"GET", "/v1/nodes", "", host("[::1]"), 200},
		// Paths and methods.
		{"GET", "/v1", "", nil, 404}, {"GET", "/v1/", "", nil, 404}, {"GET", "/v1/nothing", "", nil, 404},
		{"GET", "/v1/nodes/", "", nil, 404}, {"GET", "/v1/clients/a/b", "", nil, 404}, {"GET", "/v1/groups/", "", nil, 404},
		{"GET", "/v1/%2e%2e/metrics", "", nil, 404}, {"GET", "/v1/..%2fmetrics", "", nil, 404}, {"GET", "/v1/./nodes", "", nil, 404},
		{"GET", "/v1/teams", "", nil, 404}, {"POST", "/v1/reload", "", nil, 404},
		{"POST", "/v1/nodes", "", nil, 405}, {"DELETE", "/v1/clients", "", nil, 405}, {"PUT", "/v1/clients/" + p.id, "", nil, 405},
		{"GET", "/v1/events", "", nil, 405}, {"OPTIONS", "/v1/nodes", "", nil, 405}, {"GET", "/v1/drain", "", nil, 405},
		{"TRACE", "/v1/nodes", "", nil, 405}, {"BREW", "/v1/nodes", "", nil, 405},
		// Media types.
		{"GET", "/v1/nodes", "", header("Accept", "text/html"), 406}, {"GET", "/v1/nodes", "", header("Accept", "application/json;q=0"), 406},
		{"GET", "/v1/tail?group=g", "", header("Accept", "application/json"), 406}, {"GET", "/v1/nodes", "", header("Accept", "*/*;q=0.0"), 406},
		{"POST", "/v1/events", good, header("Content-Type", "application/x-www-form-urlencoded"), 415},
		{"POST", "/v1/events", good, header("Content-Type", "text/plain"), 415}, {"POST", "/v1/events", good, header("Content-Type", ""), 415},
		{"POST", "/v1/events", good, header("Content-Type", "application/json, text/plain"), 415},
		{"POST", "/v1/events", good, header("Content-Type", "application/problem+json"), 415},
		{"POST", "/v1/drain", "", header("Content-Type", "multipart/form-data; boundary=x"), 415},
		// Bounds.
		{"POST", "/v1/events", `{"intent":{"target":"GLOBAL"},"data":"` + strings.Repeat("x", 70000) + `"}`, nil, 413},
		{"POST", "/v1/events", `{"intent":{"target":"GLOBAL"},"data":"` + strings.Repeat("x", 40000) + `"}`, nil, 413}, // max_message_bytes
		{"GET", "/v1/clients?limit=0", "", nil, 422}, {"GET", "/v1/clients?limit=501", "", nil, 422}, {"GET", "/v1/clients?limit=-1", "", nil, 422},
		{"GET", "/v1/clients?limit=99999999999999999999", "", nil, 422}, {"GET", "/v1/clients?limit=x", "", nil, 422},
		{"GET", "/v1/groups?limit=1000000000", "", nil, 422}, {"GET", "/v1/tail?group=g&per_second=1000000", "", nil, 422},
		{"GET", "/v1/clients?cursor=" + strings.Repeat("a", 2000), "", nil, 422},
		{"GET", "/v1/log?limit=501", "", nil, 422}, {"GET", "/v1/log?kind=nothing", "", nil, 422}, {"GET", "/v1/log?cursor=W10", "", nil, 422},
		{"GET", "/v1/log?cursor=e30", "", nil, 200}, {"GET", "/v1/log?unknown=1", "", nil, 422}, {"GET", "/v1/log/stream?kind=x", "", nil, 422},
		{"GET", "/v1/log", "", bearer(plainToken), 403}, {"GET", "/v1/log/stream", "", bearer(plainToken), 403},
		{"GET", "/v1/log/stream", "", header("Accept", "application/json"), 406}, {"POST", "/v1/log", "", nil, 405},
		{"GET", "/v1/tail?client=x", "", nil, 422}, {"GET", "/v1/tail?client=" + p.id + "&token=root", "", nil, 422},
		{"GET", "/v1/tail?token=root&group=g", "", nil, 422}, {"GET", "/v1/tail?client=" + uuid.NewString(), "", nil, 404},
		{"GET", "/v1/top?limit=101", "", nil, 422}, {"GET", "/v1/top?sort=name", "", nil, 422}, {"GET", "/v1/top?window=1h", "", nil, 422},
		{"GET", "/v1/top", "", bearer(plainToken), 403}, {"POST", "/v1/top", "", nil, 405},
		// Values.
		{"GET", "/v1/clients?cursor=!", "", nil, 422}, {"GET", "/v1/clients?cursor=e30", "", nil, 200}, {"GET", "/v1/groups?cursor=MQ", "", nil, 422},
		{"GET", "/v1/clients?cursor=W10", "", nil, 422}, {"GET", "/v1/clients?unknown=1", "", nil, 422},
		{"GET", "/v1/clients/x", "", nil, 422}, {"DELETE", "/v1/clients/x", "", nil, 422}, {"GET", "/v1/clients/" + strings.Repeat("a", 4000), "", nil, 422},
		{"GET", "/v1/tail", "", nil, 422}, {"GET", "/v1/tail?group=g&global=true", "", nil, 422}, {"GET", "/v1/tail?group=%00", "", nil, 422},
		{"GET", "/v1/groups/" + strings.Repeat("g", 129), "", nil, 422},
		{"POST", "/v1/drain", `{"over":"never"}`, nil, 422}, {"POST", "/v1/drain", `{"over":"-1s"}`, nil, 422}, {"POST", "/v1/drain", `{"over":"2h"}`, nil, 422},
		{"POST", "/v1/drain", `{"over":1}`, nil, 422}, {"POST", "/v1/drain", `{"ovr":"1s"}`, nil, 422}, {"POST", "/v1/drain", `[]`, nil, 422},
		{"POST", "/v1/rebalance", `{"over":"never"}`, nil, 422}, {"POST", "/v1/rebalance", `{"over":"0s"}`, nil, 422}, {"POST", "/v1/rebalance", `{"over":"2h"}`, nil, 422},
		{"POST", "/v1/rebalance", `{"at_most":0}`, nil, 422}, {"POST", "/v1/rebalance", `{"at_most":1.5}`, nil, 422}, {"POST", "/v1/rebalance", `{"atmost":1}`, nil, 422},
		{"POST", "/v1/rebalance", "", bearer(plainToken), 403}, {"GET", "/v1/rebalance", "", nil, 405},
		// Events, under the rules for clients.
		{"POST", "/v1/events", "", nil, 400}, {"POST", "/v1/events", `{`, nil, 400}, {"POST", "/v1/events", good + good, nil, 400},
		{"POST", "/v1/events", `[]`, nil, 422}, {"POST", "/v1/events", `null`, nil, 422}, {"POST", "/v1/events", `{}`, nil, 422}, {"POST", "/v1/events", ` { } `, nil, 422},
		{"POST", "/v1/events", `{"op":0,"intent":{"target":"GLOBAL"}}`, nil, 422}, {"POST", "/v1/events", `{"\u006fp":1,"intent":{"target":"GLOBAL"}}`, nil, 422},
		{"POST", "/v1/events", `{"sender":"x","intent":{"target":"GLOBAL"}}`, nil, 422}, {"POST", "/v1/events", `{"intent":{"target":"ALL"}}`, nil, 422},
		{"POST", "/v1/events", `{"intent":{"target":"GROUP"}}`, nil, 422}, {"POST", "/v1/events", `{"intent":{"target":"GROUP","identifier":"$x"}}`, nil, 422},
		{"POST", "/v1/events", `{"intent":{"target":"DIRECT","identifier":"x"}}`, nil, 422}, {"POST", "/v1/events", `{"id":"` + strings.Repeat("i", 65) + `","intent":{"target":"GLOBAL"}}`, nil, 422},
		{"POST", "/v1/events", `{"event":"a","event":"b","intent":{"target":"GLOBAL"}}`, nil, 422}, {"POST", "/v1/events", deep, nil, 422},
		{"POST", "/v1/events", "{\"event\":\"\xff\",\"intent\":{\"target\":\"GLOBAL\"}}", nil, 422}, {"POST", "/v1/events", `{"event":"\ud800","intent":{"target":"GLOBAL"}}`, nil, 422},
		{"POST", "/v1/events", `{"id":1,"intent":{"target":"GLOBAL"}}`, nil, 422}, {"POST", "/v1/events", `{"intent":null}`, nil, 422},
	} {
		r := c.do(0, tc.method, tc.path, tc.body, tc.change)
		if r.status != tc.status {
			t.Errorf("%s %.80s %.80s: %d, want %d: %.300s", tc.method, tc.path, tc.body, r.status, tc.status, r.body)
		}
		if strings.Contains(string(r.body), rootToken) {
			t.Errorf("%s %s: the answer has a token in it", tc.method, tc.path)
		}
		switch r.status {
		case 401:
			if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s %s: a 401 without WWW-Authenticate", tc.method, tc.path)
			}
		case 405:
			if r.header.Get("Allow") == "" {
				t.Errorf("%s %s: a 405 without Allow", tc.method, tc.path)
			}
		}
	}
	var client hub.Client // nothing of all that reached it
	if c.get(0, "/v1/clients/"+p.id, &client); client.MessagesOut != 1 {
		t.Errorf("%d messages to the client, want the answer to its IDENTIFY alone", client.MessagesOut)
	}
	if log := c.log.String(); strings.Contains(log, rootToken) {
		t.Error("the log has a token in it")
	}
	boundedLabels(t, c)
}

// boundedLabels checks that no caller chose a label.
func boundedLabels(t *testing.T, c *cluster) {
	t.Helper()
	for i := range 50 {
		c.call(0, "GET", fmt.Sprintf("/v1/chosen-%d", i), "")
		c.call(0, "GET", "/v1/clients/"+uuid.NewString(), "")
		c.call(0, "GET", fmt.Sprintf("/v1/groups/chosen-%d", i), "")
		c.do(0, fmt.Sprint("CHOSEN", i), "/v1/nodes", "", nil)
	}
	_, metrics := get(t, http.MethodGet, c.urls[0]+"/metrics")
	series := 0
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "mastersocket_admin_requests_total{") {
			series++
		}
	}
	if series == 0 || series > 60 || strings.Contains(strings.ToLower(metrics), "chosen") {
		t.Errorf("%d series of requests, with a label that a caller chose: %t", series, strings.Contains(metrics, "chosen"))
	}
}

// raw sends bytes to the admin listener and returns the head of the response.
func (c *cluster) raw(request string) (*http.Response, error) {
	c.t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(c.urls[0], "http://"), 10*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		c.t.Fatal(err)
	}
	return http.ReadResponse(bufio.NewReader(conn), nil)
}

// TestLargeBodiesAreNotRead announces bodies without sending them, or sends more than the bound.
func TestLargeBodiesAreNotRead(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	head := "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + rootToken + "\r\nContent-Type: application/json\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 32<<10, strings.Repeat(" ", 32<<10))
	for name, request := range map[string]string{
		"announced": head + "Content-Length: 65537\r\n\r\n",
		"huge":      head + "Content-Length: 9223372036854775807\r\n\r\n",
		"chunked":   head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 3),
	} {
		resp, err := c.raw(request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if resp.StatusCode != 413 || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
	}
	resp, err := c.raw("GET /v1/nodes HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + strings.Repeat("x", 64<<10) + "\r\n\r\n")
	if err != nil || resp.StatusCode != 431 {
		t.Errorf("long headers: %v, %v", resp, err)
	}
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"application/json": true, "*/*": true, "application/*;q=0.1": true, "text/html, application/json;q=0.9": true,
		"text/html": false, "application/json;q=0, */*": false, "*/*;q=0": false, "*/*;q=0.000, application/json;q=0.001": true,
		"garbage/": false, ";;,": false, "APPLICATION/JSON": true, "application/json;q=0.0": false,
	} {
		if got := accepts(header, "application/json"); got != want {
			t.Errorf("%q: %t, want %t", header, got, want)
		}
	}
}

// TestDocumentNamesEveryRoute compares the document with the operations.
func TestDocumentNamesEveryRoute(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	var names []string
	for path, item := range c.doc.Paths.Map() {
		for method, op := range item.Operations() {
			names = append(names, op.OperationID)
			if op.Summary == "" || op.Description == "" {
				t.Errorf("%s %s is not described", method, path)
			}
			if op.Responses.Status(401) == nil || op.Responses.Status(403) == nil {
				t.Errorf("%s %s: its refusals are not described", method, path)
			}
		}
	}
	slices.Sort(names)
	want := []string{"client", "clients", "drain", "fleet", "fleet-deploy", "fleet-promote", "fleet-rollback", "fleet-try-again", "fleets", "follow-log", "group", "groups", "history", "join", "kick", "leave", "log", "nodes", "openapi", "publish", "purge", "rebalance", "reload", "tail", "teams", "top"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}
