package client_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

func TestHandlers(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var p *peer
		h.serve = func(n int, q *peer) {
			q.identify(identity)
			p = q
			q.event("a", "1") // before Connect returns
			_, _ = q.next()
		}
		var mu sync.Mutex
		var calls []string
		note := func(name string) client.Handler {
			return func(_ context.Context, m *client.Message) {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, name+m.Event+string(m.Data))
			}
		}
		o := h.options()
		o.On = map[string]client.Handler{"a": note("first ")}
		o.OnMessage = note("other ")
		c := h.connect(o)
		defer closeClient(t, c)
		synctest.Wait()
		remove := c.On("a", note("second "))
		p.event("a", "2")
		p.event("b", "3")
		synctest.Wait()
		remove()
		remove()
		removeB := c.On("b", note("b "))
		p.event("a", "4")
		p.event("b", "5")
		synctest.Wait()
		removeB()
		p.event("b", `{"x" : "ü"}`)
		synctest.Wait()
		want := []string{"first a1", "first a2", "second a2", "other b3", "first a4", "b b5", `other b{"x" : "ü"}`}
		if !slices.Equal(calls, want) {
			t.Errorf("calls\n%q, want\n%q", calls, want)
		}
	})
}

func TestReply(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		got := make(chan frame, 1)
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			p.send(`{"op":0,"id":"q\"1","event":"ask","data":[1],"extra":true,"sender":%q,"intent":{"target":"ANY"}}`, sender)
			f, _ := p.next()
			got <- f
			_, _ = p.next()
		}
		o := h.options()
		o.On = map[string]client.Handler{"ask": func(ctx context.Context, m *client.Message) {
			var data []int
			if err := m.Unmarshal(&data); err != nil || len(data) != 1 || m.Intent != client.Any("") {
				t.Errorf("message %+v, data %v, %v", m, data, err)
			}
			if err := m.Unmarshal(new(string)); err == nil {
				t.Error("an array was decoded into a string")
			}
			want := fmt.Sprintf(`{"op":0,"id":"q\"1","event":"ask","data":[1],"extra":true,"sender":%q,"intent":{"target":"ANY"}}`, sender)
			if string(m.Raw) != want {
				t.Errorf("Raw = %s", m.Raw)
			}
			if err := m.Reply(ctx, map[string]int{"n": 2}); err != nil {
				t.Error(err)
			}
		}}
		c := h.connect(o)
		defer closeClient(t, c)
		want := `{"op":5,"id":"q\"1","event":"ask","intent":{"target":"DIRECT","identifier":"` + sender + `"},"data":{"n":2}}`
		if f := <-got; f.raw != want {
			t.Errorf("reply %s\nwant  %s", f.raw, want)
		}
	})
}

// With a slow handler the client stops reading and sends PONGs. No message is lost.
func TestSlowHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		const n = 20
		const queued = 4
		var sent, pongs atomic.Int32
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			var reader sync.WaitGroup
			reader.Go(func() {
				for {
					f, ok := p.next()
					if !ok {
						return
					}
					if f.Op == 4 {
						pongs.Add(1)
					}
				}
			})
			padding := strings.Repeat(" ", 8000) // more than the buffer of coder/websocket takes
			for i := range n {
				p.event("e", fmt.Sprint(i)+padding)
				sent.Add(1)
			}
			reader.Wait()
		}
		release, got := make(chan struct{}), 0
		o := h.options()
		o.ReceiveQueue = queued
		o.On = map[string]client.Handler{"e": func(_ context.Context, m *client.Message) {
			<-release
			if string(m.Data) != fmt.Sprint(got) {
				t.Errorf("message %d is %s", got, m.Data)
			}
			got++
		}}
		c := h.connect(o)
		defer closeClient(t, c)
		time.Sleep(10 * time.Minute) // on the bubble's clock
		synctest.Wait()
		// The handler has one message, the queue some, the reader one, and the buffer part of one.
		if n := sent.Load(); n != 1+queued+1 || h.dials.Load() != 1 {
			t.Errorf("%d messages taken over %d connections", n, h.dials.Load())
		}
		if n := pongs.Load(); n < 60 {
			t.Errorf("%d PONGs in 10 minutes, want one each 7.5s", n)
		}
		close(release)
		synctest.Wait()
		if got != n || h.dials.Load() != 1 {
			t.Errorf("%d of %d messages arrived over %d connections", got, n, h.dials.Load())
		}
	})
}

// A panic in a handler or hook is logged. The Client goes on with the next handler and the next message.
func TestPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			p.identify(identity)
			p.send(`{"op":6,"id":"x","data":{"code":"NO_RECEIVER"}}`)
			_, _ = p.next()
			p.event("bad", "1")
			p.event("other", "2")
			p.event("good", "3")
			_, _ = p.next()
		}
		var log bytes.Buffer
		var second bool
		done := make(chan struct{})
		o := h.options()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.OnConnect = func(client.Identity) { panic("in OnConnect") }
		o.OnError = func(*client.HubError) { panic("in OnError") }
		o.OnMessage = func(context.Context, *client.Message) { panic("in OnMessage") }
		o.On = map[string]client.Handler{
			"bad":  func(context.Context, *client.Message) { panic("in a handler") },
			"good": func(context.Context, *client.Message) { close(done) },
		}
		c := h.connect(o)
		c.On("bad", func(context.Context, *client.Message) { second = true })
		send(t, c, "begin")
		<-done
		closeClient(t, c)
		if !second {
			t.Error("the second handler was not called")
		}
		for _, want := range []string{"in OnConnect", "in OnError", "in a handler", "event=bad id=e1 sender=" + sender, "in OnMessage", "TestPanics"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, log.String())
			}
		}
	})
}
