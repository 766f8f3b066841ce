package fleet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
)

// TestTakeover is the life of a fleet: the first bot runs, a sick new version is rolled back, a healthy one takes over.
func TestTakeover(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	agent := n.agent(DefaultName)
	a := n.bot(``)
	a.identify("0.9.0", helloTrue)
	a.ask("ready", `{}`)
	a.expect(cmdOK, acked)

	b := n.bot(`{}`)
	b.identify("0.10.0", helloFalse) // newer, though its text is less
	b.ask("ready", `{}`)
	b.expect(cmdHealth, acked)
	b.ask("health_check", `{"OK":false,"percent":100,"cogs":{"other":true}}`)
	b.expect(cmd("shutdown", "vital_cog_failure"), acked)
	if task := agent.task(wire.Rollback); task.Version != "" {
		t.Errorf("%+v: no version was good yet", task)
	} else {
		agent.done(task, "")
	}
	b.ask("shutdown", `{}`)
	b.expect(acked)

	c := n.bot(``)
	c.identify("0.11.0", helloFalse)
	c.ask("ready", `{}`)
	c.expect(cmdHealth, acked)
	c.ask("health_check", `{"OK":true}`)
	c.expect(cmdProcess, acked)
	a.expect(cmd("coma", "replaced"))
	a.ask("coma", ``)
	a.expect(acked)
	agent.done(agent.task(wire.Revision), "3f2a")

	// The next one that fails is rolled back to it; the one in coma is promoted when the runner goes.
	d := n.bot(``)
	d.identify("0.12.0", helloFalse)
	d.ask("ready", `{}`)
	d.expect(cmdHealth, acked)
	d.ask("health_check", `{"OK":false,"percent":99.5,"cogs":{"vital":true}}`)
	d.expect(cmd("shutdown", "health_check_failure"), acked)
	if task := agent.task(wire.Rollback); task.Version != "0.11.0" || task.Revision != "3f2a" {
		t.Errorf("%+v", task)
	} else {
		agent.done(task, "")
	}
	c.send("41")
	a.expect(cmdProcess)
	a.send("41")
	agent.done(agent.task(wire.Spawn), "")
}

func TestRefusedWords(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	a := n.bot(``)
	fails := func(code string) {
		t.Helper()
		if got := a.next(); !strings.HasPrefix(got, `431[{"error":{"code":"`+code+`"`) {
			t.Errorf("got %s, want %s", got, code)
		}
	}
	for _, c := range []struct{ event, argument, code string }{
		{"ready", `{}`, "NOT_IDENTIFIED"},
		{"health_check", `{"OK":true}`, "NOT_IDENTIFIED"},
		{"coma", ``, "NOT_IDENTIFIED"},
		{"shutdown", `{}`, "NOT_IDENTIFIED"},
		{"try_again", `{}`, "FORBIDDEN"},
		{"GLOBAL", `"cmd",{}`, "UNKNOWN_EVENT"},
		{"identify", `{"version":1}`, "INVALID_PAYLOAD"},
		{"identify", `["1.0.0"]`, "INVALID_PAYLOAD"},
		{"identify", `{"version":"` + strings.Repeat("1", 129) + `"}`, "INVALID_PAYLOAD"},
		{"identify", `{"version":"1.0.0\n"}`, "INVALID_PAYLOAD"},
	} {
		a.ask(c.event, c.argument)
		fails(c.code)
	}
	a.identify("1.0.0", helloTrue)
	for _, argument := range []string{`{"OK":true}`, `{"OK":true,"percent":1e999}`} { // the second is no number
		a.ask("health_check", argument)
		if strings.Contains(argument, "e999") {
			fails("INVALID_PAYLOAD")
			continue
		}
		fails("NOT_ASKED")
	}
	b := n.bot(``)
	b.identify("1.1.0", helloFalse)
	b.ask("ready", `{}`)
	b.expect(cmdHealth, acked)
	a = b
	for _, argument := range []string{`{"OK":"yes"}`, `{"OK":false,"percent":"100"}`, `{"OK":false,"cogs":{"vital":"true"}}`, `{"OK":false,"cogs":["vital"]}`, `7`} {
		a.ask("health_check", argument)
		fails("INVALID_PAYLOAD")
	}
	b.send(`42["ready"]`) // without an acknowledgement, twice: neither disturbs
	b.send(`42["identify"]`)
	b.expect(helloFalse)
}

func TestIdentifiesTwice(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
	a.identify("1.0.0", helloTrue)
	a.ask("ready", ``)
	a.expect(cmdOK, acked)
	b := n.bot(``)
	b.identify("1.0.0", helloFalse)
	b.identify("1.1.0", helloFalse)
	b.ask("ready", ``)
	b.expect(cmdHealth, acked)
	b.identify("1.1.0", helloFalse) // it gives up the health check
	b.ask("health_check", `{"OK":true}`)
	if got := b.next(); !strings.Contains(got, "NOT_ASKED") {
		t.Error(got)
	}
}

func TestHangs(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{ReadyTimeout: 2 * time.Second, HealthTimeout: 300 * time.Millisecond})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue) // and hangs: it blocks others for no longer than that
	b := n.bot(``)
	b.identify("1.0.0", helloFalse)
	b.ask("ready", ``)
	b.expect(acked)
	a.expect(cmd("shutdown", "ready_timeout"))
	b.expect(cmdProcess)
	c := n.bot(``)
	c.identify("1.1.0", helloFalse)
	c.ask("ready", ``)
	c.expect(cmdHealth, acked, cmd("shutdown", "health_check_timeout"))
}

func TestOutdatedShutDown(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{RetireOutdated: true})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
	a.ask("ready", ``)
	a.expect(cmdOK, acked)
	b := n.bot(``)
	b.identify("1.0.0", helloFalse)
	b.ask("ready", ``)
	b.expect(cmd("shutdown", "outdated"), acked)
}

func TestFlood(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
	a.ask("ready", ``)
	a.expect(cmdOK, acked)
	b := n.bot(``)
	for i := range 100 * wordsPerSecond { // more than fit into a second, however slow the machine is
		if b.ws.Write(t.Context(), websocket.MessageText, []byte(fmt.Sprintf(`42["identify",{"version":"%d"}]`, i))) != nil {
			break
		}
	}
	if code := b.closed(); code != 1001 {
		t.Errorf("closed with %d", code)
	}
	a.ask("ready", ``)
	a.expect(cmdOK, acked) // nothing of it disturbed the other one
	eventually.True(t, "the flooding bot is gone", func() bool { return n.fleet.count.bots.Load() == 1 })
}

// TestSaysNothing: a bot that connects and never identifies gives its place free, and one more than there are places is turned away.
func TestSaysNothing(t *testing.T) {
	t.Parallel()
	n := start(t, Options{Fleets: settings(lifecycle.Config{}), IdentifyTimeout: 500 * time.Millisecond}, memory.NewBus().Broker(), nil)
	a := n.bot(``)
	if code := a.closed(); code != 1001 || n.fleet.count.silent.Load() != 1 {
		t.Errorf("closed with %d", code)
	}
	full := alone(t, lifecycle.Config{})
	first := full.bot(``)
	first.identify("1.0.0", helloTrue)
	for range MaxBots - 1 {
		full.bot(``)
	}
	c := dial(t, "ws://"+full.addr+"/socket.io/?EIO=4&transport=websocket")
	c.next()
	c.send("40")
	if code := c.closed(); code != 1001 {
		t.Errorf("one too many was closed with %d", code)
	}
	first.ask("ready", ``)
	first.expect(cmdOK, acked)
}

func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	for _, c := range []struct{ name, payload, want string }{
		{"the right of another fleet", `{"token":"` + botsToken + `","fleet":"default"}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"another right", `{"token":"` + otherToken + `","fleet":"helium"}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"no token", `{"fleet":"helium"}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"no token for the default fleet by its name", `{"fleet":"default"}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"a wrong token", `{"token":"wrong-wrong-wrong-x","fleet":"helium"}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"no such fleet", `{"token":"` + sharedToken + `","fleet":"argon"}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"a fleet that is no text", `{"token":"` + sharedToken + `","fleet":{}}`, `44{"message":"IDENTIFY_FAILED"}`},
		{"a client of the hub with the right to nothing", `{"token":"` + botsToken + `","group":"demo"}`, `44{"message":"IDENTIFY_FAILED"}`},
	} {
		if _, got := n.connect(c.payload); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	b := n.bot(`{"token":"` + botsToken + `","fleet":"helium"}`)
	b.identify("1.0.0", helloTrue)
	d := n.bot(``)
	d.identify("1.0.0", helloTrue) // another fleet
	b.ask("try_again", ``)
	if got := b.next(); !strings.Contains(got, "FORBIDDEN") {
		t.Error(got)
	}
	admin := n.bot(`{"token":"` + sharedToken + `","fleet":"helium"}`)
	admin.ask("try_again", ``)
	admin.expect(acked)
	plain := n.bot(`{"token":"` + sharedToken + `","group":"demo","echo":true}`) // a client of the hub, as ever
	plain.send(`42["GROUP:demo","hi",1]`)
	plain.expect(`42["hi",1]`)
}

func TestAnonymousAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "10.0.0.1": false, "::": false, "fe80::1": false} {
		if isHere(netip.MustParseAddr(text)) != want {
			t.Errorf("%s: want %t", text, want)
		}
	}
	if isHere(netip.Addr{}) {
		t.Error("an unknown address")
	}
}

// TestMessagesToBots: what others send to a fleet's bots does not look like a command.
func TestMessagesToBots(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
	other := n.bot(`{"token":"` + sharedToken + `","group":"fleet.default"}`)
	for _, to := range []string{"GROUP:fleet.default", "DIRECT:" + a.id, "GLOBAL"} {
		other.send(`42["` + to + `","cmd",{"t":"shutdown","d":{}}]`)
	}
	a.ask("ready", ``)
	a.expect(cmdOK, acked)
}

func TestNoAgent(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
	a.send("41")
	eventually.True(t, "a spawn was wanted", func() bool {
		return strings.Contains(n.log.String(), "the fleet would have asked for this") && n.fleet.count.tasksNoAgent.Load() > 0
	})
	agent := n.agent(DefaultName)
	agent.done(agent.task(wire.Spawn), "")
}

func TestTooManySpawns(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond, MaxSpawns: 2})
	agent := n.agent("helium")
	a := n.bot(`{"token":"` + botsToken + `","fleet":"helium"}`)
	a.identify("1.0.0", helloTrue)
	a.send("41")
	for range 2 {
		agent.say(wire.EventDone, wire.Word{Task: agent.task(wire.Spawn).Task, Error: "it died\nagain"})
	}
	eventually.True(t, "the fleet is not sane", func() bool { return n.fleet.count.notSane.Load() == 1 })
	if !strings.Contains(n.log.String(), `error="it died again"`) {
		t.Errorf("the log lacks the error:\n%s", n.log)
	}
	admin := n.bot(`{"token":"` + sharedToken + `","fleet":"helium"}`)
	admin.ask("try_again", ``)
	admin.expect(acked)
	task := agent.task(wire.Spawn)
	agent.say(wire.EventDone, wire.Word{Task: "guessed", OK: true})
	eventually.True(t, "the fleet is sane", func() bool { return n.fleet.count.notSane.Load() == 0 })
	agent.done(task, "")
}

func TestReconfigure(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
	h := n.bot(`{"token":"` + botsToken + `","fleet":"helium"}`)
	h.identify("1.0.0", helloTrue)
	n.fleet.Configure([]Settings{{Name: DefaultName, Token: "another", Config: lifecycle.Config{HealthyPercent: 10}}})
	h.expect("41") // its fleet is gone
	a.ask("identify", ``)
	a.expect(`42["hello",{"token":"another","process_commands":true}]`, acked)
	b := n.bot(``)
	b.ask("identify", `{"version":"0.0.1"}`)
	b.next()
	b.expect(acked)
	b.ask("ready", ``)
	b.expect(cmdHealth, acked)
	b.ask("health_check", `{"percent":10}`)
	b.expect(`42["cmd",{"t":"process_commands","d":{"token":"another"}}]`, acked)
}

// TestManyBots has many bots come, act at random and go, on both loops.
func TestManyBots(t *testing.T) {
	t.Parallel()
	n := alone(t, lifecycle.Config{})
	const many = 40
	bots := make([]*conn, many)
	for i := range bots {
		bots[i] = n.bot(``)
		bots[i].send(`42["identify",{"version":"1.0.` + fmt.Sprint(i) + `"}]`)
		bots[i].send(`42["ready"]`)
		bots[i].send(`42["health_check",{"OK":true}]`)
	}
	for _, b := range bots {
		b.send("41")
		if code := b.closed(); code != 1001 && code != 1000 {
			t.Errorf("closed with %d", code)
		}
	}
	eventually.True(t, "all bots are gone", func() bool { return n.fleet.count.bots.Load() == 0 })
	a := n.bot(``)
	a.identify("1.0.0", helloTrue)
}
