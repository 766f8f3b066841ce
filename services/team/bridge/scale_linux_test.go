package bridge_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// Thousands of teams with counted messages: all arrive once; after the server has dropped all connections at once all
// teams are back in time, without a storm; and both ends count the same. MASTERSOCKET_SCALE=full has the numbers of the
// documentation.
func TestScale(t *testing.T) {
	teams, each, full := 150, 20, os.Getenv("MASTERSOCKET_SCALE") == "full"
	if full {
		teams = 5000
	} else {
		t.Parallel()
	}
	o := bridge.Options{PongTimeout: time.Minute}
	r := start(t, o, rtmtest.Options{})
	all := ids(teams)
	if err := r.rtm.Await(r.within(), r.rtm.GlobalOpen); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.rtm.Join(all...)
	r.connected(teams)
	t.Logf("figure: %d teams connected in %v", teams, time.Since(began).Round(time.Millisecond))

	next := make([]int, teams)
	speak := func() (sent int) {
		began := time.Now()
		var speaking sync.WaitGroup
		var mu sync.Mutex
		for worker := range 8 {
			speaking.Go(func() {
				n := 0
				for range each {
					for i := worker; i < teams; i += 8 {
						text := fmt.Sprintf("%d", next[i]+1)
						if i%10 == 0 {
							text += " props"
						}
						if r.rtm.Message(all[i], text) {
							next[i]++
							n++
						}
					}
				}
				mu.Lock()
				sent += n
				mu.Unlock()
			})
		}
		speaking.Wait()
		t.Logf("figure: %d messages sent in %v", sent, time.Since(began).Round(time.Millisecond))
		return sent
	}
	sent := speak()
	began = time.Now()
	r.rtm.DropAll()
	if err := r.rtm.Await(r.within(), func() bool { return r.rtm.GlobalOpen() && r.rtm.Globals() == 2 }); err != nil {
		t.Fatal(err)
	}
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
	t.Logf("figure: %d teams back in %v with %d attempts, at most %d seen by the server within a second", teams, took.Round(time.Millisecond), total, most)
	if full && took > 15*time.Second {
		t.Errorf("the teams took %v to come back", took)
	}
	// What the server saw it saw when it had a processor, and so perhaps bunched: that is a figure only. A team may ask once
	// on a Global connection that is lost already.
	c := r.bridge.Status().Connections
	t.Logf("figure: at most %d attempts and %d dials within any second by the bridge's own clock, of %d and %d", c.Peak, c.DialsPeak, c.Attempts, c.Dials)
	if c.Peak > 600 || c.DialsPeak > 600 || total > 2*teams {
		t.Errorf("%d attempts and %d dials within a second, %d attempts in all", c.Peak, c.DialsPeak, total)
	}
	sent += speak()
	began = time.Now()
	r.sink.messages(sent)
	t.Logf("figure: %d messages in the hub %v later, each once and in order", sent, time.Since(began).Round(time.Millisecond))
	r.counted(all...)
	r.until("all messages acknowledged", func(s bridge.Status) bool {
		return s.Messages.Received == uint64(sent) && s.Messages.Outcomes["published"] == uint64(sent)
	})
	for i, id := range all {
		if n := r.rtm.Sent(id).MessageCount; n != uint64(next[i]) {
			t.Fatalf("the test has miscounted team %s", id)
		}
	}
}
