package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
)

// conn is a client of the hub, of its own protocol or of Socket.IO over WebSocket, that believes nothing.
type conn struct {
	t  testing.TB
	ws *websocket.Conn
	id string
}

func dial(t testing.TB, url string) *conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &conn{t: t, ws: ws}
}

func (c *conn) send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) sendBytes(b ...byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageBinary, b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next message; one of bytes begins with "bytes ".
func (c *conn) next() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	kind, b, err := c.ws.Read(ctx)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	if kind == websocket.MessageBinary {
		return fmt.Sprint("bytes ", b)
	}
	return string(b)
}

func (c *conn) expect(want string) {
	c.t.Helper()
	if got := c.next(); got != want {
		c.t.Fatalf("got %s\nwant %s", got, want)
	}
}

// closed waits for the end and returns its close code.
func (c *conn) closed() int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.ws.Read(ctx); err != nil {
			return int(websocket.CloseStatus(err))
		}
	}
}

// native connects a client of the hub's own protocol.
func (n *node) native(group, more string) *conn {
	n.t.Helper()
	c := dial(n.t, "ws://"+n.addr+"/")
	c.send(`{"op":1,"data":{"token":"secret","group":"` + group + `"` + more + `}}`)
	var answer struct{ Data struct{ ID string } }
	if err := json.Unmarshal([]byte(c.next()), &answer); err != nil || answer.Data.ID == "" {
		n.t.Fatal("not identified")
	}
	c.id = answer.Data.ID
	return c
}

// roundTrip returns when the hub has handled what the client of its own protocol has sent.
func (c *conn) roundTrip() {
	c.t.Helper()
	c.send(`{"op":3}`)
	c.expect(`{"op":4}`)
}

// socketio connects a client of Socket.IO in a namespace, "" for the main one.
func (n *node) socketio(namespace, payload string) *conn {
	n.t.Helper()
	c := dial(n.t, "ws://"+n.addr+"/socket.io/?EIO=4&transport=websocket")
	if open := c.next(); !strings.HasPrefix(open, `0{"sid":"`) {
		n.t.Fatal(open)
	}
	prefix := "40"
	if namespace != "" {
		prefix += namespace + ","
	}
	c.send(prefix + payload)
	answer := c.next()
	var sid struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(answer, prefix)), &sid); err != nil || len(sid.SID) != 36 {
		n.t.Fatalf("CONNECT was answered with %s", answer)
	}
	c.id = sid.SID
	return c
}

func TestEventsBothWays(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("orders", "")
	s := n.socketio("", `{"token":"secret","group":"orders","echo":false}`)

	s.send(`42["GROUP:orders","created",{"total":12.50,"big":12345678901234567890},"second",3]`)
	got := native.next()
	for _, want := range []string{`"event":"created"`, `"data":{"total":12.50,"big":12345678901234567890}`, `"args":["second",3]`, `"sender":"` + s.id + `"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	native.send(`{"op":0,"event":"hi","data":{ "n" : 1 },"intent":{"target":"DIRECT","identifier":"` + s.id + `"}}`)
	s.expect(`42["hi",{ "n" : 1 }]`)
	native.send(`{"op":0,"event":"no data","intent":{"target":"GLOBAL"}}`)
	s.expect(`42["no data"]`)
	native.next()
	native.send(`{"op":0,"data":[1],"args":[2,"three"],"intent":{"target":"GROUP","identifier":"orders"}}`)
	s.expect(`42["message",[1],2,"three"]`)
	native.next()
	native.send(`{"op":0,"event":"any","intent":{"target":"ANY","identifier":"orders"}}`) // one of both
	done := make(chan string, 2)
	for _, c := range []*conn{native, s} {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, b, err := c.ws.Read(ctx); err == nil {
				done <- string(b)
			}
		}()
	}
	if got := <-done; !strings.Contains(got, "any") {
		t.Error(got)
	}
}

func TestRequestsAndAcknowledgements(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("workers", "")
	s := n.socketio("", `{"token":"secret","group":"clients"}`)
	// From Socket.IO to the hub's own protocol.
	s.send(`427["ANY:workers","sum",[1,2]]`)
	var e struct{ ID, Sender string }
	if err := json.Unmarshal([]byte(native.next()), &e); err != nil {
		t.Fatal(err)
	}
	native.send(`{"op":5,"id":"` + e.ID + `","data":3,"intent":{"target":"DIRECT","identifier":"` + e.Sender + `"}}`)
	s.expect(`437[3]`)
	native.send(`{"op":5,"id":"` + e.ID + `","data":4,"intent":{"target":"DIRECT","identifier":"` + e.Sender + `"}}`) // a second answer
	// An error of the handler.
	s.send(`428["ANY:workers","sum"]`)
	if err := json.Unmarshal([]byte(native.next()), &e); err != nil {
		t.Fatal(err)
	}
	native.send(`{"op":5,"id":"` + e.ID + `","error":{"code":"BAD","message":"m"},"intent":{"target":"DIRECT","identifier":"` + e.Sender + `"}}`)
	s.expect(`438[{"error":{"code":"BAD","message":"m"}}]`)
	// To nobody.
	s.send(`429["ANY:nobody","sum"]`)
	s.expect(`439[{"error":{"code":"NO_RECEIVER","message":"the request was not delivered"}}]`)
	// From the hub's own protocol to Socket.IO.
	native.send(`{"op":0,"id":"q1","event":"ask","reply":true,"data":{"n":1},"intent":{"target":"DIRECT","identifier":"` + s.id + `"}}`)
	s.expect(`420["ask",{"n":1}]`)
	s.send(`430["answer",2]`)
	got := native.next()
	if !strings.Contains(got, `"op":5,"id":"q1","data":"answer","args":[2]`) {
		t.Error(got)
	}
	s.send(`430["twice"]`) // nothing comes of it
	// Between two of Socket.IO: exact.
	w := n.socketio("", `{"token":"secret","group":"others"}`)
	s.send(`4210["GROUP:others","both",1,{"a":[]},null]`)
	w.expect(`420["both",1,{"a":[]},null]`)
	w.send(`430[1,{"b":2},"x"]`)
	s.expect(`4310[1,{"b":2},"x"]`)
}

// TestTrackedRequests: a client of Socket.IO answers requests whose senders are told if no answer comes.
func TestTrackedRequests(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	a := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.NodeName = "a" })
	b := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.NodeName = "b" })
	for name, at := range map[string]*node{"the same instance": a, "another instance": b} {
		t.Run(name, func(t *testing.T) {
			group := "clients of " + name
			native := a.native("askers of "+name, `,"features":["requests"]`)
			s := at.socketio("", `{"token":"secret","group":"`+group+`"}`)
			ask := func(id, target, identifier string) {
				native.send(`{"op":0,"id":"` + id + `","event":"ask","expect":{"timeout_ms":60000},"intent":{"target":"` + target +
					`","identifier":"` + identifier + `"}}`)
			}
			settled := func(want string) {
				t.Helper()
				if got := native.next(); !strings.HasPrefix(got, want) {
					t.Errorf("%s, want %s", got, want)
				}
			}
			ack := 0
			for _, to := range [][2]string{{"DIRECT", s.id}, {"GROUP", group}, {"ANY", group}} {
				ask("q-"+to[0], to[0], to[1])
				s.expect(fmt.Sprintf(`42%d["ask"]`, ack))
				s.send(fmt.Sprintf(`43%d[%d]`, ack, ack))
				settled(`{"op":5,"id":"q-` + to[0] + `"`)
				settled(`{"op":14,"id":"q-` + to[0] + `","data":{"receivers":1,"replied":1,"passed":0,"missing":[]}}`)
				ack++
			}
			// What is answered behind a CANCEL goes nowhere.
			ask("cancelled", "DIRECT", s.id)
			s.expect(fmt.Sprintf(`42%d["ask"]`, ack))
			native.send(`{"op":15,"id":"cancelled"}`)
			settled(`{"op":14,"id":"cancelled","data":{"receivers":1,"replied":0,"passed":0,"missing":[{"id":"` + s.id + `","reason":"CANCELLED"}]}}`)
			s.send(fmt.Sprintf(`43%d[]`, ack))
			// A client of the hub's own protocol passes, or goes.
			s.send(`4277["ANY:askers of ` + name + `","sum"]`)
			var e struct{ ID, Sender string }
			if err := json.Unmarshal([]byte(native.next()), &e); err != nil {
				t.Fatal(err)
			}
			native.send(`{"op":14,"id":"` + e.ID + `","intent":{"target":"DIRECT","identifier":"` + e.Sender + `"}}`)
			s.expect(`4377[{"error":{"code":"NO_RECEIVER","message":"no client that got the request answers it"}}]`)
			worker := a.native("workers of "+name, `,"features":["requests"]`)
			s.send(`4278["ANY:workers of ` + name + `","sum"]`)
			worker.next()
			worker.ws.CloseNow()
			s.expect(`4378[{"error":{"code":"LOST","message":"the request was not answered"}}]`)
			// The client goes without an answer.
			ask("gone", "DIRECT", s.id)
			s.expect(fmt.Sprintf(`42%d["ask"]`, ack+1))
			s.send(`41`)
			settled(`{"op":14,"id":"gone","data":{"receivers":1,"replied":0,"passed":0,"missing":[{"id":"` + s.id + `","reason":"NO_REASON"}]}}`)
		})
	}
}

func TestBinary(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("files", "")
	a := n.socketio("", `{"token":"secret","group":"x"}`)
	b := n.socketio("", `{"token":"secret","group":"files"}`)
	a.send(`452-["GROUP:files","put",{"one":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]`)
	a.sendBytes(1, 2, 3)
	a.sendBytes(4)
	b.expect(`452-["put",{"one":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]`)
	b.expect("bytes [4]")
	b.expect("bytes [1 2 3]")
	if got := native.next(); !strings.Contains(got, `"data":{"one":{"$binary":"BA=="}},"args":[{"$binary":"AQID"}],"binary":true`) {
		t.Error(got)
	}
	native.send(`{"op":0,"event":"e","data":{"$binary":"AQID"},"intent":{"target":"DIRECT","identifier":"` + b.id + `"}}`)
	b.expect(`42["e",{"$binary":"AQID"}]`) // without the member binary it is JSON like any other
}

func TestEnvelopesAndDefaultTargets(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("chat", `,"echo":false`)
	s := n.socketio("", `{"token":"secret","group":"chat","echo":false,"to":"GROUP:chat","envelope":true}`)
	s.send(`42["line","hello"]`)
	if got := native.next(); !strings.Contains(got, `"event":"line","data":"hello"`) {
		t.Error(got)
	}
	native.send(`{"op":0,"id":"m1","event":"line","data":"hi","intent":{"target":"GROUP","identifier":"chat"}}`)
	s.expect(`42["line","hi",{"id":"m1","sender":"` + native.id + `"}]`)
	// A namespace is a group of workers.
	w := n.native("jobs", "")
	j := n.socketio("/jobs", `{"token":"secret","group":"clients"}`)
	j.send(`42/jobs,["run",1]`)
	if got := w.next(); !strings.Contains(got, `"event":"run","data":1`) {
		t.Error(got)
	}
	w.send(`{"op":0,"event":"done","intent":{"target":"DIRECT","identifier":"` + j.id + `"}}`)
	j.expect(`42/jobs,["done"]`)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	n := alone(t)
	for name, c := range map[string]struct{ connect, want string }{
		"wrong token":    {`40{"token":"wrong","group":"g"}`, `44{"message":"IDENTIFY_FAILED"}`},
		"no payload":     {`40`, `44{"message":"IDENTIFY_FAILED"}`},
		"no group":       {`40{"token":"secret"}`, `44{"message":"IDENTIFY_FAILED"}`},
		"wrong types":    {`40{"token":1,"group":"g"}`, `44{"message":"INVALID_PAYLOAD"}`},
		"in a namespace": {`40/x,{"token":"wrong","group":"g"}`, `44/x,{"message":"IDENTIFY_FAILED"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dial(t, "ws://"+n.addr+"/socket.io/?EIO=4&transport=websocket")
			s.next()
			s.send(c.connect)
			s.expect(c.want)
			s.closed()
		})
	}
	s := n.socketio("", `{"token":"secret","group":"g"}`)
	s.send(`40/other,{"token":"secret","group":"g"}`)
	s.expect(`44/other,{"message":"one namespace for each connection"}`)
	for _, c := range []struct{ emit, code string }{
		{`421["plain",1]`, "INVALID_PAYLOAD"}, {`421["GROUP:g"]`, "INVALID_PAYLOAD"}, {`421["GROUP:g",1]`, "INVALID_PAYLOAD"},
		{`421["GROUP:g","` + strings.Repeat("e", 129) + `"]`, "INVALID_PAYLOAD"}, {`421["ANY:none","e"]`, "NO_RECEIVER"},
	} {
		s.send(c.emit)
		if got := s.next(); !strings.HasPrefix(got, `431[{"error":{"code":"`+c.code+`"`) {
			t.Errorf("%.60s: %s", c.emit, got)
		}
	}
	for _, bad := range []string{"4abc", "42{}", "9", "2", `4251-["GROUP:g","e"]`, `44{"message":"x"}`, "4" + strings.Repeat("[", 100)} {
		s := n.socketio("", `{"token":"secret","group":"g"}`)
		s.send(bad)
		if code := s.closed(); code == 1000 || code == -1 {
			t.Errorf("%s: code %d", bad, code)
		}
	}
}

// request makes a request and returns the status and the body.
func request(t testing.TB, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// poll opens a session by requests and connects it.
func (n *node) poll(payload string) (url, id string) {
	n.t.Helper()
	base := "http://" + n.addr + "/socket.io/?EIO=4&transport=polling"
	_, open := request(n.t, "GET", base, "")
	var h struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &h); err != nil {
		n.t.Fatal(open)
	}
	url = base + "&sid=" + h.SID
	if code, body := request(n.t, "POST", url, "40"+payload); code != 200 || body != "ok" {
		n.t.Fatal(code, body)
	}
	_, answer := request(n.t, "GET", url, "")
	if err := json.Unmarshal([]byte(strings.TrimPrefix(answer, "40")), &h); err != nil {
		n.t.Fatal(answer)
	}
	return url, h.SID
}

func TestPolling(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("orders", "")
	url, id := n.poll(`{"token":"secret","group":"orders","echo":false}`)
	request(t, "POST", url, `42["GROUP:orders","one",1]`+"\x1e"+`42["GROUP:orders","two",2]`+"\x1e"+`451-["GROUP:orders","three",{"_placeholder":true,"num":0}]`+"\x1ebAQIDBA==")
	for _, want := range []string{`"event":"one"`, `"event":"two"`, `"$binary":"AQIDBA=="`} {
		if got := native.next(); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	for i := range 3 {
		native.send(fmt.Sprintf(`{"op":0,"event":"e","data":%d,"intent":{"target":"DIRECT","identifier":"%s"}}`, i, id))
	}
	got := ""
	for strings.Count(got, "42[") < 3 {
		_, body := request(t, "GET", url, "")
		got += body + "\x1e"
	}
	if want := "42[\"e\",0]\x1e42[\"e\",1]\x1e42[\"e\",2]\x1e"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, c := range []struct {
		method, url, body string
		status            int
		answer            string
	}{
		{"GET", strings.Replace(url, "sid=", "sid=x", 1), "", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"GET", strings.Replace(url, "EIO=4", "EIO=3", 1), "", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", strings.Replace(url, "polling", "smoke", 1), "", 400, `{"code":0,"message":"Transport unknown"}`},
		{"PUT", url, "", 400, `{"code":3,"message":"Bad request"}`},
		{"POST", "http://" + n.addr + "/socket.io/?EIO=4&transport=polling", "4", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"POST", url, "abc", 400, `{"code":3,"message":"Bad request"}`},
		{"GET", url, "", 400, `{"code":1,"message":"Session ID unknown"}`}, // the one before ended it
	} {
		if status, answer := request(t, c.method, c.url, c.body); status != c.status || answer != c.answer {
			t.Errorf("%s %s %q: %d %s, want %d %s", c.method, c.url, c.body, status, answer, c.status, c.answer)
		}
	}
}

// TestUpgradeLosesNothing moves a session to a WebSocket while both sides send.
// TestAnswersWithManyPackets: the library for Python takes no more than 16 packets.
func TestAnswersWithManyPackets(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("orders", "")
	url, id := n.poll(`{"token":"secret","group":"g"}`)
	for i := range 40 {
		native.send(fmt.Sprintf(`{"op":0,"event":"e","data":%d,"intent":{"target":"DIRECT","identifier":"%s"}}`, i, id))
	}
	native.roundTrip()
	next := 0
	for next < 40 {
		_, body := request(t, "GET", url, "")
		packets := strings.Split(body, "\x1e")
		if len(packets) > 16 {
			t.Fatalf("%d packets", len(packets))
		}
		for _, p := range packets {
			if p != fmt.Sprintf(`42["e",%d]`, next) {
				t.Fatalf("%s in place of event %d", p, next)
			}
			next++
		}
	}
}

func TestUpgradeLosesNothing(t *testing.T) {
	t.Parallel()
	n := alone(t)
	native := n.native("orders", "")
	url, id := n.poll(`{"token":"secret","group":"orders","echo":false}`)
	const messages = 200
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range messages {
			native.send(fmt.Sprintf(`{"op":0,"event":"e","data":%d,"intent":{"target":"DIRECT","identifier":"%s"}}`, i, id))
			time.Sleep(time.Millisecond / 2)
		}
	}()
	next := 0
	take := func(payload string) {
		for _, p := range strings.Split(payload, "\x1e") {
			if p == "6" || p == "2" {
				continue
			}
			if want := fmt.Sprintf(`42["e",%d]`, next); p != want {
				t.Fatalf("%s, want %s", p, want)
			}
			next++
		}
	}
	_, body := request(t, "GET", url, "")
	take(body)
	ws := dial(t, strings.Replace(strings.Replace(url, "http", "ws", 1), "polling", "websocket", 1))
	ws.send("2probe")
	ws.expect("3probe")
	_, body = request(t, "GET", url, "")
	take(body)
	ws.send("5")
	for i := range messages {
		ws.send(fmt.Sprintf(`42["GROUP:orders","back",%d]`, i))
	}
	for next < messages {
		take(ws.next())
	}
	for i := range messages {
		if got := native.next(); !strings.Contains(got, fmt.Sprintf(`"event":"back","data":%d,`, i)) {
			t.Fatalf("message %d: %s", i, got)
		}
	}
	<-sent
	if status, answer := request(t, "GET", url, ""); status != 400 {
		t.Errorf("%d %s", status, answer)
	}
}

func TestSeveralInstances(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	a := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.NodeName = "a" })
	b := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.NodeName = "b" })
	native := a.native("workers", "")
	s := b.socketio("", `{"token":"secret","group":"clients"}`)
	s.send(`421["GROUP:workers","sum",1]`)
	var e struct{ ID, Sender string }
	if err := json.Unmarshal([]byte(native.next()), &e); err != nil {
		t.Fatal(err)
	}
	native.send(`{"op":5,"id":"` + e.ID + `","data":2,"intent":{"target":"DIRECT","identifier":"` + e.Sender + `"}}`)
	s.expect(`431[2]`)
	s.send(`422["GROUP:nobody","sum",1]`)
	if got := s.next(); !strings.HasPrefix(got, `432[{"error":{"code":"NO_RECEIVER"`) {
		t.Error(got)
	}
}
