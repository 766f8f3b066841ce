package ratelog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestOneLineASecondPerCause(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	now := time.Unix(1000, 0)
	l.now = func() time.Time { return now }
	for range 500 {
		l.Warn("refused", "first")
		l.Warn("refused", "second")
	}
	now = now.Add(interval)
	l.Warn("refused", "first")

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want one for each cause and second:\n%s", len(lines), out.String())
	}
	if !strings.Contains(lines[2], "msg=refused cause=first suppressed=499") {
		t.Errorf("the next line does not count what was left out: %s", lines[2])
	}
}
