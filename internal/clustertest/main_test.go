//go:build linux

package clustertest

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Cleanup()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// size returns the full number or the quick one.
func size(quick, whole int) int {
	if figure.Full() {
		return whole
	}
	if raceEnabled {
		return max(quick/4, 1)
	}
	return quick
}

// patience bounds waits; only a failing test waits that long.
const patience = 30 * time.Second
