package team

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

// joinMany announces teams 0 to n-1 and waits until the instances know them.
func (s *service) joinMany(n int, all ...*instance) {
	s.t.Helper()
	for k := range n {
		if _, err := s.Queue(s.t.Context(), client.Group(teamsGroup), eventJoin, data{"team_id": k}); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, i := range all {
		eventually.True(s.t, "all teams are there", func() bool { return i.metric("teams") == float64(n) })
	}
}

// A new Global connection gets each team once, however small its send queue, while teams join and leave.
func TestManyTeamsForANewConnection(t *testing.T) {
	t.Parallel()
	const n = 5000
	i := start(t, settings{queue: 40 << 10})
	s := i.service()
	s.joinMany(n, i)
	g := i.global()
	go func() {
		for k := range 500 {
			_, _ = s.Queue(t.Context(), client.Group(teamsGroup), eventLeft, data{"team_id": k * 10})
			_, _ = s.Queue(t.Context(), client.Group(teamsGroup), eventJoin, data{"team_id": fmt.Sprint("new", k)})
		}
		_, _ = s.Queue(t.Context(), client.Group(teamsGroup), eventJoin, data{"team_id": "last"})
	}()
	there := make(map[rtm.ID]bool)
	for {
		f := g.Read()
		switch {
		case f.Type == rtm.TeamJoin && !there[f.TeamID]:
			there[f.TeamID] = true
		case f.Type == rtm.TeamLeft: // possibly of a team that it was never sent
			delete(there, f.TeamID)
		default:
			t.Fatalf("got %s", f.Append(nil))
		}
		if len(there) == n+1 && there[rtm.StringID("last")] {
			break
		}
	}
	for id := range there {
		if !i.store.has(id.String()) {
			t.Errorf("%v is not there", id)
		}
	}
	g.Quiet()
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	o := Options{Healthcheck: 500 * time.Millisecond}
	a := start(t, settings{broker: bus.Broker(), name: "a", Options: o})
	b := start(t, settings{broker: bus.Broker(), name: "b", Options: o})
	s := a.service()
	s.join(1)
	s.join("2")
	a.knows("2")
	b.knows("2")
	g := a.global()
	g.Expect(`{"type":"team.join","team_id":1}`)
	g.Expect(`{"type":"team.join","team_id":"2"}`)
	g.Expect(`{"type":"healthcheck"}`)
	g.Send(`{"type":"healthcheck","stats":[{"id":1,"connected":true,"message_count":100,"props_count":10},{"id":"2","connected":false,"message_count":99,"props_count":9},{"id":"unknown"},{"id":"1","message_count":3}]}`)
	// An answer without a question is stored, but not published.
	g.Send(`{"type":"healthcheck","stats":[{"id":"1","message_count":7}]}`)
	for k, want := range []data{
		{"team_id": 1.0, "connected": true, "message_count": 100.0, "props_count": 10.0},
		{"team_id": "2", "connected": false, "message_count": 99.0, "props_count": 9.0},
	} {
		d := s.event(eventHealth)
		client := d["client"]
		delete(d, "client")
		if fmt.Sprint(d) != fmt.Sprint(want) || len(fmt.Sprint(client)) != 36 {
			t.Errorf("entry %d: %v of %v", k, d, client)
		}
	}
	eventually.True(t, "the second answer is counted", func() bool { return a.metric("healthcheck_unasked_total") == 1 })

	c := b.global().Team("1")
	for _, text := range []string{"props", "Props", "no prop's", "two props props", `a\u0070rops`} {
		s.message("1", text)
		c.Read()
	}
	var page Page
	eventually.True(t, "messages are counted", func() bool {
		var err error
		page, err = b.Teams(t.Context(), "", 10)
		return err == nil && len(page.Teams) == 2 && page.Teams[0].MessageCount == 5
	})
	one, two := page.Teams[0], page.Teams[1]
	if one.ID != rtm.IntID(1) || one.PropsCount != 2 || one.Connection == nil || one.Connection.Node != "b" || one.Connection.Address == "" ||
		time.Since(one.Since) > time.Hour || time.Since(one.Connection.Since) > time.Hour {
		t.Errorf("team 1: %+v %+v", one, one.Connection)
	}
	if len(one.Claims) != 1 || one.Claims[0].MessageCount != 7 || one.Claims[0].Node != "a" || one.Claims[0].Connected {
		t.Errorf("claims about team 1: %+v", one.Claims)
	}
	if two.ID != rtm.StringID("2") || two.Connection != nil || len(two.Claims) != 0 || two.MessageCount != 0 {
		t.Errorf("team 2: %+v", two)
	}
	if page.Next != "" || len(page.Missing) != 0 {
		t.Errorf("%+v", page)
	}
	// A connection that does not answer is asked again nevertheless.
	g.Expect(`{"type":"healthcheck"}`)
	g.Expect(`{"type":"healthcheck"}`)
}

// An answer yields one event for each team that the client was sent, whatever it names; a team that left still counts.
func TestHealthcheckNamesOnlyAnnouncedTeams(t *testing.T) {
	t.Parallel()
	i := start(t, settings{Options: Options{Anonymous: true, Healthcheck: 100 * time.Millisecond}})
	s := i.service()
	s.join("here")
	s.join("left")
	i.knows("left")
	g := teamtest.Global(t, i.base, "")
	g.Expect(`{"type":"team.join","team_id":"here"}`)
	g.Expect(`{"type":"team.join","team_id":"left"}`)
	s.leave("left")
	i.knowsNot("left")
	for f := g.Read(); f.Type != rtm.Healthcheck; f = g.Read() {
	}
	var entries []string
	for k := range 500 {
		entries = append(entries, fmt.Sprintf(`{"id":"invented-%d"}`, k), `{"id":"here","message_count":1}`)
	}
	entries = append(entries, `{"id":"left","message_count":2}`)
	g.Send(`{"type":"healthcheck","stats":[` + strings.Join(entries, ",") + `]}`)
	for _, want := range []string{"here", "left"} {
		if d := s.event(eventHealth); d["team_id"] != want {
			t.Errorf("team.health of %v, want %s", d["team_id"], want)
		}
	}
	s.join("fence")
	g.Expect(`{"type":"team.join","team_id":"fence"}`) // behind the answer: everything of it has been published
	if n := i.metric("healthcheck_unknown_total"); n != 999 {
		t.Errorf("%v entries were ignored, want 999", n)
	}
	for len(s.events) > 0 {
		if m := <-s.events; m.Event == eventHealth {
			t.Fatalf("one more team.health: %s", m.Data)
		}
	}
}

func TestHealthcheckOfManyTeams(t *testing.T) {
	t.Parallel()
	i := start(t, settings{Options: Options{Healthcheck: time.Millisecond}})
	const n = 1000
	s := i.service()
	s.joinMany(n, i)
	g := i.global()
	for joins, asked := 0, false; joins < n || !asked; {
		switch g.Read().Type {
		case rtm.TeamJoin:
			joins++
		case rtm.Healthcheck:
			asked = true
		}
	}
	var stats strings.Builder
	for k := range n {
		fmt.Fprintf(&stats, `,{"id":%d}`, k)
	}
	g.Send(`{"type":"healthcheck","stats":[` + stats.String()[1:] + `]}`)
	for k := range n {
		if d := s.event(eventHealth); d["team_id"] != float64(k) {
			t.Fatalf("entry %d: %v", k, d)
		}
	}
}

func TestListOfTeamsInPages(t *testing.T) {
	t.Parallel()
	const n = 1234
	bus := memory.NewBus()
	a := start(t, settings{broker: bus.Broker(), name: "a"})
	b := start(t, settings{broker: bus.Broker(), name: "b"})
	s := a.service()
	s.joinMany(n, a, b)
	s.leave(7)
	a.knowsNot("7")
	b.knowsNot("7")
	for _, limit := range []int{1, 100, 1000, 0} {
		seen, before, pages := 0, "", 0
		for cursor := ""; ; {
			page, err := b.Teams(t.Context(), cursor, limit)
			if err != nil || len(page.Missing) > 0 || len(page.Teams) > max(limit, 1) {
				t.Fatal(page.Missing, err)
			}
			for _, team := range page.Teams {
				if text := team.ID.String(); text <= before || text == "7" {
					t.Fatalf("%s after %s", text, before)
				} else {
					before = text
				}
			}
			seen += len(page.Teams)
			pages++
			if cursor = page.Next; cursor == "" || pages > 30 && limit <= 1 {
				break
			}
		}
		if limit > 1 && seen != n-1 {
			t.Errorf("%d teams in pages of %d, want %d", seen, limit, n-1)
		}
	}
	if _, err := a.Teams(t.Context(), "?", 1); !errors.Is(err, hub.ErrCursor) {
		t.Errorf("a bad cursor: %v", err)
	}
}

func TestTooManyTeams(t *testing.T) {
	t.Parallel()
	i := start(t, settings{Options: Options{MaxTeams: 3}})
	s := i.service()
	g := i.global()
	for _, id := range []int{1, 2, 3, 4, 1, 2} {
		s.join(id)
	}
	for id := range 3 {
		g.Expect(fmt.Sprintf(`{"type":"team.join","team_id":%d}`, id+1))
	}
	s.leave(2)
	g.Expect(`{"type":"team.left","team_id":2}`)
	s.join(5)
	g.Expect(`{"type":"team.join","team_id":5}`)
	g.Quiet()
	if n := i.metric("teams_refused_total"); n != 1 {
		t.Errorf("%v joins were refused", n)
	}
}

func TestTicketsAreBounded(t *testing.T) {
	t.Parallel()
	i := start(t, settings{})
	i.tickets.mu.Lock()
	i.tickets.limit, i.tickets.each = 4, 3
	i.tickets.mu.Unlock()
	i.service().join(1)
	i.knows("1")
	g, other := i.global(), i.global()
	first := g.Ask("1")
	g.Ask("1")
	g.Ask("1")
	other.Expect(`{"type":"team.join","team_id":1}`)
	refused := func(c *teamtest.Conn) {
		t.Helper()
		c.Send(`{"type":"team.connect","team_id":1}`)
		if f := c.Read(); f.Type != rtm.Error || f.TeamID != rtm.IntID(1) {
			t.Errorf("got %s", f.Append(nil))
		}
	}
	refused(g) // has three
	other.Ask("1")
	other.Ask("1") // in place of the first of g
	refused(other)
	third := i.global()
	third.Expect(`{"type":"team.join","team_id":1}`)
	third.Ask("1")
	refused(third) // no connection has more than two
	if r := teamtest.Refused(t, first, nil); r.StatusCode != 403 {
		t.Errorf("the ticket that gave way: %s", r.Status)
	}
	for name, want := range map[string]float64{"exhausted_each": 1, "exhausted": 2, "displaced": 2} {
		if n := i.metric("tickets_" + name + "_total"); n != want {
			t.Errorf("%s: %v, want %v", name, n, want)
		}
	}
	g.Close()
	eventually.True(t, "tickets end with their connection", func() bool { return i.metric("tickets") < 4 })
}

// TestTeamsWithoutBroker: while the broker is away an instance lists its own knowledge and names the others as missing.
func TestTeamsWithoutBroker(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := start(t, settings{name: "a", broker: newRedis(t, server)})
	b := start(t, settings{name: "b", broker: newRedis(t, server)})
	eventually.True(t, "they see each other", func() bool { return len(a.hub.Nodes()) == 2 })
	a.service().join(1)
	a.knows("1")
	server.Kill()
	eventually.True(t, "the loss is known", func() bool { return !a.hub.Stats().Broker.Available })
	page, err := a.Teams(t.Context(), "", 10)
	if err != nil || len(page.Teams) != 1 || !slices.Equal(page.Missing, []string{"b"}) {
		t.Errorf("%+v, %v", page, err)
	}
	server.Restart() // lets the instances close without waiting for it
	eventually.True(t, "both are back", func() bool { return a.hub.Stats().Broker.Available && b.hub.Stats().Broker.Available })
}
