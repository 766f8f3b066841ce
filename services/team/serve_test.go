package team

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

func TestConnectSequence(t *testing.T) {
	t.Parallel()
	_, s, g := startWithTeam(t)
	s.join("zwei")
	g.Expect(`{"type":"team.join","team_id":"zwei"}`)
	s.join(1) // repeated joins are not announced
	s.join("1")
	g.Quiet()

	one, two := g.Team("1"), g.Team(`"zwei"`)
	if d := s.event(eventConnected); d["team_id"] != 1.0 || d["client"] == "" {
		t.Errorf("team.connected %v", d)
	}
	if d := s.event(eventConnected); d["team_id"] != "zwei" {
		t.Errorf("team.connected %v", d)
	}
	s.message("1", "props to \"you\" & \u2028 😀")
	one.Expect(`{"type":"message","text":"props to \"you\" & ` + "\u2028" + ` 😀"}`)
	s.publish("team.zwei", eventTeamMessage, data{"text": "", "team_id": "zwei"})
	two.Expect(`{"type":"message","text":""}`)
	for _, id := range []string{`7`, `"x"`, `-12345678901234567890123`, `"\u0041\n"`} {
		one.Send(`{"type":"ping","unique_id":` + id + `}`)
		switch f := one.Read(); {
		case f.Type == "error" && strings.Contains(id, `\n`):
		case f.Type != "pong" || f.UniqueID.String() != strings.Trim(id, `"`):
			t.Errorf("%s was answered %s", id, f.Append(nil))
		}
	}

	s.leave("1") // the same team
	g.Expect(`{"type":"team.left","team_id":1}`)
	if last, code, reason := one.Ended(); last != `{"type":"team.left","team_id":1}` || code != 1000 || reason != "the team has left" {
		t.Errorf("ended with %s, %d %q", last, code, reason)
	}
	if d := s.event(eventDisconnected); d["team_id"] != 1.0 || d["reason"] != reasonLeft {
		t.Errorf("team.disconnected %v", d)
	}
	two.Quiet()
	two.Close()
	if d := s.event(eventDisconnected); d["team_id"] != "zwei" || d["reason"] != reasonClosed {
		t.Errorf("team.disconnected %v", d)
	}
	g.Send(`{"type":"team.connect","team_id":1}`)
	g.Expect(`{"type":"error","team_id":1,"message":"there is no such team","received_message":{"type":"team.connect","team_id":1}}`)
}

// Messages reach a team in order, and those sent before it left arrive before the team.left, whichever loops the
// service and the team are on.
func TestMessagesOfATeamStayInOrder(t *testing.T) {
	t.Parallel()
	i := start(t, settings{})
	const teams, each = 8, 400
	s := i.service()
	s.joinMany(teams, i)
	g := i.global()
	var conns []*teamtest.Conn
	for id := range teams {
		conns = append(conns, g.Team(fmt.Sprint(id)))
	}
	queue := func(group, event string, d data) {
		t.Helper()
		if _, err := s.Queue(t.Context(), client.Group(group), event, d); err != nil {
			t.Fatal(err)
		}
	}
	for k := range each {
		for id := range teams {
			queue(fmt.Sprint(teamPrefix, id), eventMessage, data{"text": fmt.Sprint(k)})
			if k == each-1 {
				queue(teamsGroup, eventLeft, data{"team_id": id})
			}
		}
	}
	for id, c := range conns {
		for k := range each {
			c.Expect(fmt.Sprintf(`{"type":"message","text":"%d"}`, k))
		}
		c.Expect(fmt.Sprintf(`{"type":"team.left","team_id":%d}`, id))
	}
}

// A connection whose loop missed the team.left, as it was opened just then, is ended after doubtTimeout.
func TestDoubtIsResolved(t *testing.T) {
	t.Parallel()
	i := start(t, settings{})
	s := i.service()
	s.joinMany(2, i)
	g := i.global()
	left, back := g.Team("0"), g.Team("1")
	for id := range int64(2) {
		i.store.leave(rtm.IntID(id)) // changes the store only: no loop hears the event
	}
	i.store.join(rtm.IntID(1))
	if last, code, _ := left.Ended(); last != `{"type":"team.left","team_id":0}` || code != 1000 {
		t.Errorf("ended with %s, %d", last, code)
	}
	back.Quiet()
}

func TestGlobalNeedsAToken(t *testing.T) {
	t.Parallel()
	tokens, err := auth.ParseTokens([]byte("tokens:\n" +
		"- {name: rtm, sha256: " + auth.Hash("rtm") + ", groups: [teams]}\n" +
		"- {name: other, sha256: " + auth.Hash("other") + ", groups: [team.*, others], send: ['*']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	strict := start(t, settings{tokens: tokens})
	open := start(t, settings{tokens: tokens, Options: Options{Anonymous: true}})
	for name, field := range map[string]string{
		"none": "", "wrong": "Bearer x", "empty": "Bearer ", "not for the group": "Bearer other", "basic": "Basic cnRtOg==", "no scheme": "rtm",
	} {
		for _, i := range []*instance{strict, open} {
			if i == open && name == "none" {
				continue
			}
			h := http.Header{}
			if field != "" {
				h.Set("Authorization", field)
			}
			response := teamtest.Refused(t, i.base+"/global", h)
			if response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s: %s, WWW-Authenticate %q", name, response.Status, response.Header.Get("WWW-Authenticate"))
			}
		}
	}
	if n := strict.metric("refused_token_total"); n != 6 {
		t.Errorf("%v refusals were counted", n)
	}
	teamtest.Global(t, strict.base, "rtm").Quiet()
	teamtest.Global(t, open.base, "rtm").Quiet()
	teamtest.Global(t, open.base, "").Quiet()
	h := http.Header{"Authorization": {"bEARER  rtm"}}
	teamtest.Dial(t, strict.base+"/global", h).Expect(`{"type":"hello"}`)
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	i := start(t, settings{})
	s := i.service()
	for id, path := range map[string]string{"1": "1", "a/b c?d=é%": "a%2Fb%20c%3Fd=%C3%A9%25", "..": ".."} {
		s.join(id)
		i.knows(id)
		u, err := url.Parse(i.global().Ask(fmt.Sprintf("%q", id)))
		if err != nil || u.Scheme != "ws" || "ws://"+u.Host != i.base || u.EscapedPath() != "/connect/team/"+path || len(u.Query().Get("ticket")) != 32 {
			t.Errorf("%q: %v, %v", id, u, err)
		}
		i.global().Team(fmt.Sprintf("%q", id)).Quiet()
	}
	for proto, scheme := range map[string]string{"https": "wss", "HTTPS, http": "wss", "wss": "wss", "http": "ws", "": "ws", "x": "ws"} {
		h := teamtest.Bearer(token)
		h.Set("Host", "rtm.example:8443")
		h.Set("X-Forwarded-Proto", proto)
		g := teamtest.Dial(t, i.base+"/global", h)
		g.Expect(`{"type":"hello"}`)
		if u := g.Ask(`"1"`); !strings.HasPrefix(u, scheme+"://rtm.example:8443/connect/team/1?ticket=") {
			t.Errorf("%q: %s", proto, u)
		}
	}
}

func TestTickets(t *testing.T) {
	t.Parallel()
	i := start(t, settings{})
	s := i.service()
	for _, id := range []string{"a", "b", "gone"} {
		s.join(id)
		i.knows(id)
	}
	g := i.global()
	used := g.Ask(`"a"`)
	teamtest.Dial(t, used, nil).Expect(`{"type":"hello"}`)
	left := g.Ask(`"gone"`)
	s.leave("gone")
	i.knowsNot("gone")
	closed := i.global()
	orphan := closed.Ask(`"a"`)
	closed.Close()
	eventually.True(t, "a Global connection ended", func() bool { return i.metric("global_connections") == 1 })
	other := strings.Replace(g.Ask(`"a"`), "/team/a?", "/team/b?", 1)
	fresh := g.Ask(`"a"`)
	base := i.base + "/connect/team/"
	for _, c := range []struct {
		name, url string
		status    int
	}{
		{"used", used, 403}, {"left", left, 403}, {"of a connection that has ended", orphan, 403}, {"of another team", other, 403},
		{"of another team, once more", strings.Replace(other, "/team/b?", "/team/a?", 1), 403},
		{"none", base + "a", 403}, {"empty", base + "a?ticket=", 403}, {"short", fresh[:len(fresh)-1], 403}, {"long", fresh + "A", 403},
		{"no base64", fresh[:len(fresh)-1] + "!", 403}, {"other secret", fresh[:len(fresh)-4] + "AAAA", 403},
		{"no id", base + "?ticket=x", 404}, {"two parts", base + "a/b?ticket=x", 404}, {"control", base + "a%0a?ticket=x", 400},
		{"too long", base + strings.Repeat("x", 121) + "?ticket=x", 404}, {"not UTF-8", base + "%ff?ticket=x", 404},
	} {
		if r := teamtest.Refused(t, c.url, nil); r.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", c.name, r.Status, c.status)
		}
	}
	teamtest.Dial(t, fresh, nil).Expect(`{"type":"hello"}`) // no refused attempt redeemed it
	if n := i.metric("tickets_redeemed_total"); n != 2 {
		t.Errorf("%v tickets were redeemed", n)
	}
}

// badFrames are answered with an error on both kinds of connections.
var badFrames = []string{
	"", " ", "{", "null", "[]", `"team.connect"`, `{"type":"team.connect"`, `{"type":7}`, `{"type":"unknown"}`, `{"type":""}`, `{"team_id":1}`,
	`{"type":"team.connect"}`, `{"type":"team.connect","team_id":null}`, `{"type":"team.connect","team_id":1.5}`, `{"type":"team.connect","team_id":{}}`,
	`{"type":"team.connect","team_id":""}`, `{"type":"team.connect","team_id":"a\u0000"}`, `{"type":"team.connect","team_id":"` + strings.Repeat("x", 200) + `"}`,
	`{"type":"team.connect","team_id":1,"team_id":2}`, `{"type":"hello"}`, `{"type":"goodbye"}`, `{"type":"team.join","team_id":1}`,
	`{"type":"team.left","team_id":1}`, `{"type":"message","text":"x"}`, `{"type":"pong","unique_id":1}`, `{"type":"error","message":"x"}`,
	`{"type":"ping"}`, `{"type":"ping","unique_id":{}}`, `{"type":"healthcheck","stats":{}}`, `{"type":"healthcheck","stats":[{}]}`,
	`{"type":"healthcheck"}`, `{"type":"healthcheck","stats":[{"id":1,"message_count":-1}]}`, `{"type":"ping","unique_id":1}}`,
	`{"type":"x","pad":"` + strings.Repeat("é", 4000) + `"}`, strings.Repeat("[", 5000), `{"type":"` + strings.Repeat("y", 5000) + `"}`,
}

func TestBadFrames(t *testing.T) {
	t.Parallel()
	i, _, g := startWithTeam(t)
	c := g.Team("1")
	for kind, conn := range map[string]*teamtest.Conn{"global": g, "team": c} {
		for _, text := range badFrames {
			conn.Send(text)
			f := conn.Read()
			if f.Type != "error" || f.Text == "" || len(f.Text) > maxComplaint || len(f.Received) == 0 || len(f.Received) > 2*maxReceived {
				t.Fatalf("%s: %.60q was answered %s", kind, text, f.Append(nil))
			}
		}
		conn.Send(`{"type":"nonsense","a":[1]}`)
		if f := conn.Read(); string(f.Received) != `{"type":"nonsense","a":[1]}` {
			t.Errorf("received_message is %s", f.Received)
		}
		conn.Quiet()
	}
	c.Send(`{"type":"team.connect","team_id":1}`)
	if f := c.Read(); f.Type != "error" || f.TeamID.String() != "1" {
		t.Errorf("answered %s", f.Append(nil))
	}
	if n := i.metric("errors_total"); n != float64(2*len(badFrames)+3) {
		t.Errorf("%v errors were counted", n)
	}
}

func TestBinaryAndHugeMessagesEndTheConnection(t *testing.T) {
	t.Parallel()
	i, s, bystander := startWithTeam(t)
	for _, kind := range []string{"global", "team"} {
		open := func() *teamtest.Conn {
			if kind == "global" {
				return i.global()
			}
			return i.global().Team("1")
		}
		c := open()
		c.SendRaw(websocket.MessageBinary, []byte(`{"type":"ping","unique_id":1}`))
		if _, code, _ := c.Ended(); code != 1003 {
			t.Errorf("%s, binary: %d", kind, code)
		}
		if kind == "team" {
			if d := s.event(eventDisconnected); d["reason"] != reasonBinary {
				t.Errorf("team.disconnected %v", d)
			}
		}
		c = open()
		c.Send(`{"type":"ping","unique_id":"` + strings.Repeat("x", 40000) + `"}`)
		if last, code, _ := c.Ended(); code != 1009 || last != `{"type":"goodbye"}` {
			t.Errorf("%s, huge: %s %d", kind, last, code)
		}
	}
	if d := s.event(eventDisconnected); d["reason"] != "message_too_big" {
		t.Errorf("team.disconnected %v", d)
	}
	bystander.Quiet()
}

func TestSecondConnectionReplacesTheFirst(t *testing.T) {
	t.Parallel()
	i, s, g := startWithTeam(t)
	before := g.Team("1")
	for range 20 {
		after := g.Team("1")
		last, code, reason := before.Ended()
		if code != CloseReplaced || reason != "another connection of the team replaced this one" || !strings.Contains(last, `"error"`) {
			t.Fatalf("ended with %s, %d %q", last, code, reason)
		}
		if d := s.event(eventDisconnected); d["reason"] != reasonReplaced {
			t.Errorf("team.disconnected %v", d)
		}
		s.message("1", "hi")
		after.Expect(`{"type":"message","text":"hi"}`)
		before = after
	}
	eventually.True(t, "one connection remains", func() bool { return i.metric("team_connections") == 1 && i.metric("replaced_total") == 20 })
}

func TestDrainSaysGoodbye(t *testing.T) {
	t.Parallel()
	i, _, g := startWithTeam(t)
	c := g.Team("1")
	done := make(chan error, 1)
	go func() { done <- i.hub.Drain(t.Context(), 0) }()
	for kind, conn := range map[string]*teamtest.Conn{"global": g, "team": c} {
		if last, code, reason := conn.Ended(); last != `{"type":"goodbye"}` || code != 1001 || reason != "SERVER_RESTART" {
			t.Errorf("%s: %s, %d %q", kind, last, code, reason)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBadEventsAreCounted(t *testing.T) {
	t.Parallel()
	i, s, g := startWithTeam(t)
	c := g.Team("1")
	events := []any{
		nil, 1, "x", []int{1}, data{}, data{"team_id": nil}, data{"team_id": 1.5}, data{"team_id": ""}, data{"team_id": "a\nb"},
		data{"team_id": true}, data{"team_id": strings.Repeat("x", 121)}, data{"team_id": []int{1}},
	}
	for _, d := range events {
		s.publish(teamsGroup, eventJoin, d)
		s.publish(teamsGroup, eventLeft, d)
	}
	texts := []any{nil, 1, data{}, data{"text": nil}, data{"text": 7}, data{"text": []string{"x"}}}
	for _, d := range texts {
		s.publish("team.1", eventMessage, d)
	}
	for _, name := range []string{"", "hello", "message.x", "team.left", "team.join"} {
		s.publish("team.1", name, data{"text": "x", "team_id": 1}) // has no effect in a team's own group
	}
	s.publish(teamsGroup, eventMessage, data{"text": "x"})
	s.message("1", "end")
	c.Expect(`{"type":"message","text":"end"}`)
	g.Quiet()
	eventually.True(t, "bad events are counted", func() bool {
		return i.metric("bad_events_total") == float64(2*len(events)+len(texts)) && i.metric("teams") == 1
	})
}
