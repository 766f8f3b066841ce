package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// fakeProxy is a forward proxy before a fakeHub. It answers only CONNECT.
type fakeProxy struct {
	h      *fakeHub
	answer func(n int) string // the answer to the nth CONNECT; empty: a tunnel

	mu       sync.Mutex
	requests []string // method, target and credentials
	wg       sync.WaitGroup
}

// dial connects to the proxy, and to nothing else.
func (p *fakeProxy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr != "proxy.test:3128" {
		return nil, fmt.Errorf("%s was dialed, want the proxy", addr)
	}
	near, far := net.Pipe()
	p.wg.Go(func() { p.serve(far) })
	return near, nil
}

func (p *fakeProxy) serve(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.requests = append(p.requests, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+r.Header.Get("Proxy-Authorization")))
	n := len(p.requests)
	p.mu.Unlock()
	answer := "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"
	if r.Method == http.MethodConnect {
		answer = p.answer(n)
	}
	if answer != "" {
		_, _ = io.WriteString(conn, answer)
		return
	}
	to, err := p.h.dial(context.Background(), "tcp", "hub.test:80")
	if err != nil {
		return
	}
	defer to.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.wg.Go(func() { _, _ = io.Copy(to, br); _ = to.Close() })
	_, _ = io.Copy(conn, to)
}

// inProxyBubble runs a test with a hub behind a forward proxy.
func inProxyBubble(t *testing.T, f func(t *testing.T, h *fakeHub, p *fakeProxy, o client.Options)) {
	t.Helper()
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = idle
		p := &fakeProxy{h: h, answer: func(int) string { return "" }}
		o := h.options()
		o.Dial = p.dial
		o.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.String() != "http://hub.test" {
				t.Errorf("a proxy for %s, want http://hub.test", r.URL)
			}
			return url.Parse("http://user:pass%3A@proxy.test:3128")
		}
		f(t, h, p, o)
		p.wg.Wait()
	})
}

// A ws:// URL goes through a forward proxy in a tunnel.
func TestProxyTunnel(t *testing.T) {
	inProxyBubble(t, func(t *testing.T, h *fakeHub, p *fakeProxy, o client.Options) {
		c := h.connect(o)
		send(t, c, "e")
		closeClient(t, c)
		if want := "CONNECT hub.test:80 Basic dXNlcjpwYXNzOg=="; len(p.requests) != 1 || p.requests[0] != want {
			t.Errorf("the proxy got %q, want %q", p.requests, want)
		}
	})
}

// No answer of a proxy to CONNECT ends a client, and each is logged with its source.
func TestProxyRefuses(t *testing.T) {
	for status, hint := range map[int]string{407: "credentials", 403: "CONNECT", 404: "CONNECT", 301: "CONNECT", 426: "CONNECT", 502: "CONNECT"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inProxyBubble(t, func(t *testing.T, h *fakeHub, p *fakeProxy, o client.Options) {
				p.answer = func(n int) string {
					if n < 3 {
						return fmt.Sprintf("HTTP/1.1 %d No\r\nServer: squid/6\r\nContent-Length: 6\r\n\r\nno way", status)
					}
					return ""
				}
				var log strings.Builder
				var mu sync.Mutex
				o.Logger = slog.New(slog.NewTextHandler(&lockedWriter{&mu, &log}, nil))
				closeClient(t, h.connect(o))
				mu.Lock()
				defer mu.Unlock()
				for _, want := range []string{"proxy.test:3128", fmt.Sprint(status), "squid/6", "no way", hint} {
					if !strings.Contains(log.String(), want) {
						t.Errorf("the log has no %q:\n%s", want, log.String())
					}
				}
				if strings.Contains(log.String(), "pass") {
					t.Errorf("the log has the proxy's password:\n%s", log.String())
				}
			})
		})
	}
}

// Garbage from a proxy, or silence, is a failed attempt.
func TestProxyGarbage(t *testing.T) {
	for name, answer := range map[string]string{
		"nonsense": "hello\r\n\r\n", "half an answer": "HTTP/1.1 200 OK\r\n", "endless": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<17),
	} {
		t.Run(name, func(t *testing.T) {
			inProxyBubble(t, func(t *testing.T, h *fakeHub, p *fakeProxy, o client.Options) {
				p.answer = func(int) string { return answer }
				o.FailFast = true
				if _, err := client.Connect(context.Background(), o); err == nil || !strings.Contains(err.Error(), "proxy proxy.test:3128: ") {
					t.Errorf("Connect: %v", err)
				}
			})
		})
	}
}

// Answers of intermediaries to the handshake don't end a client, except those that show a wrong URL.
func TestHandshakeAnswers(t *testing.T) {
	for status, hint := range map[int]string{
		200: "login page", 426: "removed the upgrade", 407: "credentials", 408: "", 421: "", 429: "", 431: "", 500: "", 503: "", 504: "",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *fakeHub) {
				h.serve = idle
				h.refuse = func(n int, w http.ResponseWriter, _ *http.Request) bool {
					if n < 3 {
						w.Header().Set("Server", "nginx")
						http.Error(w, "body", status)
					}
					return n < 3
				}
				var log strings.Builder
				var mu sync.Mutex
				o := h.options()
				o.Logger = slog.New(slog.NewTextHandler(&lockedWriter{&mu, &log}, nil))
				ctx, cancel := within(time.Minute)
				defer cancel()
				c, err := client.Connect(ctx, o)
				if err != nil {
					t.Fatal(err)
				}
				closeClient(t, c)
				mu.Lock()
				defer mu.Unlock()
				if text := log.String(); !strings.Contains(text, fmt.Sprintf("HTTP status %d by", status)) || !strings.Contains(text, "nginx") || !strings.Contains(text, hint) {
					t.Errorf("the log: %s", text)
				}
			})
		})
	}
	for _, status := range []int{301, 400, 401, 403, 404, 405, 410} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *fakeHub) {
				h.refuse = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
					http.Error(w, "body", status)
					return true
				}
				_, err := client.Connect(context.Background(), h.options())
				var refused *client.HandshakeError
				if !errors.As(err, &refused) || refused.Status != status || h.dials.Load() != 1 {
					t.Errorf("Connect: %v after %d attempts", err, h.dials.Load())
				}
			})
		})
	}
}
