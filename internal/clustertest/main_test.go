//go:build linux

package clustertest

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

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

// full reports whether to use the sizes and durations of the published figures.
func full() bool { return os.Getenv(EnvScale) == "full" }

// size returns the full number or the quick one.
func size(quick, whole int) int {
	if full() {
		return whole
	}
	if raceEnabled {
		return max(quick/4, 1)
	}
	return quick
}

// span returns the full duration or the quick one.
func span(quick, whole time.Duration) time.Duration {
	if full() {
		return whole
	}
	return quick
}

// figure prints a measurement.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
}

// ms rounds a duration for output.
func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// patience bounds waits; only a failing test waits that long.
const patience = 30 * time.Second
