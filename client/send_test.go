package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// collect stores messages and acknowledges them.
func collect(into *[]frame, mu *sync.Mutex) func(int, *peer) {
	return serveAll(func(p *peer, f frame) {
		if f.Op != 0 && f.Op != 5 {
			return
		}
		mu.Lock()
		*into = append(*into, f)
		mu.Unlock()
		p.ack(f)
	})
}

func TestSendEnvelope(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var mu sync.Mutex
		var got []frame
		h.serve = collect(&got, &mu)
		c := h.connect(h.options())
		defer closeClient(t, c)
		ctx := context.Background()
		for _, tt := range []struct {
			to    client.Intent
			event string
			data  any
			want  string // behind the id
		}{
			{client.Global(), "e", nil, `"event":"e","intent":{"target":"GLOBAL"}}`},
			{client.Group("g"), "", 1, `"event":"","intent":{"target":"GROUP","identifier":"g"},"data":1}`},
			{client.Any(""), "e", "<&>", `"event":"e","intent":{"target":"ANY"},"data":"<&>"}`},
			{client.Any("a\"b"), "e\n", json.RawMessage(" {\"a\" : 1}\n"),
				`"event":"e\n","intent":{"target":"ANY","identifier":"a\"b"},"data":{"a" : 1}}`},
			{client.Direct(sender), "é", struct {
				A []int `json:"a"`
			}{}, `"event":"é","intent":{"target":"DIRECT","identifier":"` + sender + `"},"data":{"a":null}}`},
			{client.Global(), "e", json.RawMessage{}, `"event":"e","intent":{"target":"GLOBAL"}}`},
		} {
			if err := c.Send(ctx, tt.to, tt.event, tt.data); err != nil {
				t.Errorf("Send to %v: %v", tt.to, err)
				continue
			}
			synctest.Wait()
			last := got[len(got)-1]
			if len(last.ID) != 36 {
				t.Errorf("id %q is no UUID", last.ID)
			}
			if want := `{"op":0,"id":"` + last.ID + `",` + tt.want; last.raw != want {
				t.Errorf("sent %s\nwant %s", last.raw, want)
			}
		}
		if err := c.Send(ctx, client.Global(), "e", nil, client.WithID("mine")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if id := got[len(got)-1].ID; id != "mine" {
			t.Errorf("id %q, want mine", id)
		}
	})
}

func TestSendRefusesWhatTheHubWould(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = serveAll(func(p *peer, f frame) {
			if f.Op == 0 {
				p.t.Errorf("sent: %s", f.raw)
			}
		})
		c := h.connect(h.options())
		defer closeClient(t, c)
		for name, send := range map[string]func(ctx context.Context) error{
			"no target":       func(ctx context.Context) error { return c.Send(ctx, client.Intent{}, "e", nil) },
			"no group":        func(ctx context.Context) error { return c.Send(ctx, client.Group(""), "e", nil) },
			"reserved group":  func(ctx context.Context) error { return c.Send(ctx, client.Any("$g"), "e", nil) },
			"no id":           func(ctx context.Context) error { return c.Send(ctx, client.Direct("x"), "e", nil) },
			"long event":      func(ctx context.Context) error { return c.Send(ctx, client.Global(), strings.Repeat("e", 129), nil) },
			"event not UTF-8": func(ctx context.Context) error { return c.Send(ctx, client.Global(), "\xff", nil) },
			"long id": func(ctx context.Context) error {
				return c.Send(ctx, client.Global(), "e", nil, client.WithID(strings.Repeat("i", 65)))
			},
			"data not JSON":    func(ctx context.Context) error { return c.Send(ctx, client.Global(), "e", json.RawMessage("x")) },
			"data of two":      func(ctx context.Context) error { return c.Send(ctx, client.Global(), "e", json.RawMessage("1 2")) },
			"smuggled members": func(ctx context.Context) error { return c.Send(ctx, client.Global(), "e", json.RawMessage(`1,"x":2`)) },
			"forged sender": func(ctx context.Context) error {
				return c.Send(ctx, client.Global(), "e", json.RawMessage(`1,"sender":"x"`))
			},
			"data too deep": func(ctx context.Context) error {
				return c.Send(ctx, client.Global(), "e", json.RawMessage(strings.Repeat("[", 64)+strings.Repeat("]", 64)))
			},
			"unencodable data": func(ctx context.Context) error { return c.Send(ctx, client.Global(), "e", make(chan int)) },
			"ended context": func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return c.Send(ctx, client.Global(), "e", nil)
			},
		} {
			if err := send(context.Background()); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		err := c.Send(context.Background(), client.Global(), "e", strings.Repeat("x", 1000))
		wantErr(t, "too big", err, client.ErrTooBig)
	})
}

// A Send without a connection waits for one. If its context ends first, the message is never sent.
func TestSendWaitsForConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		var mu sync.Mutex
		var got []frame
		lost := make(chan struct{})
		h.serve = func(n int, p *peer) {
			if n == 1 {
				p.identify(identity)
				h.down.Store(true)
				p.disconnect("SERVER_RESTART", 1012)
				return
			}
			collect(&got, &mu)(n, p)
		}
		o := h.options()
		o.OnDisconnect = func(error) { close(lost) }
		o.SendQueue = 2
		c := h.connect(o)
		defer closeClient(t, c)
		<-lost
		ctx, cancel := within(time.Minute)
		defer cancel()
		err := c.Send(ctx, client.Global(), "abandoned", nil)
		wantErr(t, "Send without a connection", err, context.DeadlineExceeded)
		if errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("%v: the message was certainly not sent", err)
		}
		var senders sync.WaitGroup
		for i := range 5 { // more than fit in the queue
			senders.Go(func() {
				if err := c.Send(context.Background(), client.Global(), fmt.Sprint(i), nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // in this order
		}
		h.down.Store(false)
		senders.Wait()
		synctest.Wait()
		if len(got) != 5 {
			t.Fatalf("%d messages arrived, want 5", len(got))
		}
		for _, f := range got {
			if f.Event == "abandoned" {
				t.Error("a message arrived whose sender was told that it was not sent")
			}
		}
	})
}

func TestSendAcked(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = serveAll(func(p *peer, f frame) {
			switch f.Event {
			case "ack":
				p.send(`{"op":7,"id":%q,"data":{"nodes":3}}`, f.ID)
			case "silence":
			case "close":
				_ = p.conn.CloseNow()
			default:
				p.send(`{"op":6,"id":%q,"data":{"code":%q,"message":"words"}}`, f.ID, f.Event)
			}
		})
		c := h.connect(h.options())
		defer closeClient(t, c)
		ctx := context.Background()
		if n, err := c.SendAcked(ctx, client.Global(), "ack", nil); err != nil || n != 3 {
			t.Errorf("SendAcked = %d, %v; want 3", n, err)
		}
		for code, want := range map[string]error{
			"NO_RECEIVER": client.ErrNoReceiver, "RECEIVER_GONE": client.ErrReceiverGone, "FORBIDDEN": client.ErrForbidden,
			"BROKER_UNAVAILABLE": client.ErrBrokerUnavailable, "OUTCOME_UNKNOWN": client.ErrOutcomeUnknown,
			"OVERLOADED": client.ErrOverloaded,
		} {
			_, err := c.SendAcked(ctx, client.Global(), code, nil)
			wantErr(t, code, err, want)
		}
		_, err := c.SendAcked(ctx, client.Global(), "NEW_CODE", nil)
		var hubErr *client.HubError
		if !errors.As(err, &hubErr) || hubErr.Code != "NEW_CODE" || hubErr.Message != "words" {
			t.Errorf("unknown code: %v", err)
		}
		if want := `event "NEW_CODE" to GLOBAL: refused by the hub: NEW_CODE: words`; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		short, cancel := within(time.Second)
		defer cancel()
		_, err = c.SendAcked(short, client.Global(), "silence", nil, client.WithID("1"))
		wantErr(t, "no answer", err, client.ErrOutcomeUnknown)
		wantErr(t, "no answer", err, context.DeadlineExceeded)
		_, err = c.SendAcked(ctx, client.Global(), "ack", nil, client.WithID("1"))
		if err != nil {
			t.Errorf("an id can't be used again after its message was given up: %v", err)
		}
		_, err = c.SendAcked(ctx, client.Global(), "close", nil)
		wantErr(t, "connection lost", err, client.ErrOutcomeUnknown)
		if _, err := c.SendAcked(ctx, client.Global(), "ack", nil); err != nil {
			t.Errorf("after the reconnect: %v", err)
		}
	})
}

func TestNoAcks(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(_ int, p *peer) {
			f, _ := p.identify(strings.Replace(identity, `,"acks"`, "", 1))
			if !strings.Contains(f.raw, `"features":["errors","drain","groups","presence","exclusive","requests","history"]`) {
				p.t.Errorf("IDENTIFY %s", f.raw)
			}
			_, _ = p.next()
		}
		o := h.options()
		o.NoAcks = true
		c := h.connect(o)
		defer closeClient(t, c)
		_, err := c.SendAcked(context.Background(), client.Global(), "e", nil)
		wantErr(t, "SendAcked", err, client.ErrNoAcks)
	})
}

// Many messages of one goroutine are sent in order, in few writes, and each has its own outcome.
func TestQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		const n = 1000
		var mu sync.Mutex
		var got []frame
		h.serve = serveAll(func(p *peer, f frame) {
			if f.Op != 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if got = append(got, f); len(got)%10 == 0 {
				p.send(`{"op":6,"id":%q,"data":{"code":"NO_RECEIVER"}}`, f.ID)
			} else {
				p.ack(f)
			}
		})
		c := h.connect(h.options())
		defer closeClient(t, c)
		before := h.writes.Load()
		var receipts []*client.Receipt
		for i := range n {
			r, err := c.Queue(context.Background(), client.Global(), fmt.Sprint(i), nil)
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
		for i, r := range receipts {
			_, err := r.Wait(context.Background())
			if want := (i+1)%10 == 0; errors.Is(err, client.ErrNoReceiver) != want || want != (err != nil) {
				t.Errorf("message %d: %v", i, err)
			}
			mu.Lock()
			if got[i].ID != r.ID() || got[i].Event != fmt.Sprint(i) {
				t.Errorf("message %d arrived as %s", i, got[i].raw)
			}
			mu.Unlock()
		}
		if writes := h.writes.Load() - before; writes > n/10 {
			t.Errorf("%d writes for %d messages", writes, n)
		}
	})
}

func TestDuplicateID(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = idle
		c := h.connect(h.options())
		first, err := c.Queue(context.Background(), client.Global(), "e", nil, client.WithID("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.SendAcked(context.Background(), client.Global(), "e", nil, client.WithID("x"))
		wantErr(t, "second message with the id", err, client.ErrDuplicateID)
		closeClient(t, c)
		_, err = first.Wait(context.Background())
		wantErr(t, "first message after Close", err, client.ErrOutcomeUnknown)
	})
}

// An ERROR that belongs to no call goes to OnError or to the log.
func TestOnError(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = serveAll(func(p *peer, f frame) {
			p.send(`{"op":6,"id":%q,"data":{"code":"NO_RECEIVER","message":"none"}}`, f.ID)
		})
		got := make(chan *client.HubError, 1)
		var log strings.Builder
		o := h.options()
		o.OnError = func(err *client.HubError) { got <- err }
		c := h.connect(o)
		if err := c.Send(context.Background(), client.Group("g"), "e", nil, client.WithID("x")); err != nil {
			t.Fatal(err)
		}
		err := <-got
		if err.ID != "x" || err.Event != "e" || err.Intent != client.Group("g") || !errors.Is(err, client.ErrNoReceiver) {
			t.Errorf("OnError(%+v)", err)
		}
		if want := `event "e" to GROUP:g: refused by the hub: NO_RECEIVER: none`; err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
		closeClient(t, c)

		o.OnError, o.Logger = nil, slog.New(slog.NewTextHandler(&log, nil))
		c = h.connect(o)
		for range 100 {
			if err := c.Send(context.Background(), client.Global(), "e", nil); err != nil {
				t.Fatal(err)
			}
		}
		closeClient(t, c)
		if n := strings.Count(log.String(), "not delivered"); n != 1 || strings.Contains(log.String(), "secret") {
			t.Errorf("%d lines for 100 refusals within a second:\n%s", n, log.String())
		}
	})
}
