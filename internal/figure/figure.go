// Package figure prints measurements of tests, and chooses between quick sizes and those of published figures.
package figure

import (
	"os"
	"testing"
	"time"
)

// EnvScale is the environment variable that chooses between quick tests (the default) and those with the sizes and
// durations of published figures ("full").
const EnvScale = "MASTERSOCKET_SCALE"

// Full reports whether to use the sizes and durations of published figures.
func Full() bool { return os.Getenv(EnvScale) == "full" }

// Choose returns the full value if [Full] is true, otherwise the quick one.
func Choose[T any](quick, full T) T {
	if Full() {
		return full
	}
	return quick
}

// Bound returns the time that a test allows where promised is what the documents say: that itself if [Full] is true,
// otherwise three times as much, since the machine may do other things as well.
func Bound(promised time.Duration) time.Duration { return Choose(3*promised, promised) }

// Printf prints a measurement, in a line of the test's log that begins with "figure:".
func Printf(tb testing.TB, format string, args ...any) {
	tb.Helper()
	tb.Logf("figure: "+format, args...)
}

// MS rounds a duration to milliseconds for output.
func MS(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
