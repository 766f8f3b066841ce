//go:build linux

package hubtest

import (
	"fmt"
	"strings"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// TestMemoryPerIdleClient measures the cost of an idle client: the growth of the hub's resident memory with 10,000 of
// them. It runs without the race detector, which needs memory itself.
func TestMemoryPerIdleClient(t *testing.T) {
	if raceEnabled {
		t.Skip("measured without the race detector; make test does that too")
	}
	const clients, most = 10_000, 1024
	s := Start(t, Options{Quiet: true})
	warm := warmUp(t, s, idle)
	before := s.RSS()
	conns := append(warm, idle(t, s, clients)...)
	after := s.RSS()
	if got := int(s.Metrics().Sum("mastersocket_connections")); got != len(conns) {
		t.Fatalf("the hub counts %d clients, want %d", got, len(conns))
	}
	per := float64(after-before) / clients
	t.Logf("%.0f bytes of resident memory for each idle client, %d of them", per, clients)
	if per > most {
		t.Errorf("%.0f bytes for each idle client, want at most %d", per, most)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// TestMemoryPerIdleSocketIO is the same for clients of Socket.IO: over WebSocket, and with a GET that waits.
func TestMemoryPerIdleSocketIO(t *testing.T) {
	if raceEnabled {
		t.Skip("measured without the race detector; make test does that too")
	}
	for _, c := range []struct {
		name          string
		clients, most int // bytes
		open          func(*testing.T, *Server, int) []*rc.Conn
	}{
		{"WebSocket", 9500, 1024, idleSocketIO},
		{"waiting poll", 2500, 2048, waitingPolls},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Start(t, Options{Quiet: true, Flags: []string{"--enable", "socketio"}})
			warm := warmUp(t, s, c.open)
			before := s.RSS()
			conns := append(warm, c.open(t, s, c.clients)...)
			per := float64(s.RSS()-before) / float64(c.clients)
			t.Logf("%.0f bytes of resident memory for each, %d of them", per, c.clients)
			if per > float64(c.most) {
				t.Errorf("%.0f bytes for each, want at most %d", per, c.most)
			}
			for _, c := range conns {
				_ = c.Close()
			}
		})
	}
}

// warmUp makes the hub allocate what it has once: it returns 100 clients, after so many came and went that the event log is full.
func warmUp(t *testing.T, s *Server, open func(*testing.T, *Server, int) []*rc.Conn) []*rc.Conn {
	t.Helper()
	const events, atOnce = 10_000, 50
	for range events / 2 / atOnce { // each connects and disconnects
		for _, c := range idle(t, s, atOnce) {
			_ = c.Close()
		}
	}
	return open(t, s, 100)
}

const socketIOConnect = `40{"token":"` + Token + `","group":"idle"}`

// idleSocketIO connects n clients over WebSocket.
func idleSocketIO(t *testing.T, s *Server, n int) []*rc.Conn {
	t.Helper()
	conns := make([]*rc.Conn, n)
	for i := range conns {
		c := dialIdle(t, s, i)
		conns[i] = c
		if err := c.Upgrade("/socket.io/?EIO=4&transport=websocket"); err != nil {
			t.Fatal(err)
		}
		if err := c.Send(socketIOConnect); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the handshake, and the answer to CONNECT
			if _, _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return conns
}

// waitingPolls opens n sessions whose clients wait for something with a GET.
func waitingPolls(t *testing.T, s *Server, n int) []*rc.Conn {
	t.Helper()
	conns := make([]*rc.Conn, n)
	for i := range conns {
		c := dialIdle(t, s, i)
		conns[i] = c
		path := "/socket.io/?EIO=4&transport=polling"
		opened := exchange(t, c, "GET", path, "")
		id := opened[strings.Index(opened, `"sid":"`)+7:]
		path += "&sid=" + id[:strings.IndexByte(id, '"')]
		exchange(t, c, "POST", path, socketIOConnect)
		if answer := exchange(t, c, "GET", path, ""); !strings.HasPrefix(answer, "40") {
			t.Fatal(answer)
		}
		if err := c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: " + s.HubAddr + "\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

// exchange makes a request and returns the body of the answer.
func exchange(t *testing.T, c *rc.Conn, method, path, body string) string {
	t.Helper()
	if err := c.Write(fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)); err != nil {
		t.Fatal(err)
	}
	r, err := c.ReadResponse(method)
	if err != nil || r.Status != 200 {
		t.Fatalf("%+v, %v", r, err)
	}
	return string(r.Body)
}

// dialIdle connects the client of that number, from several addresses as ports are limited.
func dialIdle(t *testing.T, s *Server, i int) *rc.Conn {
	t.Helper()
	c, err := rc.Dial(s.HubAddr, rc.Options{Source: fmt.Sprintf("127.0.0.%d", 1+i%20)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// idle connects and identifies n clients.
func idle(t *testing.T, s *Server, n int) []*rc.Conn {
	t.Helper()
	conns := make([]*rc.Conn, n)
	for i := range conns {
		c := dialIdle(t, s, i)
		conns[i] = c
		if err := c.Upgrade("/"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Identify(Token, "idle", ""); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}
