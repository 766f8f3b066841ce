package socketio

import (
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	for name, brokers := range map[string]func(t *testing.T) func() broker.Broker{
		"memory": func(*testing.T) func() broker.Broker {
			bus := memory.NewBus()
			return func() broker.Broker { return bus.Broker() }
		},
		"Redis": func(t *testing.T) func() broker.Broker {
			server := redistest.Start(t)
			return func() broker.Broker {
				b, err := redis.New(redis.Options{URL: server.URL(), Prefix: "ms"})
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := brokers(t)
			a, b := start(t, New(Options{}), next(), nil), start(t, New(Options{}), next(), nil)
			native := b.native("senders", "")
			publish := func(group, event string) {
				native.send(`{"op":0,"event":"` + event + `","intent":{"target":"GROUP","identifier":"` + group + `"}}`)
			}
			s := a.socketio("", `{"token":"secret","group":"first"}`)
			s.send(`421["subscribe","orders"]`)
			s.expect(`431[{"groups":["orders"]}]`)
			publish("orders", "one")
			s.expect(`42["one"]`)
			s.send(`422["subscribe",["a","b"],"c"]`)
			s.expect(`432[{"groups":["a","b","c"]}]`)
			publish("c", "two")
			s.expect(`42["two"]`)
			s.send(`423["unsubscribe","c","orders"]`)
			s.expect(`433[{"groups":["c","orders"]}]`)
			publish("c", "three")
			publish("first", "four")
			s.expect(`42["four"]`)
			s.send(`42["subscribe","quiet"]`) // no answer is asked for
			s.send(`424["subscribe","quiet"]`)
			s.expect(`434[{"groups":["quiet"]}]`)
			publish("quiet", "five")
			s.expect(`42["five"]`)
		})
	}
}

func TestSubscribeRefusals(t *testing.T) {
	t.Parallel()
	tokens, err := auth.ParseTokens([]byte(`tokens:
- name: narrow
  sha256: ` + auth.Hash("narrow-narrow-narrow") + `
  groups: [first, "allowed-*"]
`))
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, New(Options{}), memory.NewBus().Broker(), func(o *hub.Options) { o.Tokens, o.MaxGroups = auth.NewStore(tokens), 3 })
	s := n.socketio("", `{"token":"narrow-narrow-narrow","group":"first"}`)
	const (
		forbidden = `{"error":{"code":"FORBIDDEN","message":"the token does not allow this group, or it is no group name"}}`
		payload   = `{"error":{"code":"INVALID_PAYLOAD","message":"the arguments are names of groups, or arrays of them"}}`
	)
	for _, c := range []struct{ args, want string }{
		{`"secrets"`, forbidden},
		{`"allowed-1","secrets"`, forbidden},
		{`""`, forbidden},
		{`"allowed-1"`, `{"groups":["allowed-1"]}`},
		{`"allowed-2","allowed-3"`, `{"error":{"code":"TOO_MANY_GROUPS","message":"the client would be in more groups than it may"}}`},
		{`"allowed-1","allowed-2"`, `{"groups":["allowed-1","allowed-2"]}`},
		{`1`, payload}, {`{"groups":["a"]}`, payload}, {`[["a"]]`, payload}, {`[]`, payload}, {`null`, payload}, {`"a",true`, payload},
	} {
		s.send(`427["subscribe",` + c.args + `]`)
		s.expect(`437[` + c.want + `]`)
	}
	s.send(`428["subscribe"]`)
	s.expect(`438[` + payload + `]`)
	s.send(`429["unsubscribe","first"]`)
	s.expect(`439[{"error":{"code":"PRIMARY_GROUP","message":"the group of IDENTIFY can't be left"}}]`)
	s.send(`42["subscribe","secrets"]`) // no answer is asked for
	s.send(`4210["unsubscribe","allowed-2"]`)
	s.expect(`4310[{"groups":["allowed-2"]}]`)
	if got := n.all.count.refusedEvents.Load(); got != 13 {
		t.Errorf("%d events were refused", got)
	}
}
