//go:build linux

package clustertest

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// parallel is how many quick tests run at the same time, unless -parallel says otherwise: they mostly wait for timeouts.
const parallel = 4

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given && !figure.Full() {
		_ = flag.Set("test.parallel", strconv.Itoa(max(parallel, runtime.GOMAXPROCS(0)))) // the flag exists and takes numbers
	}
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
