//go:build linux

package servers

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mastersocket/mastersocket/bench/load"
)

// GWS is a server on top of github.com/lxzan/gws: cmd/gws.
type GWS struct {
	// Bin is the folder with its binary.
	Bin string
}

// Name implements Adapter.
func (g GWS) Name() string { return "gws" }

// Version implements Adapter.
func (g GWS) Version() (string, error) {
	return moduleVersion(g.path(), "github.com/lxzan/gws")
}

func (g GWS) path() string { return filepath.Join(g.Bin, "gws") }

// Missing implements Adapter.
func (g GWS) Missing() error {
	if _, err := os.Stat(g.path()); err != nil {
		return errNotInstalled
	}
	return nil
}

// Command implements Adapter.
func (g GWS) Command(s Site) (*exec.Cmd, error) {
	cmd := exec.Command(g.path(), s.Listen.String())
	if s.Certificate != "" {
		cmd.Args = append(cmd.Args, s.Certificate, s.Key)
	}
	return cmd, nil
}

// Secured implements Secured.
func (GWS) Secured() {}

// Dialect implements Adapter.
func (g GWS) Dialect(s load.Shape) load.Dialect { return plainDialect{s} }

// Covers implements Limited: its server has no groups, and is not compared at a rate that it may not reach.
func (GWS) Covers(measure string) bool { return measure != "groups" && measure != "latency-same" }
