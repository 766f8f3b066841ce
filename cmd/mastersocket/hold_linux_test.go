package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestHoldRunsCommands has commands run one at a time, and end as they should.
func TestHoldRunsCommands(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	hold := func(args ...string) *command {
		return x.start("", append([]string{"hold", "--group", "g"}, args...)...)
	}
	c := hold("--", "sh", "-c", `test "$MASTERSOCKET_HOLD_GROUP" = g && test "$MASTERSOCKET_HOLD_TERM" -gt 1700000000000 && echo done; exit 7`)
	if got := c.code(); got != 7 || c.out.String() != "done\n" {
		t.Errorf("code %d, output %q, %s", got, c.out, c.err)
	}
	for want, args := range map[int][]string{
		0: {"--", "true"}, 127: {"--", "no-such-command"}, 126: {"--", "/etc"}, 128 + 9: {"--", "sh", "-c", "kill -9 $$"},
		2: {"--kill-after", "9s", "--", "true"},
	} {
		if c := hold(args...); c.code() != want {
			t.Errorf("%v: code %d, want %d: %s", args, c.code(), want, c.err)
		}
	}
	running := hold("--", "sh", "-c", "echo up; sleep 100")
	running.out.waitFor(t, "up")
	if c := hold("--hold-wait", "100ms", "--", "echo", "never"); c.code() != 1 || c.out.String() != "" || !strings.Contains(c.err.String(), "another one holds") {
		t.Errorf("while another one holds it: code %d, %q, %s", c.code(), c.out, c.err)
	}
	next := hold("--", "echo", "next")
	running.signal(syscall.SIGTERM)
	if got := running.code(); got != 128+15 {
		t.Errorf("told to end: code %d", got)
	}
	next.want(0, "next\n", "holds")
}

// TestHoldLostEndsCommand kills the hub: the command, and what it started, ends.
func TestHoldLostEndsCommand(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, s)
	c := x.start("", "hold", "--group", "g", "--", "sh", "-c", `trap "" TERM; sleep 100 & echo $!; sleep 100`)
	c.out.waitFor(t, "\n")
	child := strings.TrimSpace(c.out.String())
	s.Kill()
	if got := c.code(); got != codeHoldLost {
		t.Errorf("code %d, want %d: %s", got, codeHoldLost, c.err)
	}
	eventually.True(t, "the command's child to be gone", func() bool { return !processLives(child) })
}

// processLives reports whether there is a process of that id that has not ended.
func processLives(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
