//go:build linux

package hubtest

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/rawclient"
)

// handshakeCase is a request that must be refused.
type handshakeCase struct {
	name    string
	request []byte
	status  []int // one of these
}

func status(codes ...int) []int { return codes }

// handshakes sends requests that must be refused, with a whole HTTP answer and an orderly close.
func (a *arena) handshakes(t *testing.T) {
	for _, c := range slices.Concat(a.wrongUpgrades(), a.wrongRequests()) {
		t.Run(c.name, func(t *testing.T) {
			conn := a.dial(t)
			send(t, conn, c.request)
			method, _, _ := strings.Cut(string(c.request), " ")
			expectRefusal(t, conn, method, c.status)
		})
	}
	t.Run("426 says what this is", a.plainGet)
	t.Run("405 says what is allowed", func(t *testing.T) {
		c := a.dial(t)
		send(t, c, rawclient.NewRequest(a.HubAddr, "/").Line("POST / HTTP/1.1").Bytes())
		if r := expectRefusal(t, c, "POST", status(405)); r != nil && r.Header.Get("Allow") != "GET" {
			t.Errorf("Allow is %q (RFC 9110, section 15.5.6)", r.Header.Get("Allow"))
		}
	})
	t.Run("split everywhere", a.splitRequest)
	t.Run("accepted", a.rightUpgrades)
}

func expectRefusal(t *testing.T, c *rawclient.Conn, method string, want []int) *rawclient.Response {
	t.Helper()
	r, err := c.ReadResponse(method)
	if err != nil {
		t.Errorf("want status %v: %v", want, err)
		return nil
	}
	if !slices.Contains(want, r.Status) {
		t.Errorf("want status %v, got %d: %q", want, r.Status, r.Body)
	}
	if r.Status == http.StatusSwitchingProtocols {
		return nil
	}
	if r.Status == http.StatusUpgradeRequired && r.Header.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("426 without Sec-WebSocket-Version: %v", r.Header)
	}
	if !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "close") {
		t.Errorf("Connection is %q, want close", r.Header.Get("Connection"))
	}
	if strings.Contains(string(r.Body), "attacker") {
		t.Errorf("the answer repeats the request: %q", r.Body)
	}
	if _, err := c.ReadSome(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after status %d: %v, want an orderly close", r.Status, err)
	}
	return r
}

// wrongUpgrades are well-formed requests that are not acceptable opening handshakes.
func (a *arena) wrongUpgrades() []handshakeCase {
	get := func(path string) rawclient.Request { return rawclient.NewRequest(a.HubAddr, path) }
	plain := get("/").Drop("Upgrade").Drop("Connection").Drop("Sec-WebSocket-Key").Drop("Sec-WebSocket-Version")
	key := func(k string) []byte { return get("/").Set("Sec-WebSocket-Key", k).Bytes() }
	cases := []handshakeCase{
		{"plain GET /", plain.Bytes(), status(426)},
		{"plain GET /socket", plain.Line("GET /socket HTTP/1.1").Bytes(), status(426)},
		{"no Upgrade", get("/").Drop("Upgrade").Bytes(), status(426)},
		{"no Connection", get("/").Drop("Connection").Bytes(), status(426)},
		{"Connection: keep-alive", get("/").Set("Connection", "keep-alive").Bytes(), status(426)},
		{"Upgrade: h2c", get("/").Set("Upgrade", "h2c").Bytes(), status(426)},
		{"Upgrade: websocketx", get("/").Set("Upgrade", "websocketx").Bytes(), status(426)},
		{"version 8", get("/").Set("Sec-WebSocket-Version", "8").Bytes(), status(426)},
		{"version 14", get("/").Set("Sec-WebSocket-Version", "14").Bytes(), status(426)},
		{"version 013", get("/").Set("Sec-WebSocket-Version", "013").Bytes(), status(400, 426)},
		{"version 13x", get("/").Set("Sec-WebSocket-Version", "13x").Bytes(), status(400, 426)},
		{"no version", get("/").Drop("Sec-WebSocket-Version").Bytes(), status(400, 426)},
		{"two versions", get("/").Add("Sec-WebSocket-Version: 8").Bytes(), status(400, 426)},
		{"no key", get("/").Drop("Sec-WebSocket-Key").Bytes(), status(400)},
		{"two keys", get("/").Add("Sec-WebSocket-Key: " + rawclient.Key).Bytes(), status(400)},
		{"empty key", key(""), status(400)},
		{"key of 15 bytes", key("AAAAAAAAAAAAAAAAAAAA"), status(400)},
		{"key of 17 bytes", key("AAAAAAAAAAAAAAAAAAAAAAA="), status(400)},
		{"key of 18 bytes", key("AAAAAAAAAAAAAAAAAAAAAAAA"), status(400)},
		{"key without padding", key("dGhlIHNhbXBsZSBub25jZQ"), status(400)},
		{"key that is not base64", key("dGhlIHNhbXBsZSBub25j!!=="), status(400)},
		{"key in base64url", key("-_hlIHNhbXBsZSBub25jZQ=="), status(400)},
		{"no Host", get("/").Drop("Host").Bytes(), status(400)},
		{"two Hosts", get("/").Add("Host: " + a.HubAddr).Bytes(), status(400)},
		{"two different Hosts", get("/").Add("Host: attacker.example").Bytes(), status(400)},
		{"bad Host", get("/").Set("Host", "a b").Bytes(), status(400)},
		{"token in the URL", get("/?token=attacker").Bytes(), status(400)},
		{"the right token in the URL", get("/socket?x=1&token=" + Token).Bytes(), status(400)},
		{"access_token in the URL", get("/?access_token=attacker").Bytes(), status(400)},
		{"escaped token in the URL", get("/?%74oken=attacker").Bytes(), status(400)},
		{"unknown path", get("/attacker").Bytes(), status(404)},
		{"unknown path without upgrade", plain.Line("GET /attacker HTTP/1.1").Bytes(), status(404)},
		{"path below", get("/socket/").Bytes(), status(404)},
		{"path that begins alike", get("/socketx").Bytes(), status(404)},
		{"path in capitals", get("/SOCKET").Bytes(), status(404)},
		{"path with dots", get("/x/../socket").Bytes(), status(400, 404)},
		{"double slash", get("//").Bytes(), status(400, 404)},
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "ATTACKER"} {
		r := get("/").Line(method + " / HTTP/1.1").Bytes()
		cases = append(cases, handshakeCase{"method " + method, r, status(405)})
	}
	return append(cases, handshakeCase{"method CONNECT", get("/").Line("CONNECT " + a.HubAddr + " HTTP/1.1").Bytes(), status(400, 405)})
}

// wrongRequests are malformed HTTP/1.1 requests.
func (a *arena) wrongRequests() []handshakeCase {
	get := rawclient.NewRequest(a.HubAddr, "/")
	line := func(l string) []byte { return get.Line(l).Bytes() }
	head := func(l string) []byte { return get.Add(l).Bytes() }
	many := get
	for range 1200 {
		many = many.Add("X-Attacker: 1")
	}
	return []handshakeCase{
		{"a name that a page could rebind", get.Set("Host", "hub.example").Bytes(), status(421)},
		{"garbage", []byte("attacker\r\n\r\n"), status(400)},
		{"empty lines", []byte("\r\n\r\n\r\n\r\n"), status(400)},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03attacker\r\n\r\n"), status(400)},
		{"HTTP/2 preface", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), status(400, 505)},
		{"HTTP/1.0", line("GET / HTTP/1.0"), status(400, 426, 505)},
		{"HTTP/0.9", []byte("GET /\r\n\r\n"), status(400)},
		{"HTTP/2.0", line("GET / HTTP/2.0"), status(400, 505)},
		{"HTTP/1.1x", line("GET / HTTP/1.1x"), status(400)},
		{"http/1.1", line("GET / http/1.1"), status(400)},
		{"no version", line("GET /"), status(400)},
		{"two spaces", line("GET  / HTTP/1.1"), status(400)},
		{"tab", line("GET\t/ HTTP/1.1"), status(400)},
		{"space before the method", line(" GET / HTTP/1.1"), status(400)},
		{"space behind the version", line("GET / HTTP/1.1 "), status(400)},
		{"space in the target", line("GET /a b HTTP/1.1"), status(400)},
		{"no target", line("GET HTTP/1.1"), status(400)},
		{"asterisk", line("GET * HTTP/1.1"), status(400, 404)},
		{"target without slash", line("GET socket HTTP/1.1"), status(400, 404)},
		{"bad escape", line("GET /%zz HTTP/1.1"), status(400, 404)},
		{"control character in the target", line("GET /\x01 HTTP/1.1"), status(400)},
		{"NUL in the target", line("GET /\x00 HTTP/1.1"), status(400)},
		{"bare LF", get.BytesWith("\n"), status(400)},
		{"bare CR in a header", head("X-Attacker: a\rb"), status(400)},
		{"one bare LF", head("X-A: a\nX-B: b"), status(400)},
		{"header without a colon", head("attacker"), status(400)},
		{"header without a name", head(": attacker"), status(400)},
		{"space before the colon", head("X-Attacker : 1"), status(400)},
		{"space in a name", head("X Attacker: 1"), status(400)},
		{"folded header", head("X-Attacker: 1\r\n 2"), status(400)},
		{"NUL in a header", head("X-Attacker: a\x00b"), status(400)},
		{"escape in a header", head("X-Attacker: \x1b[31m"), status(400)},
		{"body", get.Add("Content-Length: 5").Body("attac").Bytes(), status(400)},
		{"chunked body", get.Add("Transfer-Encoding: chunked").Body("0\r\n\r\n").Bytes(), status(400)},
		{"two lengths", get.Add("Content-Length: 0", "Content-Length: 5").Bytes(), status(400)},
		{"length and chunked", get.Add("Content-Length: 5", "Transfer-Encoding: chunked").Bytes(), status(400)},
		{"bad length", head("Content-Length: -1"), status(400)},
		{"one header of 17 KiB", head("X-Attacker: " + strings.Repeat("a", 17<<10)), status(431)},
		{"headers of 17 KiB", many.Bytes(), status(431)},
		{"target of 17 KiB", line("GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1"), status(414, 431)},
		{"method of 17 KiB", []byte(strings.Repeat("A", 17<<10)), status(400, 431)},
		{"headers of 16 KiB without an end", get.Add("X-Attacker: " + strings.Repeat("a", 16<<10)).Bytes()[:16<<10], status(431)},
		{"headers of a megabyte", head("X-Attacker: " + strings.Repeat("a", 1<<20)), status(431)},
	}
}

// plainGet expects one line that names the service, and the protocol to upgrade to (RFC 9110, section 15.5.22).
func (a *arena) plainGet(t *testing.T) {
	c := a.dial(t)
	send(t, c, []byte("GET / HTTP/1.1\r\nHost: "+a.HubAddr+"\r\n\r\n"))
	r := expectRefusal(t, c, "GET", status(426))
	if r == nil {
		return
	}
	text := string(r.Body)
	if !strings.Contains(text, "mastersocket") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		t.Errorf("the body is %q, want one line that says what this is", text)
	}
	if r.Header.Get("Upgrade") != "websocket" {
		t.Errorf("Upgrade is %q", r.Header.Get("Upgrade"))
	}
}

// splitRequest splits a valid request, and the frames after it, at every byte.
func (a *arena) splitRequest(t *testing.T) {
	bytes := append(rawclient.NewRequest(a.HubAddr, "/").Bytes(), rawclient.Frames(
		rawclient.Text(`{"op":1,"data":{"token":"`+Token+`","group":"g"}}`), rawclient.Text(`{"op":3}`))...)
	for i := range bytes {
		c := a.dial(t)
		if err := c.WriteSplit(bytes, i); err != nil {
			t.Fatal(err)
		}
		expectPipelined(t, c)
		c.Close()
	}
}

func expectPipelined(t *testing.T, c *rawclient.Conn) {
	t.Helper()
	if err := c.Upgraded(); err != nil {
		t.Fatal(err)
	}
	for _, op := range []int{rawclient.OpIdentify, rawclient.OpPONG} {
		if e, err := c.Receive(); err != nil || !e.Is(op) {
			t.Fatalf("want op %d, got %v, %v", op, e, err)
		}
	}
}

// rightUpgrades are unusual but valid requests.
func (a *arena) rightUpgrades(t *testing.T) {
	get := rawclient.NewRequest(a.HubAddr, "/")
	for name, r := range map[string]rawclient.Request{
		"/socket":           rawclient.NewRequest(a.HubAddr, "/socket"),
		"query":             rawclient.NewRequest(a.HubAddr, "/?EIO=4"),
		"lists":             get.Set("Connection", "keep-alive, Upgrade").Set("Upgrade", "h2c, WebSocket"),
		"capitals":          get.Drop("Connection").Drop("Upgrade").Add("CONNECTION: UPGRADE", "uPGRADE: WEBSOCKET"),
		"no space":          get.Drop("Host").Add("Host:" + a.HubAddr),
		"extension":         get.Add("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
		"unknown extension": get.Add("Sec-WebSocket-Extensions: x-attacker"),
		"bad extension":     get.Add("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"),
		"subprotocol":       get.Add("Sec-WebSocket-Protocol: attacker"),
		"15 KiB of headers": get.Add("X-A: " + strings.Repeat("a", 15<<10)),
		"empty header":      get.Add("X-A:"),
		"absolute target":   get.Line("GET http://" + a.HubAddr + "/ HTTP/1.1"),
		"text beyond ASCII": get.Add("X-A: \xc3\xa4"),
		"localhost":         get.Set("Host", "localhost:1"),
	} {
		t.Run(name, func(t *testing.T) {
			c := a.dial(t)
			send(t, c, r.Bytes())
			if err := c.Upgraded(); err != nil {
				t.Fatal(err)
			}
			if err := c.Quiet(); err != nil {
				t.Error(err)
			}
		})
	}
}

// origins checks which Origins may connect.
func (a *arena) origins(t *testing.T) {
	for origin, want := range map[string]int{
		"http://" + a.HubAddr:                       101,
		"HTTP://" + a.HubAddr:                       101,
		"https://app.example":                       101,
		"https://APP.example":                       101,
		"https://app.example:443":                   101,
		"https://a.pages.example":                   101,
		"https://attacker.example":                  403,
		"https://app.example.attacker.example":      403,
		"https://attackerapp.example":               403,
		"https://app.example:444":                   403,
		"http://app.example":                        403,
		"https://pages.example":                     403,
		"https://attackerpages.example":             403,
		"http://127.0.0.1":                          403,
		"http://127.0.0.1:1":                        403,
		"null":                                      403,
		"":                                          403,
		"attacker":                                  403,
		"http://attacker@" + a.HubAddr:              403,
		"http://" + a.HubAddr + ".attacker.example": 403,
		"http://" + a.HubAddr + "/":                 403,
	} {
		t.Run(origin, func(t *testing.T) {
			c := a.dial(t)
			send(t, c, rawclient.NewRequest(a.HubAddr, "/").Add("Origin: "+origin).Bytes())
			if want == http.StatusSwitchingProtocols {
				if err := c.Upgraded(); err != nil {
					t.Error(err)
				}
				return
			}
			expectRefusal(t, c, "GET", status(want))
		})
	}
	t.Run("two", func(t *testing.T) {
		c := a.dial(t)
		send(t, c, rawclient.NewRequest(a.HubAddr, "/").Add("Origin: https://app.example", "Origin: https://attacker.example").Bytes())
		expectRefusal(t, c, "GET", status(400, 403))
	})
}
