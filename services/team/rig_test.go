package team

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
	"github.com/mastersocket/mastersocket/transport"
)

// patience bounds waits that only a failing test takes to the end.
const patience = 30 * time.Second

const token = "team-token"

// instance is a hub that serves teams.
type instance struct {
	*Service
	t      testing.TB
	hub    *hub.Hub
	base   string // ws://host:port
	tokens *auth.Store
}

// settings of an instance; the zero value is one alone.
type settings struct {
	Options
	broker  broker.Broker
	name    string
	tokens  *auth.Tokens
	queue   int // send queue in bytes; 0: the default
	message int // greatest message in bytes; 0: the default
}

func start(t testing.TB, s settings) *instance {
	t.Helper()
	if s.broker == nil {
		s.broker = memory.NewBus().Broker()
	}
	if s.tokens == nil {
		s.tokens = auth.SharedToken(token)
	}
	log := slog.New(slog.DiscardHandler)
	i := &instance{Service: New(s.Options), t: t, tokens: auth.NewStore(s.tokens)}
	o := hub.Options{
		Transport:       transport.DefaultOptions(2),
		PingInterval:    30 * time.Second,
		IdentifyTimeout: 10 * time.Second,
		NodeName:        s.name,
		Tokens:          i.tokens,
		Broker:          s.broker,
		Services:        []hub.ServiceType{i.Service},
		Log:             log,
	}
	o.Transport.Log = ratelog.New(log)
	o.Transport.SweepInterval = 20 * time.Millisecond
	o.Transport.AllowedHosts = []string{"rtm.example"} // what a proxy in front would be called
	if s.queue > 0 {
		o.Transport.SendQueueBytes = s.queue
	}
	if s.message > 0 {
		o.Transport.MaxMessageBytes = s.message
	}
	h, err := hub.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	i.hub = h
	t.Cleanup(i.close)
	addr, err := h.ListenWebSocket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i.base = "ws://" + addr.String()
	return i
}

func (i *instance) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := i.hub.Close(ctx); err != nil {
		i.t.Error(err)
	}
}

// global opens a Global connection.
func (i *instance) global() *teamtest.Conn {
	i.t.Helper()
	return teamtest.Global(i.t, i.base, token)
}

// metric returns one of the service's metrics.
func (i *instance) metric(name string) float64 {
	i.t.Helper()
	for _, m := range i.Metrics() {
		if m.Name == name {
			return m.Value
		}
	}
	i.t.Fatalf("there is no metric %s", name)
	return 0
}

// service is a client of the hub that tells it of teams, and hears of them.
type service struct {
	t testing.TB
	*client.Client
	events chan *client.Message
}

func (i *instance) service() *service {
	i.t.Helper()
	s := &service{t: i.t, events: make(chan *client.Message, 1<<16)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{
		URL: i.base, Token: token, Group: teamsGroup, NoEcho: true, OnMessage: func(_ context.Context, m *client.Message) { s.events <- m },
		OnError: func(*client.HubError) {},
	})
	if err != nil {
		i.t.Fatal(err)
	}
	s.Client = c
	i.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return s
}

// startWithTeam starts an instance with team 1, a service, and a Global connection that has been sent the team.
func startWithTeam(t testing.TB) (*instance, *service, *teamtest.Conn) {
	t.Helper()
	i := start(t, settings{})
	s := i.service()
	s.join(1)
	i.knows("1")
	g := i.global()
	g.Expect(`{"type":"team.join","team_id":1}`)
	return i, s, g
}

type data = map[string]any

// publish sends an event and waits for its ACK.
func (s *service) publish(group, event string, d any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.SendAcked(ctx, client.Group(group), event, d); err != nil {
		s.t.Fatalf("%s to %s: %v", event, group, err)
	}
}

func (s *service) join(id any)  { s.t.Helper(); s.publish(teamsGroup, eventJoin, data{"team_id": id}) }
func (s *service) leave(id any) { s.t.Helper(); s.publish(teamsGroup, eventLeft, data{"team_id": id}) }
func (s *service) message(id, text string) {
	s.t.Helper()
	s.publish(teamPrefix+id, eventMessage, data{"text": text})
}

// event returns the next event of that name and skips others.
func (s *service) event(name string) data {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-s.events:
			if m.Event == name {
				var d data
				if err := m.Unmarshal(&d); err != nil {
					s.t.Fatal(err)
				}
				return d
			}
		case <-timeout:
			s.t.Fatalf("no event %s", name)
		}
	}
}

// knows waits until the instance has the team.
func (i *instance) knows(id string) {
	i.t.Helper()
	eventually.True(i.t, "team "+id, func() bool { return i.store.has(id) })
}

// knowsNot waits until the instance does not have the team.
func (i *instance) knowsNot(id string) {
	i.t.Helper()
	eventually.True(i.t, "the end of team "+id, func() bool { return !i.store.has(id) })
}
