package socketio

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

func TestHandshakesBeyondTheLimit(t *testing.T) {
	t.Parallel()
	n := start(t, New(Options{}), memory.NewBus().Broker(), func(o *hub.Options) { o.Transport.MaxConnections = 2 })
	first := n.native("g", "")
	url := "http://" + n.addr + "/socket.io/?EIO=4&transport=polling"
	refused := 0
	for range 5 {
		if status, _ := request(t, "GET", url, ""); status == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no handshake was refused")
	}
	first.roundTrip()
}

func TestManyCloses(t *testing.T) {
	t.Parallel()
	n := alone(t)
	base := "http://" + n.addr + "/socket.io/?EIO=4&transport=polling"
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		_, open := request(t, "GET", base, "")
		var h struct{ SID string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &h); err != nil {
			t.Fatal(open)
		}
		if status, body := request(t, "POST", base+"&sid="+h.SID, "1"+strings.Repeat("\x1e1", 16_000)); status != 200 {
			t.Fatal(status, body)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

func TestParametersOfThePage(t *testing.T) {
	t.Parallel()
	n := alone(t)
	url, _ := n.poll(`{"token":"secret","group":"g"}`)
	url = strings.Replace(url, "?", "?psid=7&", 1)
	for range 8 { // connections come to both loops
		if status, body := request(t, "POST", url, `42["GROUP:g","e"]`); status != 200 {
			t.Fatal(status, body)
		}
	}
}

// TestSilentPollers: a client that waits with a GET is no silent one, whatever the hub's own ping interval.
func TestSilentPollers(t *testing.T) {
	t.Parallel()
	n := start(t, New(Options{}), memory.NewBus().Broker(), func(o *hub.Options) { o.PingInterval = 50 * time.Millisecond })
	url, id := n.poll(`{"token":"secret","group":"g"}`)
	answer := make(chan string, 1)
	go func() {
		_, body := request(t, "GET", url, "")
		answer <- body
	}()
	native := n.native("other", "")
	for range 10 { // PINGs: the hub's interval has passed as often
		native.expect(`{"op":3}`)
		native.send(`{"op":4}`)
	}
	native.send(`{"op":0,"event":"e","intent":{"target":"DIRECT","identifier":"` + id + `"}}`)
	if got := <-answer; got != `42["e"]` {
		t.Errorf("%q", got)
	}
}

// TestGETsThatOvertakeTheUpgrade: a client moves when no GET of it waits. One that arrives with the Upgrade packet, on another
// connection, is answered as if it had come after it, whichever is read first.
func TestGETsThatOvertakeTheUpgrade(t *testing.T) {
	t.Parallel()
	n := start(t, New(Options{}), memory.NewBus().Broker(), func(o *hub.Options) { o.Transport.Loops = 1 })
	native := n.native("g", "")
	for range 10 {
		begun := time.Now()
		url, _ := n.poll(`{"token":"secret","group":"g"}`)
		ws := dial(t, strings.Replace(strings.Replace(url, "http", "ws", 1), "polling", "websocket", 1))
		ws.send("2probe")
		ws.expect("3probe")
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, "GET "+url[strings.Index(url, "/socket.io"):]+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		native.roundTrip() // the loop has read the GET
		ws.send("5")
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if late := time.Since(begun) >= upgradeGrace; !late && !strings.Contains(string(body), `"code":3`) {
			t.Fatalf("%d %q", answer.StatusCode, body)
		}
		ws.send(`421["ANY:nobody","e"]`)
		if got := ws.next(); !strings.HasPrefix(got, "431[") {
			t.Error(got)
		}
	}
}

func TestSIDsOfSessionsThatMoved(t *testing.T) {
	t.Parallel()
	n := alone(t)
	url, _ := n.poll(`{"token":"secret","group":"g"}`)
	ws := dial(t, strings.Replace(strings.Replace(url, "http", "ws", 1), "polling", "websocket", 1))
	ws.send("2probe")
	ws.expect("3probe")
	ws.send("5")
	ws.send(`421["ANY:nobody","e"]`)
	ws.next()
	if _, body := request(t, "GET", url, ""); !strings.Contains(body, `"code":3`) {
		t.Error(body)
	}
	ws.send("1")
	ws.closed()
	if _, body := request(t, "GET", url, ""); !strings.Contains(body, `"code":1`) {
		t.Error(body)
	}
}

// TestAttachmentsThatNeverCome: the packet that waits for them ends its session in time.
func TestAttachmentsThatNeverCome(t *testing.T) {
	t.Parallel()
	all := New(Options{})
	all.attachTimeout = 100 * time.Millisecond
	n := start(t, all, memory.NewBus().Broker(), nil)
	s := n.socketio("", `{"token":"secret","group":"g"}`)
	s.send(`452-["GROUP:g","e"]`)
	s.sendBytes(1)
	if code := s.closed(); code != goingAway {
		t.Errorf("closed with %d", code)
	}
	url, _ := n.poll(`{"token":"secret","group":"g"}`)
	if status, body := request(t, "POST", url, `452-["GROUP:g","e"]`+"\x1ebAQID"); status != 200 {
		t.Fatal(status, body)
	}
	eventually.True(t, "the end of the session", func() bool { return n.hub.Stats().Clients == 0 })
	if status, body := request(t, "GET", url, ""); status != 400 || !strings.Contains(body, `"code":1`) {
		t.Error(status, body)
	}
}

func TestRequestsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	all := New(Options{})
	all.ackTimeout = 100 * time.Millisecond
	n := start(t, all, memory.NewBus().Broker(), nil)
	n.native("deaf", "")
	s := n.socketio("", `{"token":"secret","group":"g"}`)
	s.send(`421["GROUP:deaf","e"]`)
	s.expect(`431[{"error":{"code":"TIMEOUT","message":"the request was not answered in time"}}]`)
}

// TestClientsThatPollNoMore: a session ends whose client doesn't fetch its ping.
func TestClientsThatPollNoMore(t *testing.T) {
	t.Parallel()
	n := start(t, New(Options{PingInterval: 100 * time.Millisecond, PingTimeout: 100 * time.Millisecond}), memory.NewBus().Broker(), nil)
	url, _ := n.poll(`{"token":"secret","group":"g"}`)
	eventually.True(t, "the end of the session", func() bool { return n.hub.Stats().Clients == 0 })
	if status, body := request(t, "POST", url, "3"); status != 400 || !strings.Contains(body, `"code":1`) {
		t.Error(status, body)
	}
}
