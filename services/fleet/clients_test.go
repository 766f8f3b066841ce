package fleet

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
)

// modules is where make socketio-test installs the client library of JavaScript.
const modules = "../socketio/clients"

// output collects what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// program is a bot in a process of its own.
type program struct {
	t   *testing.T
	out *output
	cmd *exec.Cmd
}

// run starts a bot. env are further variables, as NAME=value.
func (n *node) run(t *testing.T, dir string, env []string, argv ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	p := &program{t, &output{}, exec.CommandContext(ctx, argv[0], argv[1:]...)}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.out, p.out
	p.cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "URL=http://"+n.addr), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait()
		t.Logf("%s %q printed:\n%s", filepath.Base(argv[len(argv)-1]), env, p.out)
	})
	return p
}

// waitFor waits until the program has printed the lines, in this order.
func (p *program) waitFor(lines ...string) {
	p.t.Helper()
	eventually.True(p.t, strings.Join(lines, ", ")+" is printed", func() bool {
		rest := p.out.String()
		for _, line := range lines {
			i := strings.Index(rest, line)
			if i < 0 {
				return false
			}
			rest = rest[i+len(line):]
		}
		return true
	})
}

// TestClientLibraries runs a fleet of bots that are written with the client libraries.
func TestClientLibraries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		argv      []string
		yes, no   string
		installed func() bool
	}{
		{"JavaScript", []string{"node", "bot.mjs"}, "true", "false", func() bool {
			_, err := os.Stat(filepath.Join(modules, "node_modules", "socket.io-client"))
			return err == nil
		}},
		{"Python", []string{"/usr/bin/python3", "bot.py"}, "True", "False", func() bool {
			return exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import socketio, aiohttp").Run() == nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !c.installed() {
				if os.Getenv("MASTERSOCKET_SOCKETIO_CLIENTS") != "" {
					t.Fatal("the library is not installed")
				}
				t.Skip("the library is not installed: make socketio-test installs it")
			}
			n := originals(t)
			agent := n.agent(DefaultName)
			absolute, err := filepath.Abs(modules)
			if err != nil {
				t.Fatal(err)
			}
			bot := func(version, health string) *program {
				return n.run(t, "clients", []string{"VERSION=" + version, "HEALTH=" + health, "MODULES=" + absolute}, c.argv...)
			}
			first := bot("0.9.0", "ok")
			first.waitFor("hello token "+c.yes, "ack", "cmd ok")
			sick := bot("0.10.0", "sick")
			sick.waitFor("hello token "+c.no, "cmd health_check", "cmd shutdown vital_cog_failure")
			agent.done(agent.task(wire.Rollback), "")
			healthy := bot("0.10.1", "ok")
			healthy.waitFor("hello token "+c.no, "cmd health_check", "cmd process_commands")
			first.waitFor("cmd coma replaced")
			agent.done(agent.task(wire.Revision), "")
			if err := healthy.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			first.waitFor("cmd process_commands")
		})
	}
}

// originals starts an instance with the settings that the original bot needs.
func originals(t *testing.T) *node {
	t.Helper()
	c := lifecycle.Config{VitalCogs: []string{"modules.utilities"}}
	return start(t, Options{Fleets: []Settings{{Name: DefaultName, Token: botToken, Config: c}}}, memory.NewBus().Broker(), nil)
}

// TestOriginalBot runs the original bot program, whose file MASTERSOCKET_ORIGINAL_BOT names. Two things in its copy are other
// than in the file: the hub's address, and the decorators of its namespace, which python3-socketio 5.7.2 can't run (the class
// works without them in every release).
func TestOriginalBot(t *testing.T) {
	t.Parallel()
	name := os.Getenv("MASTERSOCKET_ORIGINAL_BOT")
	if name == "" {
		t.Skip("MASTERSOCKET_ORIGINAL_BOT names no file")
	}
	source, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n := originals(t)
	agent := n.agent(DefaultName)
	standIn, err := filepath.Abs("clients")
	if err != nil {
		t.Fatal(err)
	}
	bot := func(version string) *program {
		dir := t.TempDir()
		text := strings.NewReplacer(
			"    @sio.event\n", "", "http://localhost:8080", "http://"+n.addr, `"0.0.1"`, `"`+version+`"`,
		).Replace(string(source))
		if err := os.WriteFile(filepath.Join(dir, "example_bot.py"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return n.run(t, dir, []string{"PYTHONPATH=" + standIn}, "/usr/bin/python3", "example_bot.py")
	}
	const hello, in = "server has sent the HELLO event", "discord login with a token"
	first := bot("0.0.1")
	first.waitFor("I've connected!", hello, in, "{'t': 'ok', 'd': {}}")
	second := bot("0.0.2") // its health check always fails
	second.waitFor(hello, in, "{'t': 'health_check', 'd': {}}", "{'t': 'shutdown', 'd': {'reason': 'vital_cog_failure'}}", "discord logout")
	agent.done(agent.task(wire.Rollback), "")
	third := n.bot(``)
	third.identify("0.0.3", helloFalse)
	third.ask("ready", `{}`)
	third.expect(cmdHealth, acked)
	third.ask("health_check", `{"OK":true}`)
	third.expect(cmdProcess, acked)
	first.waitFor("{'t': 'coma', 'd': {'reason': 'replaced'}}")
	agent.done(agent.task(wire.Revision), "")
	third.send("41")
	first.waitFor("{'t': 'process_commands', 'd': {'token': ")
}
