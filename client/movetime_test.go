package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// The tests in this file are about deadlines and slots. They sleep on the clock of inRig's bubble.

// A move without a deadline waits for FENCEs, also if finding another instance took long.
func TestMoveAfterManyFailures(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		o := r.options(&l)
		o.MinBackoff, o.MaxBackoff = 30*time.Second, 30*time.Second // so that ten failures take longer
		c, a := r.client(o)
		defer closeClient(t, c)
		r.down.Store(true)
		a.drain(`"after_ms":0,"reason":"rebalance"`)
		time.Sleep(35 * time.Second)
		var passes atomic.Bool
		r.fence = func(_, _ *line, _ string) bool { return passes.Load() }
		r.down.Store(false)
		b := <-r.opened
		time.Sleep(time.Second)
		a.deliver("%s", event(sender, "1", "e1", "DIRECT"))
		if id := c.Identity(); id.ID != a.id {
			t.Errorf("sends on %s before everything has arrived on the old connection", id.ID)
		}
		passes.Store(true)
		time.Sleep(5 * time.Second) // another FENCE follows one that was lost
		next := fmt.Sprint("+", b.n)
		wantLog(t, "the handlers", strings.Replace(l.String(), next+" e1", "e1 "+next, 1), "+1 e1 "+next)
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// A client that finds another instance just before the deadline still waits for FENCEs.
func TestMoveLate(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		var log bytes.Buffer
		r.delay = func(n int) time.Duration { return time.Duration(min(n-1, 1)) * 150 * time.Millisecond }
		o := r.options(&l)
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c := r.connect(o)
		a := <-r.opened
		r.down.Store(true)
		a.drain(`"after_ms":0,"deadline_ms":10000,"reason":"restart"`)
		time.Sleep(8860 * time.Millisecond) // it must leave after 9 s
		r.down.Store(false)
		b := <-r.opened
		time.Sleep(2 * time.Second)
		wantLog(t, "the handlers", l.String(), fmt.Sprint("+1 +", b.n))
		wantLog(t, "over the old connection", a.heard(), "BYE")
		closeClient(t, c)
		if strings.Contains(log.String(), "FENCE") {
			t.Errorf("the log: %s", log.String())
		}
	})
}

// A connection that is ended because its write is blocked is reported with that reason.
func TestMoveWriteStuck(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var lost error
		gate := make(chan struct{})
		r.fence = func(from, to *line, id string) bool { return false }
		o := r.fakeHub.options()
		o.OnDisconnect = func(err error) { mu.Lock(); lost = err; mu.Unlock() }
		c, a := r.client(o)
		defer closeClient(t, c)
		r.hear = func(l *line, f frame) {
			if l == a {
				r.bus.Unlock()
				<-gate
				r.bus.Lock()
			}
		}
		a.drain(`"after_ms":0,"deadline_ms":5000,"reason":"restart"`)
		<-r.opened
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				ctx, cancel := within(time.Minute)
				defer cancel()
				_ = c.Send(ctx, client.Global(), "s", nil)
			})
			synctest.Wait()
		}
		time.Sleep(8 * time.Second)
		close(gate)
		wg.Wait()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if lost == nil || !strings.Contains(lost.Error(), "write: still blocked 2") || !strings.HasSuffix(lost.Error(), "ms after the command to stop sending") {
			t.Errorf("OnDisconnect(%v)", lost)
		}
	})
}

// A writer that was blocked while one attempt failed and another began executes the commands of both late. The FENCE that it
// then writes must not be taken for its last one.
func TestMoveWriteStuckInAnotherAttempt(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		gate := make(chan struct{})
		// No FENCE arrives before hold.
		r.delay = func(n int) time.Duration { return time.Duration(min(n-1, 1)) * 10 * time.Millisecond }
		c, a, b := r.moving(r.options(&l), `"after_ms":0,"deadline_ms":600000,"reason":"restart"`)
		defer closeClient(t, c)
		r.hear = func(on *line, f frame) {
			if on == a && f.Event == "s1" {
				r.bus.Unlock()
				<-gate
				r.bus.Lock()
			}
		}
		a.hold() // no FENCE arrives, so that the client goes on sending
		var wg sync.WaitGroup
		for _, event := range []string{"s1", "s2"} { // the second is blocked
			wg.Go(func() { send(t, c, event) })
			synctest.Wait()
		}
		a.unhold()
		time.Sleep(100 * time.Millisecond) // until the client has decided to stop sending on a
		b.cut()
		third := <-r.opened
		a.hold()
		time.Sleep(time.Second)
		close(gate)
		wg.Wait()
		send(t, c, "s3")
		synctest.Wait()
		wantLog(t, "over the old connection", a.heard(), "s1 s2 s3")
		r.bus.Lock()
		r.fence = func(from, to *line, id string) bool { return from != a }
		r.bus.Unlock()
		a.unhold()
		time.Sleep(time.Second)
		if id := c.Identity(); id.ID != a.id {
			t.Errorf("sends on %s before everything sent on the old connection is published", id.ID)
		}
		r.bus.Lock()
		r.fence = nil
		r.bus.Unlock()
		time.Sleep(time.Minute)
		if id := c.Identity(); id.ID != third.id {
			t.Errorf("sends on %s in the end", id.ID)
		}
	})
}

// An instance of an earlier release grants no drain and refuses FENCEs. The client moves there without FENCEs.
func TestMoveToEarlierRelease(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.fence = func(from, to *line, id string) bool {
			t.Errorf("FENCE over connection %d", from.n)
			return false
		}
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		r.features = `"errors","acks"`
		a.drain(restart)
		b := <-r.opened
		a.events(1, 2)
		b.events(2, 3)
		send(t, c, "s1")
		time.Sleep(10 * time.Second)
		b.events(4, 4)
		send(t, c, "s2")
		synctest.Wait()
		wantLog(t, "the handlers", strings.Replace(l.String(), "+2 ", "", 1), "+1 e1 e2 e3 e4")
		wantLog(t, "over the old connection", strings.TrimPrefix(a.heard(), "s1 "), "BYE")
		wantLog(t, "over the new connection", strings.TrimPrefix(b.heard(), "s1 "), "s2")
		if n := r.dials.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// A DRAIN that arrives while a client waits for its next attempt sets a new slot and a new deadline.
func TestMoveNewSlotWhileWaiting(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		r.down.Store(true)
		a.drain(`"after_ms":0,"deadline_ms":60000,"reason":"restart"`)
		time.Sleep(20 * time.Second)
		a.drain(`"after_ms":30000,"deadline_ms":60000,"reason":"restart"`)
		synctest.Wait()
		tried := r.dials.Load()
		time.Sleep(29 * time.Second)
		if n := r.dials.Load(); n != tried {
			t.Errorf("%d attempts before the new slot", n-tried)
		}
		r.down.Store(false)
		b := <-r.opened
		time.Sleep(10 * time.Second)
		wantLog(t, "the handlers", l.String(), fmt.Sprint("+1 +", b.n))
	})
}

// Clients that are cut off at the deadline reconnect no faster than their slots allow. If the slots span more than MaxBackoff,
// the clients are spread over MaxBackoff.
func TestCutOffAtTheDeadline(t *testing.T) {
	for _, test := range []struct {
		name    string
		clients int
		apart   time.Duration // their slots
		most    int           // reconnects per second
	}{
		{"slots", 90, time.Second / 20, 30},
		{"longer than MaxBackoff", 90, 4 * time.Second / 3, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				dialed := cutOff(t, r, test.clients, test.apart)
				most := 0
				for i, first := 0, 0; i < len(dialed); i++ {
					for dialed[i].Sub(dialed[first]) >= time.Second {
						first++
					}
					most = max(most, i-first+1)
				}
				if len(dialed) != test.clients || most > test.most {
					t.Errorf("%d reconnected, at most %d in one second: want %d, %d", len(dialed), most, test.clients, test.most)
				}
				if last := dialed[len(dialed)-1].Sub(dialed[0]); last > 31*time.Second {
					t.Errorf("the last one reconnected %v after the first", last)
				}
			})
		})
	}
}

// cutOff connects clients, gives them slots in which they can't reach another instance, cuts them off, and returns when they
// dialed after that.
func cutOff(t *testing.T, r *rig, clients int, apart time.Duration) []time.Time {
	t.Helper()
	const cut = 8 * time.Second
	var mu sync.Mutex
	var dialed []time.Time
	began := time.Now()
	var all []*client.Client
	for i := range clients {
		o := r.fakeHub.options()
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			if time.Since(began) < cut && i < len(all) {
				return nil, errors.New("no other instance")
			}
			mu.Lock()
			defer mu.Unlock()
			dialed = append(dialed, time.Now())
			return dial(ctx, network, addr)
		}
		all = append(all, r.connect(o))
	}
	var lines []*line
	for i := range clients {
		lines = append(lines, <-r.opened)
		after := time.Duration(i) * apart
		lines[i].drain(fmt.Sprintf(`"after_ms":%d,"deadline_ms":%d,"reason":"restart"`, after.Milliseconds(), cut.Milliseconds()))
	}
	dialed = nil
	time.Sleep(cut)
	for _, l := range lines {
		go l.disconnect("SERVER_RESTART", 1012)
	}
	time.Sleep(time.Minute)
	for _, c := range all {
		closeClient(t, c)
	}
	slices.SortFunc(dialed, time.Time.Compare)
	return dialed
}

// A client pauses between reconnects to a hub that keeps asking to move and disconnects at once.
func TestMoveEndless(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c := r.connect(r.options(&l))
		defer closeClient(t, c)
		stop := time.After(time.Minute)
		for ended := false; !ended; {
			select {
			case a := <-r.opened:
				a.drain(`"after_ms":0,"deadline_ms":1,"reason":"restart"`)
				time.AfterFunc(2*time.Millisecond, func() { a.disconnect("SERVER_RESTART", 1012) })
			case <-stop:
				ended = true
			}
		}
		if n := r.dials.Load(); n > 30 {
			t.Errorf("%d connections in a minute", n)
		}
	})
}

// After a DRAIN or FENCE without sense the client stays connected or reconnects, and continues to work.
func TestMoveMalformed(t *testing.T) {
	for _, said := range []string{
		`{"op":12}`, `{"op":12,"data":null}`, `{"op":12,"data":[]}`, `{"op":12,"data":"soon"}`, `{"op":12,"data":{"after_ms":-5,"deadline_ms":-7}}`,
		`{"op":12,"data":{"after_ms":9223372036854775807,"deadline_ms":9223372036854775807,"reason":"restart"}}`,
		`{"op":12,"data":{"after_ms":1e300}}`, `{"op":12,"data":{"after_ms":0,"deadline_ms":0.5,"reason":"restart"}}`,
		`{"op":12,"data":{"after_ms":60000,"deadline_ms":1,"reason":"restart"}}`, `{"op":12,"data":{"reason":7}}`,
		`{"op":13}`, `{"op":13,"sender":null}`, `{"op":13,"sender":""}`, `{"op":13,"sender":"` + lineID(1) + `"}`,
		`{"op":13,"sender":"` + lineID(2) + `"}`, `{"op":6,"id":"fence:x","data":{"code":"NO_RECEIVER"}}`,
	} {
		t.Run(said, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				c, a := r.client(r.options(&l))
				defer closeClient(t, c)
				for range 3 {
					a.deliver("%s", said)
				}
				time.Sleep(10 * time.Second)
				if n := r.dials.Load(); n > 3 {
					t.Errorf("%d connections", n)
				}
				send(t, c, "s")
				r.publish(event(sender, "1", "e1", "GLOBAL"))
				time.Sleep(10 * time.Second)
				if got := l.String(); strings.Count(got, "e1") != 1 {
					t.Errorf("the handlers: %q", got)
				} else if malformed := strings.Contains(said, "soon"); malformed && !strings.HasPrefix(got, "+1 - +2") {
					t.Errorf("the handlers: %q, want a reconnect", got)
				}
			})
		})
	}
}
