//go:build linux

// Package monitoring_test tests the alert rules and the dashboard against the metrics of real hubs, and against the
// runbook.
package monitoring_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// root is the folder of the repository.
const root = "../../.."

func TestMain(m *testing.M) {
	code, err := run(m)
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run builds the binary in its own module, as the dependencies differ, and runs the tests with it.
func run(m *testing.M) (code int, err error) {
	if os.Getenv(hubtest.EnvBinary) != "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "mastersocket-monitoring-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "mastersocket")
	build := exec.Command("go", "build", "-o", binary, "./cmd/mastersocket")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	if err := os.Setenv(hubtest.EnvBinary, binary); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
