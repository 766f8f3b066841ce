package team

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

// elsewhere returns the address at another instance.
func elsewhere(t testing.TB, address string, i *instance) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = strings.TrimPrefix(i.base, "ws://")
	return u.String()
}

// twoWithTeam starts two instances that know team 1, with a service at the first.
func twoWithTeam(t testing.TB) (a, b *instance, s *service) {
	t.Helper()
	bus := memory.NewBus()
	a, b = start(t, settings{broker: bus.Broker()}), start(t, settings{broker: bus.Broker()})
	s = a.service()
	s.join(1)
	a.knows("1")
	b.knows("1")
	return a, b, s
}

// clusters are the ways to connect instances.
var clusters = map[string]func(t testing.TB) func() broker.Broker{
	"memory": func(testing.TB) func() broker.Broker {
		bus := memory.NewBus()
		return func() broker.Broker { return bus.Broker() }
	},
	"redis": func(t testing.TB) func() broker.Broker {
		server := redistest.Start(t)
		return func() broker.Broker { return newRedis(t, server) }
	},
}

func newRedis(t testing.TB, server *redistest.Server) broker.Broker {
	t.Helper()
	b, err := redis.New(redis.Options{URL: server.URL(), Prefix: "ms"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inClusters runs a test with two instances, connected in each way.
func inClusters(t *testing.T, o Options, test func(t *testing.T, a, b *instance, another func() *instance)) {
	t.Parallel()
	for name, cluster := range clusters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := cluster(t)
			n := 0
			another := func() *instance {
				n++
				return start(t, settings{broker: next(), name: fmt.Sprint("node-", n), Options: o})
			}
			test(t, another(), another(), another)
		})
	}
}

func TestTeamsOfAllInstances(t *testing.T) {
	inClusters(t, Options{}, func(t *testing.T, a, b *instance, another func() *instance) {
		sa := a.service()
		ga, gb := a.global(), b.global()
		sa.join(1)
		for _, g := range []*teamtest.Conn{ga, gb} {
			g.Expect(`{"type":"team.join","team_id":1}`)
		}
		sb := b.service()
		sb.join("x")
		for _, g := range []*teamtest.Conn{ga, gb} {
			g.Expect(`{"type":"team.join","team_id":"x"}`)
		}
		c := another() // learns the teams from the others
		c.knows("1")
		c.knows("x")
		one := c.global().Team("1")
		if d := sa.event(eventConnected); d["team_id"] != 1.0 {
			t.Errorf("team.connected %v", d)
		}
		for k := range 100 {
			sa.message("1", fmt.Sprint(k))
		}
		for k := range 100 {
			one.Expect(fmt.Sprintf(`{"type":"message","text":"%d"}`, k))
		}
		sa.leave(1)
		if last, code, _ := one.Ended(); last != `{"type":"team.left","team_id":1}` || code != 1000 {
			t.Errorf("ended with %s, %d", last, code)
		}
		ga.Expect(`{"type":"team.left","team_id":1}`)
		gb.Expect(`{"type":"team.left","team_id":1}`)
		ga.Quiet()
		gb.Quiet()
	})
}

func TestTicketOfAnotherInstance(t *testing.T) {
	inClusters(t, Options{}, func(t *testing.T, a, b *instance, _ func() *instance) {
		s := a.service()
		s.join("a b/c")
		s.join("gone")
		a.knows("gone")
		b.knows("gone")
		g := a.global()
		address := elsewhere(t, g.Ask(`"a b/c"`), b)
		c := teamtest.Dial(t, address, nil)
		c.Send(`{"type":"ping","unique_id":1}`) // before its ticket is redeemed
		c.Expect(`{"type":"hello"}`)
		c.Expect(`{"type":"pong","unique_id":1}`)
		s.message("a b/c", "hi")
		c.Expect(`{"type":"message","text":"hi"}`)
		if n := b.metric("tickets_asked_total"); n != 1 {
			t.Errorf("%v questions about tickets", n)
		}

		fresh := elsewhere(t, g.Ask(`"a b/c"`), b)
		left := elsewhere(t, g.Ask(`"gone"`), b)
		s.leave("gone")
		a.knowsNot("gone")
		for what, address := range map[string]string{
			"used": address, "other secret": fresh[:len(fresh)-4] + "AAAA", "other team": strings.Replace(fresh, "/a%20b%2Fc?", "/x?", 1), "left": left,
		} {
			last, code, reason := teamtest.Dial(t, address, nil).Ended()
			if code != 1008 || reason == "" || !strings.HasPrefix(last, `{"type":"error","message":"`) {
				t.Errorf("%s: %s, %d %q", what, last, code, reason)
			}
		}
		c.Quiet()
	})
}

func TestTicketOfAnInstanceThatIsGone(t *testing.T) {
	inClusters(t, Options{}, func(t *testing.T, a, b *instance, _ func() *instance) {
		a.service().join(1)
		b.knows("1")
		address := elsewhere(t, a.global().Ask("1"), b)
		box, _, _ := parseTicket([]byte(address[len(address)-ticketText:]))
		unknown := newInbox()
		if a.issuer(box) == nil || b.issuer(box) != nil {
			t.Fatal("the ticket does not say whose it is")
		}
		gone := withInbox(address, unknown)
		const forged = 2 * maxPending / 100 // none of which keeps a pending slot
		for range forged {
			last, code, reason := teamtest.Dial(t, gone, nil).Ended()
			if code != 1008 || reason == "" || !strings.HasPrefix(last, `{"type":"error","message":"`) {
				t.Fatalf("%s, %d %q", last, code, reason)
			}
		}
		if n, timeouts := b.metric("refused_ticket_total"), b.metric("refused_timeout_total"); n != forged || timeouts != 0 {
			t.Errorf("%v tickets were refused, and %v timed out", n, timeouts)
		}
		teamtest.Dial(t, address, nil).Expect(`{"type":"hello"}`)
	})
}

// withInbox returns the address with a ticket that names another inbox.
func withInbox(address string, i inbox) string {
	return strings.Replace(address, address[len(address)-ticketText:], formatTicket(i, secret{}), 1)
}

// mute is an instance that answers nothing.
type mute struct{}

func (mute) Deliver(*broker.Message)   {}
func (mute) Pressure(bool)             {}
func (mute) StateChanged(broker.State) {}
func (mute) NodeGone(broker.Node)      {}
func (mute) Gap(string, broker.Gap)    {}

func (mute) DeliverNumbered(*broker.Message, broker.Position) {}

func (mute) Answer([]byte) []byte { return nil }

func TestTicketOfAnInstanceThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	a, silent := start(t, settings{broker: bus.Broker()}), bus.Broker()
	if err := silent.Start(t.Context(), broker.Node{ID: 1, Name: "silent"}, mute{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close(context.Background()) })
	box := newInbox()
	silent.Subscribe(box.group(), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	a.service().join(1)
	a.knows("1")
	address := withInbox(a.global().Ask("1"), box)
	last, code, reason := teamtest.Dial(t, address, nil).Ended()
	if code != 1001 || reason == "" || !strings.HasPrefix(last, `{"type":"error","message":"`) {
		t.Errorf("%s, %d %q", last, code, reason)
	}
	if n := a.metric("refused_timeout_total"); n != 1 {
		t.Errorf("%v timeouts", n)
	}
	hanging := teamtest.Dial(t, address, nil)
	hanging.Drop() // while it waits
	a.global().Team("1").Quiet()
}

// A team that leaves while a ticket of it is redeemed ends the new connection.
func TestTeamLeavesWhileItsTicketIsLookedAt(t *testing.T) {
	t.Parallel()
	a, b, s := twoWithTeam(t)
	address := elsewhere(t, a.global().Ask("1"), b)
	b.store.leave(rtm.IntID(1)) // b has heard of it, a has not
	c := teamtest.Dial(t, address, nil)
	c.Expect(`{"type":"hello"}`)
	if last, code, _ := c.Ended(); last != `{"type":"team.left","team_id":1}` || code != 1000 {
		t.Errorf("ended with %s, %d", last, code)
	}
	if d := s.event(eventDisconnected); d["reason"] != reasonLeft {
		t.Errorf("team.disconnected %v", d)
	}
}

func TestRevokedTokenEndsItsTeams(t *testing.T) {
	t.Parallel()
	tokens := func(names ...string) *auth.Tokens {
		text := "tokens:\n- {name: keep, sha256: " + auth.Hash(token) + ", groups: ['*'], send: ['*']}\n"
		for _, name := range names {
			text += "- {name: " + name + ", sha256: " + auth.Hash(name) + ", groups: [teams]}\n"
		}
		all, err := auth.ParseTokens([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	bus := memory.NewBus()
	a := start(t, settings{broker: bus.Broker(), tokens: tokens("rtm")})
	b := start(t, settings{broker: bus.Broker(), tokens: tokens("rtm")})
	a.service().join(1)
	a.service().join(2)
	b.knows("1")
	b.knows("2")
	g := teamtest.Global(t, a.base, "rtm")
	here := g.Team("1")
	there := teamtest.Dial(t, elsewhere(t, g.Ask("2"), b), nil)
	there.Expect(`{"type":"hello"}`)
	waiting := elsewhere(t, g.Ask("1"), b)
	for _, i := range []*instance{a, b} {
		i.tokens.Replace(tokens())
		i.hub.TokensChanged()
	}
	for _, c := range []*teamtest.Conn{g, here, there} {
		if last, code, reason := c.Ended(); last != `{"type":"goodbye"}` || code != 4003 || reason != "UNAUTHORIZED" {
			t.Errorf("%s, %d %q", last, code, reason)
		}
	}
	if _, code, _ := teamtest.Dial(t, waiting, nil).Ended(); code != 1008 {
		t.Errorf("a ticket outlived its token: %d", code)
	}
}

func TestReplacementAcrossInstances(t *testing.T) {
	inClusters(t, Options{}, func(t *testing.T, a, b *instance, _ func() *instance) {
		s := a.service()
		s.join(1)
		a.knows("1")
		b.knows("1")
		b.store.mu.Lock()
		b.store.now = func() int64 { return time.Now().Add(-time.Hour).UnixMilli() } // its clock is an hour behind
		b.store.mu.Unlock()
		ga, gb := a.global(), b.global()
		c := ga.Team("1")
		for k := range 6 {
			g := gb
			if k%2 == 1 {
				g = ga
			}
			// The rank counts once the other instance has heard of the connection.
			eventually.True(t, "the rank is known", func() bool { return a.rankOf("1") == b.rankOf("1") })
			next := g.Team("1")
			if last, code, _ := c.Ended(); code != CloseReplaced {
				t.Fatalf("ended with %s, %d", last, code)
			}
			s.message("1", "hi")
			next.Expect(`{"type":"message","text":"hi"}`)
			c = next
		}
		page, err := a.Teams(t.Context(), "", 10)
		if err != nil || len(page.Teams) != 1 || page.Teams[0].Connection == nil {
			t.Fatalf("%+v, %v", page, err)
		}
		if page.Teams[0].MessageCount != 6 || page.Teams[0].Connection.Node != "node-1" {
			t.Errorf("%+v", page.Teams[0])
		}
	})
}

// rankOf returns the greatest rank of the team's connections that the instance knows.
func (i *instance) rankOf(text string) uint64 {
	i.store.mu.RLock()
	defer i.store.mu.RUnlock()
	return i.store.byText[text].rank
}

// Of connections opened at the same time on both instances one remains.
func TestOneConnectionRemains(t *testing.T) {
	t.Parallel()
	a, b, _ := twoWithTeam(t)
	var addresses []string
	for _, i := range []*instance{a, b} {
		g := i.global()
		for range 10 {
			addresses = append(addresses, g.Ask("1"))
		}
	}
	for _, address := range addresses {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			teamtest.Hold(ctx, address)
		}()
	}
	eventually.True(t, "one connection remains", func() bool {
		opened := a.metric("tickets_redeemed_total") + b.metric("tickets_redeemed_total")
		return opened == 20 && a.metric("team_connections")+b.metric("team_connections") == 1
	})
}

func TestRedisIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := start(t, settings{broker: newRedis(t, server), name: "a"})
	b := start(t, settings{broker: newRedis(t, server), name: "b"})
	sa, sb := a.service(), b.service()
	sa.join("stays")
	sa.join("leaves")
	b.knows("leaves")
	server.Kill()
	eventually.True(t, "both miss Redis", func() bool { return !a.hub.Stats().Broker.Available && !b.hub.Stats().Broker.Available })
	// Messages sent while Redis is away reach only the sender's instance.
	for _, s := range []*service{sa, sb} {
		for _, d := range []struct{ event, id string }{{eventJoin, "of a"}, {eventLeft, "leaves"}, {eventJoin, "of b"}} {
			if s == sa == (d.id != "of b") {
				_ = s.Send(t.Context(), client.Group(teamsGroup), d.event, data{"team_id": d.id})
			}
		}
	}
	a.knows("of a")
	a.knowsNot("leaves")
	b.knows("of b")
	server.Restart()
	for _, i := range []*instance{a, b} {
		i.knows("of a")
		i.knows("of b")
		i.knowsNot("leaves")
		i.knows("stays")
	}
}

// Synchronize fetches the changes that this instance missed, and sends the others those that they missed.
func TestSynchronizeBothWays(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	a, b := start(t, settings{broker: bus.Broker()}), start(t, settings{broker: bus.Broker()})
	eventually.True(t, "both have compared their lists", func() bool {
		return a.metric("synchronized_total") > 0 && b.metric("synchronized_total") > 0
	})
	for k := range int64(2500) { // known to one instance only: several pages
		a.store.join(rtm.IntID(k))
		b.store.join(rtm.StringID(fmt.Sprint("b", k)))
	}
	b.store.join(rtm.IntID(1))
	b.store.leave(rtm.IntID(1))
	a.store.join(rtm.StringID("b1"))
	a.store.leave(rtm.StringID("b1"))
	g := b.global()
	a.Synchronize(t.Context())
	for _, i := range []*instance{a, b} {
		eventually.True(t, "the lists agree", func() bool { return i.metric("teams") == 4998 })
		i.knowsNot("1")
		i.knowsNot("b1")
	}
	there := make(map[rtm.ID]bool)
	for len(there) < 4998 || there[rtm.IntID(1)] || there[rtm.StringID("b1")] {
		switch f := g.Read(); f.Type {
		case rtm.TeamJoin:
			there[f.TeamID] = true
		case rtm.TeamLeft:
			delete(there, f.TeamID)
		}
	}
	g.Quiet()
}
