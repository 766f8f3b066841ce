package bridge_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// The teams stay connected when the Global connection is lost. The next one makes up for missed changes.
func TestGlobalLost(t *testing.T) {
	t.Parallel()
	for _, forgetful := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgetful=%v", forgetful), func(t *testing.T) {
			t.Parallel()
			r := start(t, fast(), rtmtest.Options{Plan: &rtmtest.Plan{Forgetful: forgetful}})
			r.join(ids(3)...)
			for round := range 5 {
				r.rtm.DropGlobal()
				r.rtm.Drop(rtm.IntID(3)) // reconnects through the next Global connection
				r.await("Global is back", func() bool { return r.rtm.Globals() == round+2 && r.rtm.GlobalOpen() })
				r.await("team 3 is back", func() bool { return r.rtm.Sockets(rtm.IntID(3)) == round+2 })
				r.connected(3)
				for id := range int64(3) {
					r.send(rtm.IntID(id+1), fmt.Sprint(round+1))
				}
			}
			r.sink.messages(15)
			r.counted(ids(3)...)
			for id := range int64(2) {
				if n := r.rtm.Sockets(rtm.IntID(id + 1)); n != 1 {
					t.Errorf("team %d was connected %d times", id+1, n)
				}
			}
		})
	}
}

// The bridge notices a silent Global connection and reconnects.
func TestGlobalHalfOpen(t *testing.T) {
	t.Parallel()
	server := rtmtest.Start(t, rtmtest.Options{})
	proxy := faultproxy.Start(t, server.Addr()) // the teams' connections bypass it
	o := fast()
	o.Global = "http://" + proxy.Addr() + "/global"
	o.PingInterval, o.PongTimeout, o.ConnectTimeout = 100*time.Millisecond, 8*time.Second, 8*time.Second
	r := startWith(t, o, server)
	r.join(ids(2)...)
	proxy.Set(faultproxy.Swallow)
	r.until("the silence noticed", func(s bridge.Status) bool { return !s.Global.Connected })
	r.send(rtm.IntID(1), "1")
	r.sink.messages(1)
	proxy.Set(faultproxy.None)
	r.await("Global is back", func() bool { return r.rtm.Globals() >= 2 && r.rtm.GlobalOpen() })
	r.until("Global again", func(s bridge.Status) bool { return s.Global.Connected })
	r.join(rtm.IntID(3))
	if n := r.rtm.Sockets(rtm.IntID(1)); n != 1 {
		t.Errorf("team 1 was connected %d times", n)
	}
}

// After a restart of the server its teams reconnect, and so does a team that joined meanwhile.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	r.join(ids(10)...)
	r.rtm.Stop()
	r.until("the server is away", func(s bridge.Status) bool { return !s.Global.Connected && s.Teams.Connected == 0 })
	r.rtm.Join(rtm.IntID(11))
	r.rtm.Restart()
	r.connected(11)
	for _, id := range ids(11) {
		r.send(id, "1")
	}
	r.sink.messages(11)
	r.counted(ids(11)...)
}

// With Stay a goodbye is followed by another Global connection, and the teams' connections stay.
func TestStay(t *testing.T) {
	t.Parallel()
	o := fast()
	o.Stay = true
	r := start(t, o, rtmtest.Options{})
	r.join(ids(2)...)
	r.rtm.Goodbye()
	r.sink.event("goodbye ")
	r.await("Global is back", func() bool { return r.rtm.Globals() == 2 && r.rtm.GlobalOpen() })
	r.join(rtm.IntID(3))
	for _, id := range ids(3) {
		r.send(id, "1")
	}
	r.sink.messages(3)
	if n := r.rtm.Sockets(rtm.IntID(1)); n != 1 {
		t.Errorf("team 1 was connected %d times", n)
	}
	r.stop()
	if err := r.ended(); err != nil {
		t.Errorf("Run: %v", err)
	}
	r.sink.event(`team.disconnected {"team_id":3,"reason":"shutdown"}`)
	if n := r.rtm.Connected(); n != 0 {
		t.Errorf("%d teams are connected after the end", n)
	}
}

// With a faulty server and frequent drops, each message that was sent on an open connection arrives once and in order.
func TestChaos(t *testing.T) {
	t.Parallel()
	const teams, rounds = 30, 30
	o := fast()
	o.ConnectTimeout, o.PingInterval = 3*time.Second, 500*time.Millisecond
	plan := rtmtest.Chaos(1)
	deaf := plan.Socket
	plan.Socket = func(id rtm.ID, n int) rtmtest.Socket {
		s := deaf(id, n)
		s.Deaf = false // noticing it takes a whole PongTimeout; another test covers it
		return s
	}
	r := start(t, o, rtmtest.Options{Plan: plan})
	r.rtm.Join(ids(teams)...)
	r.await("Global is there", r.rtm.GlobalOpen)
	r.connected(teams)
	var sending sync.WaitGroup
	for i, id := range ids(teams) {
		sending.Go(func() {
			next := 1
			for round := range rounds {
				for range 20 {
					if r.rtm.Message(id, fmt.Sprintf("%d props", next)) {
						next++
					}
				}
				if (round+i)%7 == 0 {
					made := r.team(id).Connects
					r.rtm.Drop(id)
					if i == 0 {
						r.rtm.DropGlobal()
					}
					// Not when the server sees it open: the bridge may have given up that attempt.
					if err := r.reach(func() bool {
						now := r.team(id)
						return now.Connects > made && now.State == "connected" && r.rtm.Sent(id).Connected
					}); err != nil {
						t.Errorf("team %s: %v", id, err)
						return
					}
				}
			}
		})
	}
	sending.Wait()
	r.connected(teams)
	total := 0
	for _, id := range ids(teams) {
		total += int(r.rtm.Sent(id).MessageCount)
	}
	r.sink.messages(total)
	r.counted(ids(teams)...)
	for id, n := range r.sink.perTeam() {
		if sent := int(r.rtm.Sent(id).MessageCount); n != sent {
			t.Errorf("team %s: %d messages in the hub, %d sent", id, n, sent)
		}
	}
	s := r.bridge.Status()
	t.Logf("%d messages, %d reconnects, attempts that failed: %v, ended: %v", total, s.Connections.Reconnects, s.Connections.Failed, s.Connections.Ended)
	if s.Connections.Reconnects < teams {
		t.Errorf("%d reconnects", s.Connections.Reconnects)
	}
}
