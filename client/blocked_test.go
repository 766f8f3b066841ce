package client_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// blocked connects a client with the smallest queue. Its handler blocks at "e1" until release, then sends without a deadline.
func (r *rig) blocked(l *journal) (c *client.Client, release func()) {
	gate := make(chan struct{})
	o := r.options(l)
	o.ReceiveQueue = 1
	o.OnMessage = handlerOf(func(m *client.Message) {
		l.add(m.Event)
		if m.Event == "e1" {
			<-gate
			if err := c.Send(context.Background(), client.Global(), "s", nil); err != nil {
				r.t.Errorf("Send: %v", err)
			}
		}
	})
	c = r.connect(o)
	return c, func() { close(gate) }
}

// wantLine waits for the next connection.
func (r *rig) wantLine() *line {
	r.t.Helper()
	select {
	case l := <-r.opened:
		return l
	case <-time.After(2 * time.Minute):
		r.t.Error("no further connection")
		return nil
	}
}

// closeSoon closes a client whose handler may be blocked.
func closeSoon(t testing.TB, c *client.Client) {
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func (l *line) events(from, to int) {
	for i := from; i <= to; i++ {
		l.deliver("%s", event(sender, fmt.Sprint(i), fmt.Sprint("e", i), "GLOBAL"))
	}
}

// A handler that sends while the queue is full gets a new connection.
func TestHandlerSendsWhileQueueIsFull(t *testing.T) {
	for _, often := range []int{1, 5} { // how many connections are lost before
		t.Run(fmt.Sprint(often), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				c, release := r.blocked(&l)
				defer closeSoon(t, c)
				a := <-r.opened
				for range often {
					a.events(1, 5)
					synctest.Wait()
					a.cut()
					if a = r.wantLine(); a == nil {
						return
					}
				}
				synctest.Wait()
				release()
				time.Sleep(time.Minute)
				a.events(6, 9)
				synctest.Wait()
				wantLog(t, "the handlers", l.String(), fmt.Sprintf("+1 e1 e2 - +%d e6 e7 e8 e9", often+1))
				wantLog(t, "over the last connection", a.heard(), "s")
			})
		})
	}
}

// A blocked handler does not prevent a move, and no message is lost.
func TestMoveWhileHandlerIsBlocked(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, release := r.blocked(&l)
		defer closeSoon(t, c)
		a := <-r.opened
		a.events(1, 2)
		a.drain(restart)
		b := <-r.opened
		a.events(3, 9)
		b.events(3, 9)
		time.Sleep(10 * time.Second)
		wantLog(t, "over the old connection", a.heard(), "BYE")
		b.events(10, 12)
		time.Sleep(10 * time.Second)
		release()
		time.Sleep(10 * time.Second)
		wantLog(t, "the handlers", l.String(), "+1 e1 e2 +2 e3 e4 e5 e6 e7 e8 e9 e10 e11 e12")
		wantLog(t, "over the new connection", b.heard(), "s")
	})
}

// Both connections of a move are lost at any time while the handler is blocked.
func TestMoveBothLostWhileHandlerIsBlocked(t *testing.T) {
	for after := time.Duration(0); after < 2*time.Second; after += 100 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				r.delay = func(int) time.Duration { return 50 * time.Millisecond }
				c, release := r.blocked(&l)
				defer closeSoon(t, c)
				a := <-r.opened
				a.events(1, 2)
				a.drain(`"after_ms":0,"deadline_ms":60000,"reason":"restart"`)
				b := <-r.opened
				a.events(3, 9)
				b.events(3, 9)
				time.Sleep(after)
				a.cut()
				b.cut()
				third := r.wantLine()
				if third == nil {
					return
				}
				release()
				time.Sleep(10 * time.Second)
				third.events(20, 21)
				time.Sleep(time.Minute)
				wantLog(t, "over the last connection", third.heard(), "s")
				got := l.String()
				if want := "- +3 e20 e21"; len(got) < len(want) || got[len(got)-len(want):] != want {
					t.Errorf("the handlers: %q, want %q at the end", got, want)
				}
			})
		})
	}
}

// A client that is refused for good while its handler is blocked ends, and its handler's Send fails.
func TestRefusedWhileHandlerIsBlocked(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.refuse = func(n int) string {
			if n > 1 {
				return "IDENTIFY_FAILED"
			}
			return ""
		}
		var c *client.Client
		sent := make(chan error, 10)
		o := r.fakeHub.options()
		o.StopOnAuthError = true
		o.ReceiveQueue = 1
		gate := make(chan struct{})
		o.OnMessage = handlerOf(func(m *client.Message) {
			<-gate
			sent <- c.Send(context.Background(), client.Global(), "s", nil)
		})
		c = r.connect(o)
		a := <-r.opened
		a.events(1, 5)
		synctest.Wait()
		a.cut()
		time.Sleep(time.Minute)
		close(gate)
		synctest.Wait()
		select {
		case <-c.Done():
		default:
			t.Error("the client has not ended")
		}
		wantErr(t, "Send", <-sent, client.ErrClosed)
		closeSoon(t, c)
	})
}

// With a blocked handler Close ends a move at any time once its context ends. Only the handler's goroutine is left.
func TestMoveCloseWhileHandlerIsBlocked(t *testing.T) {
	for after := time.Duration(0); after < 1500*time.Millisecond; after += 50 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				gate, sent, blocked := make(chan struct{}), make(chan error, 1), make(chan struct{})
				var c *client.Client
				r.delay = func(int) time.Duration { return 50 * time.Millisecond }
				o := r.fakeHub.options()
				o.ReceiveQueue = 1
				o.OnMessage = handlerOf(func(m *client.Message) {
					close(blocked)
					<-gate
					sent <- c.Send(context.Background(), client.Global(), "s", nil)
				})
				c = r.connect(o)
				a := <-r.opened
				a.events(1, 5)
				a.drain(`"after_ms":0,"deadline_ms":60000,"reason":"restart"`)
				<-blocked
				time.Sleep(after)
				a.events(6, 9)
				if b := r.line(2); b != nil {
					b.events(6, 9)
				}
				ctx, cancel := within(3 * time.Second)
				defer cancel()
				wantErr(t, "Close", c.Close(ctx), context.DeadlineExceeded)
				close(gate)
				wantErr(t, "Send", <-sent, client.ErrClosed)
			})
		})
	}
}
