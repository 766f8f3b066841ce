package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/client"
)

func TestAnswersPing(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		done := make(chan struct{})
		h.serve = func(_ int, p *peer) {
			_, _ = p.next()
			p.send(`{"op":3}`) // before the answer to IDENTIFY
			if f, _ := p.next(); f.Op != 4 {
				t.Errorf("%s, want a PONG", f.raw)
			}
			p.send(`{"op":1,"data":{%s}}`, identity)
			p.send(`{"op":3,"data":null}`)
			if f, _ := p.next(); f.Op != 4 {
				t.Errorf("%s, want a PONG", f.raw)
			}
			p.send(`{"op":4}`)
			p.send(`{"op":12,"data":"of a later version"}`)
			close(done)
			_, _ = p.next()
		}
		c := h.connect(h.options())
		<-done
		closeClient(t, c)
		if n := h.dials.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A client sends a PING to a silent hub. If the hub stays silent, the client reconnects.
func TestSilentHub(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var pings atomic.Int32
		var deaf atomic.Bool
		h.serve = serveAll(func(p *peer, f frame) {
			if f.Op == 3 {
				if pings.Add(1); !deaf.Load() {
					p.send(`{"op":4}`)
				}
			}
		})
		reason := make(chan error, 1)
		o := h.options()
		o.OnDisconnect = func(err error) { reason <- err }
		c := h.connect(o)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := pings.Load(); h.dials.Load() != 1 || n < 10 || n > 20 {
			t.Errorf("in 10 minutes with a hub that answers: %d connections, %d pings", h.dials.Load(), n)
		}
		deaf.Store(true)
		began := time.Now()
		wantErr(t, "OnDisconnect", <-reason, client.ErrSilent)
		if d := time.Since(began); d > 2*30*time.Second+5*time.Second+8*time.Second {
			t.Errorf("the silence was noticed after %v", d)
		}
		closeClient(t, c)
	})
}

// A writer that was blocked sends a PING before it judges the hub's silence. So does one whose process was paused.
func TestSilenceAfterPause(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		const pause = 5 * time.Minute
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			time.Sleep(pause) // reads nothing, so that the client's writes block
			for {
				f, ok := p.next()
				if !ok {
					return
				}
				if f.Op == 3 {
					p.send(`{"op":4}`)
				}
			}
		}
		o := h.options()
		o.WriteTimeout = time.Hour
		o.OnDisconnect = func(reason error) { t.Errorf("OnDisconnect(%v)", reason) }
		c := h.connect(o)
		defer closeClient(t, c)
		if err := c.Send(context.Background(), client.Global(), "blocked", nil); err != nil {
			t.Errorf("Send: %v", err)
		}
		time.Sleep(pause)
		if n := h.dials.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A hub that reads no bytes is given up, and the messages on their way are reported.
func TestStuckHub(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		release := make(chan struct{})
		h.serve = func(n int, p *peer) {
			p.identify(strings.Replace(identity, "30000", "3600000", 1))
			<-release
		}
		c := h.connect(h.options())
		began := time.Now()
		_, err := c.SendAcked(context.Background(), client.Global(), "e", nil)
		wantErr(t, "SendAcked", err, client.ErrOutcomeUnknown)
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("gave up after %v, want the write timeout of 30s", d)
		}
		close(release)
		closeClient(t, c)
	})
}

// After garbage the client ends the connection and reconnects.
func TestGarbage(t *testing.T) {
	for name, say := range map[string]func(p *peer){
		"not JSON":           func(p *peer) { p.send(`hello`) },
		"an array":           func(p *peer) { p.send(`[]`) },
		"empty":              func(p *peer) { p.send(``) },
		"op of a wrong type": func(p *peer) { p.send(`{"op":"0"}`) },
		"id of a wrong type": func(p *peer) { p.send(`{"op":0,"id":1}`) },
		"error of a number":  func(p *peer) { p.send(`{"op":6,"data":7}`) },
		"ack of a list":      func(p *peer) { p.send(`{"op":7,"data":[]}`) },
		"too big":            func(p *peer) { p.send(`{"op":0,"data":%q}`, strings.Repeat("x", 2<<20)) },
		"binary": func(p *peer) {
			_ = p.conn.Write(context.Background(), websocket.MessageBinary, []byte(`{"op":3}`))
		},
		"close without a reason": func(p *peer) { _ = p.conn.Close(websocket.StatusInternalError, "") },
		"DISCONNECT without a close": func(p *peer) {
			p.send(`{"op":2,"data":"KICKED"}`)
			time.Sleep(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *fakeHub) {
				h.serve = func(n int, p *peer) {
					if n == 1 {
						p.identify(identity)
						say(p)
						_, _ = p.next()
						return
					}
					answerer(n, p)
				}
				lost := make(chan error, 1)
				o := h.options()
				o.OnDisconnect = func(err error) { lost <- err }
				c := h.connect(o)
				defer closeClient(t, c)
				if err := <-lost; err == nil {
					t.Error("OnDisconnect(nil)")
				}
				if _, err := c.Request(context.Background(), client.Any("w"), "1", nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Connect fails after a malformed answer to IDENTIFY.
func TestGarbageAtIdentify(t *testing.T) {
	for _, answer := range []string{`x`, `{"op":1}`, `{"op":1,"data":{}}`, `{"op":1,"data":{"id":1}}`, `{"op":1,"data":{"id":"x","ping":-1}}`} {
		t.Run(answer, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *fakeHub) {
				h.serve = func(_ int, p *peer) {
					_, _ = p.next()
					p.send("%s", answer)
					_, _ = p.next()
				}
				o := h.options()
				o.FailFast = true
				if _, err := client.Connect(context.Background(), o); err == nil {
					t.Error("Connect succeeded")
				}
			})
		})
	}
}

// With a hub of the original protocol, without features, everything works except acknowledgements.
func TestOriginalHub(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			p.identify(`"id":"x","ping":30000`)
			f, _ := p.next()
			p.reply(f, "1")
			_, _ = p.next()
		}
		c := h.connect(h.options())
		defer closeClient(t, c)
		_, err := c.SendAcked(context.Background(), client.Global(), "e", nil)
		wantErr(t, "SendAcked", err, client.ErrNoAcks)
		if _, err := c.Request(context.Background(), client.Any("w"), "1", nil); err != nil {
			t.Error(err)
		}
	})
}

// A connection that breaks after any number of bytes does not hang the client.
func TestCutAnywhere(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = answerer
		o := h.options()
		o.MinBackoff, o.MaxBackoff = time.Millisecond, time.Millisecond
		limit := 0
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := h.dial(ctx, network, addr)
			limit++
			return &cutConn{Conn: conn, left: limit}, err
		}
		c := h.connect(o) // takes as many attempts as handshake and IDENTIFY's answer have bytes
		defer closeClient(t, c)
		for range 300 {
			ctx, cancel := within(time.Minute)
			m, err := c.Request(ctx, client.Any("w"), "1", nil)
			cancel()
			if err == nil && string(m.Data) != "0" || err != nil && !errors.Is(err, client.ErrOutcomeUnknown) {
				t.Fatalf("cut after %d bytes: %v, %v", limit, m, err)
			}
		}
	})
}

// cutConn breaks after left bytes are read.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// Connections break at random while many senders are busy. No message arrives twice or out of its sender's order;
// acknowledged messages have arrived, and messages that are reported as not sent have not.
func TestAtMostOnceOverBrokenConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		const senders, each = 8, 300
		var mu sync.Mutex
		arrived := map[string]int{}
		last := map[string]int{}
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			for left := rand.N(200); ; left-- {
				f, ok := p.next()
				if !ok {
					return
				}
				if f.Op != 0 {
					continue
				}
				mu.Lock()
				arrived[f.ID]++
				var who, n int
				if _, err := fmt.Sscanf(f.ID, "%d-%d", &who, &n); err != nil || last[fmt.Sprint(who)] > n {
					t.Errorf("%s arrived after %d", f.ID, last[fmt.Sprint(who)])
				}
				last[fmt.Sprint(who)] = n
				mu.Unlock()
				if left == 0 {
					_ = p.conn.CloseNow()
					return
				}
				p.ack(f)
			}
		}
		o := h.options()
		o.MinBackoff, o.MaxBackoff, o.SendQueue = time.Millisecond, time.Second, 4
		c := h.connect(o)
		var wg sync.WaitGroup
		var unknown, timedOut int
		for who := range senders {
			wg.Go(func() {
				for n := range each {
					id := fmt.Sprintf("%d-%d", who, n)
					ctx, cancel := within(time.Duration(rand.N(50)) * 10 * time.Millisecond)
					_, err := c.SendAcked(ctx, client.Global(), "e", nil, client.WithID(id))
					cancel()
					mu.Lock()
					switch got := arrived[id]; {
					case got > 1, err == nil && got != 1, err != nil && !errors.Is(err, client.ErrOutcomeUnknown) && got != 0:
						t.Errorf("%s arrived %d times, error %v", id, got, err)
					case errors.Is(err, client.ErrOutcomeUnknown):
						unknown++
					case err != nil:
						timedOut++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		closeClient(t, c)
		t.Logf("%d connections, %d outcomes unknown, %d not sent in time", h.dials.Load(), unknown, timedOut)
		for id, n := range arrived {
			if n != 1 {
				t.Errorf("%s arrived %d times", id, n)
			}
		}
	})
}

// A test over TCP, because the pipes of the other tests have no buffers.
func TestRealSockets(t *testing.T) {
	t.Parallel()
	h := &fakeHub{t: t, serve: answerer}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	defer wg.Wait()
	defer server.Close()
	c := h.connect(client.Options{URL: "ws://" + listener.Addr().String(), Token: "secret", Group: "g"})
	defer closeClient(t, c)
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	var requests sync.WaitGroup
	for range 20 {
		requests.Go(func() {
			for range 50 {
				if m, err := c.Request(ctx, client.Any("w"), "1", nil); err != nil || string(m.Data) != "0" {
					t.Errorf("Request = %v, %v", m, err)
					return
				}
			}
		})
	}
	requests.Wait()
}
