package team

import (
	"fmt"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

// TestScale connects many teams at once, sends each some messages, and compares the number sent with the counts of the
// hub and of the client. MASTERSOCKET_SCALE=full makes it 5,000 teams.
func TestScale(t *testing.T) {
	t.Parallel()
	n, each := 300, 5
	if figure.Full() {
		n, each = 5000, 10
	}
	i := start(t, settings{Options: Options{Healthcheck: 250 * time.Millisecond}, message: 1 << 20, queue: 4 << 20})
	s := i.service()
	s.joinMany(n, i)

	begin := time.Now()
	c := teamtest.Start(t, i.base, token)
	eventually.True(t, "all teams are connected", func() bool { return c.Connected() == n })
	t.Logf("%d teams connected after %v", n, time.Since(begin).Round(time.Millisecond))

	begin = time.Now()
	for k := range each {
		for id := range n {
			text := []string{"some text", "props to you"}[k%2]
			if _, err := s.Queue(t.Context(), client.Group(fmt.Sprint(teamPrefix, id)), eventMessage, data{"text": text}); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually.True(t, "all messages arrive", func() bool { return c.Received() == n*each })
	t.Logf("%d messages after %v", n*each, time.Since(begin).Round(time.Millisecond))

	agree := func() bool {
		listed := 0
		for cursor := ""; ; {
			page, err := i.Teams(t.Context(), cursor, MaxPage)
			if err != nil {
				t.Fatal(err)
			}
			for _, team := range page.Teams {
				if team.MessageCount != uint64(each) || team.PropsCount != uint64(each/2) || team.Connection == nil || len(team.Claims) != 1 {
					return false
				}
				if claim := team.Claims[0]; !claim.Connected || claim.MessageCount != uint64(each) || claim.PropsCount != uint64(each/2) {
					return false
				}
			}
			listed += len(page.Teams)
			if cursor = page.Next; cursor == "" {
				return listed == n
			}
		}
	}
	eventually.True(t, "the counts agree", agree)
	for _, id := range []int64{0, int64(n - 1)} {
		if got := c.Messages(rtm.IntID(id)); len(got) != each || got[0] != "some text" || got[1] != "props to you" {
			t.Errorf("team %d got %q", id, got)
		}
	}
}
