package socketio

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClientLibraries runs the client libraries that Socket.IO has for JavaScript and Python against a hub. They are
// installed by make socketio-test, which sets MASTERSOCKET_SOCKETIO_CLIENTS, so that nothing is left out there.
func TestClientLibraries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, program, script string
		installed             func() bool
	}{
		{"JavaScript", "node", "client.mjs", func() bool {
			_, err := os.Stat(filepath.Join("clients", "node_modules", "socket.io-client"))
			return err == nil
		}},
		{"Python", "/usr/bin/python3", "client.py", func() bool { // Debian's, whose packages it uses
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
			n := alone(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, c.program, c.script)
			cmd.Dir = "clients"
			cmd.Env = append(os.Environ(), "URL=http://"+n.addr, "TOKEN=secret")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "done") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
