//go:build linux

package hubtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	rc "github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// Requests of Engine.IO.
const (
	polled   = "/socket.io/?EIO=4&transport=polling"
	upgraded = "/socket.io/?EIO=4&transport=websocket"
)

// newSocketIOArena starts a hub that serves Socket.IO, with a bystander over WebSocket and short deadlines.
func newSocketIOArena(t *testing.T, secure bool) *arena {
	t.Helper()
	flags := []string{"--enable", "socketio", "--identify-timeout", "4s", "--handshake-timeout", "3s", "--message-timeout", "3s", "--ping-interval", "10m"}
	a := &arena{bystanders: make(map[string]*rc.Conn), began: time.Now()}
	if secure {
		a.Server, a.tls = startTLS(t, tlstest.Template{}, flags...)
		a.HubAddr = a.TLSAddr
	} else {
		a.Server = Start(t, Options{Flags: flags})
	}
	a.bystanders["identified"] = a.open(t, identified)
	a.base = a.usage(t)
	return a
}

// awaitBystandersAlone waits until the sessions without a socket have ended, too.
func (a *arena) awaitBystandersAlone(t *testing.T) {
	t.Helper()
	eventually.True(t, "the end of the attackers' sessions", func() bool {
		return a.Metrics().Sum("mastersocket_sockets") == float64(len(a.bystanders))
	})
}

// answered is an answer to a request.
type answered struct {
	status int
	body   string
}

func refused(status, code int, message string) answered {
	return answered{status, fmt.Sprintf(`{"code":%d,"message":%q}`, code, message)}
}

var (
	badRequest = refused(400, 3, "Bad request")
	unknownSID = refused(400, 1, "Session ID unknown")
	ok         = answered{200, "ok"}
)

// ask makes a request and reads the answer. lines are further header lines.
func ask(c *rc.Conn, method, path, body string, lines ...string) (answered, error) {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n", method, path, len(body))
	for _, line := range lines {
		head += line + "\r\n"
	}
	if err := c.Write([]byte(head + "\r\n" + body)); err != nil {
		return answered{}, err
	}
	r, err := c.ReadResponse(method)
	if err != nil {
		return answered{}, err
	}
	return answered{r.Status, string(r.Body)}, nil
}

// pollSession opens a session by requests and returns the path of its requests.
func pollSession(c *rc.Conn) (path string, err error) {
	a, err := ask(c, "GET", polled, "")
	if err != nil || a.status != 200 || !strings.Contains(a.body, `"sid":"`) {
		return "", fmt.Errorf("handshake: %v, %w", a, err)
	}
	_, id, _ := strings.Cut(a.body, `"sid":"`)
	id, _, _ = strings.Cut(id, `"`)
	return polled + "&sid=" + id, nil
}

// TestBadSocketIORequests: requests that are wrong get exactly the answers that the protocol has for them.
func TestBadSocketIORequests(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", secure), func(t *testing.T) {
			t.Parallel()
			a := newSocketIOArena(t, secure)
			for _, c := range []struct {
				name, method, query, body string
				lines                     []string
				want                      answered
			}{
				{"unknown transport", "GET", "EIO=4&transport=abc", "", nil, refused(400, 0, "Transport unknown")},
				{"no transport", "GET", "EIO=4", "", nil, refused(400, 0, "Transport unknown")},
				{"revision 3", "GET", "EIO=3&transport=polling", "", nil, refused(400, 5, "Unsupported protocol version")},
				{"POST without a session", "POST", "EIO=4&transport=polling", "40", nil, refused(400, 2, "Bad handshake method")},
				{"WebSocket without upgrade", "GET", "EIO=4&transport=websocket", "", nil, badRequest},
				{"parameter twice", "GET", "EIO=4&EIO=4&transport=polling", "", nil, badRequest},
				{"guessed sid", "GET", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", nil, unknownSID},
				{"short sid", "GET", "EIO=4&transport=polling&sid=A", "", nil, unknownSID},
				{"long sid", "GET", "EIO=4&transport=polling&sid=" + strings.Repeat("A", 4000), "", nil, unknownSID},
				{"foreign origin", "GET", "EIO=4&transport=polling", "", []string{"Origin: https://evil.example"}, refused(403, 4, "Forbidden")},
				{"opaque origin", "POST", "EIO=4&transport=polling", "", []string{"Origin: null"}, refused(403, 4, "Forbidden")},
			} {
				conn := a.dial(t)
				if got, err := ask(conn, c.method, "/socket.io/?"+c.query, c.body, c.lines...); got != c.want || err != nil {
					t.Errorf("%s: %v, %v", c.name, got, err)
				}
				_ = conn.Close()
			}
			upgrade := a.dial(t)
			if err := upgrade.Upgrade(upgraded, "Origin: https://evil.example"); err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("a WebSocket of a foreign origin: %v", err)
			}
			_ = upgrade.Close()
			a.badPayloads(t)
			a.guessedSIDs(t)
			a.overlappingPolls(t)
			a.awaitBystandersAlone(t)
			a.finish(t)
		})
	}
}

// badPayloads sends POSTs that end their sessions.
func (a *arena) badPayloads(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		name, body string
		want       answered
		alive      bool // the session goes on
	}{
		{"nothing", "", badRequest, false},
		{"no packet", "x", badRequest, false},
		{"empty packet", "3\x1e", badRequest, false},
		{"bad base64", "b!!!", badRequest, false},
		{"base64 on two lines", "bAQ\nID", badRequest, false},
		{"a server's packet", `0{"sid":"x"}`, ok, false},
		{"a ping", "2", ok, false},
		{"attachment without a packet", "bAQID", ok, false},
		{"CONNECT_ERROR", `44{"message":"x"}`, ok, false},
		{"an event before CONNECT", `42["e"]`, ok, true},
	} {
		conn := a.dial(t)
		path, err := pollSession(conn)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ask(conn, "POST", path, c.body); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		got, err := ask(conn, "POST", path, "3")
		if want := map[bool]answered{true: ok, false: unknownSID}[c.alive]; got != want || err != nil {
			t.Errorf("%s, then a pong: %v, %v", c.name, got, err)
		}
		_ = conn.Close()
	}
	big := a.dial(t)
	defer func() { _ = big.Close() }()
	path, err := pollSession(big)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := ask(big, "POST", path, strings.Repeat("x", limit+1)); got.status != 413 {
		t.Errorf("a POST that is too long: %v", got)
	}
}

// guessedSIDs changes each character of a sid that is in use. The session goes on.
func (a *arena) guessedSIDs(t *testing.T) {
	t.Helper()
	c := a.dial(t)
	defer func() { _ = c.Close() }()
	path, err := pollSession(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := strings.Index(path, "sid=") + 4; i < len(path); i++ {
		guess := []byte(path)
		if guess[i]++; path[i] == 'z' || path[i] == 'Z' || path[i] == '9' {
			guess[i] = 'a'
		}
		if got, err := ask(c, "POST", string(guess), "1"); got != unknownSID || err != nil {
			t.Errorf("sid with another character at %d: %v, %v", i, got, err)
		}
	}
	if got, err := ask(c, "POST", path, "3"); got != ok || err != nil {
		t.Errorf("the session: %v, %v", got, err)
	}
}

// overlappingPolls sends two GETs at once: the protocol ends the session.
func (a *arena) overlappingPolls(t *testing.T) {
	t.Helper()
	first, second := a.dial(t), a.dial(t)
	defer func() { _, _ = first.Close(), second.Close() }()
	path, err := pollSession(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(second, "POST", path, "3"); got != ok || err != nil { // the loop has read the GET
		t.Error(got, err)
	}
	if got, err := ask(second, "GET", path, ""); got != badRequest || err != nil {
		t.Errorf("the second GET: %v, %v", got, err)
	}
	if r, err := first.ReadResponse("GET"); err != nil || r.Status != 200 || string(r.Body) != "1" {
		t.Errorf("the first GET: %+v, %v", r, err)
	}
	if got, err := ask(second, "GET", path, ""); got != unknownSID || err != nil {
		t.Errorf("a third GET: %v, %v", got, err)
	}
}

// socketIO connects a client of Socket.IO over WebSocket.
func (a *arena) socketIO(c *rc.Conn) error {
	if err := c.Upgrade(upgraded); err != nil {
		return err
	}
	if err := c.Send(`40{"token":"` + Token + `","group":"attackers","echo":false}`); err != nil {
		return err
	}
	for range 2 { // the handshake, and the answer to CONNECT
		if _, _, err := c.ReadMessage(); err != nil {
			return err
		}
	}
	return nil
}

// endsWith reads until the hub closes and checks the code of its Close frame.
func endsWith(c *rc.Conn, code int) error {
	op, p, err := c.ReadMessage()
	if err != nil || op != rc.OpClose || len(p) < 2 || int(binary.BigEndian.Uint16(p)) != code {
		return fmt.Errorf("%d %.100q, %w", op, p, err)
	}
	_ = c.WriteClosing(rc.Closing(code, "").Bytes())
	return nil
}

// TestBadSocketIOPackets: each packet that the protocol doesn't allow ends its session with 1001, so that a library
// connects again.
func TestBadSocketIOPackets(t *testing.T) {
	t.Parallel()
	attachment := func(p string) rc.Frame { return rc.Frame{Op: rc.OpBinary, Mask: rc.Text("").Mask, Payload: []byte(p)} }
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", secure), func(t *testing.T) {
			t.Parallel()
			a := newSocketIOArena(t, secure)
			for name, frames := range map[string][]rc.Frame{
				"empty":                       {rc.Text("")},
				"no type":                     {rc.Text("x")},
				"ping":                        {rc.Text("2")},
				"no packet":                   {rc.Text("4")},
				"unknown packet":              {rc.Text("49")},
				"event without a name":        {rc.Text("42[]")},
				"name that is no string":      {rc.Text("42[1]")},
				"no array":                    {rc.Text(`42{"a":1}`)},
				"no JSON":                     {rc.Text(`42["e",}`)},
				"behind the array":            {rc.Text(`42["e"]]`)},
				"65 levels":                   {rc.Text(`42["e",` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `]`)},
				"16,000 levels":               {rc.Text(`42["e",` + strings.Repeat("[", 16_000) + strings.Repeat("]", 16_000) + `]`)},
				"ack id of 16 digits":         {rc.Text(`421234567890123456["ANY:g","e"]`)},
				"ack id of 30,000 digits":     {rc.Text("42" + strings.Repeat("1", 30_000) + `["ANY:g","e"]`)},
				"ack without an id":           {rc.Text("43[]")},
				"namespace of 129 bytes":      {rc.Text("42/" + strings.Repeat("n", 128) + `,["e"]`)},
				"11 attachments":              {rc.Text(`4511-["GROUP:g","e"]`)},
				"bytes without a packet":      {attachment("x")},
				"text for an attachment":      {rc.Text(`451-["GROUP:g","e",{"_placeholder":true,"num":0}]`), rc.Text("4x")},
				"placeholder out of range":    {rc.Text(`451-["GROUP:g","e",{"_placeholder":true,"num":1}]`), attachment("x")},
				"placeholder twice":           {rc.Text(`451-["GROUP:g","e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`), attachment("x")},
				"placeholder of a fraction":   {rc.Text(`451-["GROUP:g","e",{"_placeholder":true,"num":0.0}]`), attachment("x")},
				"attachments that pass all":   {rc.Text(`452-["GROUP:g","e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`), attachment(strings.Repeat("x", 20_000)), attachment(strings.Repeat("x", 20_000))},
				"a second payload of CONNECT": {rc.Text(`40[1]`)},
			} {
				c := a.dial(t)
				if err := a.socketIO(c); err != nil {
					t.Fatal(err)
				}
				if err := c.Write(rc.Frames(frames...)); err != nil {
					t.Fatal(err)
				}
				if err := endsWith(c, 1001); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				_ = c.Close()
			}
			long := a.dial(t) // what is as long as it may be
			if err := a.socketIO(long); err != nil {
				t.Fatal(err)
			}
			if err := long.Send(`42123456789012345["ANY:nobody","e",` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `]`); err != nil {
				t.Fatal(err)
			}
			if _, p, err := long.ReadMessage(); err != nil || !strings.HasPrefix(string(p), `43123456789012345[{"error":{"code":"NO_RECEIVER"`) {
				t.Errorf("%q, %v", p, err)
			}
			_ = long.Close()
			a.awaitBystandersAlone(t)
			a.finish(t)
		})
	}
}

// mostGrowth is how much memory a flood may take.
const mostGrowth = 64 << 20

// TestSocketIOFloods: floods of what a client may do, or may begin, take no more memory than is allowed, and their ends are
// those of the deadlines. Other clients don't notice them.
func TestSocketIOFloods(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", secure), func(t *testing.T) {
			t.Parallel()
			a := newSocketIOArena(t, secure)
			payload := strings.Repeat("x", 30_000)
			for _, flood := range []struct {
				name    string
				clients int
				run     func(c *rc.Conn) error
			}{
				{"handshakes", 30, func(c *rc.Conn) error {
					for range 60 {
						if _, err := pollSession(c); err != nil {
							return err
						}
					}
					return nil
				}},
				{"guessed sids", 20, func(c *rc.Conn) error {
					for range 100 {
						if got, err := ask(c, "GET", polled+"&sid=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""); got != unknownSID || err != nil {
							return fmt.Errorf("%v, %w", got, err)
						}
					}
					return nil
				}},
				{"heads that never end", 150, func(c *rc.Conn) error {
					return c.Write([]byte("GET " + polled + " HTTP/1.1\r\nHost: localhost\r\nX: "))
				}},
				{"posts that never end", 150, func(c *rc.Conn) error {
					path, err := pollSession(c)
					if err != nil {
						return err
					}
					return c.Write(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, limit, payload))
				}},
				{"chunks that never end", 150, func(c *rc.Conn) error {
					path, err := pollSession(c)
					if err != nil {
						return err
					}
					return c.Write(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", path, len(payload), payload))
				}},
				{"polls that wait", 150, func(c *rc.Conn) error {
					path, err := pollSession(c)
					if err != nil {
						return err
					}
					return c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"))
				}},
				{"attachments that never come", 150, func(c *rc.Conn) error {
					if err := a.socketIO(c); err != nil {
						return err
					}
					return c.Write(rc.Frames(rc.Text(`452-["GROUP:g","e"]`), rc.Frame{Op: rc.OpBinary, Mask: rc.Text("").Mask, Payload: []byte(payload)}))
				}},
				{"deep nesting", 100, func(c *rc.Conn) error {
					if err := a.socketIO(c); err != nil {
						return err
					}
					if err := c.Send(`42["e",` + strings.Repeat("[", 30_000)); err != nil {
						return err
					}
					return endsWith(c, 1001)
				}},
			} {
				conns := make([]*rc.Conn, flood.clients)
				for i := range conns {
					conns[i] = a.dial(t)
					conns[i].SetTimeout(30 * time.Second)
				}
				var group sync.WaitGroup
				for _, c := range conns {
					group.Go(func() {
						if err := flood.run(c); err != nil {
							t.Errorf("%s: %v", flood.name, err)
						}
					})
				}
				group.Wait()
				grown := a.RSS() - a.base.rss
				t.Logf("%s: %d MiB more", flood.name, grown>>20)
				if grown > mostGrowth && !RaceBinary() {
					t.Errorf("%s: the hub has grown by %d MiB", flood.name, grown>>20)
				}
				if strings.HasSuffix(flood.name, "never end") { // their deadlines end them
					for _, c := range conns {
						if err := over(c); err != nil {
							t.Errorf("%s: %v", flood.name, err)
						}
					}
				}
				for _, c := range conns {
					_ = c.Close()
				}
				a.awaitBystandersAlone(t)
			}
			a.finish(t)
		})
	}
}

// over waits until the hub has ended the connection, with or without a last answer.
func over(c *rc.Conn) error {
	b := make([]byte, 4096)
	for {
		if _, err := c.ReadSome(b); errors.Is(err, rc.ErrTimeout) {
			return err
		} else if err != nil {
			return nil
		}
	}
}
