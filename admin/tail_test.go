package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/auth"
)

// tail is an open stream of events.
type tail struct {
	t      testing.TB
	resp   *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

// openTail opens a tail on instance i and reads its first event. An empty token means none.
func (c *cluster) openTail(i int, query, token string) *tail {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", c.urls[i]+"/v1/tail?"+query, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cancel(); resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		c.t.Fatalf("GET /v1/tail?%s: %d %v", query, resp.StatusCode, resp.Header)
	}
	s := &tail{t: c.t, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	s.lines.Buffer(nil, 1<<20)
	var open TailOpen
	if name, data := s.next(); name != "open" || json.Unmarshal(data, &open) != nil || open.Node != fmt.Sprint("node-", i) {
		c.t.Fatalf("the first event is %s %s", name, data)
	}
	return s
}

// next reads one event; the name is empty at the end.
func (s *tail) next() (name string, data []byte) {
	for s.lines.Scan() {
		key, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "data":
			data = []byte(value)
		case "":
			return name, data
		default:
			s.t.Errorf("a line of the stream is %q", s.lines.Text())
		}
	}
	return "", nil
}

// message reads up to the next message.
func (s *tail) message() obj {
	s.t.Helper()
	for {
		name, data := s.next()
		switch name {
		case "":
			s.t.Fatal("the stream ended")
		case "message":
			var m struct {
				At      time.Time
				Message obj
			}
			if err := json.Unmarshal(data, &m); err != nil || time.Since(m.At) > time.Minute {
				s.t.Fatalf("%s: %v", data, err)
			}
			return m.Message
		}
	}
}

// counts reads until cond holds for the counts, or the stream ends.
func (s *tail) counts(want func(TailCounts) bool) {
	s.t.Helper()
	var counts TailCounts
	for {
		name, data := s.next()
		if name == "" {
			s.t.Fatalf("the stream ended; the last counts were %+v", counts)
		}
		if name == "counts" && json.Unmarshal(data, &counts) == nil && want(counts) {
			return
		}
	}
}

func event(name, target, group string) obj {
	intent := obj{"target": target}
	if group != "" {
		intent["identifier"] = group
	}
	return obj{"op": 0, "event": name, "data": "a\nb</script>\u2028", "intent": intent}
}

// TestTail watches a group from an instance that has no member of it.
func TestTail(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, nil)
	group := c.openTail(0, "group=g%2F1", watchToken)
	named := c.openTail(1, "group=g%2F1&event=two", rootToken)
	global := c.openTail(2, "global=true", rootToken)
	lines := c.openTail(2, "group=h", rootToken)
	p := c.connect(1, "g/1", obj{"echo": false, "features": []string{"errors"}})
	if err := p.conn.Write(t.Context(), websocket.MessageText, []byte("{\"op\":0,\r\n\n\"event\":\"lines\",\n\n\"intent\":{\"target\":\"GROUP\",\"identifier\":\"h\"}}\n\n")); err != nil {
		t.Fatal(err)
	}
	for _, m := range []obj{event("one", "GROUP", "g/1"), event("other", "GROUP", "h"), event("two", "GROUP", "g/1"), event("all", "GLOBAL", "")} {
		p.send(m)
	}
	for _, want := range []string{"one", "two"} {
		if m := group.message(); m["event"] != want || m["sender"] != p.id || m["data"] != "a\nb</script>\u2028" {
			t.Errorf("got %v, want %s", m, want)
		}
	}
	if m := lines.message(); m["event"] != "lines" || m["sender"] != p.id {
		t.Errorf("a message with line breaks: %v", m)
	}
	if m := named.message(); m["event"] != "two" {
		t.Errorf("got %v", m)
	}
	if m := global.message(); m["event"] != "all" {
		t.Errorf("got %v", m)
	}
	var nodes NodeList
	if c.get(0, "/v1/nodes", &nodes); nodes.Nodes[0].Groups != 0 {
		t.Errorf("a group that is only watched counts: %+v", nodes.Nodes[0])
	}
	if r := c.call(0, "GET", "/v1/groups/h", ""); r.status != 404 {
		t.Errorf("a group without members: %d", r.status)
	}
}

// TestTailIsNoReceiver sends to a group with a tail but without members: the sender gets NO_RECEIVER.
func TestTailIsNoReceiver(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	s := c.openTail(0, "group=watched", rootToken)
	p := c.connect(0, "g", obj{"features": []string{"errors", "acks"}})
	p.send(event("one", "GROUP", "watched"))
	if m := s.message(); m["event"] != "one" {
		t.Errorf("got %v", m)
	}
	if m := p.read(); m["op"] != 6.0 {
		t.Errorf("the sender got %v, want NO_RECEIVER", m)
	}
	p.send(event("any", "ANY", "watched"))
	if m := p.read(); m["op"] != 6.0 {
		t.Errorf("the sender of an ANY got %v, want NO_RECEIVER", m)
	}
}

// TestTailIsBounded sends more than per_second to a reader that reads only after all is sent.
func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	s := c.openTail(0, "group=g&per_second=5", rootToken)
	p := c.connect(0, "g", obj{"echo": false})
	const events = 500
	for range events {
		p.send(event("x", "GROUP", "g"))
	}
	shown := 0
	for {
		name, data := s.next()
		var counts TailCounts
		if name == "message" {
			shown++
		}
		if name != "counts" || json.Unmarshal(data, &counts) != nil || counts.Seen < events {
			if name == "" {
				t.Fatal("the stream ended")
			}
			continue
		}
		if counts.Seen != events || counts.LeftOut != uint64(events-shown) || shown < 5 || shown > events/2 {
			t.Errorf("%d shown of %+v", shown, counts)
		}
		return
	}
}

// TestTailEndsWithItsToken revokes the token of a reader, and disconnects readers.
func TestTailEndsWithItsToken(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	revoked := c.openTail(0, "group=g", rootToken)
	stays := c.openTail(0, "group=g", watchToken)
	c.store.Replace(parseTokens(t, fmt.Sprintf("tokens: [{name: watch, sha256: %s, admin: true}]", auth.Hash(watchToken))))
	for name := "open"; name != ""; name, _ = revoked.next() {
	}
	stays.counts(func(TailCounts) bool { return true })
	stays.cancel()
}

// TestTooManyTails opens one tail more than the bound.
func TestTooManyTails(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	var all []*tail
	for i := range 32 {
		all = append(all, c.openTail(0, fmt.Sprint("group=g", i%3), rootToken))
	}
	if r := c.call(0, "GET", "/v1/tail?group=g", ""); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", r.status)
	}
	for _, s := range all {
		s.cancel()
	}
	for !c.tryTail("group=again") { // disconnected readers make room
	}
}

// tryTail reports whether a tail could be opened, and closes it.
func (c *cluster) tryTail(query string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", c.urls[0]+"/v1/tail?"+query, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+rootToken)
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == 200
}

// TestTailOfAClient watches a client of another instance, and all clients of a token: DIRECT and ANY are shown, both ways, with
// the names of clients.
func TestTailOfAClient(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	worker, asker := c.connect(1, "workers", obj{"name": "worker"}), c.connect(0, "askers", obj{"name": "asker"})
	one, events := c.openTail(0, "client="+worker.id, rootToken), c.openTail(1, "token=root&event=answer", rootToken)
	type shown struct {
		Direction  string         `json:"direction"`
		Client     string         `json:"client"`
		ClientName string         `json:"client_name"`
		ClientNode string         `json:"client_node"`
		SenderName string         `json:"sender_name"`
		Message    map[string]any `json:"message"`
	}
	next := func(s *tail) (m shown) {
		t.Helper()
		for {
			switch name, data := s.next(); name {
			case "":
				t.Fatal("the stream ended")
			case "message":
				if err := json.Unmarshal(data, &m); err != nil {
					t.Fatalf("%s: %v", data, err)
				}
				return m
			}
		}
	}
	asker.send(obj{"op": 0, "event": "ask", "intent": obj{"target": "ANY", "identifier": "workers"}})
	if m := next(one); m.Direction != "out" || m.Client != worker.id || m.ClientName != "worker" || m.ClientNode != "node-1" ||
		m.SenderName != "asker" || m.Message["event"] != "ask" || m.Message["sender"] != asker.id {
		t.Errorf("%+v", m)
	}
	worker.send(obj{"op": 0, "event": "answer", "intent": obj{"target": "DIRECT", "identifier": asker.id}})
	if m := next(one); m.Direction != "in" || m.SenderName != "worker" || m.Message["event"] != "answer" || m.Message["sender"] != nil {
		t.Errorf("%+v", m)
	}
	both := map[string]bool{next(events).Direction: true, next(events).Direction: true}
	if !both["in"] || !both["out"] {
		t.Errorf("%v", both)
	}
}
