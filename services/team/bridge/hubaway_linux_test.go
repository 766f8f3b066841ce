package bridge_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// endHub ends the hub and waits until the bridge notices.
func (r *rig) endHub() (addr string) {
	r.t.Helper()
	r.hub.Signal(syscall.SIGKILL)
	if _, ok := r.hub.Wait(patience); !ok {
		r.t.Fatal("the hub still runs")
	}
	r.until("the hub is away", func(s bridge.Status) bool { return !s.Hub.Connected })
	return r.hub.HubAddr
}

// While the hub is away messages wait. When it is back, every team is announced again before them.
func TestHubRestart(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	defer r.finish() // before the hub that it has then
	r.join(ids(3)...)
	for n := range 10 {
		r.send(rtm.IntID(1), fmt.Sprint(n+1))
	}
	r.sink.messages(10)
	r.until("all acknowledged", func(s bridge.Status) bool { return s.Messages.Outcomes["published"] == 10 })
	addr := r.endHub()
	for n := range 100 {
		r.send(rtm.IntID(2), fmt.Sprint(n+1))
	}
	r.rtm.Leave(rtm.IntID(3))
	r.connected(2)
	hub := hubtest.Start(t, hubtest.Options{Addr: addr})
	r.until("all handed over", func(s bridge.Status) bool {
		o := s.Messages.Outcomes
		return o["published"]+o["no_receiver"] == 110 && s.Queue.Events == 0
	})
	if s := r.bridge.Status(); s.Messages.Outcomes["queue_full"]+s.Messages.Outcomes["outcome_unknown"] != 0 {
		t.Errorf("messages were lost: %v", s.Messages.Outcomes)
	}
	late := newSink(t, hub, "teams") // a late subscriber learns of the teams at the next announcement
	r.send(rtm.IntID(1), "11")
	late.messages(1)
}

// After a reconnection every present team is announced again, and so is a team that left recently.
func TestAnnouncedAgain(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	defer r.finish() // before the hub that it has then
	r.join(ids(20)...)
	r.rtm.Leave(rtm.IntID(20))
	r.connected(19)
	r.sink.event(`team.left {"team_id":20}`)
	hubtest.Start(t, hubtest.Options{Addr: r.endHub()})
	// Each team was announced as joined and connected, and team 20 as disconnected and left; then 19 are announced again,
	// and that team 20 has left. The sink may come back later than the bridge: then there is no receiver.
	r.until("20 announcements", func(s bridge.Status) bool {
		return s.Events["published"]+s.Events["no_receiver"] == 20+20+2+19+1
	})
}

// A full queue drops the oldest while the hub is away, and counts them.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	o := fast()
	o.Queue, o.TeamQueue = 100, 60
	r := start(t, o, rtmtest.Options{})
	defer r.finish() // before the hub that it has then
	r.join(ids(2)...)
	r.until("all acknowledged", func(s bridge.Status) bool { return s.Events["published"] >= 4 && s.Queue.Events == 0 })
	addr := r.endHub()
	const each = 1000
	for n := range each {
		r.send(rtm.IntID(1), fmt.Sprint(n+1))
	}
	r.send(rtm.IntID(2), "1")
	r.until("all read", func(s bridge.Status) bool { return s.Messages.Received == each+1 })
	s := r.bridge.Status()
	if s.Queue.Events > 100 || s.Messages.Outcomes["queue_full"] < each-60-300 || s.Messages.Outcomes["queue_full"] > each-60 {
		t.Errorf("%d events wait, %v", s.Queue.Events, s.Messages.Outcomes)
	}
	hubtest.Start(t, hubtest.Options{Addr: addr})
	r.until("the rest handed over", func(s bridge.Status) bool {
		sum := uint64(0)
		for _, n := range s.Messages.Outcomes {
			sum += n
		}
		return sum == each+1 && s.Queue.Events == 0
	})
	r.counted(ids(2)...)
}

// The hub shuts down gracefully, and another takes its place.
func TestHubDrain(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	defer r.finish() // before the hub that it has then
	r.join(ids(5)...)
	r.hub.Signal(syscall.SIGTERM)
	if _, ok := r.hub.Wait(patience); !ok {
		t.Fatal("the hub still runs")
	}
	hubtest.Start(t, hubtest.Options{Addr: r.hub.HubAddr})
	r.until("the hub is back", func(s bridge.Status) bool { return s.Hub.Connected })
	r.send(rtm.IntID(5), "1")
	r.until("a message", func(s bridge.Status) bool {
		return s.Messages.Outcomes["published"]+s.Messages.Outcomes["no_receiver"] == 1
	})
	if n := r.rtm.Sockets(rtm.IntID(5)); n != 1 {
		t.Errorf("the team was connected %d times", n)
	}
}

// At the end a hub that is away gets what it can within FlushTimeout; the rest is counted.
func TestEndWithoutHub(t *testing.T) {
	t.Parallel()
	o := fast()
	o.FlushTimeout = 100 * time.Millisecond
	r := start(t, o, rtmtest.Options{})
	r.join(rtm.IntID(1))
	r.until("all acknowledged", func(s bridge.Status) bool { return s.Events["published"] >= 2 })
	r.endHub()
	const sent = 1000
	for n := range sent {
		r.send(rtm.IntID(1), fmt.Sprint(n+1))
	}
	r.until("all read", func(s bridge.Status) bool { return s.Messages.Received == sent })
	r.stop()
	if err := r.ended(); err != nil {
		t.Errorf("Run: %v", err)
	}
	s := r.bridge.Status()
	if o := s.Messages.Outcomes; o["not_flushed"]+o["outcome_unknown"] != sent || s.Queue.Events != 0 {
		t.Errorf("%v, %d in the queue", o, s.Queue.Events)
	}
}

// A permanent HTTP status for the first Global connection ends the bridge; with the right token it opens.
func TestGlobalRefused(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{Token: "s3cret"})
	if err := r.ended(); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("Run: %v", err)
	}
	o := fast()
	o.GlobalToken = func() (string, error) { return "s3cret", nil }
	r = start(t, o, rtmtest.Options{Token: "s3cret", Plan: &rtmtest.Plan{Global: func(n int) int {
		if n < 3 {
			return http.StatusBadGateway
		}
		return 0
	}}})
	r.join(rtm.IntID(1))
	if strings.Contains(r.log.String(), "s3cret") {
		t.Error("the log has the token")
	}
}

// The end of the hub's client ends the bridge.
func TestHubRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	r.join(rtm.IntID(1))
	addr := r.endHub()
	hubtest.Start(t, hubtest.Options{Addr: addr, Token: "another-token"})
	if err := r.ended(); !errors.As(err, new(*client.DisconnectError)) || !strings.Contains(err.Error(), "IDENTIFY_FAILED") {
		t.Errorf("Run: %v", err)
	}
}

// New refuses a bridge whose messages would loop.
func TestLoopIsRefused(t *testing.T) {
	t.Parallel()
	for to, refused := range map[string]bool{"GROUP:team.{team_id}": true, "GROUP:teams": false, "ANY:workers": false} {
		b, err := bridge.New(bridge.Options{Global: "http://localhost:42069/global", To: to})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.HubOptions(client.Options{URL: "ws://127.0.0.1:42069"}); (err != nil) != refused {
			t.Errorf("--to %s: %v", to, err)
		}
	}
}
