package transport

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// service is an HTTPEndpoint whose requests are answered by a function, and whose upgrades lead to a tape.
type service struct {
	*tape
	loop  func(r *Request) int
	serve func(x *Exchange)
}

func (s *service) LoopFor(r *Request) int {
	if s.loop == nil {
		return -1
	}
	return s.loop(r)
}

func (s *service) Serve(x *Exchange) { s.serve(x) }

// repeat answers with what was asked.
func repeat(x *Exchange) {
	x.Respond(200, "text/plain", fmt.Appendf(nil, "loop %d: %s %s?%s %q", x.Loop().Index(), x.Request.Method, x.Request.Path, x.Request.Query, x.Body))
}

// answer reads one response, which must have the status, and returns its body.
func (c *client) answer(status int) string {
	c.t.Helper()
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("read a response: %v", err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != status {
		c.t.Fatalf("status %d, want %d: %s, %v", r.StatusCode, status, body, err)
	}
	return string(body)
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: hub.example\r\n\r\n" }

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: hub.example\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func TestRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	c := dial(t, listen(t, s, &service{tape: newTape(), serve: repeat}))
	for i, step := range []struct{ request, want string }{
		{get("/a?b=c"), `GET /a?b=c ""`},
		{post("/p", "content"), `POST /p? "content"`},
		{post("/p", ""), `POST /p? ""`},
		{"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;x=y\r\npedia\r\n0\r\nA: b\r\n\r\n", `POST /c? "Wikipedia"`},
		{"PUT /x HTTP/1.1\r\nHost: h\r\n\r\n", `PUT /x? ""`},
		{get("/last"), `GET /last? ""`},
	} {
		c.write([]byte(step.request))
		if got := c.answer(200); !strings.HasSuffix(got, step.want) {
			t.Fatalf("request %d: %s, want %s", i, got, step.want)
		}
	}
	// The same in bytes that arrive one by one.
	for _, b := range []byte(post("/slow", "by drips")) {
		c.write([]byte{b})
	}
	if got := c.answer(200); !strings.HasSuffix(got, `POST /slow? "by drips"`) {
		t.Fatal(got)
	}
	// And all at once: each is answered, in their order.
	c.write([]byte(get("/1") + post("/2", "two") + get("/3")))
	for i, want := range []string{`GET /1? ""`, `POST /2? "two"`, `GET /3? ""`} {
		if got := c.answer(200); !strings.HasSuffix(got, want) {
			t.Fatalf("pipelined request %d: %s, want %s", i, got, want)
		}
	}
	c.write([]byte("GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
	c.answer(200)
	if _, err := c.br.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
}

func TestKeptConnectionBecomesAWebSocket(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	e := &service{tape: newTape(), serve: repeat}
	c := dial(t, listen(t, s, e))
	c.write([]byte(get("/a")))
	c.answer(200)
	c.write([]byte(upgradeRequest("")))
	if r, err := http.ReadResponse(c.br, nil); err != nil || r.StatusCode != 101 {
		t.Fatalf("%v, %v", r, err)
	}
	e.expect(t, "open")
}

func TestContinue(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	c := dial(t, listen(t, s, &service{tape: newTape(), serve: repeat}))
	c.write([]byte("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"))
	line, err := c.br.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = c.br.ReadString('\n')
	c.write([]byte("ok"))
	if got := c.answer(200); !strings.HasSuffix(got, `"ok"`) {
		t.Error(got)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxMessageBytes = 1000
	s := startServer(t, o)
	addr := listen(t, s, &service{tape: newTape(), serve: repeat})
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"too much", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413},
		{"a length beyond numbers", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
		{"too much in chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 1001), 413},
		{"no chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz", 400},
		{"another coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"two codings", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400},
		{"length and coding", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
		{"a token in the URL", get("/?token=x"), 400},
		{"an old version", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 400},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cl := dial(t, addr)
			cl.write([]byte(c.request))
			cl.answer(c.status)
			if _, err := cl.br.ReadByte(); err == nil {
				t.Error("the connection goes on")
			}
		})
	}
}

// kept is a service that answers later.
type kept struct {
	*service
	exchanges chan *Exchange
	gone      chan struct{}
}

func newKept() *kept {
	k := &kept{exchanges: make(chan *Exchange, 16), gone: make(chan struct{}, 16)}
	k.service = &service{tape: newTape(), serve: func(x *Exchange) {
		x.OnGone(func() { k.gone <- struct{}{} })
		k.exchanges <- x
	}}
	return k
}

func TestAnswersThatComeLater(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	k := newKept()
	c := dial(t, listen(t, s, k))
	c.write([]byte(get("/1") + get("/2"))) // the second waits for its turn
	x := <-k.exchanges
	onLoop(t, x.Loop(), func() {
		x.Fields = "X-A: b\r\n"
		x.Respond(200, "", []byte("first"))
		x.Respond(200, "", []byte("twice"))
	})
	if got := c.answer(200); got != "first" {
		t.Error(got)
	}
	x = <-k.exchanges
	onLoop(t, x.Loop(), func() { x.Respond(204, "", nil) })
	c.answer(204)
	if len(k.gone) > 0 {
		t.Error("the endpoint was told that the client is gone")
	}
}

func TestClientsThatGoBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(c *client){
		"closed":      func(c *client) { _ = c.Close() },
		"half closed": func(c *client) { _ = c.tcp.CloseWrite() },
		"reset":       func(c *client) { _ = c.tcp.SetLinger(0); _ = c.tcp.Close() },
		"flooding":    func(c *client) { _, _ = c.Write(bytes.Repeat([]byte("x"), 2*maxKeptHead)) }, // it may be cut within
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, testOptions())
			k := newKept()
			c := dial(t, listen(t, s, k))
			c.write([]byte(get("/")))
			x := <-k.exchanges
			l := x.Loop()
			leave(c)
			select {
			case <-k.gone:
			case <-time.After(patience):
				t.Fatal("the endpoint never learned")
			}
			onLoop(t, l, func() { x.Respond(200, "", []byte("too late")) })
		})
	}
}

func TestRequestsThatNeverEnd(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.HandshakeTimeout, o.MessageTimeout = 200*time.Millisecond, 200*time.Millisecond
	s := startServer(t, o)
	addr := listen(t, s, &service{tape: newTape(), serve: repeat})
	for _, begun := range []string{"GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"} {
		c := dial(t, addr)
		c.write([]byte(begun))
		if b, err := io.ReadAll(c.br); len(b) > 0 {
			t.Errorf("%q is answered: %s, %v", begun, b, err)
		}
	}
}

func TestStrangersContentIsBounded(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops, o.UntrustedBytes, o.MaxMessageBytes = 1, 64<<10, 1<<20
	s := startServer(t, o)
	c := dial(t, listen(t, s, &service{tape: newTape(), serve: repeat}))
	go func() { // the server may end the connection before all is written
		_, _ = c.Write([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"))
		_, _ = c.Write(make([]byte, 1_000_000))
	}()
	c.answer(503)
}

func TestRequestsGoToTheLoopTheyName(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	e := &service{tape: newTape(), serve: repeat, loop: func(r *Request) int { return int(r.Path[1] - '0') }}
	addr := listen(t, s, e)
	for range 4 { // connections are balanced: half of them come to the wrong loop
		c := dial(t, addr)
		for i := range 10 {
			loop := i % 2
			c.write([]byte(post(fmt.Sprintf("/%d", loop), fmt.Sprint("content ", i))))
			if got, want := c.answer(200), fmt.Sprintf(`loop %d: POST /%d? "content %d"`, loop, loop, i); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
		c.write([]byte(get("/0") + get("/1") + get("/0") + get("/1")))
		for i := range 4 {
			if got, want := c.answer(200), fmt.Sprintf(`loop %d: GET /%d? ""`, i%2, i%2); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
		c.write([]byte(strings.Replace(upgradeRequest(""), "GET / ", "GET /1 ", 1)))
		if r, err := http.ReadResponse(c.br, nil); err != nil || r.StatusCode != 101 {
			t.Fatalf("%v, %v", r, err)
		}
		if ref := e.expect(t, "open"); ref.Loop().Index() != 1 {
			t.Error("the upgrade is on the wrong loop")
		}
		_ = c.Close()
		e.expect(t, "closed at the end of its stream")
	}
}

func TestStrangersKeepNoLoopBusyMoving(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	var served atomic.Int32
	e := &service{tape: newTape(), loop: func(r *Request) int { return int(r.Path[1] - '0') }, serve: func(x *Exchange) {
		served.Add(1)
		repeat(x)
	}}
	addr := listen(t, s, e)
	const clients = 20
	done := make(chan error, clients)
	for range clients {
		go func() {
			c, err := (&http.Client{Timeout: patience}).Get("http://" + addr.String() + "/0")
			if err == nil {
				_ = c.Body.Close()
			}
			done <- err
		}()
	}
	for range clients {
		if err := <-done; err != nil && !overTLS {
			t.Error(err)
		}
	}
	if !overTLS && served.Load() != clients {
		t.Errorf("%d of %d requests were served", served.Load(), clients)
	}
}

// TestRequestsThatGiveWay: a request whose content is too much is gone at once, with its account, and for its endpoint.
func TestRequestsThatGiveWay(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 1
	s := startServer(t, o)
	k := newKept()
	c := dial(t, listen(t, s, k))
	c.write([]byte(post("/p", strings.Repeat("x", 20_000))))
	x := <-k.exchanges
	l := x.Loop()
	onLoop(t, l, func() {
		l.dropStranger(x.Conn())
		if l.in.untrusted != 0 {
			t.Errorf("%d bytes are still on the account", l.in.untrusted)
		}
		x.Respond(200, "", []byte("too late"))
		if x.conn.state == stateHandshake {
			t.Error("the connection takes another request")
		}
	})
	select {
	case <-k.gone:
	default:
		t.Error("the endpoint was not told")
	}
	c.answer(503)
}

// TestKeptConnectionsEnd: once the server listens no more, nothing is kept for further requests.
func TestKeptConnectionsEnd(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	k := newKept()
	addr := listen(t, s, k)
	idle, busy := dial(t, addr), dial(t, addr)
	idle.write([]byte(get("/")))
	x := <-k.exchanges
	onLoop(t, x.Loop(), func() { x.Respond(200, "", nil) })
	idle.answer(200)
	busy.write([]byte(get("/")))
	x = <-k.exchanges
	s.StopListening()
	if _, err := idle.br.ReadByte(); err == nil {
		t.Error("the idle connection goes on")
	}
	onLoop(t, x.Loop(), func() { x.Respond(200, "", []byte("the last")) })
	if got := busy.answer(200); got != "the last" {
		t.Error(got)
	}
	if _, err := busy.br.ReadByte(); err == nil {
		t.Error("the busy connection goes on")
	}
}
