//go:build linux

// Package hubtest runs the built mastersocket binary as processes for tests, and drives clients against them.
//
// [Binary] builds the binary once for a test program, [Start] runs it on free ports and waits until it listens. A
// [Client] uses a WebSocket implementation other than the hub's and records all its sends and arrivals in a history. A
// [Workload] sends a mix of messages with many of them; package history judges the result.
//
// All methods may be called from any goroutine unless they say otherwise.
package hubtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Environment variables that change what is tested.
const (
	// EnvBinary is the path of a mastersocket binary to test in place of one built from the source. The go command does
	// not notice a change of it: use go test -count=1.
	EnvBinary = "MASTERSOCKET_TEST_BINARY"
	// EnvRace, if not empty, has the binary built with the race detector: several times slower and larger.
	EnvRace = "MASTERSOCKET_TEST_RACE"
)

// binaryPackage is what Binary builds.
const binaryPackage = "github.com/mastersocket/mastersocket/cmd/mastersocket"

var built struct {
	once sync.Once
	path string
	dir  string
	err  error
}

// Binary returns the path of the mastersocket binary, built on the first call of a test program. A test program that
// calls it, or Start, should call [Cleanup] at the end of its TestMain. With -short it skips the test: make check is for
// what runs within the test program.
func Binary(tb testing.TB) string {
	tb.Helper()
	if testing.Short() {
		tb.Skip("starts the binary, which -short leaves out; make test runs this test")
	}
	built.once.Do(build)
	if built.err != nil {
		tb.Fatalf("hubtest: %v", built.err)
	}
	return built.path
}

// Cleanup removes the binary that was built.
func Cleanup() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // a leftover in the temporary folder is harmless
	}
}

func build() {
	if built.path = os.Getenv(EnvBinary); built.path != "" {
		return
	}
	dir, err := os.MkdirTemp("", "mastersocket-test-")
	if err != nil {
		built.err = fmt.Errorf("folder for the binary: %w", err)
		return
	}
	built.dir, built.path = dir, filepath.Join(dir, "mastersocket")
	if err := touchSources(); err != nil {
		built.err = fmt.Errorf("look at the source: %w", err)
		return
	}
	args := []string{"build", "-o", built.path}
	if RaceBinary() {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, binaryPackage)...).CombinedOutput(); err != nil {
		built.err = fmt.Errorf("build the binary: %w\n%s", err, out)
	}
}

// touchSources stats every file of the module. The go command repeats a cached test when a file that it accessed
// changes; it can't know that the binary under test is built from these files.
func touchSources() error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	for ; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		} else if root == filepath.Dir(root) {
			return err
		}
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata"):
			return fs.SkipDir
		}
		_, err = os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) { // an editor's temporary file that is already gone
			return nil
		}
		return err
	})
}

// RaceBinary reports whether the binary is built with the race detector, which makes measurements meaningless.
func RaceBinary() bool { return os.Getenv(EnvRace) != "" }
