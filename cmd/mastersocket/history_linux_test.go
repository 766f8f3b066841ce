package main

import (
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestHistoryCommands sends to a group with history, reads it as a member that comes later and as an operator, and drops it.
func TestHistoryCommands(t *testing.T) {
	t.Parallel()
	h := hubtest.Start(t, hubtest.Options{Flags: []string{"--history", `[{groups: "kept.*", messages: 3, age: 1h}]`}})
	x := newTools(t, h)
	pub := func(args ...string) *command {
		return x.start("", append([]string{"pub", "--to", "GROUP:kept.a", "--event", "e"}, args...)...)
	}
	for _, data := range []string{"1", "2", "3", "4"} {
		pub(data).want(0, "", "")
	}
	pub("--once", "five", "5").want(0, "", "")
	pub("--once", "five", "5").want(0, "", "")
	pub("--once", "x", "-").want(2, "", "--once")

	x.start("", "sub", "--group", "kept.a", "--from", "0", "--count", "3").want(0, "3\n4\n5\n", "")
	x.start("", "sub", "--group", "kept.a", "--from", "1", "--count", "3").want(0, "3\n4\n5\n", "")
	prints := func(c *command, out, stderr string) {
		t.Helper()
		if code := c.code(); code != 0 || !strings.Contains(c.out.String(), out) || !strings.Contains(c.err.String(), stderr) {
			t.Errorf("%q ended with %d\nstdout %q, want %q in it\nstderr %q, want %q in it", c.cmd.Args[1:], code, c.out, out, c.err, stderr)
		}
	}
	prints(x.start("", "sub", "--group", "kept.a", "--from", "4", "--count", "1", "--json"), `"offset":5`, "")
	x.start("", "sub", "--group", "kept.a", "--from", "yesterday").want(2, "", "--from")
	live := x.start("", "sub", "--group", "kept.a", "--from", "last", "--count", "1")
	live.err.waitFor(t, "connected")
	pub("6").want(0, "", "")
	live.want(0, "6\n", "")

	admin := func(args ...string) *command {
		return x.start("", append([]string{"history", "--admin", "http://" + h.AdminAddr, "--group", "kept.a"}, args...)...)
	}
	prints(admin(), "4 \"e\" 4 from ", "messages 4 to 6")
	prints(admin("--after", "5"), "6 \"e\" 6 from ", "")
	prints(admin("--purge"), "no messages; the last number is 6", "")
	prints(admin("--output", "json"), "", "no messages")
	admin("--limit", "-1").want(2, "", "--limit")
}
