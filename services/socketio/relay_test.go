package socketio

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// pair starts two instances on one bus, which advertise addresses with that scheme; with "" none.
func pair(t testing.TB, scheme string) (a, b *node) {
	t.Helper()
	bus := memory.NewBus()
	authority := tlstest.NewAuthority(t)
	another := func(name string) *node {
		address := freeport.Address(t)
		n := start(t, New(Options{Authorities: authority.Pool()}), bus.Broker(), func(o *hub.Options) {
			o.NodeName = name
			if scheme != "" {
				o.Address = scheme + "://" + address
			}
		})
		if scheme == "https" {
			n.listenTLS(address, authority.Issue(t, tlstest.Template{}))
			return n
		}
		addr, err := n.hub.ListenWebSocket(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		n.addr = addr.String()
		return n
	}
	return another("a"), another("b")
}

// at returns the URL of a request at another instance.
func (n *node) at(url string, from *node) string { return strings.Replace(url, from.addr, n.addr, 1) }

// traffic returns how many bytes the instance has received, and its connections.
func (n *node) traffic() (bytes uint64, connections int) {
	s := n.hub.Stats()
	for i := range s.Transport.Loops {
		bytes += s.Transport.Loops[i].BytesIn
	}
	return bytes, s.Transport.Connections()
}

// quiet waits until the instance has no connection but for one session without a socket, and returns how many bytes it has
// received.
func (n *node) quiet() (bytes uint64) {
	n.t.Helper()
	eventually.True(n.t, "the end of the requests' connections", func() bool {
		var connections int
		bytes, connections = n.traffic()
		return connections == 1
	})
	return bytes
}

// awaitBytes waits until the instance has received more than so many bytes.
func (n *node) awaitBytes(before uint64) {
	n.t.Helper()
	eventually.True(n.t, "a request at the instance of the session", func() bool {
		bytes, _ := n.traffic()
		return bytes > before
	})
}

// refusal returns the code and the message of the answer to a request that is refused.
func refusal(t testing.TB, body string) (code int, message string) {
	t.Helper()
	var e struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return e.Code, e.Message
}

func TestRequestsAtAnotherInstance(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t, scheme)
			url, id := a.poll(`{"token":"secret","group":"orders","echo":false}`)
			native := b.native("orders", "")
			if code, body := request(t, "POST", b.at(url, a), `42["GROUP:orders","one",1]`); code != 200 || body != "ok" {
				t.Fatal(code, body)
			}
			if got := native.next(); !strings.Contains(got, `"event":"one"`) {
				t.Error(got)
			}
			for range 3 {
				answer := make(chan string, 1)
				go func() {
					_, body := request(t, "GET", b.at(url, a), "")
					answer <- body
				}()
				native.send(`{"op":0,"event":"e","intent":{"target":"DIRECT","identifier":"` + id + `"}}`)
				if got := <-answer; got != `42["e"]` {
					t.Fatalf("%q", got)
				}
			}
			if code, body := request(t, "POST", b.at(url, a), "2"); code != 200 { // a ping of an older revision ends the session
				t.Error(code, body)
			}
			if status, body := request(t, "GET", b.at(url, a), ""); status != 400 || body != `{"code":1,"message":"Session ID unknown"}` {
				t.Error(status, body)
			}
			if n := b.all.relays.open.Load(); n != 0 {
				t.Errorf("%d relayed requests are open", n)
			}
		})
	}
}

func TestRequestsThatAreNotRelayed(t *testing.T) {
	t.Parallel()
	a, b := pair(t, "http")
	silent, other := pair(t, "")
	url, _ := a.poll(`{"token":"secret","group":"g"}`)
	unadvertised, _ := silent.poll(`{"token":"secret","group":"g"}`)
	of := func(url string) string { return url[strings.Index(url, "sid=")+4:] }
	elsewhere := newSID(a.all.node()^1<<31^1, 0, 0).String()
	for name, c := range map[string]struct{ method, url, want string }{
		"owner without an address": {"GET", other.at(unadvertised, silent), "Session ID unknown: it belongs to instance a, which advertises no address"},
		"relayed before":           {"GET", b.at(url, a) + "&mastersocket-relayed=1", "Session ID unknown: it belongs to instance a, not to this one"},
		"no instance":              {"GET", strings.Replace(b.at(url, a), of(url), elsewhere, 1), "Session ID unknown"},
		"no sid":                   {"POST", strings.Replace(b.at(url, a), of(url), "x", 1), "Session ID unknown"},
	} {
		status, body := request(t, c.method, c.url, "")
		if code, message := refusal(t, body); status != 400 || code != 1 || message != c.want {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := request(t, "PUT", b.at(url, a), ""); status != 400 {
		t.Error(status, body)
	}
	if n := b.all.count.relayed.Load() + other.all.count.relayed.Load(); n != 0 {
		t.Errorf("%d requests were relayed", n)
	}
}

func TestRelayedRequestsBeyondTheLimit(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	a := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.Address = "http://127.0.0.1:1" })
	full := New(Options{})
	full.relays.limit = 0
	b := start(t, full, bus.Broker(), nil)
	url, _ := a.poll(`{"token":"secret","group":"g"}`)
	if status, body := request(t, "GET", b.at(url, a), ""); status != http.StatusServiceUnavailable {
		t.Error(status, body)
	}
	if n, refused := full.relays.open.Load(), full.count.refusedRelays.Load(); n != 0 || refused != 1 {
		t.Errorf("%d relayed requests are open, %d were refused", n, refused)
	}
}

func TestWebSocketsAtAnotherInstance(t *testing.T) {
	t.Parallel()
	a, b := pair(t, "http")
	url, id := a.poll(`{"token":"secret","group":"g"}`)
	ws := strings.Replace(b.at(url, a), "polling", "websocket", 1)
	r, err := http.NewRequestWithContext(t.Context(), "GET", ws, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 200)
	n, _ := res.Body.Read(body)
	_ = res.Body.Close()
	if code, message := refusal(t, string(body[:n])); res.StatusCode != 400 || code != 1 || message != "Session ID unknown: it belongs to instance a, and a WebSocket is not relayed" {
		t.Errorf("%d %s", res.StatusCode, body[:n])
	}
	native := b.native("other", "")
	native.send(`{"op":0,"event":"e","intent":{"target":"DIRECT","identifier":"` + id + `"}}`)
	if _, body := request(t, "GET", b.at(url, a), ""); body != `42["e"]` {
		t.Errorf("%q", body)
	}
}

// TestClientsThatLeaveARelayedGET: a GET that is given up ends its session, at another instance, too.
func TestClientsThatLeaveARelayedGET(t *testing.T) {
	t.Parallel()
	a, b := pair(t, "http")
	url, _ := a.poll(`{"token":"secret","group":"g"}`)
	before := a.quiet()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r, err := http.NewRequestWithContext(ctx, "GET", b.at(url, a), nil); err == nil {
			if res, err := http.DefaultClient.Do(r); err == nil {
				_ = res.Body.Close()
			}
		}
	}()
	a.awaitBytes(before)
	cancel()
	<-done
	eventually.True(t, "the end of the session", func() bool { return a.hub.Stats().Clients == 0 })
	eventually.True(t, "the end of the relayed request", func() bool { return b.all.relays.open.Load() == 0 })
}

// TestInstancesThatCantBeReached: a client of an instance that hangs, or whose address is wrong, opens a new session.
func TestInstancesThatCantBeReached(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	a := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.NodeName, o.Address = "a", "http://"+freeport.Address(t) })
	impatient := New(Options{})
	impatient.relays.timeout = 200 * time.Millisecond
	b := start(t, impatient, bus.Broker(), nil)
	url, _ := a.poll(`{"token":"secret","group":"g"}`)
	status, body := request(t, "GET", b.at(url, a), "")
	if code, message := refusal(t, body); status != 400 || code != 1 || message != "Session ID unknown: it belongs to instance a, which can't be reached" {
		t.Error(status, body)
	}

	hanging := start(t, New(Options{}), bus.Broker(), func(o *hub.Options) { o.NodeName, o.Address = "hanging", "http://"+hangingListener(t) })
	url, _ = hanging.poll(`{"token":"secret","group":"g"}`)
	status, body = request(t, "GET", b.at(url, hanging), "")
	if code, message := refusal(t, body); status != 400 || code != 1 || message != "Session ID unknown: it belongs to instance hanging, which can't be reached" {
		t.Error(status, body)
	}
	if failed := b.all.count.failedRelays.Load(); failed != 2 {
		t.Errorf("%d relayed requests failed", failed)
	}
}

// TestInstancesThatEnd: a relayed GET ends with the instance of its session, and with the one that relays it.
func TestInstancesThatEnd(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(a, b *node) *node{
		"of the session": func(a, _ *node) *node { return a },
		"that relays":    func(_, b *node) *node { return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t, "http")
			url, _ := a.poll(`{"token":"secret","group":"g"}`)
			before := a.quiet()
			answer := make(chan string, 1)
			go func() {
				res, err := http.Get(b.at(url, a))
				if err != nil {
					answer <- "broken"
					return
				}
				defer func() { _ = res.Body.Close() }()
				body, _ := io.ReadAll(res.Body)
				answer <- string(body)
			}()
			a.awaitBytes(before)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := ends(a, b).hub.Close(ctx); err != nil {
				t.Fatal(err)
			}
			got := <-answer
			if ends(a, b) == b {
				if got != "broken" {
					t.Errorf("%q", got)
				}
				return
			}
			if code, _ := refusal(t, got); code != 1 {
				t.Errorf("%q", got)
			}
			if _, body := request(t, "GET", b.at(url, a), ""); body != `{"code":1,"message":"Session ID unknown"}` {
				t.Error(body)
			}
		})
	}
}
