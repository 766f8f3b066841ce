package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// A client without the feature does not move.
func TestNoDrain(t *testing.T) {
	for name, play := range map[string]func(r *rig, o *client.Options){
		"not granted":   func(r *rig, _ *client.Options) { r.features = `"errors","acks"` },
		"not asked for": func(r *rig, o *client.Options) { o.NoDrain, r.features = true, `"errors"` },
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				o := r.options(&l)
				play(r, &o)
				c, a := r.client(o)
				defer closeClient(t, c)
				if asked := strings.Contains(a.got[0].raw, "drain"); asked == o.NoDrain {
					t.Errorf("IDENTIFY %s", a.got[0].raw)
				}
				a.drain(restart)
				time.Sleep(time.Minute)
				if n := r.dials.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// Lost FENCEs delay a move by a bounded time.
func TestMoveFenceLost(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.fence = func(from, to *line, id string) bool { return false }
		c, a, b := r.moving(r.options(&l), `"after_ms":0,"deadline_ms":120000,"reason":"restart"`)
		defer closeClient(t, c)
		time.Sleep(9 * time.Second)
		a.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		b.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		send(t, c, "s1")
		time.Sleep(5 * time.Second)
		wantLog(t, "the handlers after 14s", l.String(), "+1 e1")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			send(t, c, "s2")
		}()
		<-sent
		time.Sleep(5 * time.Second)
		b.deliver("%s", event(sender, "2", "e2", "GLOBAL"))
		synctest.Wait()
		wantLog(t, "the handlers", l.String(), "+1 e1 +2 e2")
		wantLog(t, "over the old connection", a.heard(), "s1 BYE")
		wantLog(t, "over the new connection", b.heard(), "s2")
	})
}

// FENCEs that the hub refuses are sent again.
func TestMoveFencesRefused(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		var n atomic.Int32
		r.fence = func(from, to *line, id string) bool {
			if n.Add(1)%2 == 1 {
				from.deliver(`{"op":6,"id":%q,"data":{"code":"BROKER_UNAVAILABLE"}}`, id)
				return false
			}
			return true
		}
		o := r.options(&l)
		o.OnError = func(err *client.HubError) { t.Errorf("OnError(%v)", err) }
		c, a, b := r.moving(o, restart)
		defer closeClient(t, c)
		a.deliver("%s", event(sender, "1", "e1", "GLOBAL"))
		time.Sleep(15 * time.Second)
		b.deliver("%s", event(sender, "2", "e2", "ANY"))
		synctest.Wait()
		wantLog(t, "the handlers", strings.Replace(l.String(), "+2 e1", "e1 +2", 1), "+1 e1 +2 e2")
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// If the old connection breaks before everything has arrived on it, that is reported as a loss.
func TestMoveOldConnectionLostEarly(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.fence = func(from, to *line, id string) bool { return false }
		c, a, b := r.moving(r.options(&l), restart)
		defer closeClient(t, c)
		b.deliver("%s", event(sender, "1", "e1", "ANY"))
		time.Sleep(time.Second)
		a.cut()
		synctest.Wait()
		send(t, c, "s1")
		synctest.Wait()
		wantLog(t, "the handlers", l.String(), "+1 - +2 e1")
		wantLog(t, "over the new connection", b.heard(), "s1")
		time.Sleep(time.Minute)
		if n := r.dials.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// If the old connection breaks later, only the answers that were due on it are lost.
func TestMoveOldConnectionLostLate(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		asked := ask(c)
		a.drain(restart)
		b := <-r.opened
		time.Sleep(5 * time.Second)
		send(t, c, "s1")
		a.cut()
		wantErr(t, "the request", <-asked, client.ErrOutcomeUnknown)
		synctest.Wait()
		wantLog(t, "the handlers", l.String(), "+1 +2")
		wantLog(t, "over the new connection", b.heard(), "s1")
	})
}

// If the new connection breaks, the client continues with the old one and tries again.
func TestMoveNewConnectionLost(t *testing.T) {
	for name, after := range map[string]time.Duration{"at once": 0, "while waiting for FENCEs": time.Second, "after it sent": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				r.fence = func(from, to *line, id string) bool {
					if after > time.Second || from.n > 2 || to.n > 2 {
						return true
					}
					return false
				}
				question := make(chan frame, 1)
				r.hear = func(_ *line, f frame) {
					if f.Event == "q" {
						question <- f
					}
				}
				c, a := r.client(r.options(&l))
				defer closeClient(t, c)
				asked := ask(c)
				a.drain(restart)
				b := <-r.opened
				time.Sleep(after)
				synctest.Wait()
				b.cut()
				third := <-r.opened
				a.reply(<-question, "1")
				if err := <-asked; err != nil {
					t.Errorf("the request over the old connection: %v", err)
				}
				time.Sleep(10 * time.Second)
				send(t, c, "s")
				third.deliver("%s", event(sender, "2", "e", "GLOBAL"))
				synctest.Wait()
				want := "+1 +3 e"
				if after > time.Second {
					want = "+1 +2 +1 +3 e"
				}
				wantLog(t, "the handlers", l.String(), want)
				wantLog(t, "over the old connection", a.heard(), "q BYE")
				wantLog(t, "over the last connection", third.heard(), "s")
			})
		})
	}
}

// Due answers keep the old connection open. Ids of calls are unique across both connections.
func TestMoveAwaitsAnswers(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		var question frame
		r.hear = func(on *line, f frame) {
			if question.ID == "" {
				question = f
			} else if f.Event != "s" {
				on.ack(f)
			}
		}
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		var got []string
		var wg sync.WaitGroup
		wg.Go(func() {
			for m, err := range c.RequestMany(context.Background(), client.Group("w"), "q", nil, 3, client.WithID("7")) {
				if err != nil {
					t.Errorf("RequestMany: %v", err)
					return
				}
				got = append(got, string(m.Data))
			}
		})
		synctest.Wait()
		a.drain(`"after_ms":0,"deadline_ms":60000,"reason":"restart"`)
		b := <-r.opened
		time.Sleep(time.Second)
		_, err := c.SendAcked(context.Background(), client.Global(), "x", nil, client.WithID("7"))
		wantErr(t, "an id in use on the old connection", err, client.ErrDuplicateID)
		if _, err := c.SendAcked(context.Background(), client.Global(), "y", nil); err != nil {
			t.Errorf("over the new connection: %v", err)
		}
		time.Sleep(20 * time.Second)
		wantLog(t, "over the old connection", a.heard(), "q")
		for i := range 2 {
			a.reply(question, fmt.Sprint(i))
		}
		b.reply(question, "2") // addressed to the new id
		wg.Wait()
		time.Sleep(time.Second)
		slices.Sort(got)
		wantLog(t, "replies", fmt.Sprint(got), "[0 1 2]")
		wantLog(t, "over the old connection", a.heard(), "q BYE")
		wantLog(t, "over the new connection", b.heard(), "y")
		wantLog(t, "the handlers", l.String(), "+1 +2")
	})
}

// A missing answer is awaited until shortly before the deadline.
func TestMoveLeavesBeforeTheDeadline(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		asked := ask(c)
		began := time.Now()
		a.drain(restart)
		wantErr(t, "the request", <-asked, client.ErrOutcomeUnknown)
		if d := time.Since(began); d < 28*time.Second || d > 30*time.Second {
			t.Errorf("left after %v, want shortly before 30s", d)
		}
	})
}

// When the held messages reach their bound, the new connection is not read, and nothing is lost.
func TestMoveHeldBufferFull(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		const n = 10000
		var l journal
		o := r.options(&l)
		next := 0
		done := make(chan struct{})
		o.OnMessage = handlerOf(func(m *client.Message) {
			if want := fmt.Sprint("e", next); m.Event != want {
				t.Errorf("%s came, want %s", m.Event, want)
			}
			if next++; next == n {
				close(done)
			}
		})
		c, a, b := r.moving(o, `"after_ms":0,"deadline_ms":120000,"reason":"restart"`)
		defer closeClient(t, c)
		a.hold()
		for i := range n {
			for _, on := range []*line{a, b} {
				on.deliver("%s", event(sender, fmt.Sprint(i), fmt.Sprint("e", i), "GLOBAL"))
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		b.mu.Lock()
		waiting := len(b.queue)
		b.mu.Unlock()
		if waiting < n/2 {
			t.Errorf("%d of %d messages wait at the hub, want more than half", waiting, n)
		}
		a.unhold()
		<-done
		time.Sleep(5 * time.Second)
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// Close is graceful at any time in a move.
func TestMoveClose(t *testing.T) {
	for after := time.Duration(0); after < 3*time.Second; after += 50 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				r.delay = func(int) time.Duration { return 100 * time.Millisecond }
				c := r.connect(r.options(&l))
				a := <-r.opened
				a.drain(`"after_ms":100,"deadline_ms":60000,"reason":"restart"`)
				time.Sleep(after)
				var receipts []*client.Receipt
				for i := range 5 {
					q, err := c.Queue(context.Background(), client.Global(), fmt.Sprint("s", i), nil)
					if err != nil {
						t.Fatal(err)
					}
					receipts = append(receipts, q)
				}
				began := time.Now()
				closeClient(t, c)
				if d := time.Since(began); d > 10*time.Second {
					t.Errorf("Close took %v", d)
				}
				synctest.Wait()
				heard := a.heard()
				if b := r.line(2); b != nil {
					heard = strings.TrimPrefix(heard, "BYE ") + " " + b.heard()
				}
				if got := strings.ReplaceAll(heard, " BYE", ""); strings.TrimSpace(strings.TrimPrefix(got, "BYE")) != "s0 s1 s2 s3 s4" {
					t.Errorf("the hub got %q", heard)
				}
				for _, q := range receipts {
					_, err := q.Wait(context.Background())
					wantErr(t, "Wait", err, client.ErrOutcomeUnknown)
				}
			})
		})
	}
}
