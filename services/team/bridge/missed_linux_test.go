package bridge_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// closable refuses Global connections while closed.
func closable(plan *rtmtest.Plan) (closed *atomic.Bool) {
	closed = new(atomic.Bool)
	plan.Global = func(int) int {
		if closed.Load() {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	return closed
}

// A team that left while the Global connection was away is refused and not announced again: the bridge presumes that it
// left. Other teams, announced again or not, stay. The team may come back.
func TestMissedLeft(t *testing.T) {
	t.Parallel()
	for _, forgetful := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgetful=%v", forgetful), func(t *testing.T) {
			t.Parallel()
			plan := &rtmtest.Plan{Forgetful: forgetful}
			closed := closable(plan)
			o := fast()
			o.LeftAfter, o.Settle = 3, 300*time.Millisecond
			r := start(t, o, rtmtest.Options{Plan: plan})
			r.join(ids(3)...)
			closed.Store(true)
			r.rtm.DropGlobal()
			r.until("Global is away", func(s bridge.Status) bool { return !s.Global.Connected })
			r.rtm.Leave(rtm.IntID(2)) // announced nowhere
			r.rtm.Drop(rtm.IntID(1))
			r.rtm.Drop(rtm.IntID(2))
			r.until("two teams wait", func(s bridge.Status) bool { return s.Teams.Waiting == 2 })
			closed.Store(false)
			r.sink.event(`team.left {"team_id":2}`)
			r.connected(2)
			s := r.bridge.Status()
			if s.Teams.PresumedLeft != 1 || s.Teams.Present != 2 || s.Connections.Failed["refused"] < 3 {
				t.Errorf("%+v, failed: %v", s.Teams, s.Connections.Failed)
			}
			if state := r.team(rtm.IntID(2)).State; state != "gone" {
				t.Errorf("team 2 is %s", state)
			}
			r.join(rtm.IntID(2))
			r.send(rtm.IntID(2), "1")
			r.sink.messages(1)
			r.counted(ids(3)...)
		})
	}
}

// refusing refuses a team from its second connection on, until it is switched off.
func refusing(plan *rtmtest.Plan, team rtm.ID) (over *atomic.Bool) {
	over = new(atomic.Bool)
	plan.Ask = func(id rtm.ID, n int) rtmtest.Answer {
		if id == team && n > 1 && !over.Load() {
			return rtmtest.Refusal(id)
		}
		return rtmtest.Answer{}
	}
	return over
}

// The bridge keeps asking for a team that was announced on the present Global connection, or while that connection is
// younger than Settle, or with LeftAfter -1.
func TestRefusedButThere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		forgetful, lost bool
		after           int
		settle          time.Duration
	}{
		"Global was never lost": {false, false, 3, time.Millisecond},
		"announced again":       {false, true, 3, time.Millisecond},
		"not yet settled":       {true, true, 3, time.Hour},
		"never presumed":        {true, true, -1, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := &rtmtest.Plan{Forgetful: tc.forgetful}
			over := refusing(plan, victim)
			o := fast()
			o.LeftAfter, o.Settle = tc.after, tc.settle
			r := start(t, o, rtmtest.Options{Plan: plan})
			r.join(victim, bystander)
			undisturbed(t, r, func() {
				if tc.lost {
					r.rtm.DropGlobal()
					r.await("Global is back", func() bool { return r.rtm.Globals() == 2 && r.rtm.GlobalOpen() })
				}
				if !tc.forgetful && tc.lost {
					r.until("announced again", func(s bridge.Status) bool { return s.Ignored["repeated_join"] == 2 })
				}
				r.rtm.Drop(victim)
				r.until("many refusals", func(s bridge.Status) bool { return s.Connections.Failed["refused"] >= 12 })
				over.Store(true)
				r.connected(2)
			})
			if s := r.bridge.Status(); s.Teams.PresumedLeft != 0 {
				t.Errorf("%+v", s.Teams)
			}
		})
	}
}
