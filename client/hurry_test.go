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
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// The tests of this file are about deadlines and slots, so that they sleep: in the time of inRig's bubble.

// A move for which the hub set no end waits for FENCEs, however long it took to find another instance.
func TestMoveAfterManyFailures(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		o := r.options(&l)
		o.MinBackoff, o.MaxBackoff = 30*time.Second, 30*time.Second // so that ten failures take longer
		c := r.connect(o)
		defer closeClient(t, c)
		a := <-r.opened
		r.down.Store(true)
		a.drain(`"after_ms":0,"reason":"rebalance"`)
		time.Sleep(35 * time.Second)
		a.hold()
		r.down.Store(false)
		b := <-r.opened
		time.Sleep(time.Second)
		a.deliver("%s", event(sender, "1", "e1", "DIRECT"))
		if id := c.Identity(); id.ID != a.id {
			t.Errorf("sends over %s before everything has come over the old connection", id.ID)
		}
		a.unhold()
		time.Sleep(time.Second)
		next := fmt.Sprint("+", b.n)
		wantLog(t, "the handlers", strings.Replace(l.String(), next+" e1", "e1 "+next, 1), "+1 e1 "+next)
		wantLog(t, "over the old connection", a.heard(), "BYE")
	})
}

// A client that finds another instance at the last moment still waits for FENCEs.
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
		time.Sleep(8860 * time.Millisecond) // it is to leave after 9 s
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

// Why a connection was given up that took nothing any more is said.
func TestMoveWriteStuck(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var lost error
		gate := make(chan struct{})
		r.fence = func(from, to *line, id string) bool { return false }
		o := r.fakeHub.options()
		o.OnDisconnect = func(err error) { mu.Lock(); lost = err; mu.Unlock() }
		c := r.connect(o)
		defer closeClient(t, c)
		a := <-r.opened
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

// A writer that was stuck while one attempt to move failed, and another began, learns late of what both told it: what it says
// then is not taken for the end of what is sent over the old connection.
func TestMoveWriteStuckInAnotherAttempt(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		gate := make(chan struct{})
		// No FENCE comes before hold.
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
		for _, event := range []string{"s1", "s2"} { // the second is stuck
			wg.Go(func() { send(t, c, event) })
			synctest.Wait()
		}
		a.unhold()
		time.Sleep(100 * time.Millisecond) // it is to stop sending over a
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
			t.Errorf("sends over %s before all that was sent over the old connection is published", id.ID)
		}
		r.bus.Lock()
		r.fence = nil
		r.bus.Unlock()
		time.Sleep(time.Minute)
		if id := c.Identity(); id.ID != third.id {
			t.Errorf("sends over %s in the end", id.ID)
		}
	})
}

// An instance of an earlier release grants no DRAIN, and takes FENCEs amiss: the client goes there all the same.
func TestMoveToEarlierRelease(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		r.fence = func(from, to *line, id string) bool {
			t.Errorf("FENCE over connection %d", from.n)
			return false
		}
		c := r.connect(r.options(&l))
		defer closeClient(t, c)
		a := <-r.opened
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

// A DRAIN that comes while a client waits to try again has a slot of its own, and a deadline.
func TestMoveNewSlotWhileWaiting(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		var l journal
		c := r.connect(r.options(&l))
		defer closeClient(t, c)
		a := <-r.opened
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

// Those that are cut off at the deadline come back no faster than their slots would have let them, or, where these take
// longer than the greatest wait, spread over that.
func TestCutOffAtTheDeadline(t *testing.T) {
	for _, test := range []struct {
		name    string
		clients int
		apart   time.Duration // their slots
		most    int           // that connect again in a second
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
					t.Errorf("%d connected again, at most %d in one second: want %d, %d", len(dialed), most, test.clients, test.most)
				}
				if last := dialed[len(dialed)-1].Sub(dialed[0]); last > 31*time.Second {
					t.Errorf("the last one connected again %v after the first", last)
				}
			})
		})
	}
}

// cutOff connects clients, gives them slots in which they find nowhere to go, cuts them off, and returns when they dialed
// after that.
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
				return nil, errors.New("nowhere to go")
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

// A hub that asks to move and then disconnects at once, again and again, is not asked again without a pause.
func TestMoveFromAHubGoneMad(t *testing.T) {
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

// Whatever a hub says of moving that makes no sense, the client stays connected or connects again, and goes on.
func TestMoveAbsurd(t *testing.T) {
	for _, said := range []string{
		`{"op":12}`, `{"op":12,"data":null}`, `{"op":12,"data":[]}`, `{"op":12,"data":{"after_ms":-5,"deadline_ms":-7}}`,
		`{"op":12,"data":{"after_ms":9223372036854775807,"deadline_ms":9223372036854775807,"reason":"restart"}}`,
		`{"op":12,"data":{"after_ms":1e300}}`, `{"op":12,"data":{"after_ms":0,"deadline_ms":0.5,"reason":"restart"}}`,
		`{"op":12,"data":{"after_ms":60000,"deadline_ms":1,"reason":"restart"}}`, `{"op":12,"data":{"reason":7}}`,
		`{"op":13}`, `{"op":13,"sender":null}`, `{"op":13,"sender":""}`, `{"op":13,"sender":"` + lineID(1) + `"}`,
		`{"op":13,"sender":"` + lineID(2) + `"}`, `{"op":6,"id":"fence:x","data":{"code":"NO_RECEIVER"}}`,
	} {
		t.Run(said, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				var l journal
				c := r.connect(r.options(&l))
				defer closeClient(t, c)
				a := <-r.opened
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
				}
			})
		})
	}
}
