package bridge_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// The whole sequence of the protocol, with ids of both kinds, and the events in the hub.
func TestSequence(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	one, other := rtm.IntID(1), rtm.StringID(`ä "1"`)
	r.join(one, other)
	r.send(one, "1")
	r.send(one, "2 props")
	r.send(other, "")
	r.send(other, "propsprops <&>\u2028")
	r.sink.messages(4)
	r.counted(one, other)

	r.rtm.LeaveOnTeam(one)
	r.sink.event(`team.left {"team_id":1}`)
	r.connected(1)
	r.rtm.Leave(other)
	r.sink.event(`team.left {"team_id":"ä \"1\""}`)
	r.connected(0)
	r.counted(one, other) // includes teams that have left

	r.join(one)
	r.send(one, "3")
	r.sink.messages(5)
	r.counted(one, other)
	r.rtm.Goodbye()
	if err := r.ended(); err != nil {
		t.Errorf("Run after a goodbye: %v", err)
	}
	r.sink.event("goodbye ")
	r.sink.event(`team.disconnected {"team_id":1,"reason":"goodbye"}`)
	var ofOne []string
	for _, e := range r.sink.all() {
		if strings.Contains(e, `"team_id":1}`) || strings.Contains(e, `"team_id":1,`) {
			ofOne = append(ofOne, e)
		}
	}
	want := []string{
		`team.join {"team_id":1}`, `team.connected {"team_id":1}`, `team.disconnected {"team_id":1,"reason":"left"}`,
		`team.left {"team_id":1}`, `team.join {"team_id":1}`, `team.connected {"team_id":1}`,
		`team.disconnected {"team_id":1,"reason":"goodbye"}`,
	}
	if !slices.Equal(ofOne, want) {
		t.Errorf("events of team 1:\n%q\nwant\n%q", ofOne, want)
	}
	if n := r.rtm.Replaced(one) + r.rtm.Replaced(other); n != 0 {
		t.Errorf("%d sockets were opened while another of the team was open", n)
	}
}

// Joins are idempotent; a team that joins and leaves quickly ends in the state of its last event.
func TestJoinsAndLefts(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	r.join(ids(2)...)
	for range 50 {
		r.rtm.Join(rtm.IntID(1))
	}
	for range 20 {
		r.rtm.Leave(rtm.IntID(2))
		r.rtm.Join(rtm.IntID(2))
	}
	r.until("50 repeated joins", func(s bridge.Status) bool { return s.Ignored["repeated_join"] == 50 })
	r.connected(2)
	r.send(rtm.IntID(1), "a")
	r.sink.messages(1)
	if n := r.rtm.Sockets(rtm.IntID(1)); n != 1 {
		t.Errorf("team 1 was connected %d times", n)
	}
	r.rtm.Leave(rtm.IntID(2))
	r.connected(1)
	r.rtm.Leave(rtm.IntID(3000))
	r.until("an unknown team", func(s bridge.Status) bool { return s.Ignored["unknown_team"] == 1 })
}

// With a template by team, messages go to the team's group, and joins and lefts also to the group teams.
func TestTemplate(t *testing.T) {
	t.Parallel()
	o := fast()
	o.To = "GROUP:team.{team_id}"
	r := start(t, o, rtmtest.Options{}, "team.1", "team.x")
	r.join(rtm.IntID(1), rtm.StringID("x"), rtm.IntID(2))
	r.send(rtm.IntID(1), "a")
	r.send(rtm.StringID("x"), "b")
	r.send(rtm.IntID(2), "without a receiver")
	r.rtm.Leave(rtm.IntID(1))
	r.rtm.Leave(rtm.IntID(2))
	r.sink.event(`team.left {"team_id":2}`)
	r.sink.messages(2)
	r.until("a message without receiver", func(s bridge.Status) bool { return s.Messages.Outcomes["no_receiver"] == 1 })
	if n := r.sink.count(`team.join {"team_id":1}`); n != 2 {
		t.Errorf("a member of both groups got %d joins, want 2", n)
	}
	if n := r.sink.count(`team.join {"team_id":2}`); n != 1 {
		t.Errorf("the group teams got %d joins of team 2, want 1", n)
	}
	if n := r.sink.count(`team.connected {"team_id":2}`); n != 0 {
		t.Error("team.connected went to the group teams")
	}
	r.rtm.Goodbye()
	r.sink.event("goodbye ")
}
