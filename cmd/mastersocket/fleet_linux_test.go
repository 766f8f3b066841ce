package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// fleetFile writes a file with fleets.
func fleetFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// socketBot is a bot over a WebSocket.
type socketBot struct {
	t  *testing.T
	ws *websocket.Conn
	id string
}

func newSocketBot(t *testing.T, s *hubtest.Server, payload string) *socketBot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+s.HubAddr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	b := &socketBot{t: t, ws: ws}
	b.next()
	b.send("40" + payload)
	var sid struct{ SID string }
	if answer := b.next(); json.Unmarshal([]byte(strings.TrimPrefix(answer, "40")), &sid) != nil || sid.SID == "" {
		t.Fatalf("CONNECT was answered with %s", answer)
	}
	b.id = sid.SID
	return b
}

func (b *socketBot) send(text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if err := b.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *socketBot) next() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	_, text, err := b.ws.Read(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// expect reads the next message, which must have the text.
func (b *socketBot) expect(want string) {
	b.t.Helper()
	if got := b.next(); !strings.Contains(got, want) {
		b.t.Fatalf("got %s, want %s", got, want)
	}
}

// TestFleetFromAShell: a fleet with its agent, operated by commands, and reconfigured while it runs.
func TestFleetFromAShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "fleets.yaml")
	fleetFile(t, file, "fleets: {default: {token: first-secret}}\n")
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--enable", "fleet", "--fleet-file", file, "--fleet-command-event", "command"}})
	x := newTools(t, s)
	x.env = append(x.env, "MASTERSOCKET_ADMIN_URL=http://"+s.AdminAddr)
	if out := x.output("config", "check", file); !strings.Contains(out, "no errors") {
		t.Error(out)
	}

	a := newSocketBot(t, s, "")
	a.send(`420["identify",{"version":"1.0.0"}]`)
	a.expect(`["hello",{"token":"first-secret","process_commands":true}]`)
	a.expect(`430[]`)
	a.send(`42["ready",{}]`)
	a.expect(`["command",{"t":"ok","d":{}}]`)
	b := newSocketBot(t, s, `{"token":"`+s.Token+`","fleet":"default"}`)
	b.send(`42["identify",{"version":"0.9.0"}]`)
	b.expect(`"process_commands":false`)
	b.send(`420["ready"]`)
	b.expect(`430[]`)

	if out := x.output("fleet", "list"); !strings.HasPrefix(out, "FLEET") || !strings.Contains(out, "default  runs   1.0.0") {
		t.Errorf("fleet list printed %s", out)
	}
	if out := x.output("fleet", "show", "default"); !strings.Contains(out, a.id+"  running  1.0.0") || !strings.Contains(out, b.id+"  standby  0.9.0") {
		t.Errorf("fleet show printed %s", out)
	}
	x.start("", "fleet", "show", "none").want(1, "", "no fleet has this name (404)")
	x.start("", "fleet", "promote", "default", a.id).want(1, "", "runs already (409)")
	if out := x.output("fleet", "promote", "default", b.id); !strings.Contains(out, b.id+"  running") {
		t.Errorf("fleet promote printed %s", out)
	}
	a.expect(`{"t":"coma","d":{"reason":"operator"}}`)
	b.expect(`"process_commands"`)
	if out := x.output("fleet", "rollback", "default"); !strings.Contains(out, "default: runs") {
		t.Errorf("fleet rollback printed %s", out)
	}
	eventually.True(t, "the fleet says what it wanted", func() bool {
		return strings.Contains(x.output("fleet", "list"), "no agent for rollback")
	})

	done := filepath.Join(dir, "done")
	agent := x.start("", "fleet", "agent", "--fleet", "default", "--dir", dir, "--deploy", "cp fleets.yaml "+done,
		"--spawn", `["/bin/sh","-c","echo spawned $FLEET_NAME $MASTERSOCKET_TOKEN; sleep 1000"]`, "--grace", "50ms", "--spawn-log", filepath.Join(dir, "log"))
	agent.err.waitFor(t, "ready for tasks")
	if out := x.output("fleet", "deploy", "default", "-o", "json"); !strings.Contains(out, `"task":"deploy"`) {
		t.Errorf("fleet deploy printed %s", out)
	}
	agent.err.waitFor(t, "bot spawned")
	if b, _ := os.ReadFile(done); len(b) == 0 {
		t.Error("nothing was deployed")
	}
	eventually.True(t, "the bot prints into the log", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "log"))
		return string(b) == "spawned default\n"
	})
	if out := x.output("fleet", "try-again", "default"); !strings.Contains(out, "default: runs") {
		t.Errorf("fleet try-again printed %s", out)
	}
	agent.signal(syscall.SIGTERM)
	if code := agent.code(); code != 0 {
		t.Errorf("the agent ended with %d: %s", code, agent.err)
	}
	_, pid, _ := strings.Cut(agent.err.String(), "pid=")
	pid, _, _ = strings.Cut(pid, "\n")
	t.Cleanup(func() { killProcess(t, pid) })

	fleetFile(t, file, "fleets: {default: {token: second-secret}, helium: }\n")
	if out := x.output("reload"); !strings.Contains(out, "fleets") {
		t.Errorf("reload printed %s", out)
	}
	a.send(`42["identify",{"version":"1.0.0"}]`)
	a.expect(`"second-secret"`)
	fleetFile(t, file, "fleets: {default: {outdated: maybe}}\n")
	x.start("", "reload").want(1, "", "outdated must be standby or shutdown")
	fleetFile(t, file, "fleets: {default: {token: third-secret}}\n") // a changed file is taken by itself, or by a signal
	eventually.True(t, "the fleet has its new token", func() bool {
		a.send(`42["identify",{"version":"1.0.0"}]`)
		if strings.Contains(a.next(), "third-secret") {
			return true
		}
		time.Sleep(100 * time.Millisecond) // a bot may say 20 words a second
		return false
	})
	if n := newSocketBotRefused(t, s, `{"token":"`+s.Token+`","group":"demo"}`); !strings.Contains(n, "IDENTIFY_FAILED") {
		t.Errorf("a client of socketio, which is not enabled: %s", n)
	}
}

// newSocketBotRefused returns the answer to a CONNECT.
func newSocketBotRefused(t *testing.T, s *hubtest.Server, payload string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+s.HubAddr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	b := &socketBot{t: t, ws: ws}
	b.next()
	b.send("40" + payload)
	return b.next()
}

// killProcess ends a process that outlives the agent.
func killProcess(t *testing.T, pid string) {
	t.Helper()
	var id int
	if err := json.Unmarshal([]byte(pid), &id); err != nil {
		t.Errorf("no pid in %q", pid)
		return
	}
	_ = syscall.Kill(-id, syscall.SIGKILL)
}

func TestFleetAgentUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"--fleet a", "nothing to run: give --spawn"},
		{"--fleet a --spawn [1", `--spawn: want words, or a JSON array`},
		{"--fleet a --spawn []", `--spawn: want words, or a JSON array`},
		{"--fleet a --spawn x --timeout 0s", "want more than 0"},
		{"--spawn x", "--fleet"},
		{"--fleet a --spawn x --spawn-log /none/x", "--spawn-log: "},
	} {
		start(t, nil, nil, append([]string{"fleet", "agent"}, strings.Fields(c.args)...)...).want(2, "", c.want)
	}
}
