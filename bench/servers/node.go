//go:build linux

package servers

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mastersocket/mastersocket/bench/load"
)

// node is a server on Node.js: a script in the folder peers, and the package that it stands for.
type node struct {
	peers  string
	script string
	module string
}

func (n node) Version() (string, error) {
	name := filepath.Join(n.peers, "node_modules", n.module, "package.json")
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	var manifest struct{ Version string }
	if err := json.Unmarshal(b, &manifest); err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	runtime, err := output(exec.Command("node", "--version"))
	return manifest.Version + " on Node.js " + runtime, err
}

func (n node) Missing() error {
	if _, err := os.Stat(filepath.Join(n.peers, "node_modules", n.module)); err != nil {
		return errNotInstalled
	}
	_, err := exec.LookPath("node")
	return err
}

func (n node) Command(s Site) (*exec.Cmd, error) {
	cmd := exec.Command("node", filepath.Join(n.peers, n.script), s.Listen.Addr().String(), portOf(s.Listen))
	cmd.Env = append(os.Environ(), "NODE_ENV=production")
	return cmd, nil
}

// WS is a server on top of npm's ws: peers/ws.js.
type WS struct{ node }

// NewWS returns the adapter. The folder peers has the script and its packages.
func NewWS(peers string) WS { return WS{node{peers: peers, script: "ws.js", module: "ws"}} }

// Name implements Adapter.
func (WS) Name() string { return "ws" }

// Dialect implements Adapter.
func (WS) Dialect(s load.Shape) load.Dialect { return plainDialect{s} }

// Covers implements Limited: its server has no groups, and is not compared at a rate that it may not reach.
func (WS) Covers(measure string) bool { return measure != "groups" && measure != "latency-same" }
