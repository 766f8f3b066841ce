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

// UWSVariable is the environment variable that says where uWebSockets is: the folder of the package uWebSockets.js, or
// a binary made of peers/uws.cpp. No registry has either.
const UWSVariable = "MASTERSOCKET_BENCH_UWS"

// UWS is a server on top of uWebSockets: peers/uws.js or peers/uws.cpp.
type UWS struct {
	// Path is the value of UWSVariable.
	Path string
	// Peers is the folder with the scripts.
	Peers string
}

// Name implements Adapter.
func (UWS) Name() string { return "uwebsockets" }

func (u UWS) isPackage() bool {
	info, err := os.Stat(u.Path)
	return err == nil && info.IsDir()
}

// Version implements Adapter. A binary's is not known.
func (u UWS) Version() (string, error) {
	if !u.isPackage() {
		return "the binary in " + UWSVariable, nil
	}
	b, err := os.ReadFile(filepath.Join(u.Path, "package.json"))
	if err != nil {
		return "", err
	}
	var manifest struct{ Version string }
	if err := json.Unmarshal(b, &manifest); err != nil {
		return "", err
	}
	return "uWebSockets.js " + manifest.Version, nil
}

// Missing implements Adapter.
func (u UWS) Missing() error {
	if u.Path == "" {
		return fmt.Errorf("%s does not say where it is", UWSVariable)
	}
	if u.isPackage() {
		_, err := exec.LookPath("node")
		return err
	}
	_, err := exec.LookPath(u.Path)
	return err
}

// Command implements Adapter.
func (u UWS) Command(s Site) (*exec.Cmd, error) {
	at := []string{s.Listen.Addr().String(), portOf(s.Listen)}
	if !u.isPackage() {
		return exec.Command(u.Path, at...), nil
	}
	folder, err := filepath.Abs(u.Path)
	if err != nil {
		return nil, err
	}
	return exec.Command("node", append([]string{filepath.Join(u.Peers, "uws.js"), folder}, at...)...), nil
}

// Dialect implements Adapter.
func (UWS) Dialect(s load.Shape) load.Dialect { return plainDialect{s} }
