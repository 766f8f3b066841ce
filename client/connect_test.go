package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

func TestConnectIdentifies(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var got frame
		var path string
		h.refuse = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			path = r.URL.String() + fmt.Sprint(r.Header)
			return false
		}
		h.serve = func(n int, p *peer) {
			got, _ = p.identify(identity)
			_, _ = p.next()
		}
		o := h.options()
		o.Groups, o.Name, o.Version, o.Meta, o.NoEcho = []string{"g2"}, "n", "v1", map[string]string{"a": "b"}, true
		c := h.connect(o)
		defer closeClient(t, c)
		synctest.Wait()
		want := `{"op":1,"data":{"token":"secret","group":"g","groups":["g2"],"name":"n","version":"v1",` +
			`"meta":{"a":"b"},"features":["errors","acks","drain","groups","presence","exclusive","requests","history"],"echo":false}}`
		if got.raw != want {
			t.Errorf("IDENTIFY\n %s, want\n %s", got.raw, want)
		}
		if strings.Contains(path, "secret") {
			t.Errorf("the token is in the handshake: %s", path)
		}
		id := c.Identity()
		if id.Ping != 30*time.Second || id.MaxMessageBytes != 1000 || id.Node != "n1" || id.SessionStarted.Year() != 2026 {
			t.Errorf("Identity = %+v", id)
		}
	})
}

func TestConnectRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(o *client.Options){
		"scheme":              func(o *client.Options) { o.URL = "http://hub" },
		"no URL":              func(o *client.Options) { o.URL = "" },
		"malformed URL":       func(o *client.Options) { o.URL = "ws://hub:port" },
		"password in the URL": func(o *client.Options) { o.URL = "ws://x:secret@hub" },
		"token in the URL":    func(o *client.Options) { o.URL = "ws://hub/?token=secret" },
		"no token":            func(o *client.Options) { o.Token = "" },
		"two tokens":          func(o *client.Options) { o.TokenSource = func(context.Context) (string, error) { return "", nil } },
		"no group":            func(o *client.Options) { o.Group = "" },
		"reserved group":      func(o *client.Options) { o.Groups = []string{"$x"} },
		"too many groups":     func(o *client.Options) { o.Groups = manyGroups(32) },
		"long name":           func(o *client.Options) { o.Name = strings.Repeat("n", 129) },
		"meta not UTF-8":      func(o *client.Options) { o.Meta = map[string]string{"a": "\xff"} },
		"backoff":             func(o *client.Options) { o.MinBackoff, o.MaxBackoff = time.Minute, time.Second },
		"negative queue":      func(o *client.Options) { o.SendQueue = -1 },
	} {
		o := client.Options{URL: "ws://127.0.0.1:1", Token: "secret", Group: "g"}
		change(&o)
		_, err := client.Connect(context.Background(), o)
		if !errors.Is(err, client.ErrOptions) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want one without the token", name, err)
		}
	}
}

func manyGroups(n int) []string {
	groups := make([]string, n)
	for i := range groups {
		groups[i] = fmt.Sprint("g", i)
	}
	return groups
}

func TestStopOnAuthError(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			_, _ = p.next()
			p.disconnect("IDENTIFY_FAILED", 4004)
		}
		o := h.options()
		o.StopOnAuthError = true
		_, err := client.Connect(context.Background(), o)
		var d *client.DisconnectError
		if !errors.As(err, &d) || d.Reason != "IDENTIFY_FAILED" || d.Code != 4004 {
			t.Fatalf("Connect: %v, want IDENTIFY_FAILED", err)
		}
		if n := h.dials.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// A token that the hub does not know for a while, before the first connection or later, is tried again with long waits, and
// each refusal is logged as an error.
func TestTokenUnknownForAWhile(t *testing.T) {
	for name, first := range map[string]bool{"before the first connection": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *fakeHub) {
				began := time.Now()
				h.serve = func(n int, p *peer) {
					known := time.Since(began) >= time.Hour
					if n == 1 && first {
						p.identify(identity)
						p.disconnect("UNAUTHORIZED", 4003)
						return
					}
					if known {
						idle(n, p)
						return
					}
					_, _ = p.next()
					p.disconnect("IDENTIFY_FAILED", 4004)
				}
				var log strings.Builder
				var mu sync.Mutex
				connected := make(chan time.Duration, 2)
				o := h.options()
				o.Logger = slog.New(slog.NewTextHandler(&lockedWriter{w: &log, mu: &mu}, nil))
				o.OnConnect = func(client.Identity) { connected <- time.Since(began) }
				c := h.connect(o)
				defer closeClient(t, c)
				if first {
					<-connected
				}
				if d := <-connected; d < time.Hour || d > time.Hour+5*time.Minute {
					t.Errorf("connected after %v, want an hour and at most 5 minutes", d)
				}
				if n := h.dials.Load(); n < 12 || n > 40 {
					t.Errorf("%d attempts in an hour", n)
				}
				mu.Lock()
				defer mu.Unlock()
				if n := strings.Count(log.String(), "level=ERROR"); n < 11 || strings.Contains(log.String(), "token=secret") {
					t.Errorf("%d errors in the log:\n%s", n, log.String())
				}
			})
		})
	}
}

// The first attempt after a refusal comes soon: a token may reach the hub some seconds after the client.
func TestTokenUnknownForSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(n int, p *peer) {
			if n == 1 {
				_, _ = p.next()
				p.disconnect("IDENTIFY_FAILED", 4004)
				return
			}
			idle(n, p)
		}
		began := time.Now()
		c := h.connect(h.options())
		if d := time.Since(began); d < 2*time.Second || d > 5*time.Second {
			t.Errorf("connected after %v, want 2.5 to 5 s", d)
		}
		closeClient(t, c)
	})
}

// lockedWriter serializes writes.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// After a refusal the token is fetched again. With StopOnAuthError the same token is not tried twice.
func TestTokenSource(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(n int, p *peer) {
			f, _ := p.next()
			if strings.Contains(f.raw, `"new"`) {
				p.send(`{"op":1,"data":{%s}}`, identity)
				_, _ = p.next()
				return
			}
			p.disconnect("IDENTIFY_FAILED", 4004)
		}
		tokens := []string{"", "old", "new"}
		o := h.options()
		o.Token = ""
		o.TokenSource = func(context.Context) (token string, err error) {
			token, tokens = tokens[0], tokens[1:]
			if token == "" {
				err = errors.New("the vault is sealed")
			}
			return token, err
		}
		c := h.connect(o)
		closeClient(t, c)

		o.StopOnAuthError = true
		o.TokenSource = func(context.Context) (string, error) { return "old", nil }
		before := h.dials.Load()
		if _, err := client.Connect(context.Background(), o); err == nil || !strings.Contains(err.Error(), "IDENTIFY_FAILED") {
			t.Errorf("Connect with a refused token: %v, want IDENTIFY_FAILED", err)
		}
		if n := h.dials.Load() - before; n != 1 {
			t.Errorf("%d connections with the same refused token, want 1", n)
		}
	})
}

func TestConnectTriesUntilItsContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.down.Store(true)
		ctx, cancel := within(time.Minute)
		defer cancel()
		began := time.Now()
		_, err := client.Connect(ctx, h.options())
		wantErr(t, "Connect", err, context.DeadlineExceeded)
		wantErr(t, "Connect", err, errDown)
		if time.Since(began) != time.Minute || h.dials.Load() < 3 {
			t.Errorf("gave up after %v and %d attempts", time.Since(began), h.dials.Load())
		}

		h.dials.Store(0)
		o := h.options()
		o.FailFast = true
		_, err = client.Connect(context.Background(), o)
		wantErr(t, "Connect with FailFast", err, errDown)
		if n := h.dials.Load(); n != 1 {
			t.Errorf("FailFast: %d attempts", n)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(n int, p *peer) {
			if n == 1 {
				_, _ = p.next() // IDENTIFY, never answered
				_, _ = p.next()
				return
			}
			idle(n, p)
		}
		began := time.Now()
		c := h.connect(h.options())
		defer closeClient(t, c)
		if d := time.Since(began); d < 15*time.Second || d > 16*time.Second {
			t.Errorf("connected after %v, want one timeout of 15s and a short wait", d)
		}
	})
}

// A 4xx is final before the first connection, and temporary after it.
func TestHandshakeRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		status := map[int]int{1: 404, 2: 503, 4: 404}
		h.refuse = func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if status[n] != 0 {
				http.Error(w, "not here", status[n])
			}
			return status[n] != 0
		}
		h.serve = func(n int, p *peer) {
			if n == 3 {
				p.identify(identity)
				p.disconnect("SERVER_RESTART", 1012)
				return
			}
			idle(n, p)
		}
		_, err := client.Connect(context.Background(), h.options())
		var refused *client.HandshakeError
		if !errors.As(err, &refused) || refused.Status != 404 || refused.Body != "not here" {
			t.Fatalf("Connect: %v, want the 404", err)
		}
		connected := make(chan struct{}, 10)
		o := h.options()
		o.OnConnect = func(client.Identity) { connected <- struct{}{} }
		c := h.connect(o)
		defer closeClient(t, c)
		<-connected
		<-connected
		if n := h.dials.Load(); n != 5 {
			t.Errorf("%d attempts, want 5: 404, 503, connected, 404, connected", n)
		}
	})
}

func TestRedirectIsNotFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.refuse = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "ws://elsewhere.test/", http.StatusTemporaryRedirect)
			return true
		}
		_, err := client.Connect(context.Background(), h.options())
		var refused *client.HandshakeError
		if !errors.As(err, &refused) || refused.Status != 307 || h.dials.Load() != 1 {
			t.Errorf("Connect: %v after %d attempts, want the 307 after 1", err, h.dials.Load())
		}
	})
}

func TestReconnects(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		reasons := []string{"SERVER_RESTART", "KICKED", "TRY_AGAIN_LATER", "UNAUTHORIZED", "PING_TIMEOUT"}
		h.serve = func(n int, p *peer) {
			if n > len(reasons) {
				idle(n, p)
				return
			}
			p.identify(strings.Replace(identity, "000001", fmt.Sprintf("%06d", n), 1))
			p.disconnect(reasons[n-1], 4000+n)
		}
		var mu sync.Mutex
		var calls []string
		ready := make(chan struct{})
		o := h.options()
		o.OnConnect = func(id client.Identity) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, "connected")
			if len(calls) == 2*len(reasons)+1 {
				close(ready)
			}
		}
		o.OnDisconnect = func(err error) {
			mu.Lock()
			defer mu.Unlock()
			var d *client.DisconnectError
			if !errors.As(err, &d) {
				t.Errorf("OnDisconnect(%v)", err)
				return
			}
			calls = append(calls, d.Reason)
		}
		c := h.connect(o)
		<-ready
		closeClient(t, c)
		var want []string
		for _, r := range reasons {
			want = append(want, "connected", r)
		}
		want = append(want, "connected")
		if !slices.Equal(calls, want) {
			t.Errorf("hooks %v, want %v", calls, want)
		}
		wantErr(t, "Err after Close", c.Err(), client.ErrClosed)
	})
}

// With StopOnAuthError, a client whose token is revoked ends, and its calls return the reason.
func TestRefusedForGoodLater(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(n int, p *peer) {
			if n == 1 {
				p.identify(identity)
				p.disconnect("UNAUTHORIZED", 4003)
				return
			}
			_, _ = p.next()
			p.disconnect("IDENTIFY_FAILED", 4004)
		}
		o := h.options()
		o.StopOnAuthError = true
		lost := make(chan error, 1)
		o.OnDisconnect = func(err error) { lost <- err }
		c := h.connect(o)
		<-lost
		err := c.Send(context.Background(), client.Global(), "e", nil)
		wantErr(t, "Send", err, client.ErrClosed)
		if !strings.Contains(err.Error(), "IDENTIFY_FAILED") {
			t.Errorf("Send: %v, want the reason", err)
		}
		<-c.Done()
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "IDENTIFY_FAILED") {
			t.Errorf("Err = %v, want IDENTIFY_FAILED", err)
		}
	})
}

// Waits are random between 0 and a bound that doubles up to MaxBackoff.
func TestBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.down.Store(true)
		var at []time.Time
		o := h.options()
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			at = append(at, time.Now())
			return dial(ctx, network, addr)
		}
		o.MinBackoff, o.MaxBackoff = time.Second, 8*time.Second
		ctx, cancel := within(time.Hour)
		defer cancel()
		_, err := client.Connect(ctx, o)
		wantErr(t, "Connect", err, errDown)
		bound, longest := time.Second, time.Duration(0)
		for i := 1; i < len(at); i++ {
			wait := at[i].Sub(at[i-1])
			if wait > bound {
				t.Errorf("wait %d took %v, want at most %v", i, wait, bound)
			}
			bound, longest = min(2*bound, 8*time.Second), max(longest, wait)
		}
		// An hour of waits of 4s on average: that all 500 or more are below 6s, or their mean far off, has a
		// probability below 1e-50.
		if n := len(at); longest < 6*time.Second || n < 500 || n > 1500 {
			t.Errorf("%d attempts in an hour, longest wait %v", n, longest)
		}
	})
}

// The backoff also grows for a hub that accepts clients and drops them at once.
func TestBackoffGrowsOverShortSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(n int, p *peer) {
			p.identify(identity)
			p.disconnect("UNKNOWN_ERROR", 4000)
		}
		c := h.connect(h.options())
		time.Sleep(time.Hour)
		closeClient(t, c)
		if n := h.dials.Load(); n > 500 { // about 240 with a mean of 15s
			t.Errorf("%d connections in an hour", n)
		}
	})
}
