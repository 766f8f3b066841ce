//go:build linux

package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mastersocket/mastersocket/bench/load"
)

// Floor is a minimal server: one thread, one epoll loop, and the same prebuilt frame written to each subscriber's
// socket. It checks nothing and parses only lengths.
type Floor struct {
	// Bin is the folder with the floors' binaries.
	Bin string
	// C says that it is the one in C; otherwise it is the one in Go.
	C bool
	// Coalesce lets it write all frames of one turn of its loop to a subscriber at once.
	Coalesce bool
}

// Name implements Adapter.
func (f Floor) Name() string {
	name := "floor-go"
	if f.C {
		name = "floor-c"
	}
	if f.Coalesce {
		name += "-coalescing"
	}
	return name
}

func (f Floor) path() string {
	return filepath.Join(f.Bin, strings.TrimSuffix(f.Name(), "-coalescing"))
}

// Version implements Adapter.
func (f Floor) Version() (string, error) {
	if f.C {
		return output(exec.Command("cc", "--version"))
	}
	return runtime.Version(), nil
}

// Missing implements Adapter.
func (f Floor) Missing() error {
	if _, err := os.Stat(f.path()); err != nil {
		return errNotInstalled
	}
	return nil
}

// Command implements Adapter.
func (f Floor) Command(s Site) (*exec.Cmd, error) {
	mode := "each"
	if f.Coalesce {
		mode = "coalesce"
	}
	return exec.Command(f.path(), s.Listen.Addr().String(), portOf(s.Listen), mode), nil
}

// Dialect implements Adapter.
func (f Floor) Dialect(s load.Shape) load.Dialect { return plainDialect{s} }

// Covers implements Limited: with one message at a time, coalescing changes nothing. There are no groups, and no queue
// for clients that don't read.
func (f Floor) Covers(measure string) bool {
	if f.Coalesce {
		return strings.HasPrefix(measure, "saturated")
	}
	return measure != "groups" && measure != "stalled"
}
