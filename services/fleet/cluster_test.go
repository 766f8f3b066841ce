package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
	"github.com/mastersocket/mastersocket/services/socketio"
)

// inClusters runs a test with instances that are connected in each way.
func inClusters(t *testing.T, test func(t *testing.T, another func() *node)) {
	t.Parallel()
	for name, cluster := range map[string]func(t *testing.T) func() broker.Broker{
		"memory": func(*testing.T) func() broker.Broker {
			bus := memory.NewBus()
			return func() broker.Broker { return bus.Broker() }
		},
		"redis": func(t *testing.T) func() broker.Broker {
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
			next := cluster(t)
			count := 0
			test(t, func() *node {
				count++
				return start(t, Options{Fleets: settings(lifecycle.Config{})}, next(), func(o *hub.Options) { o.NodeName = string(rune('a' + count - 1)) })
			})
		})
	}
}

// leads waits until one of the nodes leads the default fleet, and returns it and the others.
func leads(t *testing.T, nodes ...*node) (leader *node, others []*node) {
	t.Helper()
	name := ""
	eventually.True(t, "all instances know one leader", func() bool {
		name = ""
		for _, n := range nodes {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			all, _, err := n.fleet.Fleets(ctx, DefaultName)
			cancel()
			if err != nil || all[0].Leader == "" || name != "" && all[0].Leader != name {
				return false
			}
			name = all[0].Leader
		}
		return true
	})
	for _, n := range nodes {
		if n.hub.Node().Name == name {
			leader = n
		} else {
			others = append(others, n)
		}
	}
	return leader, others
}

// state returns the state of the default fleet, as the instance tells it.
func (n *node) state() State {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	all, _, err := n.fleet.Fleets(ctx, DefaultName)
	if err != nil {
		n.t.Fatal(err)
	}
	return all[0]
}

// TestCluster: the life of a fleet whose bots are on three instances.
func TestCluster(t *testing.T) {
	inClusters(t, func(t *testing.T, another func() *node) {
		leader, others := leads(t, another(), another(), another())
		far, third := others[0], others[1]
		agent := third.agent(DefaultName)
		a := far.bot(``)
		a.identify("1.0.0", helloTrue)
		a.ask("ready", ``)
		a.expect(cmdOK, acked)
		b := leader.bot(``)
		b.identify("1.0.0", helloFalse)
		b.ask("ready", ``)
		b.expect(acked)
		for _, n := range []*node{leader, far, third} {
			if st := n.state(); st.Running != a.id || len(st.Bots) != 2 || st.Leader != leader.hub.Node().Name {
				t.Errorf("%+v", st)
			}
		}
		sick := third.bot(``)
		sick.ask("ready", ``)
		if got := sick.next(); !strings.Contains(got, "NOT_IDENTIFIED") {
			t.Error(got)
		}
		sick.identify("1.1.0", helloFalse)
		sick.ask("ready", ``)
		sick.expect(cmdHealth, acked)
		sick.ask("health_check", `{"OK":false,"percent":100}`)
		sick.expect(cmd("shutdown", "vital_cog_failure"), acked)
		agent.done(agent.task(wire.Rollback), "")
		c := third.bot(``)
		c.identify("1.2.0", helloFalse)
		c.ask("ready", ``)
		c.expect(cmdHealth, acked)
		c.ask("health_check", `{"OK":true}`)
		c.expect(cmdProcess, acked)
		a.expect(cmd("coma", "replaced"))
		agent.done(agent.task(wire.Revision), "3f2a")
		eventually.True(t, "all know what was good", func() bool { return far.state().GoodRevision == "3f2a" })

		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := far.fleet.Operate(ctx, DefaultName, OpPromote, "none"); err == nil || err.Error() != lifecycle.ErrUnknown.Error() {
			t.Errorf("promoting nobody: %v", err)
		}
		if st, err := third.fleet.Operate(ctx, DefaultName, OpPromote, b.id); err != nil || st.Running != b.id {
			t.Errorf("%+v %v", st, err)
		}
		c.expect(cmd("coma", "operator"))
		b.expect(cmdProcess)
		b.send("41")
		c.expect(cmdProcess) // the newest one
		c.send("41")
		a.expect(cmdProcess)
		a.send("41")
		agent.done(agent.task(wire.Spawn), "")
	})
}

// TestNewLeader: the leader ends, and the bot that works at another instance goes on.
func TestNewLeader(t *testing.T) {
	inClusters(t, func(t *testing.T, another func() *node) {
		leader, others := leads(t, another(), another(), another())
		a := others[0].bot(``)
		a.identify("1.0.0", helloTrue)
		a.ask("ready", ``)
		a.expect(cmdOK, acked)
		b := others[1].bot(``)
		b.identify("0.9.0", helloFalse)
		b.ask("ready", ``)
		b.expect(acked)
		leader.close()
		next, _ := leads(t, others...)
		a.ask("ready", ``)
		a.expect(cmdOK, acked) // nothing was said to it meanwhile
		if st := next.state(); st.Running != a.id || len(st.Bots) != 2 {
			t.Errorf("%+v", st)
		}
		a.send("41")
		b.expect(cmdProcess)
	})
}

// TestInstanceWithoutFleets: an instance that does not serve fleets, such as one of an older release, is beside two that do.
func TestInstanceWithoutFleets(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	without := start(t, Options{}, bus.Broker(), func(o *hub.Options) {
		o.NodeName, o.Services = "without", []hub.ServiceType{socketio.New(socketio.Options{})}
	})
	n := start(t, Options{Fleets: settings(lifecycle.Config{})}, bus.Broker(), func(o *hub.Options) { o.NodeName = "a" })
	m := start(t, Options{Fleets: settings(lifecycle.Config{})}, bus.Broker(), func(o *hub.Options) { o.NodeName = "b" })
	leader, others := leads(t, n, m)
	plain := without.bot(`{"token":"` + sharedToken + `","group":"demo","echo":true}`)
	a := leader.bot(``)
	a.identify("1.0.0", helloTrue)
	a.ask("ready", ``)
	a.expect(cmdOK, acked)
	b := others[0].bot(``)
	b.identify("1.0.0", helloFalse)
	b.ask("ready", ``)
	b.expect(acked)
	leader.close()
	b.expect(cmdProcess)
	plain.send(`42["GROUP:demo","hi",1]`)
	plain.expect(`42["hi",1]`)
}
