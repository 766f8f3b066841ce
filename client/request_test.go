package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/opcodes"
)

// answerer replies n times to an event named n, and then acknowledges it.
var answerer = serveAll(func(p *peer, f frame) {
	var n int
	switch _, err := fmt.Sscan(f.Event, &n); {
	case f.Op != 0:
		return
	case f.Event == "none":
		p.send(`{"op":6,"id":%q,"data":{"code":"NO_RECEIVER","message":"none"}}`, f.ID)
		return
	case f.Event == "restart":
		p.disconnect("SERVER_RESTART", 1012)
		return
	case err != nil:
		p.t.Errorf("event %q", f.Event)
	}
	for i := range n {
		p.reply(f, fmt.Sprint(i))
	}
	p.ack(f)
})

func TestRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = answerer
		c := h.connect(h.options())
		defer closeClient(t, c)
		ctx := context.Background()
		m, err := c.Request(ctx, client.Any("w"), "1", "data")
		if err != nil || m.Op != opcodes.Reply || string(m.Data) != "0" || m.Sender != sender || m.Event != "1" {
			t.Errorf("Request = %+v, %v", m, err)
		}
		began := time.Now()
		_, err = c.Request(ctx, client.Any("w"), "none", nil)
		wantErr(t, "no receiver", err, client.ErrNoReceiver)
		_, err = c.Request(ctx, client.Any("w"), "restart", nil)
		wantErr(t, "connection lost", err, client.ErrOutcomeUnknown)
		if d := time.Since(began); d > 0 {
			t.Errorf("noticed the failures after %v, want at once", d)
		}
		short, cancel := within(2 * time.Second)
		defer cancel()
		_, err = c.Request(short, client.Any("w"), "0", nil)
		wantErr(t, "no answer", err, context.DeadlineExceeded)
		_, err = c.Request(ctx, client.Group(""), "1", nil)
		if err == nil {
			t.Error("a malformed intent was accepted")
		}
	})
}

func TestRequestMany(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = answerer
		o := h.options()
		o.ReceiveQueue = 4
		c := h.connect(o)
		defer closeClient(t, c)
		for _, tt := range []struct {
			name          string
			event         string
			expect, leave int
			want          int
			wantErr       error
			took          time.Duration
		}{
			{name: "all", event: "3", expect: 3, want: 3},
			{name: "more than expected", event: "4", expect: 3, want: 3},
			{name: "fewer than expected", event: "2", expect: 3, want: 2, wantErr: context.DeadlineExceeded, took: time.Second},
			{name: "until the deadline", event: "4", expect: 0, want: 4, took: time.Second},
			{name: "left early", event: "4", expect: 4, leave: 1, want: 1},
			{name: "more than fit", event: "9", expect: 9, want: 4, wantErr: client.ErrTooManyReplies},
			{name: "no receiver", event: "none", expect: 3, wantErr: client.ErrNoReceiver},
		} {
			ctx, cancel := within(time.Second)
			began, got := time.Now(), 0
			var err error
			for m, e := range c.RequestMany(ctx, client.Group("w"), tt.event, nil, tt.expect) {
				synctest.Wait() // all that the hub sends has arrived
				if err = e; e != nil {
					break
				}
				if string(m.Data) != fmt.Sprint(got) {
					t.Errorf("%s: reply %d is %s", tt.name, got, m.Data)
				}
				if got++; got == tt.leave {
					break
				}
			}
			cancel()
			if got < tt.want && tt.name != "more than fit" || got > tt.want && tt.leave > 0 || !errors.Is(err, tt.wantErr) {
				t.Errorf("%s: %d replies, error %v; want %d, %v", tt.name, got, err, tt.want, tt.wantErr)
			}
			if d := time.Since(began); d != tt.took {
				t.Errorf("%s: took %v, want %v", tt.name, d, tt.took)
			}
			synctest.Wait()
		}
	})
}

// A REPLY without an open request goes to OnMessage and never to a handler of EVENTs.
func TestLateReply(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = answerer
		late := make(chan *client.Message, 1)
		o := h.options()
		o.On = map[string]client.Handler{"2": func(context.Context, *client.Message) { t.Error("handler of EVENTs called") }}
		o.OnMessage = func(_ context.Context, m *client.Message) { late <- m }
		c := h.connect(o)
		defer closeClient(t, c)
		if _, err := c.Request(context.Background(), client.Any("w"), "2", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-late:
			if m.Op != opcodes.Reply || string(m.Data) != "1" {
				t.Errorf("OnMessage(%+v)", m)
			}
		case <-time.After(time.Second):
			// It arrived while the request was open.
		}
	})
}

// A request that waits for a connection is sent once there is one.
func TestRequestWaitsForConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, h *fakeHub) {
		h.serve = func(n int, p *peer) {
			if n == 1 {
				p.identify(identity)
				h.down.Store(true)
				p.disconnect("SERVER_RESTART", 1012)
				return
			}
			answerer(n, p)
		}
		lost := make(chan struct{})
		o := h.options()
		o.OnDisconnect = func(error) { close(lost) }
		c := h.connect(o)
		defer closeClient(t, c)
		<-lost
		ctx, cancel := within(time.Second)
		defer cancel()
		_, err := c.Request(ctx, client.Any("w"), "1", nil)
		wantErr(t, "Request without a connection", err, context.DeadlineExceeded)
		time.AfterFunc(time.Minute, func() { h.down.Store(false) })
		if _, err := c.Request(context.Background(), client.Any("w"), "1", nil); err != nil {
			t.Error(err)
		}
	})
}
