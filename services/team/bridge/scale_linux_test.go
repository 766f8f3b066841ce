package bridge_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// Thousands of teams with counted messages: all messages arrive once; after the server dropped all connections at once,
// all teams are back in time without a storm; both ends count the same. MASTERSOCKET_SCALE=full uses the numbers of the
// documentation.
func TestScale(t *testing.T) {
	teams, each, full := 150, 20, figure.Full()
	if full {
		teams = 5000
	} else {
		t.Parallel()
	}
	// On a busy machine the bridge must not give up a connection on which the server already sends.
	o := bridge.Options{ConnectTimeout: time.Minute, PongTimeout: time.Minute, ConnectRate: 600}
	if !full {
		o.ConnectRate = 100
	}
	r := start(t, o, rtmtest.Options{})
	all := ids(teams)
	r.await("a Global connection", r.rtm.GlobalOpen)
	began := time.Now()
	r.rtm.Join(all...)
	r.connected(teams)
	figure.Printf(t, "%d teams connected in %v", teams, time.Since(began).Round(time.Millisecond))

	talk := &talk{r: r, teams: all, next: make([]int, teams)}
	talk.speak(each)
	began = time.Now()
	r.rtm.DropAll()
	r.await("Global is back", func() bool { return r.rtm.GlobalOpen() && r.rtm.Globals() == 2 })
	back := func() bool {
		for _, id := range all {
			if r.rtm.Sockets(id) < 2 {
				return false
			}
		}
		return true
	}
	r.until("all teams back", func(s bridge.Status) bool { return s.Teams.Connected == teams && back() })
	took := time.Since(began)
	total, most := r.rtm.AskRate(began, time.Second)
	figure.Printf(t, "%d teams back in %v with %d attempts, at most %d seen by the server within a second", teams, took.Round(time.Millisecond), total, most)
	if full && took > 15*time.Second {
		t.Errorf("the teams took %v to come back", took)
	}
	// The server may see requests bunched, as it had no processor: its figure is for information only. A team may ask
	// once on a Global connection that is already lost.
	c := r.bridge.Status().Connections
	figure.Printf(t, "at most %d attempts and %d dials within any second by the bridge's own clock, of %d and %d", c.Peak, c.DialsPeak, c.Attempts, c.Dials)
	if most := int(o.ConnectRate); c.Peak > most || c.DialsPeak > most || total > 2*teams {
		t.Errorf("%d attempts and %d dials within a second, %d attempts in all", c.Peak, c.DialsPeak, total)
	}
	talk.speak(each)
	sent := talk.sent
	began = time.Now()
	r.sink.messages(sent)
	figure.Printf(t, "%d messages in the hub %v later, each once and in order", sent, time.Since(began).Round(time.Millisecond))
	if len(r.sink.losses) > 0 {
		t.Errorf("the hub disconnected the test's client, so that messages may be missing: %q", r.sink.losses)
	}
	r.counted(all...)
	r.until("all messages acknowledged", func(s bridge.Status) bool {
		return s.Messages.Received == uint64(sent) && s.Messages.Outcomes["published"] == uint64(sent)
	})
	for i, id := range all {
		if n := r.rtm.Sent(id).MessageCount; n != uint64(talk.next[i]) {
			t.Fatalf("the test has miscounted team %s", id)
		}
	}
}

// talk is a server's messages to its teams.
type talk struct {
	r     *rig
	teams []rtm.ID
	next  []int // messages sent, of each team
	sent  int
}

// ahead bounds the server's lead over the hub's client, in messages: the hub disconnects a client that lags by 1 MiB,
// and messages would be missing through no fault of bridge or hub.
const ahead = 2000

// speak sends that many messages to each team from 8 goroutines, every tenth team's with props.
func (k *talk) speak(each int) {
	k.r.t.Helper()
	began, before := time.Now(), k.sent
	for range each {
		for from := 0; from < len(k.teams); from += ahead / 2 {
			k.sent += k.send(from, min(from+ahead/2, len(k.teams)))
			k.r.sink.await(fmt.Sprintf("%d messages but %d", k.sent, ahead/2), func() bool { return k.r.sink.total > k.sent-ahead/2 })
		}
	}
	figure.Printf(k.r.t, "%d messages sent in %v", k.sent-before, time.Since(began).Round(time.Millisecond))
}

// send sends one message to each of some teams.
func (k *talk) send(from, to int) int {
	const senders = 8
	var sending sync.WaitGroup
	var sent atomic.Int64
	for worker := range senders {
		sending.Go(func() {
			for i := from + worker; i < to; i += senders {
				text := fmt.Sprint(k.next[i] + 1)
				if i%10 == 0 {
					text += " props"
				}
				if k.r.rtm.Message(k.teams[i], text) {
					k.next[i]++
					sent.Add(1)
				}
			}
		})
	}
	sending.Wait()
	return int(sent.Load())
}
