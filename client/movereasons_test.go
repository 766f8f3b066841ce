package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// In a rebalance, a client that reaches its old instance tries twice more and then stays.
func TestMoveRebalanceStays(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.node = func(int) (string, uint32) { return "same", 7 }
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		a.drain(`"after_ms":0,"reason":"rebalance"`)
		time.Sleep(time.Hour)
		send(t, c, "s1")
		synctest.Wait()
		if n := r.dials.Load(); n != 4 {
			t.Errorf("%d connections, want 1 and 3", n)
		}
		wantLog(t, "the handlers", l.String(), "+1")
		wantLog(t, "over the old connection", a.heard(), "s1")
		for n := 2; n <= 4; n++ {
			wantLog(t, "over one that was tried", r.line(n).heard(), "BYE")
		}
		r.node = nil
		a.drain(`"after_ms":0,"reason":"rebalance"`) // once more, with success
		time.Sleep(time.Minute)
		wantLog(t, "the handlers", l.String(), "+1 +5")
	})
}

// Messages to a rejected connection to the same instance are not lost.
func TestMoveRebalanceStaysMissesNothing(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.node = func(int) (string, uint32) { return "same", 7 }
		r.delay = func(int) time.Duration { return 10 * time.Millisecond }
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		a.drain(`"after_ms":0,"reason":"rebalance"`)
		want := "+1"
		for n := 2; n <= 4; n++ {
			b := <-r.opened // the client learns its id 10 ms later
			b.deliver("%s", event(sender, fmt.Sprint("single", n), fmt.Sprint("e", n), "ANY"))
			r.publish(event(sender, fmt.Sprint("many", n), fmt.Sprint("f", n), "GLOBAL"))
			want += fmt.Sprintf(" e%d f%d", n, n)
		}
		time.Sleep(time.Hour)
		wantLog(t, "the handlers", l.String(), want)
	})
}

// In a rebalance, a client moves to another instance that has the same name, as several on one host have by default.
func TestMoveRebalanceBetweenInstancesOfOneName(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.node = func(n int) (string, uint32) { return "same", uint32(n) }
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		a.drain(`"after_ms":0,"reason":"rebalance"`)
		time.Sleep(time.Minute)
		if n := r.dials.Load(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
		wantLog(t, "the handlers", l.String(), "+1 +2")
	})
}

// Before its token expires, a client moves with a different token, also to the same instance.
func TestMoveExpiry(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.node = func(int) (string, uint32) { return "same", 7 }
		var token atomic.Value
		token.Store("old")
		o := r.options(&l)
		o.Token, o.TokenSource = "", func(context.Context) (string, error) { return token.Load().(string), nil }
		c, a := r.client(o)
		defer closeClient(t, c)
		a.drain(`"after_ms":0,"deadline_ms":600000,"reason":"expiry"`)
		time.Sleep(3 * time.Minute)
		if n := r.dials.Load(); n != 1 {
			t.Errorf("%d connections with the token that expires", n)
		}
		token.Store("new")
		b := <-r.opened
		time.Sleep(time.Minute)
		if !strings.Contains(b.got[0].raw, `"new"`) {
			t.Errorf("IDENTIFY %s", b.got[0].raw)
		}
		wantLog(t, "the handlers", l.String(), "+1 +2")
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// A refused attempt does not harm the old connection.
func TestMoveRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.refuse = func(n int) string {
			if n > 1 && n < 4 {
				return "IDENTIFY_FAILED"
			}
			return ""
		}
		o := r.options(&l)
		o.Token = ""
		n := 0
		o.TokenSource = func(context.Context) (string, error) {
			if n++; n == 2 {
				return "", errors.New("the vault is sealed")
			}
			return fmt.Sprint("token", n), nil
		}
		c, a, b := r.moving(o, `"after_ms":0,"deadline_ms":120000,"reason":"restart"`)
		defer closeClient(t, c)
		time.Sleep(time.Second)
		if b.n != 4 {
			t.Errorf("connection %d was the first to identify, want 4", b.n)
		}
		wantLog(t, "the handlers", l.String(), "+1 +4")
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// A client that can't reach another instance stays until it is disconnected, and then reconnects.
func TestMoveNowhereToGo(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		r.down.Store(true)
		a.drain(restart)
		time.Sleep(29 * time.Second)
		send(t, c, "s1")
		a.disconnect("SERVER_RESTART", 1012)
		r.down.Store(false)
		b := <-r.opened
		synctest.Wait()
		send(t, c, "s2")
		synctest.Wait()
		wantLog(t, "the handlers", l.String(), fmt.Sprint("+1 - +", b.n))
		wantLog(t, "over both", a.heard()+" "+b.heard(), "s1 s2")
	})
}

// With NoEcho, a client does not receive on one connection what it sent on the other. Without, it receives everything once.
func TestMoveEcho(t *testing.T) {
	for _, noEcho := range []bool{true, false} {
		t.Run(fmt.Sprint("NoEcho ", noEcho), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				o := r.options(&l)
				o.NoEcho = noEcho
				r.hear = func(on *line, f frame) {
					for n := 1; n <= 2; n++ {
						if to := r.line(n); to != nil && (to != on || !noEcho) {
							to.deliver("%s", event(on.id, f.ID, f.Event, "GLOBAL"))
						}
					}
				}
				c, a := r.client(o)
				defer closeClient(t, c)
				send(t, c, "s1")
				a.drain(restart)
				b := <-r.opened
				for i := range 20 {
					send(t, c, fmt.Sprint("t", i))
				}
				time.Sleep(time.Minute)
				send(t, c, "u")
				synctest.Wait()
				got := strings.ReplaceAll(strings.ReplaceAll(l.String(), "+1 ", ""), "+2 ", "")
				want := strings.TrimSpace(strings.ReplaceAll(a.heard(), "BYE", "") + b.heard())
				if noEcho {
					got, want = l.String(), "+1 +2"
				}
				wantLog(t, "the handlers", got, want)
			})
		})
	}
}

// A client recognizes its own ids after many failed attempts to move.
func TestMoveEchoAfterManyFailures(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		o := r.options(&l)
		o.NoEcho, o.MaxBackoff = true, time.Second
		c, a := r.client(o)
		defer closeClient(t, c)
		r.delay = func(int) time.Duration { return 10 * time.Millisecond }
		a.drain(`"after_ms":0,"deadline_ms":600000,"reason":"restart"`)
		for range 10 {
			b := <-r.opened
			time.Sleep(25 * time.Millisecond)
			b.deliver("%s", event(a.id, fmt.Sprint("s", b.n), "s", "GLOBAL"))
			time.Sleep(5 * time.Millisecond)
			b.cut()
		}
		b := <-r.opened
		b.deliver("%s", event(a.id, "s", "s", "GLOBAL"))
		time.Sleep(time.Minute)
		if got := l.String(); strings.Contains(got, "s") || !strings.HasSuffix(got, fmt.Sprint(" +", b.n)) {
			t.Errorf("the handlers: %q", got)
		}
	})
}

// The new instance is restarted too, while answers are awaited on the old connection.
func TestMoveTwice(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		asked := ask(c)
		a.drain(`"after_ms":0,"deadline_ms":600000,"reason":"restart"`)
		b := <-r.opened
		time.Sleep(time.Second)
		send(t, c, "s1")
		b.drain(restart)
		wantErr(t, "the request", <-asked, client.ErrOutcomeUnknown)
		third := <-r.opened
		time.Sleep(5 * time.Second)
		send(t, c, "s2")
		third.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		synctest.Wait()
		wantLog(t, "the handlers", l.String(), "+1 +2 +3 e1")
		wantLog(t, "over all", a.heard()+", "+b.heard()+", "+third.heard(), "q BYE, s1 BYE, s2")
	})
}

// Slow handlers that send do not prevent a move.
func TestMoveWithSlowHandlers(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		o := r.options(&l)
		o.ReceiveQueue = 1
		var c *client.Client
		connected := make(chan struct{})
		o.OnMessage = func(ctx context.Context, m *client.Message) {
			<-connected
			l.add(m.Event)
			time.Sleep(100 * time.Millisecond)
			if err := c.Send(ctx, client.Global(), "re", nil); err != nil {
				t.Errorf("Send in a handler: %v", err)
			}
		}
		c = r.connect(o)
		defer closeClient(t, c)
		a := <-r.opened
		close(connected)
		a.drain(`"after_ms":0,"deadline_ms":600000,"reason":"restart"`)
		want := "+1"
		go func() {
			for i := range 100 {
				a.deliver("%s", event(sender, fmt.Sprint(i), fmt.Sprint("e", i), "GLOBAL"))
				if b := r.line(2); b != nil {
					b.deliver("%s", event(sender, fmt.Sprint(i), fmt.Sprint("e", i), "GLOBAL"))
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		for i := range 100 {
			want += fmt.Sprint(" e", i)
		}
		<-r.opened
		time.Sleep(2 * time.Minute)
		wantLog(t, "the handlers", strings.Replace(l.String(), "+2 ", "", 1), want)
		wantLog(t, "DISCONNECT", a.heard()[strings.LastIndex(a.heard(), " ")+1:], "BYE")
	})
}

// A token that was refused in a move may be used again once the move has succeeded with another token.
func TestMoveForgetsARefusal(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.refuse = func(n int) string {
			if n == 2 {
				return "IDENTIFY_FAILED"
			}
			return ""
		}
		tokens := []string{"first", "new", "other", "new"}
		o := r.options(&l)
		o.Token, o.TokenSource = "", func(context.Context) (string, error) {
			token := tokens[0]
			tokens = tokens[1:]
			return token, nil
		}
		c, a := r.client(o)
		defer closeClient(t, c)
		a.drain(restart)
		b := <-r.opened
		time.Sleep(10 * time.Second)
		b.cut()
		time.Sleep(10 * time.Second)
		wantLog(t, "the handlers", l.String(), "+1 +3 - +4")
	})
}
