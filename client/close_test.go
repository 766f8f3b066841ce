package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/client"
)

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var got []string
		var status websocket.StatusCode
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			for {
				_, b, err := p.conn.Read(context.Background())
				if err != nil {
					status = websocket.CloseStatus(err)
					return
				}
				got = append(got, string(b))
			}
		}
		c := h.connect(h.options())
		var receipts []*client.Receipt
		for i := range 10 {
			r, err := c.Queue(context.Background(), client.Global(), fmt.Sprint(i), nil)
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
		closeClient(t, c)
		closeClient(t, c)
		synctest.Wait()
		if len(got) != 11 || got[10] != `{"op":2}` || status != websocket.StatusNormalClosure {
			t.Errorf("the hub got %q and the close code %d; want 10 messages, DISCONNECT and 1000", got, status)
		}
		for _, r := range receipts {
			_, err := r.Wait(context.Background())
			wantErr(t, "Wait after Close", err, client.ErrOutcomeUnknown)
		}
		wantErr(t, "Send after Close", c.Send(context.Background(), client.Global(), "e", nil), client.ErrClosed)
		_, err := c.Request(context.Background(), client.Global(), "e", nil)
		wantErr(t, "Request after Close", err, client.ErrClosed)
		wantErr(t, "Err", c.Err(), client.ErrClosed)
		<-c.Done()
	})
}

func TestCloseWhileDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			h.down.Store(true)
		}
		c := h.connect(h.options())
		sent := make(chan error)
		go func() {
			for {
				if err := c.Send(context.Background(), client.Global(), "e", nil); err != nil && !errors.Is(err, client.ErrOutcomeUnknown) {
					sent <- err
					return
				}
			}
		}()
		time.Sleep(time.Hour)
		began := time.Now()
		closeClient(t, c)
		wantErr(t, "Send that waited", <-sent, client.ErrClosed)
		if d := time.Since(began); d > 0 {
			t.Errorf("Close took %v", d)
		}
	})
}

// Close waits for a blocked hub no longer than its context.
func TestCloseOfBlockedHub(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		release := make(chan struct{})
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			<-release
		}
		c := h.connect(h.options())
		ctx, cancel := within(time.Second)
		defer cancel()
		began := time.Now()
		wantErr(t, "Close", c.Close(ctx), context.DeadlineExceeded)
		if d := time.Since(began); d != time.Second {
			t.Errorf("Close took %v, want 1s", d)
		}
		close(release)
	})
}

// Close lets the running handler finish and reply, and calls no other.
func TestCloseLetsHandlerFinish(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var got []frame
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			p.event("e", "1")
			p.event("e", "2")
			for {
				f, ok := p.next()
				if !ok {
					return
				}
				got = append(got, f)
			}
		}
		calls := 0
		running := make(chan struct{})
		o := h.options()
		o.On = map[string]client.Handler{"e": func(ctx context.Context, m *client.Message) {
			calls++
			close(running)
			time.Sleep(50 * time.Second) // the hub of this test answers no PING
			if err := m.Reply(ctx, "done"); err != nil {
				t.Errorf("Reply: %v", err)
			}
		}}
		c := h.connect(o)
		<-running
		began := time.Now()
		closeClient(t, c)
		if d := time.Since(began); d != 50*time.Second || calls != 1 {
			t.Errorf("Close took %v, %d calls of the handler; want 50s and 1", d, calls)
		}
		synctest.Wait()
		if n := len(got); n < 2 || got[n-2].Op != 5 || got[n-1].Op != 2 {
			t.Errorf("the hub got %v, want a REPLY and DISCONNECT at the end", got)
		}
	})
}

func TestCloseGivesUpOnHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			p.event("e", "1")
			_, _ = p.next()
		}
		running := make(chan struct{})
		ended := make(chan error, 1)
		o := h.options()
		o.On = map[string]client.Handler{"e": func(ctx context.Context, m *client.Message) {
			close(running)
			<-ctx.Done()
			ended <- m.Reply(context.Background(), nil)
		}}
		c := h.connect(o)
		<-running
		ctx, cancel := within(time.Second)
		defer cancel()
		wantErr(t, "Close with a handler that runs", c.Close(ctx), context.DeadlineExceeded)
		wantErr(t, "Reply after Close", <-ended, client.ErrClosed)
		closeClient(t, c)
	})
}

func TestCloseInHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			p.event("quit", "1")
			for ok := true; ok; _, ok = p.next() {
			}
		}
		var c *client.Client
		connected := make(chan struct{})
		closed := make(chan error)
		o := h.options()
		o.On = map[string]client.Handler{"quit": func(ctx context.Context, m *client.Message) {
			<-connected
			closed <- c.Close(ctx)
		}}
		c = h.connect(o)
		close(connected)
		if err := <-closed; err != nil {
			t.Errorf("Close in a handler: %v", err)
		}
		<-c.Done()
	})
}

// Hooks may call Close with a context that never ends.
func TestCloseInHook(t *testing.T) {
	for _, hook := range []string{"OnConnect", "OnDisconnect", "OnError"} {
		t.Run(hook, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *fakeHub) {
				h.serve = func(n int, p *peer) {
					p.identify(identity)
					p.send(`{"op":6,"id":"x","data":{"code":"NO_RECEIVER"}}`)
					if n == 1 && hook == "OnDisconnect" {
						p.disconnect("KICKED", 4010)
						return
					}
					for ok := true; ok; _, ok = p.next() {
					}
				}
				connected := make(chan *client.Client, 1)
				closed := make(chan error, 1)
				var once sync.Once
				closeIn := func(called string) {
					if called == hook {
						once.Do(func() { closed <- (<-connected).Close(context.Background()) })
					}
				}
				o := h.options()
				o.OnConnect = func(client.Identity) { closeIn("OnConnect") }
				o.OnDisconnect = func(error) { closeIn("OnDisconnect") }
				o.OnError = func(*client.HubError) { closeIn("OnError") }
				c := h.connect(o)
				connected <- c
				select {
				case err := <-closed:
					if err != nil {
						t.Errorf("Close: %v", err)
					}
				case <-time.After(time.Minute):
					t.Error("Close hangs")
					ctx, cancel := within(0)
					defer cancel()
					_ = c.Close(ctx)
				}
				closeClient(t, c)
			})
		})
	}
}
