package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// head returns the head of a call with content of so many bytes.
func head(token, path string, length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, token, length)
}

func TestRefusedCalls(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	one := `{` + toJobs + `}`
	with := func(pairs ...string) http.Header {
		h := http.Header{"Authorization": {"Bearer cron"}, "Content-Type": {"application/json"}}
		for i := 0; i < len(pairs); i += 2 {
			if h.Del(pairs[i]); pairs[i+1] != "" {
				h.Set(pairs[i], pairs[i+1])
			}
		}
		return h
	}
	for _, tc := range []struct {
		name, method, path, body string
		header                   http.Header
		want                     int
	}{
		{"as it should be", "POST", eventsPath, one, with(), 202},
		{"with a charset", "POST", eventsPath, one, with("Content-Type", "Application/JSON; charset=utf-8"), 202},
		{"GET", "GET", eventsPath, "", with(), 405},
		{"HEAD", "HEAD", requestsPath, "", with(), 405},
		{"PUT", "PUT", eventsPath, one, with(), 405},
		{"form", "POST", eventsPath, one, with("Content-Type", "application/x-www-form-urlencoded"), 415},
		{"no type", "POST", eventsPath, one, with("Content-Type", ""), 415},
		{"text", "POST", eventsPath, one, with("Content-Type", "text/plain; application/json"), 415},
		{"no token", "POST", eventsPath, one, with("Authorization", ""), 401},
		{"wrong token", "POST", eventsPath, one, with("Authorization", "Bearer wrong"), 401},
		{"empty token", "POST", requestsPath, one, with("Authorization", "Bearer "), 401},
		{"Basic", "POST", eventsPath, one, with("Authorization", "Basic Y3Jvbjo="), 401},
		{"token in the URL", "POST", eventsPath + "?token=cron", one, with("Authorization", ""), 400},
		{"another page", "POST", eventsPath, one, with("Origin", "https://evil.example"), 403},
		{"its page", "POST", eventsPath, one, with("Origin", "https://app.example"), 202},
		{"no body", "POST", eventsPath, "", with(), 400},
		{"no JSON", "POST", eventsPath, "{", with(), 400},
		{"null", "POST", eventsPath, "null", with(), 422},
		{"with op", "POST", eventsPath, `{"op":0,` + toJobs + `}`, with(), 422},
		{"forged sender", "POST", eventsPath, `{"sender":"x",` + toJobs + `}`, with(), 422},
		{"no intent", "POST", eventsPath, `{}`, with(), 422},
		{"reserved group", "POST", eventsPath, `{"intent":{"target":"GROUP","identifier":"$x"}}`, with(), 422},
		{"request without a time", "POST", requestsPath, one, with(), 422},
		{"request with two", "POST", requestsPath, `{"timeout_ms":1,"expect":{"timeout_ms":1},` + toJobs + `}`, with(), 422},
		{"request with a wrong time", "POST", requestsPath, `{"timeout_ms":"1",` + toJobs + `}`, with(), 422},
		{"request with too much time", "POST", requestsPath, `{"timeout_ms":3600001,` + toJobs + `}`, with(), 422},
		{"request with attempt", "POST", requestsPath, `{"timeout_ms":1,"attempt":1,` + toJobs + `}`, with(), 422},
		{"request for some replies", "POST", requestsPath, `{"timeout_ms":1,"replies":"some",` + toJobs + `}`, with(), 422},
		{"array of requests", "POST", requestsPath, `[{"timeout_ms":1,` + toJobs + `}]`, with(), 422},
		{"another path", "POST", "/v1/other", one, with(), 404},
		{"the path with a slash", "POST", eventsPath + "/", one, with(), 404},
	} {
		res, body := n.call(tc.method, tc.path, tc.body, tc.header)
		if res.StatusCode != tc.want {
			t.Errorf("%s: %d %s, want %d", tc.name, res.StatusCode, body, tc.want)
		}
		if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (tc.want == 401) {
			t.Errorf("%s: the challenge %q", tc.name, challenge)
		}
		if strings.Contains(body, "cron") {
			t.Errorf("%s: the answer repeats the token", tc.name)
		}
	}
	n.idle()
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	res, _ := n.call("OPTIONS", eventsPath, "", http.Header{
		"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"},
	})
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		!strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") || res.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	res, _ = n.call("OPTIONS", eventsPath, "", http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"POST"}})
	if res.StatusCode != http.StatusForbidden || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// TestGuesses: an address that guesses tokens is not listened to for a while.
func TestGuesses(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	eventually.True(t, "guessing is refused", func() bool {
		status, _ := n.post("guess", eventsPath, `{`+toJobs+`}`)
		return status == http.StatusTooManyRequests
	})
}

// TestPipelining: calls that come before the answers to those before are answered in their order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	c := n.dial()
	const calls = 10
	text := ""
	for i := range calls {
		body := fmt.Sprintf(`{"id":"%d",%s}`, i, toJobs)
		text += head("cron", eventsPath, len(body)) + body
	}
	c.send(text)
	r := bufio.NewReader(c)
	for i := range calls {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusAccepted || !strings.Contains(string(body), fmt.Sprintf(`"id":"%d"`, i)) {
			t.Fatalf("%d: %d %s", i, res.StatusCode, body)
		}
	}
}

// TestSmuggling: a call whose end is told in two ways is refused, and its connection ends.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), nil)
	hidden := head("cron", eventsPath, len(`{`+toJobs+`}`)) + `{` + toJobs + `}`
	start := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer cron\r\nContent-Type: application/json\r\n"
	for name, fields := range map[string]string{
		"CL and TE":     "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":     "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two CL":        "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
		"two TE":        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"another TE":    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"a list of CL":  "Content-Length: 0, 5\r\n\r\n",
		"a signed CL":   "Content-Length: +0\r\n\r\n",
		"a space in TE": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"a bare LF":     "Content-Length: 0\n\r\n",
		"a bad chunk":   "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
		"folded fields": "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
	} {
		before := fmt.Sprint(n.hub.Stats().Published)
		c := n.dial()
		c.send(start + fields + hidden)
		answer, _ := io.ReadAll(c)
		if got := strings.Count(string(answer), "HTTP/1.1 "); got != 1 || !strings.HasPrefix(string(answer), "HTTP/1.1 400") && !strings.HasPrefix(string(answer), "HTTP/1.1 501") {
			t.Errorf("%s: %s", name, answer)
		}
		if after := fmt.Sprint(n.hub.Stats().Published); after != before {
			t.Errorf("%s: the hidden call was served", name)
		}
	}
}

// TestSlowBodies: content that does not arrive in time ends the connection.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), func(o *hub.Options) { o.Transport.MessageTimeout = 100 * time.Millisecond })
	c := n.dial()
	c.send(head("cron", eventsPath, 1000) + "{")
	if answer, _ := io.ReadAll(c); len(answer) > 0 {
		t.Errorf("%s", answer)
	}
	eventually.True(t, "the connection has ended", func() bool { s := n.hub.Stats(); return s.Transport.Connections() == 0 })
}

// TestIdleConnections: connections between two calls are bounded as all are, and take no more memory than these.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	const most = 50
	n := start(t, memory.NewBus().Broker(), func(o *hub.Options) { o.Transport.MaxConnections = most })
	body := `{` + toJobs + `}`
	served := 0
	for range most + 20 {
		c := n.dial()
		c.send(head("cron", eventsPath, len(body)) + body)
		switch answer := c.read(); {
		case strings.HasPrefix(answer, "HTTP/1.1 202"):
			served++
		case !strings.HasPrefix(answer, "HTTP/1.1 503"):
			t.Fatal(answer)
		}
	}
	if served != most {
		t.Errorf("%d connections were served, want %d", served, most)
	}
}
